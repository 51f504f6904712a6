//! Two reports side by side, on the same scales.

use maud::{Markup, html};

use super::super::latency::CALLBACK_TO_RETURN;
use super::super::layout;
use super::charts::{Frame, Scales, length};
use super::eventpolls::latency;
use super::fanout::{distributions, over_time, tasks};
use super::head::{badge, class, unseen};
use super::words::{number, percent};
use super::{Pictured, text};
use crate::analysis::{Comparison, HerdRow, Pair, Side, Verdict};

pub(super) fn head(comparison: &Comparison, before: Pictured<'_>, after: Pictured<'_>) -> Markup {
    let first = comparison.pairs.first();
    let (colour, word) = first.map_or(("idle", "NOTHING TO COMPARE"), outcome);
    html! {
        header {
            p.kicker { "eptrace comparison" span { (text(&before.report.target)) } span { (text(&after.report.target)) } }
            div.top {
                div class={"verdict " (colour)} {
                    p.badge { (word) }
                    @if let Some(pair) = first {
                        h1 {
                            "Tasks woken for nothing by each wakeup: " (format!("{:.2} → {:.2}", pair.before.wasted.1, pair.after.wasted.1)) "."
                        }
                    } @else {
                        h1 { "No listening socket was seen in both traces." }
                    }
                    @if let Some(changed) = changed(&before.report.target, &after.report.target) {
                        p.why { b { "What was run otherwise: " } (text(&changed)) }
                    }
                    @for pair in &comparison.pairs {
                        p.why { b { (text(&names(pair))) ": " } (text(&pair.sentence)) }
                    }
                    @for (side, names) in [("before", &comparison.only_before), ("after", &comparison.only_after)] {
                        @if !names.is_empty() { p.hint { "only " (side) ": " (text(&names.join(", "))) } }
                    }
                }
                div {
                    div.sided { h3 { "Before" } (unseen(before.report)) }
                    div.sided { h3 { "After" } (unseen(after.report)) }
                }
            }
        }
    }
}

/// Where two commands differ, with the option that the difference belongs to: `--mode lt → --mode exclusive`.
fn changed(before: &str, after: &str) -> Option<String> {
    let (before, after): (Vec<&str>, Vec<&str>) = (before.split(' ').collect(), after.split(' ').collect());
    let mut from = before.iter().zip(&after).take_while(|(before, after)| before == after).count();
    let (left, right) = (before.get(from..)?, after.get(from..)?);
    let same = left.iter().rev().zip(right.iter().rev()).take_while(|(before, after)| before == after).count();
    if left.is_empty() && right.is_empty() {
        return None;
    }
    if from > 0 && before.get(from - 1).is_some_and(|word| word.starts_with("--") && word.len() > 2) {
        from -= 1;
    }
    let words =
        |all: &[&str]| all.get(from..all.len() - same).filter(|some| !some.is_empty()).map(|some| some.join(" "));
    let side = |all| words(all).unwrap_or_else(|| "nothing".to_owned());
    Some(format!("{} → {}", side(&before), side(&after)))
}

fn outcome(pair: &Pair) -> (&'static str, &'static str) {
    match (pair.before.verdict, pair.after.verdict) {
        (Verdict::Herd, Verdict::NoHerd) => ("good", "CURED"),
        (Verdict::NoHerd, Verdict::Herd) => ("bad", "A HERD NOW"),
        (Verdict::Herd, Verdict::Herd) => ("bad", "STILL A HERD"),
        (Verdict::NoHerd, Verdict::NoHerd) => ("good", "NO HERD"),
        (Verdict::Incomplete, _) | (_, Verdict::Incomplete) => ("warn", "INCOMPLETE"),
        (Verdict::Idle, _) | (_, Verdict::Idle) => ("idle", "IDLE"),
    }
}

fn names(pair: &Pair) -> String {
    if pair.before.source == pair.after.source {
        pair.before.source.clone()
    } else {
        format!("{} → {}", pair.before.source, pair.after.source)
    }
}

pub(super) fn sides(comparison: &Comparison, before: Pictured<'_>, after: Pictured<'_>) -> Markup {
    let scales = Scales::of(&[before, after]);
    html! {
        @for pair in &comparison.pairs {
            section.card {
                h2 { (text(&names(pair))) }
                div.sides {
                    (side("Before", &pair.before, before, &scales))
                    (side("After", &pair.after, after, &scales))
                }
                (details_table(pair))
            }
        }
        section.card {
            h2 { "Ready list and latency of the busiest eventpoll" }
            div.sides { (busiest("Before", before, &scales)) (busiest("After", after, &scales)) }
        }
    }
}

fn details_table(pair: &Pair) -> Markup {
    let saved = pair.before.wasted.0.saturating_sub(pair.after.wasted.0);
    html! {
        (super::details::table(&layout::comparison(&pair.before, &pair.after)))
        @if saved > 0 && pair.before.wakeups == pair.after.wakeups {
            p.hint { (number(saved)) " wakes for nothing less (" (percent(saved, pair.before.wasted.0)) " %), for as many wakeups." }
        }
    }
}

fn side(title: &str, side: &Side, pictured: Pictured<'_>, scales: &Scales) -> Markup {
    let row: Option<&HerdRow> = pictured.report.herd.iter().find(|row| row.source == side.source);
    html! {
        div.side {
            h3 { (title) " " span class={"chip " (class(side.verdict))} { (badge(side.verdict)) } }
            @if let Some(row) = row {
                (tasks(row, scales))
                (over_time(row, pictured.history, scales))
                (distributions(row, scales))
            }
        }
    }
}

fn busiest(title: &str, pictured: Pictured<'_>, scales: &Scales) -> Markup {
    let history = pictured.history;
    html! {
        div.side {
            @if let Some(ep) = history.eventpolls.first() {
                h3 { (title) ": " (text(&ep.name)) }
                @let frame = Frame {
                    title: "Length of the ready list",
                    max: scales.ready,
                    cells: scales.cells,
                    cell_ns: history.cell_ns,
                    lost: &history.lost,
                    ep: None,
                };
                (length(&frame, &ep.cells))
                (latency(CALLBACK_TO_RETURN.title, "until the wait that returned the item ended", &ep.latencies.callback_to_return))
            } @else {
                h3 { (title) }
                p { "No eventpoll was seen." }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::changed;

    #[test]
    fn what_differs_between_two_commands_is_named_with_its_option() {
        let differ = |before, after| changed(before, after);
        let told = differ("-- demos herd --mode lt --workers 4", "-- demos herd --mode exclusive --workers 4");
        assert_eq!(told.as_deref(), Some("--mode lt → --mode exclusive"));
        assert_eq!(differ("-- server", "-- server --reuseport").as_deref(), Some("nothing → --reuseport"));
        assert_eq!(differ("pid 12", "pid 13").as_deref(), Some("12 → 13"));
        assert_eq!(differ("-- a a", "-- a a a").as_deref(), Some("nothing → a"));
        assert_eq!(differ("-- server", "-- server"), None);
        assert_eq!(differ("", ""), None);
    }
}

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

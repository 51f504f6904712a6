//! The head of a page: the verdict in a sentence with its number, and right beside it what was lost or could not be seen.

use maud::{Markup, html};

use super::super::layout;
use super::text;
use super::words::{count, duration, moment, number, percent};
use crate::analysis::history::{History, Moment, SourceHistory, What};
use crate::analysis::{HerdRow, Report, Verdict};

/// Listening sockets that have a verdict of their own in the head; all have one further down.
const MAX_OTHERS: usize = 6;

pub(super) fn of_report(report: &Report, history: &History) -> Markup {
    let worst = worst(report);
    html! {
        header {
            p.kicker { "eptrace report" @for (name, value) in &facts(report) { span { (text(value)) @if *name == "events" { " events" } } } }
            div.top {
                div class={"verdict " (worst.map_or("idle", |row| class(row.verdict)))} {
                    @if let Some(row) = worst {
                        p.badge { (badge(row.verdict)) }
                        h1 { (headline(row)) }
                        (who_and_since(row, history))
                        p.why { (text(&row.sentence)) }
                        @if !row.cure.is_empty() { p.cure { b { "Cure: " } (text(&row.cure)) } }
                    } @else {
                        p.badge { "NO VERDICT" }
                        h1 { "No listening socket was seen in an eventpoll." }
                        p.why { (busiest(report)) }
                    }
                }
                (unseen(report))
            }
            @if let Some(row) = worst { (tiles(row)) }
            (others(report, worst))
            (moments(&history.moments))
        }
    }
}

/// The socket that the page speaks of first: a herd before what is incomplete, then by what was wasted.
fn worst(report: &Report) -> Option<&HerdRow> {
    let order = |row: &&HerdRow| {
        let rank = match row.verdict {
            Verdict::Herd => 3,
            Verdict::Incomplete => 2,
            Verdict::NoHerd => 1,
            Verdict::Idle => 0,
        };
        (rank, row.wasted.total, row.wakeups)
    };
    // Of equal ones the first.
    report.herd.iter().rev().max_by_key(order)
}

pub(super) const fn class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Herd => "bad",
        Verdict::NoHerd => "good",
        Verdict::Incomplete => "warn",
        Verdict::Idle => "idle",
    }
}

pub(super) const fn badge(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Herd => "THUNDERING HERD",
        Verdict::NoHerd => "NO HERD",
        Verdict::Incomplete => "INCOMPLETE",
        Verdict::Idle => "IDLE",
    }
}

fn headline(row: &HerdRow) -> String {
    let source = text(&row.source);
    match row.verdict {
        Verdict::Herd => format!(
            "Each wakeup of {source} wakes {:.2} tasks, and {:.2} of them for nothing.",
            row.woken.mean, row.wasted.mean
        ),
        Verdict::NoHerd => format!(
            "Each wakeup of {source} wakes {:.2} tasks, {:.2} of them for nothing: no herd.",
            row.woken.mean, row.wasted.mean
        ),
        Verdict::Idle => format!("Nothing came from {source} while {} waited.", count(size(row.workers), "task")),
        Verdict::Incomplete => format!("Whether {source} has a herd cannot be said from this trace."),
    }
}

/// Who suffers, and since when.
fn who_and_since(row: &HerdRow, history: &History) -> Markup {
    let source = source_of(row, history);
    let suffers = row.tasks.iter().filter(|task| task.wasted > 0).count();
    let most = row.tasks.iter().max_by_key(|task| task.wasted).filter(|task| task.wasted > 0);
    html! {
        dl.answers {
            @if let Some(most) = most {
                dt { "Who suffers" }
                dd {
                    (number(size(suffers))) " of " (count(size(row.workers), "worker")) ", most "
                    b { (text(&layout::task_name(&most.comm, most.pid, most.tid))) } ": "
                    (number(most.wasted)) " of its " (number(most.woken)) " wakes were for nothing"
                }
            }
            @if let Some((source, (first, last))) = source.and_then(|source| Some((source, source.wasted?))) {
                dt { "Since when" }
                dd {
                    "from " b { (moment(first)) } " to " (moment(last)) " of " (moment(history.duration_ns)) ": "
                    (number(source.wasteful)) " of " (count(row.wakeups, "wakeup")) " woke a task for nothing"
                }
            }
        }
    }
}

pub(super) fn source_of<'a>(row: &HerdRow, history: &'a History) -> Option<&'a SourceHistory> {
    history.sources.iter().find(|source| source.listening && source.name == row.source)
}

fn tiles(row: &HerdRow) -> Markup {
    let wasted = percent(row.wasted.total, row.woken.total);
    html! {
        ul.tiles {
            li { b { (number(row.wakeups)) } " source wakeups" }
            li { b { (number(row.woken.total)) } " tasks woken" }
            li.good { b { (number(row.useful.total)) } " got a connection" }
            li.bad[row.wasted.total > 0] { b { (number(row.wasted.total)) } " woke for nothing (" (wasted) "\u{a0}%)" }
            @if row.swallowed > 0 { li { b { (number(row.swallowed)) } " of these slept on inside epoll_wait, unseen by strace" } }
        }
    }
}

/// What was lost and what cannot be seen, beside the verdict.
pub(super) fn unseen(report: &Report) -> Markup {
    let alarms = layout::alarms(report);
    let remarks = layout::remarks(report);
    html! {
        aside class={"unseen " (if report.complete { "good" } else { "bad" })} {
            h2 { @if report.complete { "Nothing lost" } @else { (lost_in_words(report)) } }
            @if report.complete { p { (layout::nothing_lost(report)) "." } }
            @if !alarms.is_empty() {
                ul { @for alarm in &alarms { li.alarm { (text(alarm)) } } }
            }
            @if !remarks.is_empty() {
                details open[!report.complete] {
                    summary { (count(size(remarks.len()), "note")) " on what this trace cannot show" }
                    ul { @for remark in &remarks { li { (text(remark)) } } }
                }
            }
        }
    }
}

fn lost_in_words(report: &Report) -> String {
    if report.lost.events > 0 {
        format!("{} lost", count(report.lost.events, "event"))
    } else {
        "Not complete".to_owned()
    }
}

/// The other listening sockets, a line each.
fn others(report: &Report, worst: Option<&HerdRow>) -> Markup {
    let others: Vec<&HerdRow> =
        report.herd.iter().filter(|row| !worst.is_some_and(|worst| std::ptr::eq(*row, worst))).collect();
    html! {
        @if !others.is_empty() {
            ul.others {
                @for row in others.iter().take(MAX_OTHERS) {
                    li { span class={"chip " (class(row.verdict))} { (badge(row.verdict)) } " " (headline(row)) }
                }
                @if others.len() > MAX_OTHERS { li { "and " (others.len() - MAX_OTHERS) " more sockets below" } }
            }
        }
    }
}

/// The moments worth looking at; each leads to the player.
fn moments(moments: &[Moment]) -> Markup {
    html! {
        @if !moments.is_empty() {
            section.moments {
                h2 { "Moments to look at" }
                ol {
                    @for moment_of in moments {
                        li {
                            a href=(link(moment_of)) { (moment(moment_of.at_ns)) }
                            " " (what_happened(moment_of))
                        }
                    }
                }
            }
        }
    }
}

/// What the script of the player follows.
fn link(moment: &Moment) -> String {
    let ep = moment.ep.map_or_else(String::new, |ep| format!("ep={}&", ep.number()));
    format!("#{ep}at={}", moment.at_ns)
}

/// What happened at a moment, in words.
pub(super) fn what_happened(moment: &Moment) -> String {
    let about = text(&moment.about);
    match moment.what {
        What::FirstWaste => format!("{about} wakes a task for nothing for the first time"),
        What::WorstWakeup { called, woken, useful } => format!(
            "{about} wakes the most for nothing at once: {called} called back, {woken} woken, {useful} got a connection"
        ),
        What::LongestReadyList { items } => format!("the ready list of {about} is longest: {}", count(items, "item")),
        What::SlowestReturn { took_ns } => {
            format!("an item of {about} becomes ready that is returned only {} later", duration(took_ns))
        }
        What::FirstLoss { events } => {
            format!("events are lost for the first time, before this moment: {}", number(events))
        }
    }
}

fn busiest(report: &Report) -> String {
    match report.sources.first() {
        Some(source) => format!(
            "The busiest source is {}: {}, {:.2} tasks woken by each.",
            text(&source.name),
            count(source.wakeups, "wakeup"),
            source.woken.mean
        ),
        None => "No source called back.".to_owned(),
    }
}

fn facts(report: &Report) -> Vec<(&'static str, String)> {
    layout::facts(report).into_iter().filter(|(name, _)| *name != "hooks").collect()
}

fn size(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

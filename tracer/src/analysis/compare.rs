//! Two reports side by side: before a change and after it.

use serde::Serialize;

use super::herd::HerdRow;
use super::report::{Report, SCHEMA_VERSION};
use super::verdict::{Verdict, plural};

/// Two reports, source by source.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// [`SCHEMA_VERSION`]
    pub schema_version: u32,
    /// `comparison`
    pub kind: &'static str,
    /// Events that the first trace lost.
    pub lost_before: u64,
    /// Events that the second trace lost.
    pub lost_after: u64,
    /// Whether neither trace misses anything.
    pub complete: bool,
    /// Listening sockets that both have.
    pub pairs: Vec<Pair>,
    /// Listening sockets of the first only.
    pub only_before: Vec<String>,
    /// Listening sockets of the second only.
    pub only_after: Vec<String>,
}

/// One listening socket, before and after.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pair {
    /// Before.
    pub before: Side,
    /// After.
    pub after: Side,
    /// What changed, with numbers.
    pub sentence: String,
}

/// The numbers of one side: totals, and means per source wakeup.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Side {
    /// The source.
    pub source: String,
    /// Sockets of this address.
    pub sockets: usize,
    /// Tasks that waited for it.
    pub workers: usize,
    /// Source wakeups.
    pub wakeups: u64,
    /// Items called back: total and mean.
    pub called: (u64, f64),
    /// Tasks woken.
    pub woken: (u64, f64),
    /// Waits that ended with events.
    pub returned: (u64, f64),
    /// Waits after which the task got a connection.
    pub useful: (u64, f64),
    /// Woken and not useful.
    pub wasted: (u64, f64),
    /// Connections accepted.
    pub accepts: u64,
    /// Is it a herd?
    pub verdict: Verdict,
}

/// Puts two reports side by side. Sources are matched by name, then in their order.
#[must_use]
pub fn compare(before: &Report, after: &Report) -> Comparison {
    let mut left: Vec<&HerdRow> = before.herd.iter().collect();
    let mut right: Vec<&HerdRow> = after.herd.iter().collect();
    let mut pairs = Vec::new();
    left.retain(|row| match right.iter().position(|other| other.source == row.source) {
        Some(index) => {
            pairs.push(pair(row, right.remove(index)));
            false
        }
        None => true,
    });
    let both = left.len().min(right.len());
    for (row, other) in left.drain(..both).zip(right.drain(..both)) {
        pairs.push(pair(row, other));
    }
    Comparison {
        schema_version: SCHEMA_VERSION,
        kind: "comparison",
        lost_before: before.lost.events,
        lost_after: after.lost.events,
        complete: before.complete && after.complete,
        pairs,
        only_before: left.into_iter().map(|row| row.source.clone()).collect(),
        only_after: right.into_iter().map(|row| row.source.clone()).collect(),
    }
}

fn pair(before: &HerdRow, after: &HerdRow) -> Pair {
    Pair { before: side(before), after: side(after), sentence: sentence(before, after) }
}

fn side(row: &HerdRow) -> Side {
    let numbers = |spread: &super::spread::Spread| (spread.total, spread.mean);
    Side {
        source: row.source.clone(),
        sockets: row.sockets,
        workers: row.workers,
        wakeups: row.wakeups,
        called: numbers(&row.called),
        woken: numbers(&row.woken),
        returned: numbers(&row.returned),
        useful: numbers(&row.useful),
        wasted: numbers(&row.wasted),
        accepts: row.accepts,
        verdict: row.verdict,
    }
}

fn sentence(before: &HerdRow, after: &HerdRow) -> String {
    let conclusion = match (before.verdict, after.verdict) {
        (Verdict::Herd, Verdict::NoHerd) => "the herd is cured".to_owned(),
        (Verdict::NoHerd, Verdict::Herd) => "there is a herd now".to_owned(),
        (Verdict::Herd, Verdict::Herd) => "there is still a herd".to_owned(),
        (Verdict::NoHerd, Verdict::NoHerd) => "there was no herd and there is none".to_owned(),
        (first, second) => format!("before: {}, after: {}", first.name(), second.name()),
    };
    format!(
        "woken per source wakeup {:.2} → {:.2}, for nothing {:.2} → {:.2} ({} → {}): {conclusion}.",
        before.woken.mean,
        after.woken.mean,
        before.wasted.mean,
        after.wasted.mean,
        plural(before.wakeups, "wakeup", "wakeups"),
        plural(after.wakeups, "wakeup", "wakeups"),
    )
}

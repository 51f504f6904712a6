//! The fan-out of every listening socket: how many tasks each wakeup called, woke, and served.

use std::collections::BTreeMap;

use serde::Serialize;

use super::source::Source;
use super::spread::Spread;
use super::verdict::{Evidence, Verdict, judge};
use crate::event::TraceInfo;
use crate::model::{ItemFlags, Model, Share, TaskId};

/// Hooks without which a verdict would be a guess.
const NEEDED_HOOKS: [&str; 4] = ["callback", "wake", "wait-exit", "accept"];

/// One listening socket, or all that share a local address.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HerdRow {
    /// Its name: `tcp 127.0.0.1:8080`.
    pub source: String,
    /// Sockets of this address.
    pub sockets: usize,
    /// Tasks that waited for it.
    pub workers: usize,
    /// Eventpolls it was registered in.
    pub eventpolls: usize,
    /// Source wakeups.
    pub wakeups: u64,
    /// Items called back per source wakeup.
    pub called: Spread,
    /// Tasks woken per source wakeup.
    pub woken: Spread,
    /// Waits that ended with events, per source wakeup.
    pub returned: Spread,
    /// Waits after which the task got a connection, per source wakeup.
    pub useful: Spread,
    /// Woken and not useful, per source wakeup.
    pub wasted: Spread,
    /// Wakes after which the task slept on inside the same wait.
    pub swallowed: u64,
    /// Wakes by the wake chain of level-triggered items.
    pub chained: u64,
    /// Tasks taken off the wait queue while running anyway.
    pub already_running: u64,
    /// Wakes whose task had not shown what it found when the trace ended.
    pub unfinished: u64,
    /// Connections accepted, by whomever.
    pub accepts: u64,
    /// Connections accepted after a wake.
    pub gained: u64,
    /// Accepts that found none.
    pub accept_eagain: u64,
    /// Items by their flags.
    pub flags: ItemFlags,
    /// What each task had of it.
    pub tasks: Vec<HerdTask>,
    /// Is it a herd?
    pub verdict: Verdict,
    /// Why, with numbers.
    pub sentence: String,
    /// What would cure it; empty when nothing need be done.
    pub cure: String,
}

/// What one task had of a listening socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HerdTask {
    /// Its thread group.
    pub pid: u32,
    /// Its number.
    pub tid: u32,
    /// Its name; not a string to trust.
    pub comm: String,
    /// Times it was woken.
    pub woken: u64,
    /// Wakes after which its wait ended with events.
    pub returned: u64,
    /// Wakes after which it got a connection.
    pub useful: u64,
    /// Woken and not useful.
    pub wasted: u64,
    /// Wakes after which it slept on inside the same wait.
    pub swallowed: u64,
    /// Connections it accepted.
    pub accepts: u64,
    /// Accepts that found none.
    pub accept_eagain: u64,
}

/// The rows of all listening sockets among the sources.
pub(crate) fn herd(model: &Model, info: &TraceInfo, sources: &[Source]) -> Vec<HerdRow> {
    sources.iter().filter(|source| source.listening).map(|source| row(model, info, source)).collect()
}

fn row(model: &Model, info: &TraceInfo, source: &Source) -> HerdRow {
    let stats = &source.stats;
    let evidence = evidence(model, info, source);
    let judgement = judge(&evidence);
    HerdRow {
        source: source.name.clone(),
        sockets: source.files.len(),
        workers: evidence.workers,
        eventpolls: source.eventpolls_ever(model),
        wakeups: stats.wakeups,
        called: Spread::from(&stats.called),
        woken: Spread::from(&stats.woken),
        returned: Spread::from(&stats.returned),
        useful: Spread::from(&stats.useful),
        wasted: Spread::from(&stats.wasted),
        swallowed: stats.swallowed,
        chained: stats.chained,
        already_running: stats.already_running,
        unfinished: stats.unfinished,
        accepts: stats.accepts,
        gained: stats.gained,
        accept_eagain: stats.accept_eagain,
        flags: stats.flags,
        tasks: tasks(model, source),
        verdict: judgement.verdict,
        sentence: judgement.sentence,
        cure: judgement.cure,
    }
}

fn evidence(model: &Model, info: &TraceInfo, source: &Source) -> Evidence {
    let stats = &source.stats;
    let exceeded = model.exceeded();
    let unfollowed = [
        exceeded.eventpolls,
        exceeded.items,
        exceeded.tasks,
        exceeded.files,
        exceeded.wakeups,
        exceeded.pairs,
        exceeded.cpus,
        exceeded.walk_entries,
    ];
    Evidence {
        sockets: source.files.len(),
        workers: source.workers_ever(model),
        workers_of_a_socket: source.most_workers_of_a_file(model),
        eventpolls_of_a_socket: source.most_eventpolls_of_a_file(model),
        wakeups: stats.wakeups,
        called: stats.called.mean(),
        woken: stats.woken.mean(),
        useful: stats.useful.mean(),
        wasted: stats.wasted.mean(),
        wasted_total: stats.wasted.total,
        woken_total: stats.woken.total,
        chained: stats.chained,
        swallowed: stats.swallowed,
        accepts: stats.accepts,
        accept_eagain: stats.accept_eagain,
        items: stats.flags.items,
        exclusive: stats.flags.exclusive,
        et: stats.flags.et,
        oneshot: stats.flags.oneshot,
        lost: unfollowed.into_iter().fold(model.losses().events(), u64::saturating_add),
        blind: blind(info),
    }
}

/// What this kernel or this run could not show at all.
fn blind(info: &TraceInfo) -> Option<String> {
    let missing = |name: &str| info.hooks.iter().any(|hook| hook.hook == name && hook.backend.is_empty());
    let names: Vec<&str> = NEEDED_HOOKS.into_iter().filter(|name| missing(name)).collect();
    if names.is_empty() {
        return None;
    }
    Some(format!("No verdict without the hooks that could not be attached: {}.", names.join(", ")))
}

fn tasks(model: &Model, source: &Source) -> Vec<HerdTask> {
    let mut shares: BTreeMap<TaskId, Share> =
        source.workers(model).into_iter().map(|id| (id, Share::default())).collect();
    for file in &source.files {
        for (task, share) in model.shares(*file) {
            let sum = shares.entry(task).or_default();
            sum.woken = sum.woken.saturating_add(share.woken);
            sum.returned = sum.returned.saturating_add(share.returned);
            sum.useful = sum.useful.saturating_add(share.useful);
            sum.swallowed = sum.swallowed.saturating_add(share.swallowed);
            sum.accepts = sum.accepts.saturating_add(share.accepts);
            sum.accept_eagain = sum.accept_eagain.saturating_add(share.accept_eagain);
        }
    }
    let row = |(id, share): (TaskId, Share)| {
        let task = model.tasks().get(id)?;
        Some(HerdTask {
            pid: task.pid,
            tid: task.tid,
            comm: task.comm.clone(),
            woken: share.woken,
            returned: share.returned,
            useful: share.useful,
            wasted: share.woken.saturating_sub(share.useful),
            swallowed: share.swallowed,
            accepts: share.accepts,
            accept_eagain: share.accept_eagain,
        })
    };
    let mut rows: Vec<HerdTask> = shares.into_iter().filter_map(row).collect();
    rows.sort_by_key(|row| (row.pid, row.tid));
    rows
}

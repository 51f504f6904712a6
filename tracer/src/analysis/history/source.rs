//! The wakeups of one source over time.

use std::collections::BTreeMap;

use super::buckets::Buckets;
use super::cells::SourceCell;
use crate::analysis::source::sources;
use crate::event::TraceInfo;
use crate::model::{EpId, FileId, Model, Wakeup};

/// The source wakeups of a file, or of all sockets that share a listening address.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceHistory {
    /// What it is called: the name that it has in the report.
    pub name: String,
    /// Whether connections are accepted from it: only then it is known whether a wake was of use.
    pub listening: bool,
    /// Stretch by stretch.
    pub cells: Vec<SourceCell>,
    /// The first and the last wakeup that woke a task for nothing, nanoseconds since the origin.
    pub wasted: Option<(u64, u64)>,
    /// Wakeups that woke a task for nothing.
    pub wasteful: u64,
    /// The wakeup that woke the most for nothing; the most at all where use is not known.
    pub worst: Option<Worst>,
}

/// One source wakeup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Worst {
    /// When it began, nanoseconds since the origin.
    pub at_ns: u64,
    /// The eventpoll of the first item called back.
    pub ep: Option<EpId>,
    /// Items called back.
    pub called: u64,
    /// Tasks woken.
    pub woken: u64,
    /// Of these, tasks that got a connection.
    pub useful: u64,
}

/// A source while the trace goes on.
#[derive(Debug, Default)]
pub(crate) struct SourceWatch {
    cells: Buckets<SourceCell>,
    wasted: Option<(u64, u64)>,
    wasteful: u64,
    worst: Option<Worst>,
}

impl SourceWatch {
    /// A wakeup is finished that began then.
    pub(crate) fn finished(&mut self, wakeup: &Wakeup, at_ns: u64) {
        let cell = self.cells.at(at_ns);
        cell.wakeups = cell.wakeups.saturating_add(1);
        cell.called = cell.called.saturating_add(wakeup.called);
        cell.woken = cell.woken.saturating_add(wakeup.woken);
        cell.returned = cell.returned.saturating_add(wakeup.returned);
        cell.useful = cell.useful.saturating_add(wakeup.useful);
        if wakeup.woken > wakeup.useful {
            let (first, last) = self.wasted.unwrap_or((at_ns, at_ns));
            self.wasted = Some((first.min(at_ns), last.max(at_ns)));
            self.wasteful = self.wasteful.saturating_add(1);
        }
        let Wakeup { ep, called, woken, useful, .. } = *wakeup;
        self.worst = worse(self.worst, Some(Worst { at_ns, ep, called, woken, useful }));
    }
}

/// The worse of two; of equal ones the earlier.
fn worse(a: Option<Worst>, b: Option<Worst>) -> Option<Worst> {
    let key = |worst: &Worst| (worst.woken.saturating_sub(worst.useful), worst.woken, std::cmp::Reverse(worst.at_ns));
    a.into_iter().chain(b).max_by_key(key)
}

/// The sources by the names that the report gives them.
pub(crate) fn finish(
    mut watches: BTreeMap<FileId, SourceWatch>,
    model: &Model,
    info: &TraceInfo,
    (cell_ns, duration_ns): (u64, u64),
) -> Vec<SourceHistory> {
    let mut histories = Vec::new();
    for source in sources(model, info) {
        let mut history: Option<SourceHistory> = None;
        for watch in source.files.iter().filter_map(|file| watches.remove(file)) {
            let cells = watch.cells.finish(cell_ns, duration_ns);
            let known = history.get_or_insert_with(|| SourceHistory {
                name: source.name.clone(),
                listening: source.listening,
                cells: vec![SourceCell::default(); cells.len()],
                wasted: None,
                wasteful: 0,
                worst: None,
            });
            for (sum, cell) in known.cells.iter_mut().zip(&cells) {
                super::buckets::Cell::join(sum, cell);
            }
            known.wasted = match (known.wasted, watch.wasted) {
                (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
                (a, b) => a.or(b),
            };
            known.wasteful = known.wasteful.saturating_add(watch.wasteful);
            known.worst = worse(known.worst, watch.worst);
        }
        histories.extend(history);
    }
    histories
}

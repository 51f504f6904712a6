//! Source wakeups that are not finished: the walk may go on, or a task that was woken has not shown yet what it found.

use std::collections::BTreeMap;

use super::file::Files;
use super::ids::{EpId, FileId, Sequence, WakeupId};
use super::limits::{Exceeded, Limits, bump};

/// One source wakeup: one walk of one wait queue, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wakeup {
    /// The source.
    pub file: FileId,
    /// When its walk began, nanoseconds of `CLOCK_MONOTONIC`.
    pub at_ns: u64,
    /// The eventpoll of the first item that was called back.
    pub ep: Option<EpId>,
    /// Whether its walk may still go on.
    pub(crate) open: bool,
    /// Tasks that hold it as their last wake.
    pub(crate) held: u64,
    /// Items called back.
    pub called: u64,
    /// Tasks woken.
    pub woken: u64,
    /// Waits that ended with events.
    pub returned: u64,
    /// Waits after which the task accepted.
    pub useful: u64,
    /// Connections accepted.
    pub gained: u64,
    /// Tasks that found nothing and slept on inside the same wait.
    pub swallowed: u64,
    /// Wakes through the wake chain of level-triggered items.
    pub chained: u64,
    /// Tasks taken off the wait queue while running anyway.
    pub already_running: u64,
    /// Callbacks of outer eventpolls.
    pub nested: u64,
    /// Wakes whose task had not run when the trace ended.
    pub unfinished: u64,
}

/// All source wakeups that are not finished.
#[derive(Debug, Clone, Default)]
pub struct Wakeups {
    live: BTreeMap<WakeupId, Wakeup>,
    /// Those that the last event finished, when that is asked for.
    pub(crate) finished: Option<Vec<Wakeup>>,
    sequence: Sequence,
}

impl Wakeups {
    /// Begins one; beyond the limit the oldest is taken as finished.
    pub(crate) fn begin(
        &mut self,
        (file, at_ns, ep): (FileId, u64, Option<EpId>),
        files: &mut Files,
        limits: &Limits,
        exceeded: &mut Exceeded,
    ) -> WakeupId {
        if self.live.len() >= limits.wakeups
            && let Some((_, oldest)) = self.live.pop_first()
        {
            bump(&mut exceeded.wakeups);
            files.stats(oldest.file).fold(&oldest);
            self.note(oldest);
        }
        let id = WakeupId(self.sequence.next());
        let wakeup = Wakeup {
            file,
            at_ns,
            ep,
            open: true,
            held: 0,
            called: 0,
            woken: 0,
            returned: 0,
            useful: 0,
            gained: 0,
            swallowed: 0,
            chained: 0,
            already_running: 0,
            nested: 0,
            unfinished: 0,
        };
        self.live.insert(id, wakeup);
        id
    }

    /// Changes one that is not finished, and finishes it when nothing more can come.
    pub(crate) fn change(&mut self, id: WakeupId, files: &mut Files, change: impl FnOnce(&mut Wakeup)) {
        let Some(wakeup) = self.live.get_mut(&id) else {
            return;
        };
        change(wakeup);
        if !wakeup.open && wakeup.held == 0 {
            files.stats(wakeup.file).fold(wakeup);
            let finished = self.live.remove(&id);
            if let Some(wakeup) = finished {
                self.note(wakeup);
            }
        }
    }

    fn note(&mut self, wakeup: Wakeup) {
        if let Some(finished) = &mut self.finished {
            finished.push(wakeup);
        }
    }

    /// The source of one that is not finished.
    pub(crate) fn source(&self, id: WakeupId) -> Option<FileId> {
        self.live.get(&id).map(|wakeup| wakeup.file)
    }

    /// Finishes all of them.
    pub(crate) fn finish(&mut self, files: &mut Files) {
        for wakeup in std::mem::take(&mut self.live).into_values() {
            files.stats(wakeup.file).fold(&wakeup);
            self.note(wakeup);
        }
    }

    /// Those that are not finished.
    pub fn iter(&self) -> impl Iterator<Item = &Wakeup> {
        self.live.values()
    }

    /// How many are not finished.
    #[must_use]
    pub fn count(&self) -> usize {
        self.live.len()
    }
}

//! From a source's callbacks to the tasks that they wake, and what those find.

use tracer_common::events::Callback;

use super::ids::{FileId, TaskId, WakeupId};
use super::journal::SettledWake;
use super::limits::bump;
use super::outcome::Outcome;
use super::returning::Way;
use super::task::Held;
use super::wakeup::Wakeup;
use super::walk::Place;
use super::{Model, Share};

/// Why it is known, or will never be known, what came of a wake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The task was woken again inside the same wait: it had slept on.
    WokenAgain,
    /// The wait ended without events, the task began another, or it ended.
    Over,
    /// The trace ended.
    EndOfTrace,
}

impl Model {
    pub(super) fn on_callback(&mut self, callback: &Callback) {
        let file = self.files.at(callback.file, &self.limits, &mut self.exceeded);
        let outcome = Outcome::of(callback);
        self.files.stats(file).outcomes.count(outcome);
        let ep = self.eventpolls.unless_ended(callback.ep, &self.limits, &mut self.exceeded);
        if let Some(item) = ep.and_then(|ep| self.item_of(callback, ep, file)) {
            self.callback_moves(item, callback, outcome);
        }
        let place = self.walks.place(callback);
        let wakeup = match place {
            Place::Continues(wakeup) | Place::Nested(Some(wakeup)) => wakeup,
            Place::Begins(before) => {
                if let Some(before) = before {
                    self.change_wakeup(before, |wakeup| wakeup.open = false);
                }
                self.wakeups.begin((file, callback.header.ts_ns, ep), &mut self.files, &self.limits, &mut self.exceeded)
            }
            Place::Nested(None) => {
                bump(&mut self.nested);
                return;
            }
        };
        let followed = self.walks.note(callback, wakeup, place, &self.limits, &mut self.exceeded);
        if matches!(place, Place::Nested(_)) {
            bump(&mut self.nested);
            self.change_wakeup(wakeup, |wakeup| bump(&mut wakeup.nested));
        } else {
            self.change_wakeup(wakeup, |wakeup| {
                bump(&mut wakeup.called);
                wakeup.open &= followed;
            });
        }
    }

    /// A task's last wake is settled: nothing more can come of it.
    pub(super) fn let_go(&mut self, task: TaskId, ending: Ending) {
        let Some(held) = self.tasks.get_mut(task).and_then(|task| task.held.take()) else {
            return;
        };
        let swallowed = !held.returned && (held.scanned || ending == Ending::WokenAgain);
        let unfinished = !held.returned && !swallowed && ending == Ending::EndOfTrace;
        if swallowed {
            self.count_both(task, |counts| bump(&mut counts.swallowed));
            self.share(held.file, task, |share| bump(&mut share.swallowed));
        }
        if let Some(notes) = &mut self.notes {
            let Held { callback, file, returned, useful, .. } = held;
            notes.wakes.push(SettledWake { task, callback, file, returned, useful, swallowed });
        }
        if let Some(wakeup) = held.wakeup {
            self.change_wakeup(wakeup, |wakeup| {
                wakeup.held = wakeup.held.saturating_sub(1);
                if swallowed {
                    bump(&mut wakeup.swallowed);
                }
                if unfinished {
                    bump(&mut wakeup.unfinished);
                }
            });
        }
    }

    /// The wait of a woken task ended with events, at this time.
    pub(super) fn wake_returned(&mut self, task: TaskId, at_ns: u64) {
        let Some(held) = self.tasks.get_mut(task).and_then(|task| task.held.as_mut()) else {
            return;
        };
        if held.returned {
            return;
        }
        held.returned = true;
        let (wakeup, file) = (held.wakeup, held.file);
        if let Some((ep, since_ns)) = held.since.take() {
            self.took(ep, Way::WokenToReturn, (since_ns, at_ns));
        }
        if let Some(wakeup) = wakeup {
            self.count_both(task, |counts| bump(&mut counts.returned));
            self.change_wakeup(wakeup, |wakeup| bump(&mut wakeup.returned));
        }
        self.share(file, task, |share| bump(&mut share.returned));
    }

    /// A task accepted connections: from this file, or from one that is not known. Says which source it was woken for.
    pub(super) fn wake_gained(&mut self, task: TaskId, file: Option<FileId>, times: u64) -> Option<FileId> {
        let held = self.tasks.get_mut(task).and_then(|task| task.held.as_mut())?;
        if !held.returned || held.file.is_none() || file.is_some_and(|file| held.file != Some(file)) {
            return None;
        }
        let first = !std::mem::replace(&mut held.useful, true);
        let (wakeup, source) = (held.wakeup, held.file);
        if first {
            self.count_both(task, |counts| bump(&mut counts.useful));
            self.share(source, task, |share| bump(&mut share.useful));
        }
        if let Some(wakeup) = wakeup {
            self.change_wakeup(wakeup, |wakeup| {
                wakeup.gained = wakeup.gained.saturating_add(times);
                if first {
                    bump(&mut wakeup.useful);
                }
            });
        }
        source
    }

    /// What a task has of a source is changed; nothing when the source is not followed.
    pub(super) fn share(&mut self, file: Option<FileId>, task: TaskId, change: impl FnOnce(&mut Share)) {
        let Some(file) = file.filter(|file| *file != FileId(0)) else {
            return;
        };
        if let Some(share) = self.shares.note((file, task), self.limits.pairs, &mut self.exceeded.pairs) {
            change(share);
        }
    }

    pub(super) fn change_wakeup(&mut self, id: WakeupId, change: impl FnOnce(&mut Wakeup)) {
        self.wakeups.change(id, &mut self.files, change);
    }
}

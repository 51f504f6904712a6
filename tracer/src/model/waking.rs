//! Which source wakeup, and which wait, a wake belongs to.
//!
//! A wake is reported when `ep_autoremove_wake_function` returns. Its time may be later than what the woken task has done on another
//! CPU by then: scanned, returned, accepted, waited again, even ended. What began the wake (the callback, the scan) is earlier than
//! all of that, so a wait that ended after the cause and has no other wake is the one that the wake ended.

use tracer_common::events::{Wake, WakeCause};

use super::Model;
use super::fanout::Ending;
use super::ids::{EpId, FileId, TaskId, WakeupId};
use super::limits::bump;
use super::returning::Way;
use super::task::{Ended, Held};

/// Wakes of one task's scans that wait to be told their source.
const MAX_ORPHANS: usize = 64;

/// What made a wake happen.
#[derive(Debug, Clone, Copy)]
struct Cause {
    root: Option<(WakeupId, FileId)>,
    /// The woken task did nothing because of it before this time.
    since_ns: u64,
    chained: bool,
}

/// Which of a task's waits a wake belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Belongs {
    /// The one it is in.
    Open,
    /// The one that ended last; the task has not begun another.
    JustEnded,
    /// The same, but another wake has ended it: one of the two was swallowed.
    JustEndedByAnother,
    /// The one before the one it is in.
    Earlier,
}

impl Model {
    pub(super) fn on_wake(&mut self, wake: &Wake) {
        let cause = self.cause_of(wake);
        let late = self.tasks.just_ended(wake.woken_tgid, wake.woken_tid, cause.since_ns);
        let late = late.filter(|_| self.tasks.live_at(wake.woken_tid).is_none());
        let Some(task) = late.or_else(|| self.task_at(wake.woken_tgid, wake.woken_tid)) else { return };
        let ep = self.eventpolls.at(wake.ep, &self.limits, &mut self.exceeded);
        if let Some(ep) = ep {
            self.waiters.note((ep, task), self.limits.pairs, &mut self.exceeded.pairs);
        }
        if wake.ret == 0 {
            self.count_both(task, |counts| bump(&mut counts.already_running));
            if let Some((root, _)) = cause.root {
                self.change_wakeup(root, |wakeup| bump(&mut wakeup.already_running));
            }
            return;
        }
        self.count_both(task, |counts| {
            bump(&mut counts.woken);
            if cause.root.is_none() {
                bump(&mut counts.other_wakes);
            }
        });
        if let Some(ep) = ep.filter(|_| wake.after_ns > 0) {
            self.took(ep, Way::CallbackToWake, (wake.cause_ts, wake.cause_ts.saturating_add(wake.after_ns.into())));
        }
        self.root_wakes(task, cause);
        self.hold(task, (wake, ep), cause);
        if cause.root.is_none() && cause.chained {
            self.orphan(wake, task);
        }
        if let Some(root) = cause.root {
            self.adopt(task, root, cause.since_ns);
        }
        if late.is_some() {
            self.let_go(task, Ending::Over);
        }
    }

    fn cause_of(&self, wake: &Wake) -> Cause {
        if wake.cause == WakeCause::Callback as u32 {
            let root = self.walks.caused_by(wake.header.cpu, wake.cause_ts);
            let root = root.and_then(|root| self.wakeups.source(root).map(|file| (root, file)));
            return Cause { root, since_ns: wake.cause_ts, chained: false };
        }
        if wake.cause == WakeCause::Scan as u32 {
            let held = self.tasks.live_at(wake.header.tid).and_then(|scanner| scanner.held);
            let root = held.and_then(|held| held.wakeup);
            let root = root.and_then(|root| self.wakeups.source(root).map(|file| (root, file)));
            let since_ns = held.map_or(wake.header.ts_ns, |held| held.at_ns);
            return Cause { root, since_ns, chained: true };
        }
        Cause { root: None, since_ns: wake.header.ts_ns, chained: false }
    }

    /// The source wakeup has one more task, which holds it.
    fn root_wakes(&mut self, task: TaskId, cause: Cause) {
        let Some((root, file)) = cause.root else { return };
        self.change_wakeup(root, |wakeup| {
            bump(&mut wakeup.woken);
            bump(&mut wakeup.held);
            if cause.chained {
                bump(&mut wakeup.chained);
            }
        });
        self.share(Some(file), task, |share| bump(&mut share.woken));
    }

    /// The wake becomes the task's last one, or is settled at once when it belongs to a wait that is over.
    fn hold(&mut self, id: TaskId, (wake, ep): (&Wake, Option<EpId>), cause: Cause) {
        let Some(task) = self.tasks.get_mut(id) else { return };
        let belongs = match (task.ended.filter(|ended| ended.at_ns >= cause.since_ns), task.wait) {
            (None, _) | (Some(Ended { claimed: true, .. }), Some(_)) => Belongs::Open,
            (Some(Ended { claimed: false, .. }), Some(_)) => Belongs::Earlier,
            (Some(Ended { claimed: false, .. }), None) => Belongs::JustEnded,
            (Some(Ended { claimed: true, .. }), None) => Belongs::JustEndedByAnother,
        };
        let in_this_wait = task.wait.is_some_and(|wait| task.scanned_ns >= wait.since_ns);
        let by_callback = wake.cause == WakeCause::Callback as u32;
        let held = Held {
            callback: by_callback.then_some((wake.header.cpu, wake.cause_ts)),
            since: ep.filter(|_| by_callback).map(|ep| (ep, wake.cause_ts.saturating_add(wake.after_ns.into()))),
            wakeup: cause.root.map(|(root, _)| root),
            file: cause.root.map(|(_, file)| file),
            at_ns: wake.header.ts_ns,
            returned: false,
            scanned: in_this_wait && task.scanned_ns >= cause.since_ns,
            useful: false,
        };
        if belongs == Belongs::Open {
            self.let_go(id, Ending::WokenAgain);
            if let Some(task) = self.tasks.get_mut(id) {
                task.held = Some(held);
            }
            return;
        }
        let before = task.held.replace(held);
        if belongs == Belongs::JustEndedByAnother {
            self.let_go(id, Ending::WokenAgain);
        } else {
            self.catch_up(id);
            if belongs == Belongs::JustEnded {
                return;
            }
            self.let_go(id, Ending::Over);
        }
        if let Some(task) = self.tasks.get_mut(id) {
            task.held = before;
        }
    }

    /// The last wake is told what its task has done meanwhile: how its wait ended, and what it accepted then.
    fn catch_up(&mut self, id: TaskId) {
        let Some(ended) = self.tasks.get_mut(id).and_then(|task| task.ended.as_mut()) else { return };
        ended.claimed = true;
        let Ended { at_ns, returned, accepts, .. } = *ended;
        if returned {
            self.wake_returned(id, at_ns);
            if let Some((file, times)) = accepts {
                self.wake_gained(id, file, times);
            }
        }
    }

    /// A wake by the scan of a task of which it is not known what woke it: it may be told in a moment.
    fn orphan(&mut self, wake: &Wake, woken: TaskId) {
        let Some(id) = self.tasks.live_at(wake.header.tid).map(|task| task.id) else { return };
        let Some(scanner) = self.tasks.get_mut(id) else { return };
        if scanner.orphans.len() >= MAX_ORPHANS {
            scanner.orphans.pop_front();
        }
        scanner.orphans.push_back((wake.header.ts_ns, woken));
    }

    /// Now it is known what woke a task: so it is what its scans have woken since.
    fn adopt(&mut self, scanner: TaskId, root: (WakeupId, FileId), since_ns: u64) {
        let Some(orphans) = self.tasks.get_mut(scanner).map(|task| std::mem::take(&mut task.orphans)) else { return };
        for (_, id) in orphans.into_iter().filter(|(at_ns, _)| *at_ns >= since_ns) {
            let Some(task) = self.tasks.get_mut(id) else { continue };
            let Some(held) = task.held.as_mut().filter(|held| held.wakeup.is_none()) else { continue };
            held.wakeup = Some(root.0);
            held.file = Some(root.1);
            let returned = std::mem::replace(&mut held.returned, false);
            self.uncount_other_wake(id);
            self.root_wakes(id, Cause { root: Some(root), since_ns, chained: true });
            if returned {
                self.catch_up(id);
            }
        }
    }

    fn uncount_other_wake(&mut self, id: TaskId) {
        self.count_both(id, |counts| counts.other_wakes = counts.other_wakes.saturating_sub(1));
    }
}

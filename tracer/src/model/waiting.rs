//! Waits from enter to exit, the scans inside them, and the accepts after them.

use tracer_common::events::{Accept, DELIVERED_UNKNOWN, Returned, Scan, WaitEnter, WaitExit, scan_flags};

use super::Model;
use super::counts::EAGAIN;
use super::fanout::Ending;
use super::ids::{EpId, FileId, TaskId};
use super::limits::bump;
use super::pairs::Pairs;
use super::task::{Ended, OpenWait, Task};

impl Model {
    pub(super) fn on_wait_enter(&mut self, enter: &WaitEnter) {
        let Some(task) = self.task_of(&enter.header) else {
            return;
        };
        let ep = self.eventpolls.at(enter.ep, &self.limits, &mut self.exceeded);
        if let Some(ep) = ep {
            self.eventpolls.name(ep, enter.header.tgid, enter.epfd);
        }
        self.let_go(task, Ending::Over);
        self.settle_where(task, |task| task.wait.is_some() || task.batch.delivered > 0);
        if let Some(task) = self.tasks.get_mut(task) {
            note_waiter(&mut self.waiters, (ep, task), self.limits.pairs, &mut self.exceeded.pairs);
            task.wait = Some(OpenWait {
                ep,
                epfd: enter.epfd,
                since_ns: enter.header.ts_ns,
                timeout_ns: enter.timeout_ns,
                maxevents: enter.maxevents,
            });
        }
    }

    pub(super) fn on_wait_exit(&mut self, exit: &WaitExit) {
        self.totals.wait_exit(exit);
        let Some(id) = self.task_of(&exit.header) else {
            return;
        };
        self.count(id, |counts| counts.wait_exit(exit));
        let ep = self.eventpolls.unless_ended(exit.ep, &self.limits, &mut self.exceeded);
        if let Some(ep) = ep {
            self.eventpolls.name(ep, exit.header.tgid, exit.epfd);
        }
        let ended_by_wake = self.tasks.get(id).is_some_and(|task| task.held.is_some());
        if exit.ret > 0 {
            self.wake_returned(id, exit.header.ts_ns);
        } else {
            self.let_go(id, Ending::Over);
        }
        let Some(mut task) = self.tasks.get_mut(id) else {
            return;
        };
        if task.batch.is_of_another(exit.ret) {
            self.settle_where(id, |_| true);
            let Some(settled) = self.tasks.get_mut(id) else {
                return;
            };
            task = settled;
        }
        note_waiter(&mut self.waiters, (ep, task), self.limits.pairs, &mut self.exceeded.pairs);
        let wait = task.wait.take();
        task.ended =
            Some(Ended { at_ns: exit.header.ts_ns, returned: exit.ret > 0, claimed: ended_by_wake, accepts: None });
        let returned = u32::try_from(exit.ret).unwrap_or(0);
        let batch = &mut task.batch;
        let full = exit.ret > 0 && wait.is_some_and(|wait| wait.maxevents == exit.ret);
        if batch.reach_known {
            if batch.left_over && !full {
                bump(&mut self.ready.faults);
            }
        } else {
            // What the hook cannot know: a full array means that the scan may have ended early.
            batch.left_over |= full;
        }
        batch.truncated = exit.captured < returned;
        batch.expected = exit.captured.min(returned);
        if batch.expected == 0 {
            self.settle(id);
            return;
        }
        let &WaitExit { header, ep, data, events, .. } = exit;
        self.on_returned(&Returned { header, ep, data, events, index: 0 });
    }

    pub(super) fn on_returned(&mut self, returned: &Returned) {
        let Some(task) = self.task_of(&returned.header) else {
            return;
        };
        if let Some(ep) = self.eventpolls.live_at(returned.ep).map(|ep| ep.id) {
            self.deliver(task, ep, returned);
        }
        let Some(batch) = self.tasks.get_mut(task).map(|task| &mut task.batch) else {
            return;
        };
        if batch.expected == 0 {
            // The end of the wait is missing, and with it the first event; others may follow.
            batch.cut_off();
            return;
        }
        batch.expected -= 1;
        if batch.expected == 0 {
            self.settle(task);
        }
    }

    pub(super) fn on_scan(&mut self, scan: &Scan) {
        bump(&mut self.scans);
        let Some(id) = self.task_of(&scan.header) else {
            return;
        };
        // DELIVERED_UNKNOWN is negative, too: then the end of the wait decides.
        if let Some(task) = self.tasks.get_mut(id) {
            task.scanned_ns = scan.header.ts_ns;
        }
        if scan.delivered <= 0
            && let Some(held) = self.tasks.get_mut(id).and_then(|task| task.held.as_mut())
        {
            held.scanned = true;
        }
        let Some(ep) = self.eventpolls.at(scan.ep, &self.limits, &mut self.exceeded) else {
            return;
        };
        let in_wait = scan.flags & scan_flags::IN_WAIT != 0 || scan.delivered > 0;
        if in_wait {
            // A scan before, in the same wait, did not make it return: it delivered nothing, unless it is known to have.
            self.settle_where(id, |task| task.batch.delivered > 0);
            self.take_ready(id, ep, scan);
            if scan.delivered <= 0 && scan.delivered != DELIVERED_UNKNOWN {
                self.settle(id);
            }
        } else {
            self.nested_scan(id, ep, scan);
        }
    }

    /// Keeps in mind that a task accepted, should its wake be told only now.
    fn note_accept(&mut self, task: TaskId, file: Option<FileId>) {
        let Some(task) = self.tasks.get_mut(task).filter(|task| task.wait.is_none()) else { return };
        let Some(ended) = task.ended.as_mut() else { return };
        match &mut ended.accepts {
            None => ended.accepts = Some((file, 1)),
            Some((known, times)) if *known == file => bump(times),
            Some(_) => {}
        }
    }

    pub(super) fn on_accept(&mut self, accept: &Accept) {
        self.totals.accept(accept.ret);
        let Some(task) = self.task_of(&accept.header) else {
            return;
        };
        self.count(task, |counts| counts.accept(accept.ret));
        let found = accept.ret >= 0;
        if !found && accept.ret != EAGAIN {
            return;
        }
        let mut file = None;
        if accept.file != 0 {
            let id = self.files.at(accept.file, &self.limits, &mut self.exceeded);
            if let Some(known) = self.files.get_mut(id) {
                known.listening = true;
            }
            file = Some(id).filter(|id| *id != FileId(0));
        }
        if found {
            let source = self.wake_gained(task, file, 1);
            self.note_accept(task, file);
            file = file.or(source);
        }
        let Some(file) = file else { return };
        let stats = self.files.stats(file);
        bump(if found { &mut stats.accepts } else { &mut stats.accept_eagain });
        self.share(Some(file), task, |share| {
            bump(if found { &mut share.accepts } else { &mut share.accept_eagain });
        });
    }
}

/// Notes that a task waits on an eventpoll: nearly always on the one that it waited on last.
fn note_waiter(
    waiters: &mut Pairs<EpId, TaskId>,
    (ep, task): (Option<EpId>, &mut Task),
    cap: usize,
    exceeded: &mut u64,
) {
    if let Some(ep) = ep.filter(|_| task.waited_on != ep)
        && waiters.note((ep, task.id), cap, exceeded).is_some()
    {
        task.waited_on = Some(ep);
    }
}

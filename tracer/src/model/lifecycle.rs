//! Tasks that come, are named and go; and the ways to a task from an event.

use tracer_common::Header;
use tracer_common::events::{Fork, TaskExit, TaskName, TaskPid};

use super::Model;
use super::counts::Counts;
use super::fanout::Ending;
use super::ids::TaskId;
use super::limits::bump;
use super::task::comm;

impl Model {
    /// The task that an event happened in.
    pub(super) fn task_of(&mut self, header: &Header) -> Option<TaskId> {
        self.task_at(header.tgid, header.tid)
    }

    /// The task that bears this tid now. One of another thread group has ended unseen.
    pub(super) fn task_at(&mut self, pid: u32, tid: u32) -> Option<TaskId> {
        if self.tasks.contradicts(pid, tid) {
            self.end_task(tid);
        }
        self.tasks.at(pid, tid, &self.limits, &mut self.exceeded)
    }

    /// Counts for a task.
    pub(super) fn count(&mut self, task: TaskId, count: impl FnOnce(&mut Counts)) {
        if let Some(task) = self.tasks.get_mut(task) {
            count(&mut task.counts);
        }
    }

    /// Counts for a task and for the whole trace.
    pub(super) fn count_both(&mut self, task: TaskId, count: impl Fn(&mut Counts)) {
        count(&mut self.totals);
        self.count(task, count);
    }

    pub(super) fn on_fork(&mut self, fork: &Fork) {
        self.task_of(&fork.header);
        self.end_task(fork.child_tid);
        if let Some(child) = self.task_at(fork.child_tgid, fork.child_tid).and_then(|id| self.tasks.get_mut(id)) {
            child.comm = comm(&fork.comm);
        }
    }

    pub(super) fn on_task_name(&mut self, name: &TaskName) {
        if let Some(task) = self.task_of(&name.header).and_then(|id| self.tasks.get_mut(id)) {
            task.comm = comm(&name.comm);
        }
    }

    pub(super) fn on_task_pid(&mut self, numbers: &TaskPid) {
        if let Some(task) = self.task_of(&numbers.header).and_then(|id| self.tasks.get_mut(id)) {
            task.in_namespace = Some((numbers.ns_tgid, numbers.ns_tid));
        }
    }

    pub(super) fn on_task_exit(&mut self, exit: &TaskExit) {
        if let Some(task) = self.task_of(&exit.header).and_then(|id| self.tasks.get_mut(id)) {
            task.comm = comm(&exit.comm);
        }
        self.end_task(exit.header.tid);
    }

    fn end_task(&mut self, tid: u32) {
        let Some(id) = self.tasks.live_at(tid).map(|task| task.id) else {
            return;
        };
        self.let_go(id, Ending::Over);
        self.end_wait(id);
        if let Some(dropped) = self.tasks.end(tid, self.span.last, &self.limits, &mut self.exceeded) {
            self.shares.remove_second(dropped);
            for ep in self.waiters.remove_second(dropped) {
                if let Some(ep) = self.eventpolls.get_mut(ep) {
                    ep.waiters_gone = ep.waiters_gone.saturating_add(1);
                }
            }
        }
    }

    /// The trace ends while a task lives.
    pub(super) fn end_of_trace_for(&mut self, tid: u32) {
        let Some(id) = self.tasks.live_at(tid).map(|task| task.id) else {
            return;
        };
        self.let_go(id, Ending::EndOfTrace);
        self.end_wait(id);
    }

    /// A wait that will not be seen to end.
    fn end_wait(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get_mut(id) else {
            return;
        };
        let open = task.wait.take().is_some();
        // What its last scan delivered will not be known either.
        task.batch.cut_off();
        self.settle(id);
        if open {
            self.count_both(id, |counts| bump(&mut counts.waits_open));
        }
    }
}

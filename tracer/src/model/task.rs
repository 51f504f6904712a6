//! Tasks by tid and generation: what they did, and what they are doing.

use std::collections::VecDeque;

use ahash::AHashMap;
use tracer_common::COMM_LEN;

use super::by_id::ById;
use super::counts::Counts;
use super::ids::{EpId, FileId, Sequence, TaskId, WakeupId};
use super::limits::{Exceeded, Limits, bump};
use super::ready::Batch;

/// How many ended tasks a late wake may still belong to.
const RECENT: usize = 256;

/// A wait that has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenWait {
    /// The eventpoll, when it is known and followed.
    pub ep: Option<EpId>,
    /// Its descriptor.
    pub epfd: i32,
    /// When it began.
    pub since_ns: u64,
    /// Nanoseconds, -1 without end.
    pub timeout_ns: i64,
    /// Room in the caller's array, events.
    pub maxevents: i32,
}

/// The last time a task was woken, until it is known what came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held {
    /// The callback that woke it: CPU and time.
    pub(crate) callback: Option<(u32, u64)>,
    /// The eventpoll, and when its callback woke the task: until it is counted how long its return took.
    pub(crate) since: Option<(EpId, u64)>,
    /// The source wakeup, when there is one.
    pub(crate) wakeup: Option<WakeupId>,
    /// The source.
    pub(crate) file: Option<FileId>,
    /// When the wake was reported.
    pub(crate) at_ns: u64,
    /// The wait has ended with events.
    pub(crate) returned: bool,
    /// The task has scanned the ready list since.
    pub(crate) scanned: bool,
    /// The task has accepted a connection since.
    pub(crate) useful: bool,
}

/// The last wait that ended. A wake is reported when the kernel's wake function returns; by then the woken task may long be on
/// its way on another CPU, and its wait over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended {
    /// When it ended.
    pub(crate) at_ns: u64,
    /// Whether with events.
    pub(crate) returned: bool,
    /// Whether a wake is known that belongs to it.
    pub(crate) claimed: bool,
    /// Connections accepted between it and the next wait: from which file, how many.
    pub(crate) accepts: Option<(Option<FileId>, u64)>,
}

/// One life of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Its identity.
    pub id: TaskId,
    /// Its thread group.
    pub pid: u32,
    /// Its number in the initial pid namespace.
    pub tid: u32,
    /// Its last name, as it bears it: not a string to trust. Empty when it was not told.
    pub comm: String,
    /// The numbers of its thread group and itself in its own pid namespace, where that is not the initial one.
    pub in_namespace: Option<(u32, u32)>,
    /// What it did.
    pub counts: Counts,
    /// Whether it lives.
    pub alive: bool,
    /// The wait it is in.
    pub wait: Option<OpenWait>,
    /// The eventpoll that it waited on last, once the two are noted as a pair.
    pub(crate) waited_on: Option<EpId>,
    pub(crate) held: Option<Held>,
    pub(crate) ended: Option<Ended>,
    /// When it last scanned a ready list in its wait.
    pub(crate) scanned_ns: u64,
    /// Wakes by this task's scans, by time, that came before it was reported what woke itself.
    pub(crate) orphans: VecDeque<(u64, TaskId)>,
    pub(crate) batch: Batch,
    /// When it ended.
    pub(crate) gone_ns: Option<u64>,
}

/// All tasks, and some that have ended.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    live: AHashMap<u32, TaskId>,
    all: ById<TaskId, Task>,
    /// One task of each process: its first thread where it is known.
    by_pid: AHashMap<u32, TaskId>,
    retired: VecDeque<TaskId>,
    ended: (u64, Counts),
    sequence: Sequence,
}

impl Tasks {
    /// The task that bears this tid now, made now if there is none; `None` beyond the limit.
    pub(crate) fn at(&mut self, pid: u32, tid: u32, limits: &Limits, exceeded: &mut Exceeded) -> Option<TaskId> {
        if let Some(&id) = self.live.get(&tid) {
            return Some(id);
        }
        if self.live.len() >= limits.tasks {
            bump(&mut exceeded.tasks);
            return None;
        }
        let id = TaskId(self.sequence.next());
        self.live.insert(tid, id);
        if pid == tid || !self.by_pid.contains_key(&pid) {
            self.by_pid.insert(pid, id);
        }
        let task = Task {
            id,
            pid,
            tid,
            comm: String::new(),
            in_namespace: None,
            counts: Counts::default(),
            alive: true,
            wait: None,
            waited_on: None,
            held: None,
            ended: None,
            scanned_ns: 0,
            orphans: VecDeque::new(),
            batch: Batch::default(),
            gone_ns: None,
        };
        self.all.insert(id, task);
        Some(id)
    }

    /// Whether the tid is borne by a task of another thread group: then that one has ended unseen.
    pub(crate) fn contradicts(&self, pid: u32, tid: u32) -> bool {
        self.live.get(&tid).and_then(|id| self.all.get(id)).is_some_and(|task| task.pid != pid)
    }

    /// Ends a task; the caller has settled its wait and its wake. Names the one that is no longer kept because of it: itself if it did
    /// nothing, else an older one.
    pub(crate) fn end(&mut self, tid: u32, at_ns: u64, limits: &Limits, exceeded: &mut Exceeded) -> Option<TaskId> {
        let id = self.live.remove(&tid)?;
        let task = self.all.get_mut(&id)?;
        task.alive = false;
        task.gone_ns = Some(at_ns);
        if task.counts.is_zero() && task.pid != task.tid {
            return self.forget(id).map(|task| task.id);
        }
        self.retired.push_back(id);
        if self.retired.len() <= limits.retired {
            return None;
        }
        let oldest = self.retired.pop_front().and_then(|id| self.forget(id))?;
        bump(&mut exceeded.ended_tasks);
        bump(&mut self.ended.0);
        self.ended.1.add(&oldest.counts);
        Some(oldest.id)
    }

    /// A task that has ended not long ago and not before this time.
    pub(crate) fn just_ended(&self, pid: u32, tid: u32, since_ns: u64) -> Option<TaskId> {
        let recent = self.retired.iter().rev().take(RECENT).filter_map(|id| self.all.get(id));
        let mut fitting = recent.filter(|task| (task.pid, task.tid) == (pid, tid));
        fitting.next().filter(|task| task.gone_ns.is_some_and(|gone| gone >= since_ns)).map(|task| task.id)
    }

    fn forget(&mut self, id: TaskId) -> Option<Task> {
        let task = self.all.remove(&id)?;
        if self.by_pid.get(&task.pid) == Some(&id) {
            self.by_pid.remove(&task.pid);
        }
        Some(task)
    }

    /// A process by its pid: its first thread where it is known, else one of its tasks.
    #[must_use]
    pub fn process(&self, pid: u32) -> Option<&Task> {
        self.by_pid.get(&pid).and_then(|id| self.all.get(id))
    }

    pub(crate) fn get_mut(&mut self, id: TaskId) -> Option<&mut Task> {
        self.all.get_mut(&id)
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, id: TaskId) -> Option<&Task> {
        self.all.get(&id)
    }

    /// The task that bears this tid now.
    #[must_use]
    pub fn live_at(&self, tid: u32) -> Option<&Task> {
        self.live.get(&tid).and_then(|id| self.all.get(id))
    }

    /// The tids of all that live.
    pub(crate) fn live_tids(&self) -> Vec<u32> {
        let mut tids: Vec<u32> = self.live.keys().copied().collect();
        tids.sort_unstable();
        tids
    }

    /// All of them, in the order in which they were first seen.
    pub fn iter(&self) -> impl Iterator<Item = &Task> {
        self.all.values()
    }

    /// Ended tasks that are no longer shown one by one: how many, and their numbers.
    #[must_use]
    pub const fn ended(&self) -> (u64, &Counts) {
        (self.ended.0, &self.ended.1)
    }

    /// How many live.
    #[must_use]
    pub fn live_count(&self) -> usize {
        self.live.len()
    }
}

/// A name as the kernel keeps it: up to the first zero byte, whatever is not UTF-8 replaced.
#[must_use]
pub fn comm(bytes: &[u8; COMM_LEN]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(COMM_LEN);
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}

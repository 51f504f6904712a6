//! What a task under trace is doing: from a call's entry to its exit.

use tracer_common::Miss;

use crate::maps::TASKS;

/// The task is inside an `epoll_wait`.
pub(crate) const IN_WAIT: u32 = 1;
/// The task's name was reported.
pub(crate) const NAMED: u32 = 1 << 1;

/// A task's calls in progress.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct TaskState {
    /// [`IN_WAIT`], [`NAMED`]
    pub(crate) flags: u32,
    /// The descriptor waited on.
    pub(crate) epfd: i32,
    /// The eventpoll waited on.
    pub(crate) ep: u64,
    /// The caller's array of events.
    pub(crate) user_events: u64,
    /// Arguments of an `epoll_ctl`: epfd, op, fd.
    pub(crate) ctl: [i32; 3],
    /// The listening descriptor of an accept.
    pub(crate) accept_fd: i32,
    /// The `struct epoll_event *` of an `epoll_ctl`.
    pub(crate) ctl_event: u64,
    /// The listening file that was described last.
    pub(crate) described: u64,
}

const EMPTY: TaskState = TaskState {
    flags: 0,
    epfd: -1,
    ep: 0,
    user_events: 0,
    ctl: [-1, 0, -1],
    accept_fd: -1,
    ctl_event: 0,
    described: 0,
};

/// The state of a task, if it has one. It stays valid while the program runs.
#[inline(always)]
pub(crate) fn get(tid: u32) -> Option<*mut TaskState> {
    TASKS.get_ptr_mut(tid)
}

/// The state of a task, made if there is none.
#[inline(always)]
pub(crate) fn get_or_make(tid: u32) -> Result<*mut TaskState, Miss> {
    if let Some(state) = TASKS.get_ptr_mut(tid) {
        return Ok(state);
    }
    let _ = TASKS.insert(tid, EMPTY, 0);
    TASKS.get_ptr_mut(tid).ok_or(Miss::MapFull)
}

/// The task is gone.
#[inline(always)]
pub(crate) fn forget(tid: u32) {
    let _ = TASKS.remove(tid);
}

/// The eventpoll that a task waits on, 0 when it does not wait.
#[inline(always)]
pub(crate) fn waits_on(tid: u32) -> u64 {
    match get(tid) {
        // SAFETY: a map value outlives the program's run.
        Some(state) if unsafe { (*state).flags } & IN_WAIT != 0 => unsafe { (*state).ep },
        _ => 0,
    }
}

//! What a task under trace is doing: from a call's entry to its exit.

use tracer_common::Miss;

use crate::maps::TASKS;
use crate::probes::ctl::Call;

/// The task is inside an `epoll_wait`.
pub(crate) const IN_WAIT: u32 = 1;
/// The task's name was reported.
pub(crate) const NAMED: u32 = 1 << 1;
/// The task runs an io_uring `EPOLL_CTL`.
pub(crate) const IN_IO_CTL: u32 = 1 << 2;
/// The task is not under trace, but uses an eventpoll that is.
pub(crate) const STRANGER: u32 = 1 << 3;
/// The state was made for the end of a file, and for nothing else so far: the task may be past its own end, which closes its files.
const FOR_END: u32 = 1 << 4;

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
    /// An eventpoll that the filter knew, and the [`crate::filter::epoch`] of that answer.
    pub(crate) known: u64,
    pub(crate) known_at: u64,
    /// The caller's array of events.
    pub(crate) user_events: u64,
    /// When an io_uring `EPOLL_WAIT` began.
    pub(crate) io_wait_ns: u64,
    /// The listening descriptor of an accept.
    pub(crate) accept_fd: i32,
    /// The room that an io_uring `EPOLL_WAIT` has for events.
    pub(crate) io_maxevents: i32,
    /// The eventpoll's descriptor of an io_uring `EPOLL_CTL`.
    pub(crate) io_epfd: i32,
    pub(crate) pad: u32,
    /// An `epoll_ctl` in progress.
    pub(crate) ctl: Call,
    /// The listening file that was described last.
    pub(crate) described: u64,
    /// For the audit: the eventpoll whose lists the end of a scan of this task is changing; 0 if none.
    pub(crate) changing: u64,
    /// For the audit: the eventpoll that was scanned last.
    pub(crate) scanned: u64,
    /// For the audit: the changes of the eventpoll that had begun and ended when the `epoll_ctl` began.
    pub(crate) ctl_changes: [u64; 2],
    /// The watched file that this task is ending, 0 if none.
    pub(crate) ending_file: u64,
    /// For the audit: the eventpoll that this task is ending.
    pub(crate) ending_ep: u64,
    /// Scans that have begun and not ended, where their own entry is hooked (5.10, kprobe).
    pub(crate) scans: u32,
    /// The place whose twin called the program that it stands for, plus one ([`crate::rescue::Point`]); 0 if none.
    pub(crate) called: u32,
    /// The call on a watched file that is in progress.
    pub(crate) io: crate::probes::io::InCall,
    /// Which copies of programs came to their places last ([`crate::rescue::Point`]).
    pub(crate) told: u64,
}

/// What a new state is copied from: on a program's stack it would take half of that.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".rodata")]
static EMPTY: TaskState = TaskState {
    flags: 0,
    epfd: -1,
    ep: 0,
    known: 0,
    known_at: 0,
    user_events: 0,
    io_wait_ns: 0,
    accept_fd: -1,
    io_maxevents: 0,
    io_epfd: -1,
    pad: 0,
    ctl: Call::NONE,
    described: 0,
    changing: 0,
    scanned: 0,
    ctl_changes: [0; 2],
    ending_file: 0,
    ending_ep: 0,
    scans: 0,
    called: 0,
    io: crate::probes::io::InCall::NONE,
    told: 0,
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
    let _ = TASKS.insert(tid, &EMPTY, 0);
    TASKS.get_ptr_mut(tid).ok_or(Miss::MapFull)
}

/// As [`get_or_make`], for the end of a file or an eventpoll.
#[inline(always)]
pub(crate) fn get_or_make_for_end(tid: u32) -> Result<*mut TaskState, Miss> {
    if let Some(state) = TASKS.get_ptr_mut(tid) {
        return Ok(state);
    }
    let state = get_or_make(tid)?;
    // SAFETY: a map value outlives the program's run; only this task's own calls write to it.
    unsafe { (*state).flags = FOR_END };
    Ok(state)
}

/// Forgets a state that was made for an end which is over: a task that has ended already would never be forgotten.
#[inline(always)]
pub(crate) fn forget_if_made_for_end(tid: u32) {
    // SAFETY: a map value outlives the program's run.
    let over = get(tid).is_some_and(|state| unsafe {
        (*state).flags == FOR_END && (*state).ending_file == 0 && (*state).ending_ep == 0
    });
    if over {
        forget(tid);
    }
}

/// The task is no more. Returns whether it was to tell the end of a file, and has not.
#[inline(always)]
pub(crate) fn left_end_untold(tid: u32) -> bool {
    // SAFETY: a map value outlives the program's run.
    let untold = get(tid).is_some_and(|state| unsafe { (*state).flags == FOR_END && (*state).ending_file != 0 });
    if untold {
        forget(tid);
    }
    untold
}

/// Whether a task has a state with this flag.
#[inline(always)]
pub(crate) fn has(tid: u32, flag: u32) -> bool {
    // SAFETY: a map value outlives the program's run.
    get(tid).is_some_and(|state| unsafe { (*state).flags } & flag != 0)
}

/// The task is gone.
#[inline(always)]
pub(crate) fn forget(tid: u32) {
    let _ = TASKS.remove(tid);
}

/// The eventpoll that a task waits on, or waited on last: one that was just woken may have returned already. 0 when it has not waited.
#[inline(always)]
pub(crate) fn last_wait(tid: u32) -> u64 {
    // SAFETY: a map value outlives the program's run.
    get(tid).map_or(0, |state| unsafe { (*state).ep })
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

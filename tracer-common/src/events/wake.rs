//! `ep_autoremove_wake_function`: which task an eventpoll wakes.

use crate::Header;

/// What made the kernel wake a waiter, as far as the probe can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum WakeCause {
    /// The current task's own `epoll_ctl`: an item was ready when it was added or changed.
    Task = 0,
    /// `ep_poll_callback`, on this CPU, at [`Wake::cause_ts`].
    Callback = 1,
    /// The current task's scan left items on the ready list (`ep_done_scan`): for a wait in this eventpoll, or for one that watches it.
    Scan = 2,
}

impl WakeCause {
    /// Every cause, in the order of its number.
    pub const ALL: [Self; 3] = [Self::Task, Self::Callback, Self::Scan];
}

/// The end of one `ep_autoremove_wake_function(wq_entry, mode, sync, key)` (fs/eventpoll.c, 5.10 to 7.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(zerocopy::FromBytes))]
#[repr(C)]
pub struct Wake {
    /// The current task is the waker, or whoever was interrupted. The time is that of the callback when that is the cause: it
    /// comes before everything that the woken task does.
    pub header: Header,
    /// Address of the eventpoll, from the cause; 0 when not known.
    pub ep: u64,
    /// `ts_ns` of the callback, on the same CPU, when the cause is a callback; else 0.
    pub cause_ts: u64,
    /// Thread group of the task that was woken.
    pub woken_tgid: u32,
    /// The task that was woken.
    pub woken_tid: u32,
    /// A [`WakeCause`] as a number.
    pub cause: u32,
    /// 1 the task was woken, 0 it was already running; it left the wait queue either way.
    pub ret: i32,
    /// Nanoseconds from `cause_ts` until the wake was done; 0 when the cause is no callback, at most [`u32::MAX`].
    pub after_ns: u32,
    /// Keeps the size a multiple of eight.
    pub pad: u32,
}

//! `epoll_wait`, `epoll_pwait`, `epoll_pwait2`: from enter to exit.

use crate::Header;

/// In place of the eventpoll's descriptor: io_uring waits (`IORING_OP_EPOLL_WAIT`, `epoll_sendevents`, 6.15 to 7.3). Such a wait never
/// sleeps; it is told when it has ended with events or an error, since io_uring tries again by itself otherwise.
pub const BY_IO_URING: i32 = -2;

/// The entry of one `do_epoll_wait(epfd, events, maxevents, timeout)` (fs/eventpoll.c, 5.10 to 7.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(zerocopy::FromBytes))]
#[repr(C)]
pub struct WaitEnter {
    /// The current task waits.
    pub header: Header,
    /// Address of the eventpoll; 0 when `epfd` is not one.
    pub ep: u64,
    /// Nanoseconds as the program gave them, -1 without end. From 5.11 on they are from the registers of
    /// the call; where those are not found (a 32-bit program, stacks of another size than usual), what was left until the deadline.
    pub timeout_ns: i64,
    /// The descriptor of the eventpoll, or [`BY_IO_URING`].
    pub epfd: i32,
    /// Room in the caller's array, events.
    pub maxevents: i32,
}

/// The end of a wait, with the first event that it returned: most waits return one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(zerocopy::FromBytes))]
#[repr(C)]
pub struct WaitExit {
    /// The current task waited.
    pub header: Header,
    /// Address of the eventpoll; 0 when not known (the wait began before tracing).
    pub ep: u64,
    /// `epoll_event.data` of the first event, valid when `captured` is not 0.
    pub data: u64,
    /// The descriptor of the eventpoll, -1 when not known, or [`BY_IO_URING`].
    pub epfd: i32,
    /// Events returned, or a negative errno.
    pub ret: i32,
    /// `epoll_event.events` of the first event, valid when `captured` is not 0.
    pub events: u32,
    /// How many of the returned events are known: the first one here, the others in as many [`Returned`] records that follow,
    /// with this record's `ts_ns`, `cpu` and `tid`.
    pub captured: u32,
}

/// One event that a wait returned beside the first, as it lies in the caller's array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(zerocopy::FromBytes))]
#[repr(C)]
pub struct Returned {
    /// As in the [`WaitExit`] before it.
    pub header: Header,
    /// Address of the eventpoll; 0 when not known.
    pub ep: u64,
    /// `epoll_event.data`
    pub data: u64,
    /// `epoll_event.events`
    pub events: u32,
    /// Its place in the array: from 1, the first is in the [`WaitExit`].
    pub index: u32,
}

//! The scan of a ready list, which delivers its events.

use crate::Header;

/// [`Scan::delivered`] where the hook cannot know it.
pub const DELIVERED_UNKNOWN: i32 = i32::MIN;

/// Bits of [`Scan::flags`].
pub mod scan_flags {
    /// The lists were read (`ep_done_scan` entry, 5.11 on): the bits below say something.
    pub const LISTS_KNOWN: u32 = 1;
    /// The ready list already holds items again: level-triggered ones put back.
    pub const REQUEUED: u32 = 1 << 1;
    /// Items that the scan did not reach are left on its own list (maxevents, EFAULT).
    pub const LEFT_OVER: u32 = 1 << 2;
    /// Callbacks put items on the overflow list while the scan ran.
    pub const OVERFLOW: u32 = 1 << 3;
    /// The current task is inside an `epoll_wait` of this eventpoll: it is a delivery, not a nested poll.
    pub const IN_WAIT: u32 = 1 << 4;
}

/// One scan of a ready list: `ep_send_events` (its end) where the kernel has it, else `ep_done_scan` (5.11 on) or
/// `ep_send_events_proc` (5.10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(zerocopy::FromBytes))]
#[repr(C)]
pub struct Scan {
    /// The current task scans.
    pub header: Header,
    /// Address of the eventpoll.
    pub ep: u64,
    /// Address of the first epitem that the scan did not reach, valid with [`scan_flags::LEFT_OVER`].
    pub first_left: u64,
    /// Events copied to user space, a negative errno, or [`DELIVERED_UNKNOWN`].
    pub delivered: i32,
    /// [`scan_flags`]
    pub flags: u32,
}

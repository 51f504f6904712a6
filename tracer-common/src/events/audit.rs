//! What the probes find when they walk the kernel's own lists, to compare the model with (`--audit`).

use crate::Header;

/// When a walk was made.
pub mod audit_moment {
    /// A wait began.
    pub const WAIT: u32 = 0;
    /// An `epoll_ctl` ended.
    pub const CTL: u32 = 1;
    /// A callback ended.
    pub const CALLBACK: u32 = 2;
    /// A scan ended: `ep_done_scan` entry (5.11 on), `ep_send_events_proc` exit (5.10); `ep->mtx` is held and callbacks put
    /// their items on the overflow list, so the ready list holds what this scan put back.
    pub const SCAN_END: u32 = 3;
}

/// Bits of [`Audited::flags`].
pub mod audit_flags {
    /// Nothing changed the lists while they were walked: what was seen is what they were.
    pub const VALID: u32 = 1;
    /// A list is longer than a walk may be: only its beginning was seen.
    pub const TRUNCATED: u32 = 1 << 1;
}

/// The list that an [`AuditedItem`] is on.
pub mod audit_list {
    /// `eventpoll.rdllist`
    pub const READY: u32 = 0;
    /// The scan's own list: what it did not reach.
    pub const LEFT_OVER: u32 = 1;
    /// `eventpoll.ovflist`: what was called back during the scan, last first.
    pub const OVERFLOW: u32 = 2;
}

/// One walk is over; its items came before, with the same `ts_ns`, `cpu` and `tid`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(zerocopy::FromBytes))]
#[repr(C)]
pub struct Audited {
    /// When the walk began. The current task is whoever the probe ran in.
    pub header: Header,
    /// Address of the eventpoll.
    pub ep: u64,
    /// [`audit_moment`]
    pub moment: u32,
    /// [`audit_flags`]
    pub flags: u32,
    /// Items told, of all lists.
    pub count: u32,
    /// Zero.
    pub pad: u32,
}

/// One item of a list that was walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(zerocopy::FromBytes))]
#[repr(C)]
pub struct AuditedItem {
    /// As in the [`Audited`] that follows.
    pub header: Header,
    /// Address of the eventpoll.
    pub ep: u64,
    /// Address of the epitem.
    pub epi: u64,
    /// [`audit_list`]
    pub list: u32,
    /// Its place in the list, from 0.
    pub index: u32,
}

/// A watched file begins to end: from here to its [`FileGone`](super::FileGone) its items leave their eventpolls, one by one. Told
/// with `--audit` only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(zerocopy::FromBytes))]
#[repr(C)]
pub struct FileEnds {
    /// The current task dropped the last reference.
    pub header: Header,
    /// Address of the `struct file`.
    pub file: u64,
}

/// Another mutator of the eventpoll's lists ran while a callback did: what the callback found before it took `ep->lock` may not be
/// what it found with the lock. Told with `--audit` only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(zerocopy::FromBytes))]
#[repr(C)]
pub struct Raced {
    /// When the callback ended.
    pub header: Header,
    /// Address of the eventpoll.
    pub ep: u64,
    /// Address of the epitem.
    pub epi: u64,
    /// `ts_ns` of the callback, on the same CPU.
    pub callback_ts: u64,
}

//! `ep_poll_callback`, and the state it found.

use crate::Header;

/// Bits of [`Callback::flags`], read before the kernel takes `ep->lock`.
pub mod callback_flags {
    /// A scan of this eventpoll runs: `ep->ovflist != EP_UNACTIVE_PTR`.
    pub const SCANNING: u32 = 1;
    /// The item is on the overflow list.
    pub const ON_OVFLIST: u32 = 1 << 1;
    /// The item is on the ready list, or on the list of a running scan.
    pub const LINKED: u32 = 1 << 2;
    /// The wait queue entry has `WQ_FLAG_EXCLUSIVE`: the item was added with `EPOLLEXCLUSIVE`.
    pub const EXCLUSIVE: u32 = 1 << 3;
    /// The entry is the first of its wait queue: a new walk begins here.
    pub const FIRST: u32 = 1 << 4;
}

/// The entry of one `ep_poll_callback(wait, mode, sync, key)` (fs/eventpoll.c, 5.10 to 7.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(zerocopy::FromBytes))]
#[repr(C)]
pub struct Callback {
    /// The current task is whoever was writing or interrupted, not the owner of the eventpoll.
    pub header: Header,
    /// Address of the eventpoll.
    pub ep: u64,
    /// Address of the epitem.
    pub epi: u64,
    /// Address of the target's `struct file`.
    pub file: u64,
    /// Address of the wait queue head that is being walked.
    pub whead: u64,
    /// Address of this wait queue entry.
    pub wait: u64,
    /// Address of the wait queue entry before this one; meaningless with [`callback_flags::FIRST`].
    pub prev_wait: u64,
    /// `epitem.event.data`
    pub data: u64,
    /// `ts_ns` of the callback on this CPU that this one is nested in (an epoll watched by an epoll), 0 if none.
    pub parent_ts: u64,
    /// The poll flags that the source announces; 0 means "anything".
    pub key: u32,
    /// `epitem.event.events` at this moment.
    pub events: u32,
    /// The descriptor it was registered with.
    pub fd: i32,
    /// [`callback_flags`]
    pub flags: u32,
}

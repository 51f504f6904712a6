//! What `eptrace snapshot` reads of the kernel's structures: records of their own in the same ring buffer. They never stand in a
//! trace, so their numbers are none of [`Kind`](crate::Kind)'s.

use crate::{COMM_LEN, Header};

/// What a record of a snapshot is: its number in [`Header::kind`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Part {
    /// [`OpenFile`]
    OpenFile = 0x100,
    /// [`Begun`]
    Begun = 0x101,
    /// [`Node`]
    Node = 0x102,
    /// [`Entry`]
    Entry = 0x103,
    /// [`Listed`]
    Listed = 0x104,
    /// [`Rooted`]
    Rooted = 0x105,
    /// [`Waiter`]
    Waiter = 0x106,
    /// [`Waited`]
    Waited = 0x107,
    /// [`Ended`]
    Ended = 0x108,
}

impl Part {
    /// Every part, in the order of its number.
    pub const ALL: [Self; 9] = [
        Self::OpenFile,
        Self::Begun,
        Self::Node,
        Self::Entry,
        Self::Listed,
        Self::Rooted,
        Self::Waiter,
        Self::Waited,
        Self::Ended,
    ];

    /// The part of this number, if there is one.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|part| *part as u16 == number)
    }
}

/// What the probes tell, as the collector sets it.
pub mod level {
    /// Nothing.
    pub const NOTHING: u32 = 0;
    /// What stands before the mutex is taken: [`Begun`](super::Begun), and the overflow list.
    pub const BEGINNINGS: u32 = 1;
    /// Everything.
    pub const ALL: u32 = 2;
}

/// The most sleeping tasks of one eventpoll that are told.
pub const MAX_WAITERS: u32 = 64;
/// The most items of an overflow list that are told.
pub const MAX_OVERFLOW: u32 = 32;
/// The most entries of a watched file's wait queue that are counted.
pub const MAX_QUEUE: u32 = 64;
/// The most `eppoll_entry`s of one item that are told. Few files have more wait queues to poll than two, one to read and one to write.
pub const MAX_CHAIN: u32 = 2;

/// A file that the target has open, or an eventpoll that any process has open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(zerocopy::FromBytes))]
#[repr(C)]
pub struct OpenFile {
    /// The current task is eptrace, as in all records here.
    pub header: Header,
    /// Address of the `struct file`.
    pub file: u64,
    /// Address of the eventpoll; 0 when the file is none.
    pub ep: u64,
    /// The process that has it open.
    pub tgid: u32,
    /// Its descriptor there.
    pub fd: i32,
}

/// A reading of an eventpoll begins: what stands there before its mutex is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(zerocopy::FromBytes))]
#[repr(C)]
pub struct Begun {
    /// See [`OpenFile`].
    pub header: Header,
    /// Address of the eventpoll.
    pub ep: u64,
    /// `eventpoll.ovflist`: all ones while no scan runs.
    pub ovflist: u64,
    /// `eventpoll.mtx.owner` without its flags: the task that holds the mutex, or 0.
    pub owner: u64,
    /// Numbers the readings.
    pub pass: u32,
    /// The owner's thread group.
    pub tgid: u32,
    /// The owner.
    pub tid: u32,
    /// Zero.
    pub pad: u32,
    /// The owner's name; not a string to trust.
    pub comm: [u8; COMM_LEN],
}

/// An item in its tree, read with the mutex held, in the order in which the kernel goes through the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(zerocopy::FromBytes))]
#[repr(C)]
pub struct Node {
    /// See [`OpenFile`].
    pub header: Header,
    /// Address of the epitem.
    pub epi: u64,
    /// Address of its `rbn`.
    pub node: u64,
    /// `rbn.__rb_parent_color`: the parent's address, and in its lowest bit the colour (1 black, 0 red).
    pub parent_color: u64,
    /// `rbn.rb_left`
    pub left: u64,
    /// `rbn.rb_right`
    pub right: u64,
    /// `epitem.ffd.file`
    pub file: u64,
    /// The eventpoll that the file is; 0 when it is none.
    pub inner: u64,
    /// `epitem.event.data`
    pub data: u64,
    /// `epitem.event.events`
    pub events: u32,
    /// `epitem.ffd.fd`
    pub fd: i32,
    /// See [`Begun`].
    pub pass: u32,
    /// Its place, from 0.
    pub index: u32,
}

/// Bits of [`Entry::flags`].
pub mod entry_flags {
    /// The entry has `WQ_FLAG_EXCLUSIVE`.
    pub const EXCLUSIVE: u32 = 1;
    /// The entry itself was met on the wait queue.
    pub const FOUND: u32 = 1 << 1;
    /// The walk over the wait queue came to its end.
    pub const WHOLE: u32 = 1 << 2;
}

/// An `eppoll_entry` of the item told last, and the wait queue that it hangs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(zerocopy::FromBytes))]
#[repr(C)]
pub struct Entry {
    /// See [`OpenFile`].
    pub header: Header,
    /// Address of the epitem.
    pub epi: u64,
    /// Address of the `eppoll_entry`.
    pub pwq: u64,
    /// Address of the wait queue head; 0 when the queue is gone (`POLLFREE`).
    pub whead: u64,
    /// See [`Begun`].
    pub pass: u32,
    /// [`entry_flags`]
    pub flags: u32,
    /// Entries on the wait queue, at most [`MAX_QUEUE`].
    pub entries: u32,
    /// Those that belong to eventpolls.
    pub epolls: u32,
    /// Those that are exclusive.
    pub exclusive: u32,
    /// Where this one stands, from 0.
    pub position: u32,
}

/// The list that a [`Listed`] is on.
pub mod listed_on {
    /// `eventpoll.rdllist`
    pub const READY: u32 = 0;
    /// `eventpoll.ovflist`
    pub const OVERFLOW: u32 = 1;
}

/// An item on a list, in the list's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(zerocopy::FromBytes))]
#[repr(C)]
pub struct Listed {
    /// See [`OpenFile`].
    pub header: Header,
    /// Address of the epitem.
    pub epi: u64,
    /// Address of its link.
    pub link: u64,
    /// The link's `prev`; 0 on the overflow list, which has none.
    pub prev: u64,
    /// [`listed_on`]
    pub list: u32,
    /// Its place, from 0.
    pub index: u32,
    /// See [`Begun`].
    pub pass: u32,
    /// Zero.
    pub pad: u32,
}

/// All items of a reading were told; the mutex is still held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(zerocopy::FromBytes))]
#[repr(C)]
pub struct Rooted {
    /// See [`OpenFile`].
    pub header: Header,
    /// Address of the eventpoll.
    pub ep: u64,
    /// `rbr.rb_root.rb_node`
    pub root: u64,
    /// `rbr.rb_leftmost`
    pub leftmost: u64,
    /// Address of `rdllist` itself.
    pub ready_head: u64,
    /// `rdllist.prev`: the link of the last item, or the list itself.
    pub ready_last: u64,
    /// `eventpoll.ovflist`
    pub ovflist: u64,
    /// See [`Begun`].
    pub pass: u32,
    /// Items told.
    pub items: u32,
    /// Items of the ready list told.
    pub ready: u32,
    /// Zero.
    pub pad: u32,
}

/// A task that sleeps in `epoll_wait`, in the order of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(zerocopy::FromBytes))]
#[repr(C)]
pub struct Waiter {
    /// See [`OpenFile`].
    pub header: Header,
    /// Address of its wait queue entry's link.
    pub link: u64,
    /// The link's `prev`.
    pub prev: u64,
    /// Its `task_struct`.
    pub task: u64,
    /// Its thread group.
    pub tgid: u32,
    /// Its number.
    pub tid: u32,
    /// `wait_queue_entry.flags`
    pub flags: u32,
    /// Which of the walks of a reading: 0 before the mutex is taken, 1 after it was released.
    pub walk: u32,
    /// Its place, from 0.
    pub index: u32,
    /// See [`Begun`].
    pub pass: u32,
    /// Its name; not a string to trust.
    pub comm: [u8; COMM_LEN],
}

/// A walk over the sleeping tasks is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(zerocopy::FromBytes))]
#[repr(C)]
pub struct Waited {
    /// See [`OpenFile`].
    pub header: Header,
    /// Address of the queue's list itself.
    pub head: u64,
    /// See [`Begun`].
    pub pass: u32,
    /// See [`Waiter`].
    pub walk: u32,
    /// Tasks told.
    pub waiters: u32,
    /// 1: the walk came to the end of the queue.
    pub whole: u32,
}

/// A reading is over; the mutex is released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(zerocopy::FromBytes))]
#[repr(C)]
pub struct Ended {
    /// See [`OpenFile`].
    pub header: Header,
    /// Address of the eventpoll.
    pub ep: u64,
    /// `rbr.rb_root.rb_node`
    pub root: u64,
    /// See [`Begun`].
    pub pass: u32,
    /// Items told.
    pub items: u32,
    /// A bit for each [`Miss`](crate::Miss) that befell the reading.
    pub misses: u32,
    /// Entries on `eventpoll.poll_wait`, at most [`MAX_QUEUE`]: who waits for the eventpoll itself.
    pub polled: u32,
}

/// A record of a snapshot: its part, and the header that it begins with.
pub trait Found: Copy {
    /// What its header says it is.
    const PART: Part;
}

macro_rules! parts {
    ($($name:ident $bytes:literal),+ $(,)?) => {
        $(
            impl Found for $name {
                const PART: Part = Part::$name;
            }
            const _: () = assert!(size_of::<$name>() == $bytes && align_of::<$name>() == 8);
            const _: () = assert!(core::mem::offset_of!($name, header) == 0);
        )+

        /// Bytes of a record of this part.
        #[must_use]
        pub const fn part_bytes(part: Part) -> usize {
            match part {
                $(Part::$name => size_of::<$name>(),)+
            }
        }
    };
}

parts! {
    OpenFile 48,
    Begun 80,
    Node 104,
    Entry 72,
    Listed 64,
    Rooted 88,
    Waiter 88,
    Waited 48,
    Ended 56,
}

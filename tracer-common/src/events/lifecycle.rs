//! Tasks, files and eventpolls that come and go.

use crate::{COMM_LEN, Header};

/// A traced process made a task (`sched_process_fork`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(zerocopy::FromBytes))]
#[repr(C)]
pub struct Fork {
    /// The current task is the parent.
    pub header: Header,
    /// Thread group of the child: the parent's own when it is a thread.
    pub child_tgid: u32,
    /// The child.
    pub child_tid: u32,
    /// The child's name, that of its parent at first; not a string to trust.
    pub comm: [u8; COMM_LEN],
}

/// A task's name: after exec, and when a task first waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(zerocopy::FromBytes))]
#[repr(C)]
pub struct TaskName {
    /// The current task bears the name.
    pub header: Header,
    /// Padded with zero bytes; not a string to trust.
    pub comm: [u8; COMM_LEN],
}

/// The numbers that a task has in its own pid namespace, told with its name where that is not the initial namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(zerocopy::FromBytes))]
#[repr(C)]
pub struct TaskPid {
    /// The current task bears the numbers.
    pub header: Header,
    /// Its thread group's number.
    pub ns_tgid: u32,
    /// Its own.
    pub ns_tid: u32,
}

/// A task ended (`sched_process_exit`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(zerocopy::FromBytes))]
#[repr(C)]
pub struct TaskExit {
    /// The current task ends.
    pub header: Header,
    /// Its last name; not a string to trust.
    pub comm: [u8; COMM_LEN],
}

/// A watched file was closed for good (the end of `eventpoll_release_file`): its items are gone from every eventpoll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(zerocopy::FromBytes))]
#[repr(C)]
pub struct FileGone {
    /// The current task dropped the last reference.
    pub header: Header,
    /// Address of the `struct file`.
    pub file: u64,
}

/// An eventpoll was closed for good (`ep_eventpoll_release`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(zerocopy::FromBytes))]
#[repr(C)]
pub struct EventpollGone {
    /// The current task dropped the last reference.
    pub header: Header,
    /// Address of the eventpoll.
    pub ep: u64,
}

/// An eventpoll that a process under trace already had open when tracing began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(zerocopy::FromBytes))]
#[repr(C)]
pub struct EventpollSeen {
    /// The current task is the tracer.
    pub header: Header,
    /// Address of the eventpoll.
    pub ep: u64,
    /// The process that has it open.
    pub owner_tgid: u32,
    /// The descriptor in that process.
    pub epfd: i32,
    /// Zero.
    pub pad: u64,
}

/// Bits of [`ItemSeen::flags`].
pub mod item_flags {
    /// The item was on the ready list.
    pub const LINKED: u32 = 1;
}

/// An item that an eventpoll already had when tracing began, read under the eventpoll's mutex.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(zerocopy::FromBytes))]
#[repr(C)]
pub struct ItemSeen {
    /// The current task is the tracer.
    pub header: Header,
    /// Address of the eventpoll.
    pub ep: u64,
    /// Address of the epitem.
    pub epi: u64,
    /// Address of the target's `struct file`.
    pub file: u64,
    /// `epitem.event.data`
    pub data: u64,
    /// `epitem.event.events`
    pub events: u32,
    /// The descriptor it was registered with.
    pub fd: i32,
    /// [`item_flags`]
    pub flags: u32,
    /// Zero.
    pub pad: u32,
}

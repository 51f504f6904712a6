//! System calls that show what a woken task got.

use crate::Header;

/// The end of one `accept` or `accept4` (net/socket.c, `__sys_accept4`, 5.10 to 7.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(zerocopy::FromBytes))]
#[repr(C)]
pub struct Accept {
    /// The current task accepted.
    pub header: Header,
    /// Address of the listening socket's `struct file`; 0 when not known.
    pub file: u64,
    /// The listening descriptor, -1 when not known.
    pub fd: i32,
    /// The new descriptor, or a negative errno.
    pub ret: i32,
}

/// A system call on a file that an eventpoll watches: one that read, wrote or accepted has ended, one that will sleep for something to
/// read begins, or a close begins (x86-64's `read`, `write`, `sendmsg` and so on, 5.10 to 7.3).
///
/// Only the calls of tasks under trace, and only for `eptrace lint`. What io_uring does is not seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(zerocopy::FromBytes))]
#[repr(C)]
pub struct Io {
    /// The current task made the call.
    pub header: Header,
    /// Address of the `struct file`.
    pub file: u64,
    /// The descriptor that was given.
    pub fd: i32,
    /// Bytes, messages, the new descriptor, or a negative errno; 0 of a call that begins.
    pub ret: i32,
    /// What can be read now: bytes of a TCP connection, connections of a listening socket, messages or buffers elsewhere;
    /// [`LEFT_UNKNOWN`] where it cannot be told.
    pub left: u32,
    /// One of [`io_call`].
    pub call: u32,
    /// Bits of [`io_flags`].
    pub flags: u32,
    /// Keeps the size a multiple of eight.
    pub pad: u32,
}

/// How much is left to read cannot be told of this kind of file.
pub const LEFT_UNKNOWN: u32 = u32::MAX;

/// What a call does with its file.
pub mod io_call {
    /// `read`, `readv`, `recvfrom`, `recvmsg`, `recvmmsg`, and `splice` from it; not a look with `MSG_PEEK`.
    pub const READ: u32 = 0;
    /// `write`, `writev`, `sendto`, `sendmsg`, `sendmmsg`, `sendfile` and `splice` to it.
    pub const WRITE: u32 = 1;
    /// `accept`, `accept4`.
    pub const ACCEPT: u32 = 2;
    /// `close`.
    pub const CLOSE: u32 = 3;
}

/// How a call was made.
pub mod io_flags {
    /// It begins, and nothing is there: it will sleep.
    pub const WILL_SLEEP: u32 = 1;
}

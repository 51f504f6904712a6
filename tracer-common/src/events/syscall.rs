//! System calls that show what a woken task got.

use crate::Header;

/// The end of one `accept` or `accept4` (net/socket.c, `__sys_accept4`, 5.10 to 7.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

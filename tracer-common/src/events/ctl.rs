//! `epoll_ctl` and what it installs.

use crate::Header;

/// Bits of [`Ctl::flags`].
pub mod ctl_flags {
    /// `events` and `data` are known.
    pub const HAS_EVENT: u32 = 1;
    /// The item was found in the eventpoll's tree when the call had ended: `epi` and [`LINKED`] say something.
    pub const FOUND: u32 = 1 << 1;
    /// The item was on the ready list then, or on the list of a running scan.
    pub const LINKED: u32 = 1 << 2;
    /// Another change of the eventpoll's lists ran at the same time. Told with `--audit` only.
    pub const RACED: u32 = 1 << 3;
    /// The item was found with another mask or other data than the call gave it: another call has changed it since.
    pub const SUPERSEDED: u32 = 1 << 4;
}

/// The end of one `do_epoll_ctl` (fs/eventpoll.c, 5.10 to 7.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(zerocopy::FromBytes))]
#[repr(C)]
pub struct Ctl {
    /// The current task made the call.
    pub header: Header,
    /// Address of the eventpoll; 0 when `epfd` is not one.
    pub ep: u64,
    /// Address of the target's `struct file`; 0 when `fd` is not open.
    pub file: u64,
    /// `epoll_event.data`, valid with [`ctl_flags::HAS_EVENT`].
    pub data: u64,
    /// Address of the epitem, valid with [`ctl_flags::FOUND`].
    pub epi: u64,
    /// The descriptor of the eventpoll.
    pub epfd: i32,
    /// 1 ADD, 2 DEL, 3 MOD (uapi/linux/eventpoll.h).
    pub op: i32,
    /// The target's descriptor.
    pub fd: i32,
    /// `epoll_event.events` as the call used it, valid with [`ctl_flags::HAS_EVENT`]. The kernel adds `EPOLLERR` and
    /// `EPOLLHUP` to that of an ADD or a MOD once it is past its first checks.
    pub events: u32,
    /// 0 or a negative errno.
    pub ret: i32,
    /// [`ctl_flags`]
    pub flags: u32,
}

/// A wait queue hook that an ADD installs: `ep_ptable_queue_proc(file, whead, pt)`, once per wait queue of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(zerocopy::FromBytes))]
#[repr(C)]
pub struct Hooked {
    /// The current task is inside `epoll_ctl`.
    pub header: Header,
    /// Address of the eventpoll.
    pub ep: u64,
    /// Address of the epitem.
    pub epi: u64,
    /// Address of the target's `struct file`.
    pub file: u64,
    /// Address of the wait queue head: the identity of the source.
    pub whead: u64,
    /// `epitem.event.data`
    pub data: u64,
    /// `epitem.event.events`, with `EPOLLERR` and `EPOLLHUP` added by the kernel.
    pub events: u32,
    /// The descriptor it was registered with.
    pub fd: i32,
}

/// What a file is, told when it is registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(zerocopy::FromBytes))]
#[repr(C)]
pub struct FileInfo {
    /// The current task registered it.
    pub header: Header,
    /// Address of the `struct file`.
    pub file: u64,
    /// `file.f_op`: user space names the kind by the symbol at this address.
    pub f_op: u64,
    /// Inode number.
    pub ino: u64,
    /// Local address, network byte order; the first 4 bytes for `AF_INET`.
    pub local: [u8; 16],
    /// Remote address, likewise.
    pub remote: [u8; 16],
    /// Local port, host byte order.
    pub local_port: u16,
    /// Remote port, host byte order.
    pub remote_port: u16,
    /// `AF_*`, 0 when the file is not a socket.
    pub family: u16,
    /// `SOCK_*`
    pub sock_type: u8,
    /// `TCP_*` state: 10 is `TCP_LISTEN` (`include/net/tcp_states.h`).
    pub state: u8,
    /// The inode number of the socket's network namespace, as `/proc/PID/ns/net` shows it; 0 when the file is not a socket, or the
    /// kernel has no such namespaces.
    pub netns: u32,
    /// Keeps the size a multiple of eight.
    pub pad: u32,
}

impl FileInfo {
    /// Whether anything is told that only a socket has.
    #[must_use]
    pub const fn is_socket(&self) -> bool {
        self.family != 0 || self.sock_type != 0 || self.state != 0 || self.local_port != 0 || self.remote_port != 0
    }

    /// Whether `remote` is an address: where there is no peer, the kernel has zeros for it.
    #[must_use]
    pub const fn has_peer(&self) -> bool {
        u128::from_ne_bytes(self.remote) != 0
    }
}

//! Two ends of something that carries bytes, and listening sockets: where the bytes of a demo come from.
//!
//! In: which kind. Out: descriptors, and the moment when what was sent has arrived, as the kernel tells it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sched::sched_yield;
use serde::Serialize;

use crate::counted::Counted;

/// What carries the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Carrier {
    /// A TCP connection over loopback
    Tcp,
    /// A pair of unix stream sockets
    Unix,
    /// A pipe
    Pipe,
}

/// The two ends, both non-blocking. Bytes go from `far` to `near`.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) carrier: Carrier,
    pub(crate) near: OwnedFd,
    pub(crate) far: OwnedFd,
}

impl Carrier {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP connection",
            Self::Unix => "unix socket",
            Self::Pipe => "pipe",
        }
    }

    pub(crate) fn ends(self, calls: &mut Counted) -> Result<Ends> {
        let (near, far) = match self {
            Self::Tcp => {
                let listener = Listener::new()?;
                let far = listener.connect()?;
                listener.until_queued(1)?;
                let near = calls.accept(&listener.socket)?.context("a connection that was there is gone")?;
                nodelay(&near)?;
                (near, far)
            }
            Self::Unix => {
                let (near, far) = UnixStream::pair().context("socketpair")?;
                near.set_nonblocking(true).context("fcntl(O_NONBLOCK)")?;
                far.set_nonblocking(true).context("fcntl(O_NONBLOCK)")?;
                (near.into(), far.into())
            }
            Self::Pipe => nix::unistd::pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).context("pipe2")?,
        };
        Ok(Ends { carrier: self, near, far })
    }
}

impl Ends {
    /// Returns when so many bytes can be read. Only TCP makes one wait: a softirq carries what was sent, and another task may
    /// have to run it.
    pub(crate) fn until_unread(&self, bytes: usize) -> Result<()> {
        while self.carrier == Carrier::Tcp && unread(&self.near)? < bytes {
            sched_yield().context("sched_yield")?;
        }
        Ok(())
    }

    /// Returns when all that was sent and not read has been acknowledged, so that no acknowledgement can make room any more.
    pub(crate) fn until_acknowledged(&self) -> Result<()> {
        while self.carrier == Carrier::Tcp && unacknowledged(&self.far)? > 0 {
            sched_yield().context("sched_yield")?;
        }
        Ok(())
    }
}

/// A non-blocking socket that listens on a port of its own.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) socket: OwnedFd,
    address: SocketAddr,
}

impl Listener {
    pub(crate) fn new() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .context("bind(127.0.0.1); bring the loopback interface up: ip link set lo up")?;
        listener.set_nonblocking(true).context("fcntl(O_NONBLOCK)")?;
        let address = listener.local_addr().context("getsockname")?;
        Ok(Self { socket: listener.into(), address })
    }

    /// One of several that share a port with `SO_REUSEPORT`: the first chooses it.
    pub(crate) fn shared(first: Option<&Self>) -> Result<Self> {
        use nix::sys::socket::{
            AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, getsockname, listen, socket,
        };
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Inet, SockType::Stream, flags, None).context("socket")?;
        nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::ReusePort, &true)
            .context("setsockopt(SO_REUSEPORT)")?;
        let port = first.map_or(0, |first| first.address.port());
        bind(socket.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, port)).with_context(|| format!("bind({port})"))?;
        listen(&socket, Backlog::new(128).context("a backlog")?).context("listen")?;
        let name: SockaddrIn = getsockname(socket.as_raw_fd()).context("getsockname")?;
        Ok(Self { socket, address: SocketAddr::V4(name.into()) })
    }

    /// The connecting end of a new connection, non-blocking.
    pub(crate) fn connect(&self) -> Result<OwnedFd> {
        let far = TcpStream::connect(self.address).with_context(|| format!("connect({})", self.address))?;
        far.set_nonblocking(true).context("fcntl(O_NONBLOCK)")?;
        let far = far.into();
        nodelay(&far)?;
        Ok(far)
    }

    /// Returns when so many connections can be accepted.
    pub(crate) fn until_queued(&self, connections: u32) -> Result<()> {
        until_queued(&self.socket, connections)
    }
}

/// Returns when so many connections of a listening socket can be accepted.
pub(crate) fn until_queued(listener: &OwnedFd, connections: u32) -> Result<()> {
    // For a listening socket this is the length of its queue (tcp_get_info, net/ipv4/tcp.c, 5.10 to 7.3).
    while unacknowledged(listener)? < connections {
        sched_yield().context("sched_yield")?;
    }
    Ok(())
}

/// A small segment is sent at once.
fn nodelay(socket: &OwnedFd) -> Result<()> {
    nix::sys::socket::setsockopt(socket, nix::sys::socket::sockopt::TcpNoDelay, &true)
        .context("setsockopt(TCP_NODELAY)")
}

/// Clears `O_NONBLOCK`.
pub(crate) fn set_blocking(fd: &OwnedFd) -> Result<()> {
    use nix::fcntl::{FcntlArg, fcntl};
    fcntl(fd, FcntlArg::F_SETFL(OFlag::empty())).context("fcntl(F_SETFL)").map(drop)
}

/// How many bytes a read would give.
pub(crate) fn unread(fd: &impl AsRawFd) -> Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the kernel writes one int.
    Errno::result(unsafe { libc::ioctl(fd.as_raw_fd(), libc::FIONREAD, &raw mut bytes) }).context("ioctl(FIONREAD)")?;
    usize::try_from(bytes).context("ioctl(FIONREAD)")
}

/// `tcpi_unacked`: segments on their way; of a listening socket, connections that can be accepted.
pub(crate) fn unacknowledged(socket: &OwnedFd) -> Result<u32> {
    Ok(tcp_info(socket)?.tcpi_unacked)
}

/// `tcpi_state`: one of `TCP_*` (`include/net/tcp_states.h`).
pub(crate) fn tcp_state(socket: &OwnedFd) -> Result<u8> {
    Ok(tcp_info(socket)?.tcpi_state)
}

fn tcp_info(socket: &OwnedFd) -> Result<libc::tcp_info> {
    // SAFETY: plain integers, for which zero is a value.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut length = libc::socklen_t::try_from(size_of::<libc::tcp_info>()).context("a length")?;
    let fd: RawFd = socket.as_raw_fd();
    let room = (&raw mut info).cast();
    // SAFETY: room of the length that is given.
    let got = unsafe { libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, room, &raw mut length) };
    Errno::result(got).context("getsockopt(TCP_INFO)")?;
    ensure!(length > 28, "getsockopt(TCP_INFO) tells too little");
    Ok(info)
}

//! What the master makes before there are workers: the address and, in oneshot mode, the epoll instance they share.
//!
//! In: the mode, and the port or 0. Out: [`Stage`], which threads share and forked processes inherit.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::sockopt::{ReuseAddr, ReusePort};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockProtocol, SockType, SockaddrIn, bind, getsockname, listen, setsockopt, socket,
};

use crate::counted::Counted;
use crate::truth::Counts;

use super::Mode;

/// `epoll_data` of the listening socket.
pub(super) const LISTEN: u64 = 0;
/// `epoll_data` of the eventfd that tells a worker to stop.
pub(super) const STOP: u64 = 1;

/// The kernel lowers this to `net.core.somaxconn` (4096 since 5.4, 128 before). The client never has more than 32
/// connections in flight, so no queue overflows with either.
const BACKLOG: i32 = 4096;

#[derive(Debug)]
pub(super) struct Stage {
    mode: Mode,
    address: SocketAddr,
    /// Listens, except in reuseport mode: there it only keeps the port for the workers' own sockets.
    socket: OwnedFd,
    shared: Option<Shared>,
}

/// What all workers of oneshot mode wait on.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) epoll: Epoll,
    /// A semaphore: the master adds one for each worker, and each worker takes one and leaves.
    pub(super) stop: EventFd,
}

impl Stage {
    /// Also returns the master's own calls, to be handed back to [`Stage::clear`].
    pub(super) fn set(mode: Mode, port: u16) -> Result<(Self, Counted)> {
        let socket = bound_socket(mode, SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?;
        let name: SockaddrIn = getsockname(socket.as_raw_fd()).context("getsockname")?;
        if mode != Mode::Reuseport {
            start_listening(&socket)?;
        }

        let mut calls = Counted::default();
        let shared = if mode == Mode::Oneshot {
            let (epoll, stop) = (new_epoll()?, new_stop()?);
            calls.add(&epoll, &socket, listen_event(mode))?;
            calls.add(&epoll, &stop, EpollEvent::new(EpollFlags::EPOLLIN, STOP))?;
            Some(Shared { epoll, stop })
        } else {
            None
        };
        Ok((Self { mode, address: SocketAddr::V4(name.into()), socket, shared }, calls))
    }

    /// Takes down what the master registered, after the workers have left. Returns all that the master called.
    pub(super) fn clear(&self, calls: &mut Counted) -> Result<Counts> {
        if let Some(shared) = &self.shared {
            calls.delete(&shared.epoll, &self.socket)?;
        }
        Ok(calls.counts())
    }

    pub(super) fn mode(&self) -> Mode {
        self.mode
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn shared(&self) -> Option<&Shared> {
        self.shared.as_ref()
    }

    pub(super) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// A worker's own listening socket on the stage's port.
    pub(super) fn another_socket(&self) -> Result<OwnedFd> {
        let SocketAddr::V4(address) = self.address else { unreachable!("the stage is set on an IPv4 address") };
        let socket = bound_socket(self.mode, address)?;
        start_listening(&socket)?;
        Ok(socket)
    }
}

/// How a mode registers its listening socket.
pub(super) fn listen_event(mode: Mode) -> EpollEvent {
    let how = match mode {
        Mode::Lt | Mode::Reuseport => EpollFlags::empty(),
        Mode::Et => EpollFlags::EPOLLET,
        Mode::Exclusive => EpollFlags::EPOLLEXCLUSIVE,
        Mode::Oneshot => EpollFlags::EPOLLONESHOT,
    };
    EpollEvent::new(EpollFlags::EPOLLIN | how, LISTEN)
}

pub(super) fn new_epoll() -> Result<Epoll> {
    Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("epoll_create1")
}

pub(super) fn new_stop() -> Result<EventFd> {
    let flags = EfdFlags::EFD_SEMAPHORE | EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
    EventFd::from_flags(flags).context("eventfd2")
}

fn bound_socket(mode: Mode, address: SocketAddrV4) -> Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Inet, SockType::Stream, flags, SockProtocol::Tcp).context("socket")?;
    if mode == Mode::Reuseport {
        setsockopt(&socket, ReusePort, &true).context("setsockopt(SO_REUSEPORT)")?;
    } else {
        setsockopt(&socket, ReuseAddr, &true).context("setsockopt(SO_REUSEADDR)")?;
    }
    match bind(socket.as_raw_fd(), &SockaddrIn::from(address)) {
        Err(Errno::EADDRNOTAVAIL) => Err(Errno::EADDRNOTAVAIL)
            .with_context(|| format!("bind({address}); bring the loopback interface up: ip link set lo up")),
        other => other.with_context(|| format!("bind({address})")),
    }?;
    Ok(socket)
}

fn start_listening(socket: &OwnedFd) -> Result<()> {
    let backlog = Backlog::new(BACKLOG).context("listen backlog")?;
    listen(socket, backlog).with_context(|| format!("listen({BACKLOG})"))
}

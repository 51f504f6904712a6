//! The only place where a demo calls `epoll_ctl`, `epoll_wait` or `accept4`, so that no such call goes uncounted.
//!
//! In: the arguments of the call. Out: its result, and one more in [`Counts`].

use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollTimeout};
use nix::sys::socket::{SockFlag, accept4};

use crate::truth::Counts;

/// Makes the calls and counts them. A call that failed has been made, and counts.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    counts: Counts,
}

impl Counted {
    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    pub(crate) fn add(&mut self, epoll: &Epoll, fd: impl AsFd, event: EpollEvent) -> Result<()> {
        self.counts.ctl_add += 1;
        epoll.add(fd, event).with_context(|| format!("epoll_ctl(EPOLL_CTL_ADD, {event:?})"))
    }

    pub(crate) fn modify(&mut self, epoll: &Epoll, fd: impl AsFd, mut event: EpollEvent) -> Result<()> {
        self.counts.ctl_mod += 1;
        epoll.modify(fd, &mut event).with_context(|| format!("epoll_ctl(EPOLL_CTL_MOD, {event:?})"))
    }

    pub(crate) fn delete(&mut self, epoll: &Epoll, fd: impl AsFd) -> Result<()> {
        self.counts.ctl_del += 1;
        epoll.delete(fd).context("epoll_ctl(EPOLL_CTL_DEL)")
    }

    /// Waits without a timeout; an interrupted wait returns no events.
    pub(crate) fn wait<'a>(&mut self, epoll: &Epoll, room: &'a mut [EpollEvent]) -> Result<&'a [EpollEvent]> {
        let waited = epoll.wait(room, EpollTimeout::NONE);
        self.counts.waits += 1;
        let events = match waited {
            Err(Errno::EINTR) => 0,
            other => other.context("epoll_wait")?,
        };
        if events > 0 {
            self.counts.waits_returned += 1;
            self.counts.events += events as u64;
        }
        Ok(&room[..events])
    }

    /// The next connection of a non-blocking listening socket, or None where it has none (EAGAIN).
    pub(crate) fn accept(&mut self, listener: impl AsFd) -> Result<Option<OwnedFd>> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        match accept4(listener.as_fd().as_raw_fd(), flags) {
            Ok(fd) => {
                self.counts.accepts += 1;
                // SAFETY: accept4 has just returned this descriptor, and nothing else knows of it.
                Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) }))
            }
            Err(Errno::EAGAIN) => {
                self.counts.accept_eagain += 1;
                Ok(None)
            }
            Err(errno) => Err(errno).context("accept4"),
        }
    }
}

//! The only place where a demo calls `epoll_ctl`, `epoll_wait` or `accept4`, so that no such call goes uncounted.
//!
//! In: the arguments of the call. Out: its result, and one more in [`Counts`].

use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollTimeout};
use nix::sys::signal::SigSet;
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

    /// `epoll_ctl` on whatever the numbers stand for by now; `event` is mask and data.
    pub(crate) fn ctl_raw(&mut self, epoll: RawFd, op: i32, fd: RawFd, event: Option<(u32, u64)>) {
        // What came of it is in the counts.
        let _ = self.ctl(epoll, op, fd, event);
    }

    /// The same, and the kernel's answer.
    pub(crate) fn ctl(&mut self, epoll: RawFd, op: i32, fd: RawFd, event: Option<(u32, u64)>) -> Result<(), Errno> {
        let (events, u64) = event.unwrap_or_default();
        let mut event = libc::epoll_event { events, u64 };
        // SAFETY: a valid event; the numbers may be of any file, or of none.
        let answer = Errno::result(unsafe { libc::epoll_ctl(epoll, op, fd, &raw mut event) }).map(drop);
        self.ctl_made(op, answer.is_err());
        answer
    }

    /// `epoll_wait` on whatever the number stands for by now; the number of events.
    pub(crate) fn wait_raw(&mut self, epoll: RawFd, room: &mut [libc::epoll_event], timeout_ms: i32) -> u64 {
        // What came of it is in the counts.
        self.wait_on(epoll, room, timeout_ms).unwrap_or(0)
    }

    /// The same; the number of events, or why there are none.
    pub(crate) fn wait_on(
        &mut self,
        epoll: RawFd,
        room: &mut [libc::epoll_event],
        timeout_ms: i32,
    ) -> Result<u64, Errno> {
        let length = i32::try_from(room.len()).unwrap_or(i32::MAX);
        // SAFETY: room for as many events as are asked for.
        unsafe { self.wait_at(epoll, room.as_mut_ptr(), length, timeout_ms) }
    }

    /// `epoll_wait` that stores its events wherever the caller says; the number of events, or why there are none.
    ///
    /// # Safety
    ///
    /// The kernel may store so many events there, as far as it can: nothing refers to that memory meanwhile.
    pub(crate) unsafe fn wait_at(
        &mut self,
        epoll: RawFd,
        events: *mut libc::epoll_event,
        length: i32,
        timeout_ms: i32,
    ) -> Result<u64, Errno> {
        // SAFETY: the caller's promise; the kernel itself finds out what can be written.
        self.waited(unsafe { libc::epoll_wait(epoll, events, length, timeout_ms) })
    }

    /// `epoll_pwait` for one event, with these signals blocked meanwhile; the number of events, or why there are none.
    pub(crate) fn pwait(&mut self, epoll: RawFd, timeout_ms: i32, blocked: Option<&SigSet>) -> Result<u64, Errno> {
        let mut room = libc::epoll_event { events: 0, u64: 0 };
        let mask = blocked.map_or(std::ptr::null(), |mask| std::ptr::from_ref(mask.as_ref()));
        // SAFETY: room for one event, and a mask that lives during the call, or none.
        self.waited(unsafe { libc::epoll_pwait(epoll, &raw mut room, 1, timeout_ms, mask) })
    }

    /// `epoll_pwait2` for one event, without end when there is no timeout, with these signals blocked meanwhile; as
    /// [`Self::pwait`]. `ENOSYS` of a kernel without it (5.10) counts as no call.
    pub(crate) fn pwait2(
        &mut self,
        epoll: RawFd,
        timeout: Option<Duration>,
        blocked: Option<&SigSet>,
    ) -> Result<u64, Errno> {
        /// The bytes of the kernel's own signal sets.
        const SET: usize = size_of::<u64>();
        let mut room = libc::epoll_event { events: 0, u64: 0 };
        let timeout = timeout.map(nix::sys::time::TimeSpec::from_duration);
        let time = timeout.as_ref().map_or(std::ptr::null(), |time| std::ptr::from_ref(time.as_ref()));
        let mask = blocked.map_or(std::ptr::null(), |mask| std::ptr::from_ref(mask.as_ref()));
        let events = &raw mut room;
        // SAFETY: room for one event, a time and a mask that live during the call, or none.
        let ret = unsafe { libc::syscall(libc::SYS_epoll_pwait2, epoll, events, 1, time, mask, SET) };
        if ret < 0 && Errno::last() == Errno::ENOSYS {
            return Err(Errno::ENOSYS);
        }
        self.waited(i32::try_from(ret).unwrap_or(-1))
    }

    /// An `epoll_ctl` that was made in another way, such as through io_uring.
    pub(crate) fn ctl_made(&mut self, op: i32, failed: bool) {
        *match op {
            libc::EPOLL_CTL_ADD => &mut self.counts.ctl_add,
            libc::EPOLL_CTL_MOD => &mut self.counts.ctl_mod,
            libc::EPOLL_CTL_DEL => &mut self.counts.ctl_del,
            _ => &mut self.counts.ctl_other,
        } += 1;
        self.counts.ctl_failed += u64::from(failed);
    }

    /// An `epoll_wait` that io_uring made and that completed with this many events.
    pub(crate) fn uring_waited(&mut self, events: u64) {
        self.counts.uring_waits += 1;
        self.counts.events += events;
    }

    /// Counts a wait by what it has just returned; the number of events, or why there are none.
    fn waited(&mut self, ret: i32) -> Result<u64, Errno> {
        self.counts.waits += 1;
        let Ok(events) = u64::try_from(ret) else {
            let errno = Errno::last();
            *if errno == Errno::EINTR { &mut self.counts.interrupted } else { &mut self.counts.wait_errors } += 1;
            return Err(errno);
        };
        self.counts.timeouts += u64::from(events == 0);
        self.counts.waits_returned += u64::from(events > 0);
        self.counts.events += events;
        Ok(events)
    }

    /// Waits without a timeout; an interrupted wait returns no events.
    pub(crate) fn wait<'a>(&mut self, epoll: &Epoll, room: &'a mut [EpollEvent]) -> Result<&'a [EpollEvent]> {
        let waited = epoll.wait(room, EpollTimeout::NONE);
        self.counts.waits += 1;
        let events = match waited {
            Err(Errno::EINTR) => {
                self.counts.interrupted += 1;
                0
            }
            other => other.context("epoll_wait")?,
        };
        if events > 0 {
            self.counts.waits_returned += 1;
            self.counts.events += events as u64;
        }
        Ok(&room[..events])
    }

    /// The next connection of a non-blocking listening socket, itself non-blocking; None where it has none (EAGAIN).
    pub(crate) fn accept(&mut self, listener: impl AsFd) -> Result<Option<OwnedFd>> {
        self.accept_with(listener, SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC)
    }

    /// The next connection of a blocking listening socket, itself blocking.
    pub(crate) fn accept_blocking(&mut self, listener: impl AsFd) -> Result<OwnedFd> {
        self.accept_with(listener, SockFlag::SOCK_CLOEXEC)?.context("accept4 on a blocking socket says EAGAIN")
    }

    fn accept_with(&mut self, listener: impl AsFd, flags: SockFlag) -> Result<Option<OwnedFd>> {
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

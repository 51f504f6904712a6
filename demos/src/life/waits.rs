//! All ways to wait, and all ways in which a wait ends.

use std::os::fd::AsRawFd as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, raise as raise_signal, sigaction};

use super::{Cast, IN, add, expect};
use crate::fds::{epoll, eventfd, lower, raise};

extern "C" fn nothing(_: libc::c_int) {}

/// A signal that is blocked but for the wait ends it; time ends it; an event ends it; a bad argument ends it.
pub(super) fn all(cast: &mut Cast) -> Result<()> {
    let calls = &mut cast.own;
    let (epoll, file) = (epoll()?, eventfd(0)?);
    add(calls, epoll.as_raw_fd(), file.as_raw_fd(), IN, 4)?;

    let action = SigAction::new(SigHandler::Handler(nothing), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler does nothing.
    unsafe { sigaction(Signal::SIGUSR1, &action) }.context("sigaction")?;
    let mut blocked = SigSet::empty();
    blocked.add(Signal::SIGUSR1);
    blocked.thread_block().context("block the signal")?;
    raise_signal(Signal::SIGUSR1).context("raise the signal")?;
    let mut open = SigSet::thread_get_mask().context("read the mask")?;
    open.remove(Signal::SIGUSR1);
    let before = calls.counts().interrupted;
    expect("a wait that a signal ends", calls.pwait(epoll.as_raw_fd(), -1, Some(&open)), 0)?;
    ensure!(calls.counts().interrupted == before + 1, "the signal did not end the wait");
    blocked.thread_unblock().context("let the signal pass again")?;

    expect("a wait that time ends", calls.pwait(epoll.as_raw_fd(), 3, None), 0)?;
    raise(&file)?;
    expect("a wait that an event ends", calls.pwait(epoll.as_raw_fd(), -1, None), 1)?;
    match calls.pwait2(epoll.as_raw_fd(), Duration::from_micros(700)) {
        Err(Errno::ENOSYS) => cast.missing.push("epoll_pwait2"),
        found => {
            expect("epoll_pwait2 with an event", found.context("epoll_pwait2")?, 1)?;
            lower(&file)?;
            let found = calls.pwait2(epoll.as_raw_fd(), Duration::from_micros(700)).context("epoll_pwait2")?;
            expect("epoll_pwait2 that time ends", found, 0)?;
        }
    }

    // No room, no such descriptor, not an eventpoll.
    let errors = calls.counts().wait_errors;
    calls.wait_raw(epoll.as_raw_fd(), &mut [], 0);
    calls.wait_raw(-1, &mut [libc::epoll_event { events: 0, u64: 0 }], 0);
    calls.wait_raw(file.as_raw_fd(), &mut [libc::epoll_event { events: 0, u64: 0 }], 0);
    ensure!(calls.counts().wait_errors == errors + 3, "a wait that makes no sense did not fail");
    Ok(())
}

/// `struct epoll_params` (uapi/linux/eventpoll.h, from 6.9 on).
#[repr(C)]
struct Params {
    busy_poll_usecs: u32,
    busy_poll_budget: u16,
    prefer_busy_poll: u8,
    pad: u8,
}

/// `EPIOCSPARAMS`: `_IOW(0x8a, 1, struct epoll_params)`.
const EPIOCSPARAMS: libc::c_ulong = 0x4008_8a01;

/// Busy polling changes how a wait passes its time, not what it returns.
pub(super) fn busy(cast: &mut Cast) -> Result<()> {
    let epoll = epoll()?;
    let params = Params { busy_poll_usecs: 50, busy_poll_budget: 8, prefer_busy_poll: 1, pad: 0 };
    // SAFETY: the kernel reads as many bytes as the structure has.
    let ret = unsafe { libc::ioctl(epoll.as_raw_fd(), EPIOCSPARAMS, &raw const params) };
    if ret < 0 {
        match Errno::last() {
            Errno::ENOTTY | Errno::EINVAL => cast.missing.push("busy polling of one eventpoll"),
            other => return Err(other).context("ioctl(EPIOCSPARAMS)"),
        }
    }
    let listener = std::net::UdpSocket::bind("127.0.0.1:0").context("bind a UDP socket")?;
    let address = listener.local_addr().context("getsockname")?;
    add(&mut cast.own, epoll.as_raw_fd(), listener.as_raw_fd(), IN, 8)?;
    for _ in 0..8 {
        expect("busy polling of nothing", super::wait(&mut cast.own, epoll.as_raw_fd(), 1), 0)?;
        listener.send_to(b"x", address).context("send to itself")?;
        expect("busy polling", super::wait(&mut cast.own, epoll.as_raw_fd(), -1), 1)?;
        listener.recv(&mut [0; 8]).context("receive from itself")?;
    }
    Ok(())
}

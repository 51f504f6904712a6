//! New descriptors, owned; eventfds; what an eventpoll can be told beside `epoll_ctl`.

use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

use anyhow::{Context as _, Result};
use nix::errno::Errno;

/// A new eventpoll.
pub(crate) fn epoll() -> Result<OwnedFd> {
    // SAFETY: a call without pointers gives a new descriptor, or -1 with an errno.
    unsafe { own(libc::epoll_create1(libc::EPOLL_CLOEXEC), "epoll_create1") }
}

/// A new non-blocking eventfd with this number in it.
pub(crate) fn eventfd(value: u32) -> Result<OwnedFd> {
    // SAFETY: as above.
    unsafe { own(libc::eventfd(value, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC), "eventfd") }
}

/// Lets this number stand for this file from now on, and for no other.
pub(crate) fn give(number: RawFd, file: &OwnedFd) -> Result<()> {
    // SAFETY: a call without pointers; the caller answers for what the number stood for.
    let answer = unsafe { libc::dup3(file.as_raw_fd(), number, libc::O_CLOEXEC) };
    Errno::result(answer).map(drop).context("dup3")
}

/// Adds one to an eventfd.
pub(crate) fn raise(eventfd: &OwnedFd) -> Result<()> {
    nix::unistd::write(eventfd, &1_u64.to_ne_bytes()).context("write to an eventfd")?;
    Ok(())
}

/// Empties an eventfd.
pub(crate) fn lower(eventfd: &OwnedFd) -> Result<()> {
    nix::unistd::read(eventfd, &mut [0; 8]).context("read from an eventfd")?;
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

/// Tells an eventpoll to poll the devices of its sockets for so many microseconds before a wait in it sleeps. A kernel before 6.9 cannot be
/// told: then `false`.
pub(crate) fn poll_devices(epoll: &OwnedFd, micros: u32) -> Result<bool> {
    let params = Params { busy_poll_usecs: micros, busy_poll_budget: 8, prefer_busy_poll: 1, pad: 0 };
    // SAFETY: the kernel reads as many bytes as the structure has.
    let ret = unsafe { libc::ioctl(epoll.as_raw_fd(), EPIOCSPARAMS, &raw const params) };
    match Errno::result(ret) {
        Ok(_) => Ok(true),
        Err(Errno::ENOTTY | Errno::EINVAL) => Ok(false),
        Err(other) => Err(other).context("ioctl(EPIOCSPARAMS)"),
    }
}

/// The result of a call that gives a new descriptor.
///
/// # Safety
///
/// `fd` is a new descriptor that nothing else knows of, or the -1 of a call that has just failed.
pub(crate) unsafe fn own(fd: RawFd, call: &'static str) -> Result<OwnedFd> {
    if fd < 0 {
        return Err(Errno::last()).context(call);
    }
    // SAFETY: the caller's promise.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

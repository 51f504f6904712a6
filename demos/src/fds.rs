//! New descriptors, owned; eventfds.

use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};

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

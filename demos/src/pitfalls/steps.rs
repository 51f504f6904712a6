//! What the ways have in common: a new eventpoll, a wait that must find something or nothing, a read of all there is.
//!
//! In: descriptors. Out: what came, or an error where the kernel did not do what the pitfall, or its twin, is made of.

use std::os::fd::{AsFd, AsRawFd as _};

use anyhow::{Context as _, Result, ensure};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

use crate::counted::Counted;

/// How long a wait of a correct way finds nothing, milliseconds.
pub(super) const MOMENT_MS: i32 = 20;

/// A new eventpoll.
pub(super) fn epoll() -> Result<Epoll> {
    Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("epoll_create1")
}

/// Waits for one event with just these bits; its data.
pub(super) fn one_event(calls: &mut Counted, epoll: &Epoll, bits: EpollFlags) -> Result<u64> {
    let mut room = [EpollEvent::empty(); 8];
    let events = calls.wait(epoll, &mut room)?;
    let [event] = events else { anyhow::bail!("not one event but {events:?}") };
    ensure!(event.events() == bits, "not {bits:?} but {event:?}");
    Ok(event.data())
}

/// Waits so long, and nothing comes.
pub(super) fn nothing_for(calls: &mut Counted, epoll: &Epoll, timeout_ms: i32) -> Result<()> {
    let mut room = [libc::epoll_event { events: 0, u64: 0 }; 8];
    let before = calls.counts().timeouts;
    let events = calls.wait_raw(epoll.0.as_raw_fd(), &mut room, timeout_ms);
    ensure!(events == 0, "{events} events came where none should");
    ensure!(calls.counts().timeouts == before + 1, "epoll_wait ended before its time: {}", Errno::last());
    Ok(())
}

/// Reads with room for so many bytes until EAGAIN; how many bytes each read gave.
pub(super) fn until_eagain(fd: impl AsFd, room: usize) -> Result<Vec<usize>> {
    let mut room = vec![0; room];
    let mut reads = Vec::new();
    loop {
        match nix::unistd::read(&fd, &mut room) {
            Ok(0) => anyhow::bail!("the end of the file after {reads:?}"),
            Ok(read) => reads.push(read),
            Err(Errno::EAGAIN) => return Ok(reads),
            Err(errno) => return Err(errno).context("read"),
        }
    }
}

/// Writes all of it at once.
pub(super) fn write(fd: impl AsFd, bytes: &[u8]) -> Result<()> {
    let written = nix::unistd::write(fd, bytes).context("write")?;
    ensure!(written == bytes.len(), "{written} of {} bytes were written", bytes.len());
    Ok(())
}

//! Events that are not dealt with, or only a few at a time.

use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result, ensure};
use nix::sys::epoll::{EpollEvent, EpollFlags};

use super::steps::{MOMENT_MS, epoll, nothing_for, one_event, until_eagain, write};
use crate::counted::Counted;
use crate::ends::Carrier;
use crate::fds::eventfd;

/// How many waits are made.
const WAITS: usize = 200;
/// And how many with something to read that nobody reads.
const IGNORED: usize = 400;
/// Descriptors that are all ready.
const READY: usize = 32;
/// And how many of them a wait has room for.
const SMALL: usize = 4;
/// Events in all, with large room or small: each descriptor is reported as often.
const REPORTED: usize = WAITS * SMALL;

/// How long an item is left disabled, milliseconds: longer than it takes to deal with an event.
const DISABLED_MS: i32 = 700;

/// Gets an event of a descriptor that is armed for one, and more comes.
pub(super) fn oneshot(calls: &mut Counted, correct: bool) -> Result<()> {
    let (epoll, file) = (epoll()?, eventfd(0)?);
    let mask = EpollFlags::EPOLLIN | EpollFlags::EPOLLONESHOT;
    calls.add(&epoll, file.as_fd(), EpollEvent::new(mask, 0))?;
    write(&file, &1_u64.to_ne_bytes())?;
    one_event(calls, &epoll, EpollFlags::EPOLLIN)?;
    until_eagain(&file, size_of::<u64>())?;
    if correct {
        calls.modify(&epoll, file.as_fd(), EpollEvent::new(mask, 0))?;
    }
    write(&file, &1_u64.to_ne_bytes())?;
    if correct {
        return one_event(calls, &epoll, EpollFlags::EPOLLIN).map(drop);
    }
    nothing_for(calls, &epoll, DISABLED_MS)?;
    // The process ends so: what is closed by hand need not be armed again.
    std::mem::forget((epoll, file));
    Ok(())
}

/// Waits for a pipe whose writer has gone.
pub(super) fn hangup(calls: &mut Counted, correct: bool) -> Result<()> {
    let (reader, writer) = std::io::pipe().context("pipe")?;
    let epoll = epoll()?;
    calls.add(&epoll, reader.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
    drop(writer);
    let mut room = [EpollEvent::empty(); 8];
    for _ in 0..WAITS {
        let events = calls.wait(&epoll, &mut room)?;
        ensure!(events.first().map(EpollEvent::events) == Some(EpollFlags::EPOLLHUP), "not a hangup but {events:?}");
        if correct {
            return calls.delete(&epoll, reader.as_fd());
        }
    }
    Ok(())
}

/// Waits while many descriptors are ready.
pub(super) fn small_maxevents(calls: &mut Counted, correct: bool) -> Result<()> {
    let files = (0..READY).map(|_| eventfd(1)).collect::<Result<Vec<_>>>()?;
    let epoll = epoll()?;
    for (data, file) in (0..).zip(&files) {
        calls.add(&epoll, file.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, data))?;
    }
    let mut room = [EpollEvent::empty(); READY];
    let length = if correct { READY } else { SMALL };
    for _ in 0..REPORTED / length {
        let returned = calls.wait(&epoll, &mut room[..length])?.len();
        ensure!(returned == length, "{returned} events came where {length} have room");
    }
    Ok(())
}

/// Waits for room to write, which there is, with nothing to write.
pub(super) fn always_writable(calls: &mut Counted, correct: bool) -> Result<()> {
    let (epoll, ends) = (epoll()?, Carrier::Unix.ends(calls)?);
    if correct {
        calls.add(&epoll, ends.near.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
        return nothing_for(calls, &epoll, MOMENT_MS);
    }
    calls.add(&epoll, ends.near.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT, 0))?;
    for _ in 0..WAITS {
        one_event(calls, &epoll, EpollFlags::EPOLLOUT)?;
    }
    Ok(())
}

/// Waits for something to read, and leaves it unread.
pub(super) fn ignored(calls: &mut Counted, correct: bool) -> Result<()> {
    let (epoll, file) = (epoll()?, eventfd(1)?);
    calls.add(&epoll, file.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
    if correct {
        one_event(calls, &epoll, EpollFlags::EPOLLIN)?;
        let reads = until_eagain(&file, size_of::<u64>())?;
        ensure!(reads == [size_of::<u64>()], "the reads until EAGAIN gave {reads:?}");
        return nothing_for(calls, &epoll, MOMENT_MS);
    }
    for _ in 0..IGNORED {
        one_event(calls, &epoll, EpollFlags::EPOLLIN)?;
    }
    Ok(())
}

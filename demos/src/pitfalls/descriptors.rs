//! Descriptors that are more than is needed, or that are closed while an item of theirs stays.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use anyhow::{Context as _, Result, ensure};
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};

use super::steps::{MOMENT_MS, epoll, nothing_for, one_event, until_eagain, write};
use crate::counted::Counted;
use crate::ends::Carrier;
use crate::fds::eventfd;

/// Times that the process tells itself something.
const TOLD: usize = 64;
/// Waits that find the event of a closed descriptor: few, since it goes on for as long as one waits.
const WAITS: usize = 20;

/// Wakes itself through a pipe.
pub(super) fn self_pipe(calls: &mut Counted, correct: bool) -> Result<()> {
    let epoll = epoll()?;
    if correct {
        let file = eventfd(0)?;
        return tell_oneself(calls, &epoll, (&file, &file), &1_u64.to_ne_bytes());
    }
    let pipe = Carrier::Pipe.ends(calls)?;
    tell_oneself(calls, &epoll, (&pipe.near, &pipe.far), b"x")
}

fn tell_oneself(calls: &mut Counted, epoll: &Epoll, (near, far): (&OwnedFd, &OwnedFd), word: &[u8]) -> Result<()> {
    calls.add(epoll, near.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
    for _ in 0..TOLD {
        write(far, word)?;
        one_event(calls, epoll, EpollFlags::EPOLLIN)?;
        let reads = until_eagain(near, word.len())?;
        ensure!(reads == [word.len()], "the reads until EAGAIN gave {reads:?}");
    }
    Ok(())
}

/// Closes a descriptor whose file lives on in a duplicate.
pub(super) fn closed_registered(calls: &mut Counted, correct: bool) -> Result<()> {
    let (epoll, file) = (epoll()?, eventfd(1)?);
    let number = u64::try_from(file.as_raw_fd()).context("a descriptor is not negative")?;
    calls.add(&epoll, file.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, number))?;
    let duplicate = file.try_clone().context("dup")?;
    if correct {
        calls.delete(&epoll, file.as_fd())?;
        drop(file);
        nothing_for(calls, &epoll, MOMENT_MS)?;
    } else {
        drop(file);
        for _ in 0..WAITS {
            let data = one_event(calls, &epoll, EpollFlags::EPOLLIN)?;
            ensure!(data == number, "not an event of descriptor {number} but of {data}");
        }
    }
    drop(duplicate);
    Ok(())
}

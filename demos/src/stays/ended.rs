//! Stays that a fault prolongs, and stays that end without a wait.

use std::os::fd::{AsRawFd as _, IntoRawFd as _};

use anyhow::{Context as _, Result, ensure};
use nix::errno::Errno;

use super::{EDGE, IN, Stage};
use crate::fds::eventfd;

const PAGE: usize = 4096;

/// Two pages: the first can be written, the second cannot even be read.
struct Wall(*mut u8);

impl Wall {
    fn new() -> Result<Self> {
        let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping, where the kernel sees fit.
        let address = unsafe { libc::mmap(std::ptr::null_mut(), 2 * PAGE, access, flags, -1, 0) };
        ensure!(address != libc::MAP_FAILED, "mmap: {}", Errno::last());
        let wall = Self(address.cast());
        // SAFETY: the second page of the mapping, to which nothing refers.
        let answer = unsafe { libc::mprotect(wall.behind().cast(), PAGE, libc::PROT_NONE) };
        ensure!(answer == 0, "mprotect: {}", Errno::last());
        Ok(wall)
    }

    /// Where nothing can be written.
    fn behind(&self) -> *mut u8 {
        self.0.wrapping_add(PAGE)
    }

    /// Room for one event, and nothing behind it.
    fn before(&self) -> *mut u8 {
        self.behind().wrapping_sub(size_of::<libc::epoll_event>())
    }
}

impl Drop for Wall {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nothing refers to it any more.
        unsafe { libc::munmap(self.0.cast(), 2 * PAGE) };
    }
}

/// An event that cannot be stored stays: its item goes back to the head of the list (`ep_send_events`, fs/eventpoll.c, 5.10 to 7.3).
pub(super) fn fault(stage: &mut Stage) -> Result<()> {
    let wall = Wall::new()?;
    let (epoll, first) = stage.ready(IN | EDGE)?;
    // SAFETY: the kernel may write there what it can, and that is nothing.
    let answer = unsafe { stage.calls.wait_at(epoll.as_raw_fd(), wall.behind().cast(), 4, 0) };
    ensure!(answer == Err(Errno::EFAULT), "a wait whose array cannot be written gives {answer:?}");
    stage.faults += 1;
    stage.went.carried_over += 1;
    stage.came.carried_over += 1;

    let second = eventfd(0)?;
    stage.ctl(&epoll, libc::EPOLL_CTL_ADD, &second, IN | EDGE)?;
    stage.raise(&second)?;
    // SAFETY: the kernel may write one event there, and no more.
    let answer = unsafe { stage.calls.wait_at(epoll.as_raw_fd(), wall.before().cast(), 4, 0) };
    ensure!(answer == Ok(1), "a wait whose array holds one event gives {answer:?}");
    stage.faults += 1;
    stage.went.delivered += 1;
    stage.went.carried_over += 1;
    stage.came.carried_over += 1;

    stage.wait(&epoll, 4, 1)?;
    stage.went.delivered += 1;
    drop((first, second));
    Ok(())
}

pub(super) fn deleted(stage: &mut Stage) -> Result<()> {
    let (epoll, file) = stage.ready(IN | EDGE)?;
    stage.ctl(&epoll, libc::EPOLL_CTL_DEL, &file, 0)?;
    stage.went.deleted += 1;
    stage.wait(&epoll, 4, 0)
}

/// A second descriptor keeps the file, and the item on the list.
pub(super) fn file_closed(stage: &mut Stage) -> Result<()> {
    let (epoll, file) = stage.ready(IN | EDGE)?;
    let last = file.try_clone().context("dup")?;
    drop(file);
    drop(last);
    stage.went.closed += 1;
    stage.wait(&epoll, 4, 0)
}

pub(super) fn eventpoll_closed(stage: &mut Stage) -> Result<()> {
    let (epoll, file) = stage.ready(IN | EDGE)?;
    drop(epoll);
    stage.went.closed += 1;
    drop(file);
    Ok(())
}

/// Both stay open until the process ends: nobody owns them any more.
pub(super) fn exit(stage: &mut Stage) -> Result<()> {
    let (epoll, file) = stage.ready(IN | EDGE)?;
    let _ = (epoll.into_raw_fd(), file.into_raw_fd());
    stage.went.closed += 1;
    Ok(())
}

//! Threads that wait while others close, and threads that come and go.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::Arc;
use std::thread;

use anyhow::{Context as _, Result, anyhow};

use super::{Cast, IN, add, expect, poll, wait};
use crate::counted::Counted;
use crate::fds::{epoll, eventfd, lower, raise};
use crate::truth::Counts;

/// Runs something in a thread of its own; what it counted, by its number.
pub(super) fn thread(
    work: impl FnOnce(&mut Counted) -> Result<()> + Send + 'static,
) -> thread::JoinHandle<Result<(i32, Counts)>> {
    thread::spawn(move || {
        let mut calls = Counted::default();
        work(&mut calls)?;
        Ok((nix::unistd::gettid().as_raw(), calls.counts()))
    })
}

pub(super) fn joined(thread: thread::JoinHandle<Result<(i32, Counts)>>) -> Result<(i32, Counts)> {
    thread.join().map_err(|_| anyhow!("a thread panicked"))?
}

/// Sleeps until the kernel shows another task of this process inside `epoll_wait`.
pub(crate) fn until_asleep(tid: i32) -> Result<()> {
    let path = format!("/proc/self/task/{tid}/syscall");
    let calls = [libc::SYS_epoll_wait, libc::SYS_epoll_pwait, libc::SYS_epoll_pwait2].map(|call| format!("{call} "));
    loop {
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        if calls.iter().any(|call| text.starts_with(call.as_str())) {
            return Ok(());
        }
        thread::yield_now();
    }
}

/// The wait holds the eventpoll's file: it goes on, and ends with the event that comes.
pub(super) fn closed(cast: &mut Cast) -> Result<()> {
    let (epoll, file) = (epoll()?, eventfd(0)?);
    add(&mut cast.own, epoll.as_raw_fd(), file.as_raw_fd(), IN, 5)?;
    let number = epoll.as_raw_fd();
    let (tell, told) = std::sync::mpsc::channel();
    let waiter = thread(move |calls| {
        tell.send(nix::unistd::gettid().as_raw()).context("tell the number")?;
        expect("an eventpoll closed meanwhile", wait(calls, number, 10_000), 1)
    });
    until_asleep(told.recv().context("hear the number")?)?;
    drop(epoll);
    raise(&file)?;
    cast.others.push(joined(waiter)?);
    Ok(())
}

pub(super) fn come_and_go(cast: &mut Cast) -> Result<()> {
    let (epoll, file): (Arc<OwnedFd>, Arc<OwnedFd>) = (epoll()?.into(), eventfd(0)?.into());
    add(&mut cast.own, epoll.as_raw_fd(), file.as_raw_fd(), IN, 6)?;
    for _ in 0..16 {
        let (epoll, file) = (Arc::clone(&epoll), Arc::clone(&file));
        let one = thread(move |calls| {
            raise(&file)?;
            expect("a short thread", wait(calls, epoll.as_raw_fd(), -1), 1)?;
            lower(&file)
        });
        cast.others.push(joined(one)?);
    }
    expect("after all threads", poll(&mut cast.own, epoll.as_raw_fd()), 0)
}

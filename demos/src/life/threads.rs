//! Threads that wait while others close, and threads that come and go.

use std::convert::Infallible;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow};
use serde::Serialize;

use super::{Cast, IN, add, expect, poll, wait};
use crate::child::Child;
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

/// How long it was from before a write until a wait had returned what came of it, nanoseconds.
#[derive(Debug, Serialize)]
pub(super) struct Span {
    epfd: i32,
    ns: u64,
}

/// One sleeps in the outer eventpoll, two in the inner one. What comes wakes the outer sleeper and one of the others; whoever looks first and
/// leaves the item ready wakes the third.
pub(super) fn inner(cast: &mut Cast) -> Result<()> {
    let (outer, inner, file) = (epoll()?, epoll()?, eventfd(0)?);
    add(&mut cast.own, inner.as_raw_fd(), file.as_raw_fd(), IN, 1)?;
    add(&mut cast.own, outer.as_raw_fd(), inner.as_raw_fd(), IN, 2)?;
    let mut sleepers = Vec::new();
    let raised = Arc::new(OnceLock::new());
    let (say, said) = std::sync::mpsc::channel();
    for epfd in [&inner, &inner, &outer].map(AsRawFd::as_raw_fd) {
        let (tell, told) = std::sync::mpsc::channel();
        let (say, raised) = (say.clone(), Arc::clone(&raised));
        let sleeper = thread(move |calls| {
            tell.send(nix::unistd::gettid().as_raw()).context("tell the number")?;
            expect("a sleeper", wait(calls, epfd, -1), 1)?;
            let since = raised.get().map(Instant::elapsed).context("the wait ended before it was to")?;
            say.send(Span { epfd, ns: u64::try_from(since.as_nanos())? }).context("say how long it took")
        });
        until_asleep(told.recv().context("hear the number")?)?;
        sleepers.push(sleeper);
    }
    raised.get_or_init(Instant::now);
    raise(&file)?;
    for sleeper in sleepers {
        cast.others.push(joined(sleeper)?);
    }
    drop(say);
    cast.spans.extend(said);
    expect("after all sleepers", poll(&mut cast.own, inner.as_raw_fd()), 1)
}

/// The thread goes on under the number of its process; its own is nobody's from then on.
pub(super) fn exec(cast: &mut Cast) -> Result<()> {
    let (epoll, file, number) = (epoll()?, eventfd(1)?, eventfd(0)?);
    add(&mut cast.own, epoll.as_raw_fd(), file.as_raw_fd(), IN, 7)?;
    let child = Child::fork(|_, told| {
        let (epoll, number) = (epoll.as_raw_fd(), number.try_clone().context("dup")?);
        let told = told.try_clone().context("dup")?;
        thread::spawn(move || {
            let Err(error) = becomes_another(epoll, &number, told);
            eprintln!("demos: {error:#}");
            // SAFETY: ends the process without running what belongs to its parent.
            unsafe { libc::_exit(1) }
        });
        loop {
            thread::park();
        }
    })?;
    let (_, counts) = child.join()?;
    let mut tid = [0; 8];
    nix::unistd::read(&number, &mut tid).context("read the thread's number")?;
    cast.others.push((i32::try_from(u64::from_ne_bytes(tid)).context("the thread's number")?, counts));
    Ok(())
}

/// Waits once, tells its number and what it counted, and becomes a program that does nothing.
fn becomes_another(epoll: i32, number: &OwnedFd, told: UnixStream) -> Result<Infallible> {
    let mut calls = Counted::default();
    expect("a thread", poll(&mut calls, epoll), 1)?;
    let tid = u64::from(nix::unistd::gettid().as_raw().cast_unsigned());
    nix::unistd::write(number, &tid.to_ne_bytes()).context("tell the thread's number")?;
    serde_json::to_writer(told, &calls.counts()).context("tell the counts")?;
    let nowhere = std::fs::File::options().write(true).open("/dev/null").context("open /dev/null")?;
    nix::unistd::dup2_stdout(nowhere).context("dup2")?;
    nix::unistd::execv(c"/proc/self/exe", &[c"demos", c"--version"]).context("execv")
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

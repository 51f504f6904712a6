//! The way of one event to a thread that sleeps in `epoll_wait`: a TCP packet, a pipe write, a timer.
//!
//! In: nothing. Out: a scene for each. The program knows when it sent and when the thread was back; a tracer knows what lies between,
//! and in whose context the callback ran: the writer's, or whoever a softirq or an interrupt found running.

use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow, ensure};
use nix::errno::Errno;

use crate::asleep::until_waiting;
use crate::counted::Counted;
use crate::ends::Carrier;
use crate::fds::epoll;
use crate::story::Story;
use crate::story::reaction::Reaction;

const IN: u32 = libc::EPOLLIN.cast_unsigned();

/// How far in the future the timer is.
const TIMER_NS: libc::c_long = 1_000_000;

pub(super) fn ways(story: &mut Story) -> Result<()> {
    for carrier in [Carrier::Tcp, Carrier::Unix, Carrier::Pipe] {
        story.scene(format!("the way of one byte through a {} to a thread that sleeps", carrier.name()));
        let made = format!("make a {}", carrier.name());
        let ends = story.step(made, Reaction::none(), |act| carrier.ends(act.calls))?;
        let (near, far) = (ends.near, ends.far);
        way(story, &near, "send a byte", |act| act.write(&far, b"x"))?;
    }
    story.scene("the way of a timer to a thread that sleeps");
    let timer = timer()?;
    way(story, &timer, "arm a timer of a millisecond", |_| arm(&timer))
}

fn way(
    story: &mut Story,
    source: &OwnedFd,
    did: &str,
    send: impl FnOnce(&mut crate::story::act::Act<'_>) -> Result<()>,
) -> Result<()> {
    let epoll = Arc::new(epoll()?);
    story.step("ADD it", Reaction::none().hooked(1), |act| act.add(&*epoll, source, IN, 1))?;
    let (tell, told) = channel();
    let waiter = Arc::clone(&epoll);
    let handle = std::thread::Builder::new().name("waiter".to_owned()).spawn(move || -> Result<_> {
        let tid = nix::unistd::gettid().as_raw();
        tell.send(tid).context("tell the thread's number")?;
        let mut calls = Counted::default();
        let events = calls.wait_raw(waiter.as_raw_fd(), &mut [libc::epoll_event { events: 0, u64: 0 }], -1);
        let back = Instant::now();
        ensure!(events == 1, "the wait returned {events} events");
        Ok((tid, calls.counts(), back))
    });
    let handle = handle.context("start a thread")?;
    let tid = told.recv().context("hear the thread's number")?;
    story.step("a thread waits", Reaction::none(), |_| until_waiting(&[tid]))?;
    let (tid, counts) = story.step(did, Reaction::wait(1).linked(1).woken(1), |act| {
        let begin = Instant::now();
        send(act)?;
        let (tid, counts, back) = handle.join().map_err(|_| anyhow!("the thread panicked"))??;
        act.tell("back_after_us", u64::try_from((back - begin).as_micros()).unwrap_or(u64::MAX));
        Ok((tid, counts))
    })?;
    story.joined(tid, counts);
    Ok(())
}

fn timer() -> Result<OwnedFd> {
    // SAFETY: a call without pointers gives a new descriptor, or -1 with an errno.
    let fd = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_CLOEXEC | libc::TFD_NONBLOCK) };
    Errno::result(fd).context("timerfd_create")?;
    // SAFETY: nothing else knows of the new descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn arm(timer: &OwnedFd) -> Result<()> {
    let zero = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let soon = libc::itimerspec { it_interval: zero, it_value: libc::timespec { tv_sec: 0, tv_nsec: TIMER_NS } };
    // SAFETY: a time that lives during the call, and no room for the old one.
    let set = unsafe { libc::timerfd_settime(timer.as_raw_fd(), 0, &raw const soon, std::ptr::null_mut()) };
    Errno::result(set).context("timerfd_settime").map(drop)
}

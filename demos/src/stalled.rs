//! `demos stalled`: a scan of the ready list that takes its time: what callbacks and other calls do meanwhile.
//!
//! In: nothing. Out: the story of a wait whose event has nowhere to go yet: its buffer is a page that is not there, and a fault
//! handler (userfaultfd(2)) that gives it when the story wants. Meanwhile files become ready, and another thread calls `epoll_ctl`.

use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, anyhow, ensure};
use clap::Args;
use serde::Serialize;

use crate::absent_page::AbsentPage;
use crate::asleep::is_blocked_in;
use crate::counted::Counted;
use crate::fds::{epoll, eventfd};
use crate::story::Story;
use crate::story::reaction::Reaction;
use crate::truth::Counts;

const IN: u32 = libc::EPOLLIN.cast_unsigned();
const FIRST: u64 = 1;
const SECOND: u64 = 2;
const WRITES: u64 = 3;

/// A scan that is held up: what callbacks and `epoll_ctl` do meanwhile
#[derive(Debug, Args, Serialize)]
#[command(after_help = "Examples:
  demos stalled
  demos stalled --json

Holding the kernel up takes userfaultfd(2), which takes root.")]
pub(crate) struct Options {
    /// Print one line of JSON instead of text
    #[arg(long)]
    #[serde(skip)]
    json: bool,
}

/// Runs the demo and returns what it prints.
pub(crate) fn run(options: &Options) -> Result<String> {
    let mut story = Story::begin("stalled", options)?;
    match AbsentPage::new() {
        Ok(page) => held_up(&mut story, &page)?,
        Err(error) => story.missing(format!("a scan that is held up ({error:#})")),
    }
    story.end(options.json)
}

type Thread = JoinHandle<Result<Counts>>;

/// Starts a thread that makes one call.
fn start(name: &str, call: impl FnOnce(&mut Counted) -> Result<()> + Send + 'static) -> Result<(i32, Thread)> {
    let (tell, told) = channel();
    let thread = std::thread::Builder::new().name(name.to_owned());
    let handle = thread.spawn(move || {
        tell.send(nix::unistd::gettid().as_raw()).context("tell the thread's number")?;
        let mut calls = Counted::default();
        call(&mut calls)?;
        Ok(calls.counts())
    });
    let handle = handle.context("start a thread")?;
    Ok((told.recv().context("hear the thread's number")?, handle))
}

/// Whether the thread waits in this call, or has ended.
fn blocks((tid, thread): &(i32, Thread), call: libc::c_long) -> bool {
    while !thread.is_finished() {
        // What cannot be read any more is about to end.
        if is_blocked_in(*tid, call).unwrap_or(false) {
            return true;
        }
        std::thread::yield_now();
    }
    false
}

fn join((tid, thread): (i32, Thread)) -> Result<(i32, Counts)> {
    Ok((tid, thread.join().map_err(|_| anyhow!("a thread panicked"))??))
}

fn held_up(story: &mut Story, page: &AbsentPage) -> Result<()> {
    story.scene("a scan is held up");
    let epoll = Arc::new(epoll()?);
    let (first, second) = (eventfd(0)?, Arc::new(eventfd(0)?));
    story.step("ADD two eventfds", Reaction::none().hooked(2), |act| {
        act.add(&*epoll, &first, IN, FIRST)?;
        act.add(&*epoll, &*second, IN, SECOND)
    })?;
    story.step("write to the first", Reaction::none().linked(1), |act| act.write(&first, &1_u64.to_ne_bytes()))?;
    let (address, waited_on) = (page.address, Arc::clone(&epoll));
    let waiter = story.step("a thread waits, and its scan cannot store the event", Reaction::none(), |_| {
        let waiter = start("waiter", move |calls| {
            let room = std::ptr::with_exposed_provenance_mut::<libc::epoll_event>(address);
            // SAFETY: the page is mapped, aligned, ours, and nobody else's while the thread lives; all bytes are a value.
            let room = unsafe { std::slice::from_raw_parts_mut(room, 4) };
            let events = calls.wait_raw(waited_on.as_raw_fd(), room, -1);
            ensure!(events == 1 && room[0].u64 == FIRST, "the wait returned {events} events");
            Ok(())
        })?;
        page.until_missed()?;
        Ok(waiter)
    })?;
    story.step(
        format!("write to the second, {WRITES} times: onto the overflow list, once"),
        Reaction::none().overflow(WRITES),
        |act| (0..WRITES).try_for_each(|_| act.write(&*second, &1_u64.to_ne_bytes())),
    )?;
    let (theirs, file) = (Arc::clone(&epoll), Arc::clone(&second));
    let changer = story.step("another thread calls epoll_ctl: it has to wait", Reaction::none(), |act| {
        let changer = start("changer", move |calls| {
            let event = Some((IN, SECOND));
            calls.ctl(theirs.as_raw_fd(), libc::EPOLL_CTL_MOD, file.as_raw_fd(), event).context("epoll_ctl")
        })?;
        act.tell("blocked_in_epoll_ctl", u64::from(blocks(&changer, libc::SYS_epoll_ctl)));
        Ok(changer)
    })?;
    // What came meanwhile goes to the ready list.
    let threads = story.step("let the scan go on", Reaction::wait(1), |_| {
        page.give()?;
        Ok([join(waiter)?, join(changer)?])
    })?;
    for (tid, counts) in threads {
        story.joined(tid, counts);
    }
    story.step("wait: both are reported", Reaction::wait(2), |act| act.wait(&*epoll, 4))?;
    Ok(())
}

//! `demos wakeup`: how one thread ends another's wait: a byte in a pipe, or an eventfd.
//!
//! In: how many wakeups come before one is looked at. Out: the story of both, level-triggered and edge-triggered, with the
//! descriptors and reads that each needs.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::channel;

use anyhow::{Context as _, Result, anyhow, ensure};
use clap::Args;
use nix::fcntl::OFlag;
use serde::Serialize;

use crate::asleep::until_waiting;
use crate::counted::Counted;
use crate::ends::Carrier;
use crate::fds::{epoll, eventfd};
use crate::story::Story;
use crate::story::act::Act;
use crate::story::reaction::Reaction;
use crate::trigger::{Trigger, more};

const IN: u32 = libc::EPOLLIN.cast_unsigned();
const DATA: u64 = 1;

/// Ending another thread's wait: the self-pipe trick against an eventfd
#[derive(Debug, Args, Serialize)]
#[command(after_help = "Examples:
  demos wakeup
  demos wakeup --wakeups 100 --json")]
pub(crate) struct Options {
    /// How many wakeups come before one is looked at
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(2..=4096))]
    wakeups: u16,
    /// Print one line of JSON instead of text
    #[arg(long)]
    #[serde(skip)]
    json: bool,
}

/// A way to wake: where to write what, and where to read.
struct Bell {
    pipe: bool,
    near: OwnedFd,
    /// The pipe's other end.
    far: Option<OwnedFd>,
}

impl Bell {
    fn new(pipe: bool) -> Result<Self> {
        if pipe {
            let (near, far) = nix::unistd::pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).context("pipe2")?;
            return Ok(Self { pipe, near, far: Some(far) });
        }
        Ok(Self { pipe, near: eventfd(0)?, far: None })
    }

    fn ring(&self, act: &mut Act<'_>) -> Result<()> {
        match &self.far {
            Some(far) => act.write(far, b"!"),
            None => act.write(&self.near, &1_u64.to_ne_bytes()),
        }
    }

    /// One read takes all wakeups: as many bytes from a pipe, one number from an eventfd.
    fn answer(&self, act: &mut Act<'_>, wakeups: u64) -> Result<()> {
        let mut room = vec![0; if self.pipe { 65_536 } else { 8 }];
        let read = nix::unistd::read(&self.near, &mut room).context("read the wakeups")?;
        act.tell("read", read);
        let number = if self.pipe {
            read as u64
        } else {
            u64::from_ne_bytes(room.get(..8).context("8 bytes")?.try_into().context("8 bytes")?)
        };
        act.tell("wakeups", number);
        ensure!(number == wakeups, "{number} wakeups were read, not {wakeups}");
        Ok(())
    }

    /// Reading an eventfd announces room to write to those who wait for bytes; the two ends of a pipe have a wait queue each.
    fn answered(&self) -> Reaction {
        Reaction::none().filtered(u64::from(!self.pipe))
    }

    /// What one more wakeup does while the first has not been looked at.
    fn again(&self, trigger: Trigger, on_list: bool) -> Result<Reaction> {
        // An eventfd wakes with every write, as a socket does.
        more(if self.pipe { Carrier::Pipe } else { Carrier::Unix }, trigger, on_list)
    }
}

/// Runs the demo and returns what it prints.
pub(crate) fn run(options: &Options) -> Result<String> {
    let mut story = Story::begin("wakeup", options)?;
    for pipe in [true, false] {
        for trigger in [Trigger::Lt, Trigger::Et] {
            let bell = if pipe { "a pipe" } else { "an eventfd" };
            story.scene(format!("{bell}, {}", trigger.name()));
            one(&mut story, &Arc::new(Bell::new(pipe)?), trigger, u64::from(options.wakeups))?;
        }
    }
    story.end(options.json)
}

fn one(story: &mut Story, bell: &Arc<Bell>, trigger: Trigger, wakeups: u64) -> Result<()> {
    let epoll = Arc::new(epoll()?);
    story.step("ADD it", Reaction::none().hooked(1), |act| {
        act.tell("descriptors", if bell.pipe { 2 } else { 1 });
        act.add(&*epoll, &bell.near, IN | trigger.flag(), DATA)
    })?;
    let sleeper = {
        let (tell, told) = channel();
        let epoll = Arc::clone(&epoll);
        let handle = std::thread::Builder::new().name("sleeper".to_owned()).spawn(move || -> Result<_> {
            let tid = nix::unistd::gettid().as_raw();
            tell.send(tid).context("tell the thread's number")?;
            let mut calls = Counted::default();
            let events = calls.wait_raw(epoll.as_raw_fd(), &mut [libc::epoll_event { events: 0, u64: 0 }], -1);
            ensure!(events == 1, "the wait returned {events} events");
            Ok((tid, calls.counts()))
        });
        let handle = handle.context("start a thread")?;
        let tid = told.recv().context("hear the thread's number")?;
        story.step("a thread waits", Reaction::none(), |_| until_waiting(&[tid]))?;
        handle
    };
    let (tid, counts) = story.step("wake it", Reaction::wait(1).linked(1).woken(1), |act| {
        bell.ring(act)?;
        sleeper.join().map_err(|_| anyhow!("the thread panicked"))?
    })?;
    story.joined(tid, counts);
    story.step("read the wakeup", bell.answered(), |act| bell.answer(act, 1))?;
    story.step("wait: nothing", trigger.nothing_left(), |act| act.wait(&*epoll, 1))?;

    story.step("ring", Reaction::none().linked(1), |act| bell.ring(act))?;
    for _ in 1..wakeups {
        story.step("ring again, before anybody has looked", bell.again(trigger, true)?, |act| bell.ring(act))?;
    }
    story.step("wait: one event", Reaction::wait(1), |act| act.wait(&*epoll, 4))?;
    let on_list = trigger == Trigger::Lt;
    story.step("ring, with all of them unread", bell.again(trigger, on_list)?, |act| bell.ring(act))?;
    story.step("wait: it is reported again", Reaction::wait(1), |act| act.wait(&*epoll, 4))?;
    story.step("read all of them at once", bell.answered(), |act| bell.answer(act, wakeups + 1))?;
    story.step("wait: nothing", trigger.nothing_left(), |act| act.wait(&*epoll, 1))?;
    Ok(())
}

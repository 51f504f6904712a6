//! `demos epollout`: asking for room to write when nobody writes, and how it is done instead.
//!
//! In: how often to wait, how many bytes arrive. Out: the story: a busy loop, one report, reports that come along with others, and
//! EPOLLOUT that is armed only while a write has found no room.

use anyhow::{Context as _, Result};
use clap::Args;
use serde::Serialize;

use crate::ends::Carrier;
use crate::fds::epoll;
use crate::story::Story;
use crate::story::reaction::{Reaction, Times};
use crate::trigger::{Trigger, fill};

const IN: u32 = libc::EPOLLIN.cast_unsigned();
const OUT: u32 = libc::EPOLLOUT.cast_unsigned();
const DATA: u64 = 1;

/// EPOLLOUT on a socket with room: every wait (LT), once (ET), with every arrival (ET), or only when needed
#[derive(Debug, Args, Serialize)]
#[command(after_help = "Examples:
  demos epollout
  demos epollout --waits 1000 --arrivals 20 --json")]
pub(crate) struct Options {
    /// How often to wait for an idle socket
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    waits: u32,
    /// How many bytes arrive one by one
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    arrivals: u32,
    /// Print one line of JSON instead of text
    #[arg(long)]
    #[serde(skip)]
    json: bool,
}

/// Runs the demo and returns what it prints.
pub(crate) fn run(options: &Options) -> Result<String> {
    let mut story = Story::begin("epollout", options)?;
    for trigger in [Trigger::Lt, Trigger::Et] {
        idle(&mut story, trigger, options.waits)?;
    }
    arrivals(&mut story, options.arrivals)?;
    when_needed(&mut story)?;
    story.end(options.json)
}

fn idle(story: &mut Story, trigger: Trigger, waits: u32) -> Result<()> {
    story.scene(format!("idle and writable, {}", trigger.name()));
    let ends = story.step("make a TCP connection", Reaction::none(), |act| Carrier::Tcp.ends(act.calls))?;
    let epoll = epoll()?;
    story.step("ADD it with EPOLLIN | EPOLLOUT", Reaction::none().hooked(1), |act| {
        act.add(&epoll, &ends.near, IN | OUT | trigger.flag(), DATA)
    })?;
    let reports = if trigger == Trigger::Lt { u64::from(waits) } else { 1 };
    story.step(format!("wait {waits} times"), Reaction::none().scans(reports).events(reports), |act| {
        // So many events are counted, not listed.
        let mut room = [libc::epoll_event { events: 0, u64: 0 }];
        for _ in 0..waits {
            act.calls.wait_raw(std::os::fd::AsRawFd::as_raw_fd(&epoll), &mut room, 0);
        }
        Ok(())
    })
}

/// A callback makes the kernel ask for everything that the item wants: EPOLLOUT comes along.
fn arrivals(story: &mut Story, arrivals: u32) -> Result<()> {
    story.scene("bytes arrive at a writable socket, edge-triggered");
    let ends = story.step("make a TCP connection", Reaction::none(), |act| Carrier::Tcp.ends(act.calls))?;
    let epoll = epoll()?;
    story.step("ADD it with EPOLLIN | EPOLLOUT | EPOLLET", Reaction::none().hooked(1), |act| {
        act.add(&epoll, &ends.near, IN | OUT | Trigger::Et.flag(), DATA)
    })?;
    story.step("wait: it is writable", Reaction::wait(1), |act| act.wait(&epoll, 1))?;
    let each = u64::from(arrivals);
    let kernel = Reaction::none().linked(each).scans(each).events(each);
    story.step(format!("{arrivals} times: a byte arrives, wait, read it"), kernel, |act| {
        let mut with_out = 0;
        for _ in 0..arrivals {
            act.write(&ends.far, b"x")?;
            ends.until_unread(1)?;
            let events = act.wait(&epoll, 1)?;
            with_out += events.iter().filter(|event| event.events & OUT != 0).count();
            act.read(&ends.near, 16)?;
        }
        act.tell("with_epollout", with_out);
        Ok(())
    })
}

/// Nobody asks for room until a write has found none, and nobody asks any more when it is there.
fn when_needed(story: &mut Story) -> Result<()> {
    story.scene("armed only while it is needed, level-triggered");
    let ends = story.step("make a TCP connection", Reaction::none(), |act| Carrier::Tcp.ends(act.calls))?;
    let epoll = epoll()?;
    story.step("ADD it with EPOLLIN", Reaction::none().hooked(1), |act| act.add(&epoll, &ends.far, IN, DATA))?;
    story.step("wait: nothing", Reaction::none(), |act| act.wait(&epoll, 1))?;
    // Room that acknowledgements make is announced, and the item does not want to know.
    let fills = Reaction::none().filtered(Times::ANY);
    let written = story.step("write until EAGAIN", fills, |act| fill(act, &ends))?;
    story.step("MOD: EPOLLIN | EPOLLOUT", Reaction::none(), |act| act.modify(&epoll, &ends.far, IN | OUT, DATA))?;
    story.step("wait: there is no room", Reaction::none(), |act| act.wait(&epoll, 1))?;
    story.step("the other end reads all of it", Reaction::none().linked(1), |act| {
        let mut read = 0;
        while read < written {
            read += act.drain(&ends.near, 65_536)?;
        }
        ends.until_acknowledged()
    })?;
    story.step("wait: there is room", Reaction::wait(1), |act| act.wait(&epoll, 1))?;
    story.step("write what is left", Reaction::none(), |act| act.write(&ends.far, b"end"))?;
    story.step("MOD: EPOLLIN", Reaction::none(), |act| {
        act.modify(&epoll, &ends.far, IN, DATA)?;
        ends.until_unread(3).context("the last bytes")
    })?;
    story.step("wait: one look, and peace", Reaction::wait(0), |act| act.wait(&epoll, 1))?;
    story.step("wait: nothing", Reaction::none(), |act| act.wait(&epoll, 1))?;
    Ok(())
}

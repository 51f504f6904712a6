//! `demos reactor`: the loop of an event-driven server, step by step, and beside it the loop of a proactor on io_uring.
//!
//! In: connections and requests. Out: the story of one request, level-triggered, edge-triggered and with EPOLLONESHOT, with each call
//! and what the kernel did of it; then the system calls of one request, counted by the kernel over many.

use std::os::fd::OwnedFd;

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use crate::echo::{Load, MESSAGE, Server, serve, table};
use crate::ends::{Carrier, Ends};
use crate::fds::epoll;
use crate::story::Story;
use crate::story::reaction::Reaction;

const IN: u32 = libc::EPOLLIN.cast_unsigned();

/// The reactor's loop step by step (LT, ET, ONESHOT), and a proactor on io_uring beside it
#[derive(Debug, Args, Serialize)]
#[command(after_help = "Examples:
  demos reactor
  demos reactor --connections 8 --requests 100 --json")]
pub(crate) struct Options {
    /// How many connections the loop serves
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=64))]
    connections: u8,
    /// How many requests are counted
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    requests: u32,
    /// Print one line of JSON instead of text
    #[arg(long)]
    #[serde(skip)]
    json: bool,
}

/// How the loop's items are triggered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loop {
    Lt,
    Et,
    Oneshot,
}

impl Loop {
    fn name(self) -> &'static str {
        match self {
            Self::Lt => "level-triggered",
            Self::Et => "edge-triggered",
            Self::Oneshot => "EPOLLONESHOT",
        }
    }

    fn mask(self) -> u32 {
        IN | match self {
            Self::Lt => 0,
            Self::Et => libc::EPOLLET.cast_unsigned(),
            Self::Oneshot => libc::EPOLLONESHOT.cast_unsigned(),
        }
    }
}

/// Runs the demo and returns what it prints.
pub(crate) fn run(options: &Options) -> Result<String> {
    let mut story = Story::begin("reactor", options)?;
    for how in [Loop::Lt, Loop::Et, Loop::Oneshot] {
        turn(&mut story, how, options.connections)?;
    }
    story.scene("one connection, many requests: the system calls of each");
    let mut rows = Vec::new();
    for server in [Server::EpollLt, Server::EpollEt, Server::EpollOneshot, Server::IoUring, Server::IoUringLinked] {
        let load = Load { connections: 1, requests: options.requests, in_flight: 1 };
        rows.extend(serve(&mut story, server, load)?);
    }
    story.table(table::of(&rows));
    story.end(options.json)
}

/// One turn of the loop: requests on two of the connections, dispatched, answered.
fn turn(story: &mut Story, how: Loop, connections: u8) -> Result<()> {
    story.scene(format!("one turn of the loop, {}", how.name()));
    let all: Vec<Ends> = story.step(format!("make {connections} unix sockets"), Reaction::none(), |act| {
        (0..connections).map(|_| Carrier::Unix.ends(act.calls)).collect()
    })?;
    let epoll = epoll()?;
    let hooked = Reaction::none().hooked(u64::from(connections));
    story.step("ADD each of them", hooked, |act| {
        (0..).zip(&all).try_for_each(|(data, ends)| act.add(&epoll, &ends.near, how.mask(), data))
    })?;
    story.step("wait: nothing to do", Reaction::none(), |act| act.wait(&epoll, 8))?;
    for (ends, name) in all.iter().zip(["first", "second"]) {
        story.step(format!("a request arrives on the {name}"), Reaction::none().linked(1), |act| {
            act.write(&ends.far, &[b'q'; MESSAGE])
        })?;
    }
    let events = story.step("wait: dispatch", Reaction::wait(2), |act| act.wait(&epoll, 8))?;
    for event in events {
        let ends = usize::try_from(event.data).ok().and_then(|index| all.get(index));
        let ends = ends.ok_or_else(|| anyhow::anyhow!("an event of no connection"))?;
        handle(story, how, &epoll, ends, event.data)?;
    }
    // Level-triggered, both have been put back, and one scan finds that nothing is left.
    let again = if how == Loop::Lt { Reaction::wait(0) } else { Reaction::none() };
    story.step("back to the wait: nothing", again, |act| act.wait(&epoll, 8))?;
    story.step("a request arrives on the first", Reaction::none().linked(1), |act| {
        act.write(&all[0].far, &[b'q'; MESSAGE])
    })?;
    story.step("wait: dispatch", Reaction::wait(1), |act| act.wait(&epoll, 8))?;
    // Cancelled: the event that another wait would have returned goes with the item.
    story.step("DEL the first", Reaction::none(), |act| act.delete(&epoll, &all[0].near))?;
    story.step("wait: nothing", Reaction::none(), |act| act.wait(&epoll, 8))?;
    Ok(())
}

fn handle(story: &mut Story, how: Loop, epoll: &OwnedFd, ends: &Ends, data: u64) -> Result<()> {
    let number = data + 1;
    match how {
        Loop::Et => story.step(format!("handler of {number}: read until EAGAIN"), Reaction::none(), |act| {
            act.drain(&ends.near, MESSAGE).map(drop)
        })?,
        Loop::Lt | Loop::Oneshot => story.step(format!("handler of {number}: read"), Reaction::none(), |act| {
            act.read(&ends.near, MESSAGE).map(drop)
        })?,
    }
    story.step(format!("handler of {number}: write the answer"), Reaction::none(), |act| {
        act.write(&ends.near, &[b'a'; MESSAGE])
    })?;
    // The client takes its answer: that makes room, which the loop has not asked for.
    let filtered = if how == Loop::Oneshot { Reaction::none().disabled(1) } else { Reaction::none().filtered(1) };
    story.step("the client reads the answer", filtered, |act| act.read(&ends.far, MESSAGE))?;
    if how == Loop::Oneshot {
        story.step(format!("handler of {number}: MOD arms it again"), Reaction::none(), |act| {
            act.modify(epoll, &ends.near, how.mask(), data)
        })?;
    }
    Ok(())
}

//! `demos accept-once`: several connections wait, and one event is answered with one `accept`.
//!
//! In: how many connections. Out: the story, edge-triggered and level-triggered: what is reported again, and what a loop finds.

use std::os::fd::OwnedFd;

use anyhow::{Result, ensure};
use clap::Args;
use serde::Serialize;

use crate::ends::Listener;
use crate::fds::epoll;
use crate::story::Story;
use crate::story::act::Act;
use crate::story::reaction::Reaction;
use crate::trigger::Trigger;

const IN: u32 = libc::EPOLLIN.cast_unsigned();
const DATA: u64 = 1;

/// One accept for one event, where several connections wait: with EPOLLET the rest stays unreported
#[derive(Debug, Args, Serialize)]
#[command(after_help = "Examples:
  demos accept-once
  demos accept-once --connections 100 --json")]
pub(crate) struct Options {
    /// How many connections wait before the first event is taken
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(2..=120))]
    connections: u16,
    /// Print one line of JSON instead of text
    #[arg(long)]
    #[serde(skip)]
    json: bool,
}

/// Runs the demo and returns what it prints.
pub(crate) fn run(options: &Options) -> Result<String> {
    let mut story = Story::begin("accept-once", options)?;
    let connections = u32::from(options.connections);
    for (trigger, loops) in [(Trigger::Et, false), (Trigger::Et, true), (Trigger::Lt, false)] {
        let how = if loops { "accept until EAGAIN" } else { "accept once" };
        story.scene(format!("{}, {how}", trigger.name()));
        let (listener, epoll) = (Listener::new()?, epoll()?);
        let mut clients = Vec::new();
        let mut accepted = Vec::new();
        story.step("ADD the listening socket", Reaction::none().hooked(1), |act| {
            act.add(&epoll, &listener.socket, IN | trigger.flag(), DATA)
        })?;
        let arrive = Reaction::none().linked(1).already_linked(u64::from(connections) - 1);
        story.step(format!("{connections} connections arrive"), arrive, |_| {
            connect(&listener, &mut clients, connections, 0)
        })?;
        story.step("wait", Reaction::wait(1), |act| act.wait(&epoll, 1))?;
        if loops {
            story.step(how, Reaction::none(), |act| accept_all(act, &listener, &mut accepted))?;
            ensure!(accepted.len() == usize::from(options.connections), "{} were accepted", accepted.len());
            story.step("wait again", trigger.nothing_left(), |act| act.wait(&epoll, 1))?;
            continue;
        }
        story.step(how, Reaction::none(), |act| {
            accepted.extend(act.calls.accept(&listener.socket)?);
            act.tell("queued", connections - 1);
            Ok(())
        })?;
        story.step("wait again: the others are there", trigger.something_left(), |act| act.wait(&epoll, 1))?;
        let one_more =
            if trigger == Trigger::Lt { Reaction::none().already_linked(1) } else { Reaction::none().linked(1) };
        story
            .step("one more connection arrives", one_more, |_| connect(&listener, &mut clients, 1, connections - 1))?;
        story.step("wait", Reaction::wait(1), |act| act.wait(&epoll, 1))?;
        story.step("accept until EAGAIN: all of them are there", Reaction::none(), |act| {
            accept_all(act, &listener, &mut accepted)
        })?;
        ensure!(accepted.len() == clients.len(), "{} of {} were accepted", accepted.len(), clients.len());
        story.step("wait", trigger.nothing_left(), |act| act.wait(&epoll, 1))?;
    }
    story.end(options.json)
}

/// One by one: each has arrived before the next begins.
fn connect(listener: &Listener, clients: &mut Vec<OwnedFd>, connections: u32, queued: u32) -> Result<()> {
    for number in 1..=connections {
        clients.push(listener.connect()?);
        listener.until_queued(queued + number)?;
    }
    Ok(())
}

fn accept_all(act: &mut Act<'_>, listener: &Listener, accepted: &mut Vec<OwnedFd>) -> Result<()> {
    while let Some(connection) = act.calls.accept(&listener.socket)? {
        accepted.push(connection);
    }
    Ok(())
}

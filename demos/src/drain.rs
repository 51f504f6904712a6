//! `demos drain`: bursts of bytes on an edge-triggered connection, read once for each event, and read until EAGAIN.
//!
//! In: the bursts and the size of a read. Out: the story: bytes that arrived, were read, and are left, and that those can still be
//! read.

use anyhow::{Result, ensure};
use clap::Args;
use serde::Serialize;

use crate::ends::{Carrier, Ends, unread};
use crate::fds::epoll;
use crate::story::Story;
use crate::story::reaction::Reaction;
use crate::trigger::{Trigger, more};

const IN: u32 = libc::EPOLLIN.cast_unsigned();
const DATA: u64 = 1;

/// Bursts on an edge-triggered connection: read once per event (wrong), or until EAGAIN (right)
#[derive(Debug, Args, Serialize)]
#[command(after_help = "Examples:
  demos drain
  demos drain --bursts 1000,1 --read 512
  demos drain --on tcp --json")]
pub(crate) struct Options {
    /// What carries the bytes
    #[arg(long, value_enum, default_value = "tcp")]
    on: Carrier,
    /// How many bytes each burst has
    #[arg(long, value_name = "N,N,...", value_delimiter = ',', default_values_t = [400, 300, 500], value_parser = clap::value_parser!(u16).range(1..=4096))]
    bursts: Vec<u16>,
    /// How many bytes one read takes at most
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..))]
    read: u16,
    /// Print one line of JSON instead of text
    #[arg(long)]
    #[serde(skip)]
    json: bool,
}

/// Runs the demo and returns what it prints.
pub(crate) fn run(options: &Options) -> Result<String> {
    ensure!(options.bursts.len() <= 16, "at most 16 bursts fit the socket's buffer for certain");
    let mut story = Story::begin("drain", options)?;
    for (name, interleaved, drains) in [
        ("wrong: one read for each event, a wait after each burst", true, false),
        ("wrong: one read for each event, a wait after all bursts", false, false),
        ("right: read until EAGAIN, a wait after each burst", true, true),
        ("right: read until EAGAIN, a wait after all bursts", false, true),
    ] {
        story.scene(name);
        let ends =
            story.step(format!("make a {}", options.on.name()), Reaction::none(), |act| options.on.ends(act.calls))?;
        let epoll = epoll()?;
        story.step("ADD the reading end with EPOLLET", Reaction::none().hooked(1), |act| {
            act.add(&epoll, &ends.near, IN | Trigger::Et.flag(), DATA)
        })?;
        let mut reader = Reader { ends: &ends, epoll: &epoll, at_once: usize::from(options.read), drains, unread: 0 };
        for (number, &burst) in options.bursts.iter().enumerate() {
            // Only a wait takes the item off the ready list.
            let on_list = !interleaved && number > 0;
            let first = number == 0;
            let kernel = if first { Reaction::none().linked(1) } else { more(options.on, Trigger::Et, on_list)? };
            reader.arrives(&mut story, usize::from(burst), kernel)?;
            if interleaved {
                reader.serve(&mut story)?;
            }
        }
        if !interleaved {
            reader.serve(&mut story)?;
        }
        reader.end(&mut story)?;
    }
    story.end(options.json)
}

struct Reader<'a> {
    ends: &'a Ends,
    epoll: &'a std::os::fd::OwnedFd,
    at_once: usize,
    drains: bool,
    unread: usize,
}

impl Reader<'_> {
    fn arrives(&mut self, story: &mut Story, bytes: usize, kernel: Reaction) -> Result<()> {
        self.unread += bytes;
        story.step(format!("a burst of {bytes} bytes arrives"), kernel, |act| {
            act.write(&self.ends.far, &vec![b'x'; bytes])?;
            self.ends.until_unread(self.unread)
        })
    }

    fn serve(&mut self, story: &mut Story) -> Result<()> {
        story.step("wait", Reaction::wait(1), |act| act.wait(self.epoll, 4))?;
        let did = if self.drains {
            "read until EAGAIN".to_owned()
        } else {
            format!("read once, at most {} bytes", self.at_once)
        };
        story.step(did, Reaction::none(), |act| {
            let read = if self.drains {
                act.drain(&self.ends.near, self.at_once)?
            } else {
                act.read(&self.ends.near, self.at_once)?.unwrap_or(0)
            };
            self.unread -= read;
            act.tell("left", self.unread);
            Ok(())
        })
    }

    /// No event will tell of what is left; but it is there.
    fn end(&mut self, story: &mut Story) -> Result<()> {
        story.step("wait for more", Reaction::none(), |act| act.wait(self.epoll, 4))?;
        story.step("look what is left in the buffer, and read it", Reaction::none(), |act| {
            act.tell("left", self.unread);
            let found = act.drain(&self.ends.near, 4096)?;
            ensure!(found == self.unread, "{found} bytes were left, not {}", self.unread);
            ensure!(unread(&self.ends.near)? == 0, "bytes are left after EAGAIN");
            Ok(())
        })
    }
}

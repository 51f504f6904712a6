//! `demos trigger`: when does a wait report a file again, level-triggered (LT) and edge-triggered (ET)?
//!
//! In: what carries the bytes, how many there are and how many are read. Out: the story of every scene: everything read, half of
//! it read, bytes that come before the next wait, room to write.

use anyhow::Result;
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::ends::{Carrier, Ends};
use crate::fds::epoll;
use crate::release;
use crate::story::Story;
use crate::story::reaction::{Reaction, Times};

const IN: u32 = libc::EPOLLIN.cast_unsigned();
const OUT: u32 = libc::EPOLLOUT.cast_unsigned();
const ET: u32 = libc::EPOLLET.cast_unsigned();
/// `epoll_data` of the one item that there is.
const DATA: u64 = 1;
/// How often an idle file is asked for room to write.
const IDLE_WAITS: u64 = 10;

/// Level-triggered against edge-triggered: what is read, what is left, and when it is reported again
#[derive(Debug, Args, Serialize)]
#[command(after_help = "Examples:
  demos trigger
  demos trigger --on pipe --bytes 4096 --read 1
  demos trigger --on tcp --trigger et --json")]
pub(crate) struct Options {
    /// What carries the bytes (may be repeated)
    #[arg(long, value_enum, default_values = ["tcp", "unix", "pipe"])]
    on: Vec<Carrier>,
    /// Level-triggered, edge-triggered (may be repeated)
    #[arg(long, value_enum, default_values = ["lt", "et"])]
    trigger: Vec<Trigger>,
    /// How many bytes arrive at first
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(2..=4096))]
    bytes: u16,
    /// How many of them a partial read takes; as many arrive later
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=4095))]
    read: u16,
    /// Print one line of JSON instead of text
    #[arg(long)]
    #[serde(skip)]
    json: bool,
}

/// How an item is triggered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Trigger {
    /// Level-triggered
    Lt,
    /// Edge-triggered (EPOLLET)
    Et,
}

impl Trigger {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Lt => "level-triggered",
            Self::Et => "edge-triggered",
        }
    }

    pub(crate) fn flag(self) -> u32 {
        match self {
            Self::Lt => 0,
            Self::Et => ET,
        }
    }

    /// What a wait that finds nothing costs after a delivery: a level-triggered item has been put back unasked, and one more scan
    /// finds out that it is not ready.
    pub(crate) fn nothing_left(self) -> Reaction {
        Reaction::wait(0).scans(u64::from(self == Self::Lt))
    }

    /// What a wait does when bytes are left and none have come: a level-triggered item is reported again.
    pub(crate) fn something_left(self) -> Reaction {
        match self {
            Self::Lt => Reaction::wait(1),
            Self::Et => Reaction::none(),
        }
    }
}

/// What a write does to a file that has unread bytes, whose item is on the ready list or not.
///
/// From 7.3 on a pipe that no edge-triggered reader has asked only wakes when it was empty (`pipe_poll`, `fs/pipe.c`).
pub(crate) fn more(carrier: Carrier, trigger: Trigger, on_list: bool) -> Result<Reaction> {
    let silent = carrier == Carrier::Pipe && trigger == Trigger::Lt && release::at_least(7, 3)?;
    Ok(match (silent, on_list) {
        (true, _) => Reaction::none(),
        (false, true) => Reaction::none().already_linked(1),
        (false, false) => Reaction::none().linked(1),
    })
}

/// Runs the demo and returns what it prints.
pub(crate) fn run(options: &Options) -> Result<String> {
    anyhow::ensure!(options.read < options.bytes, "--read takes less than --bytes, or it would not be a partial read");
    let mut story = Story::begin("trigger", options)?;
    for &carrier in &options.on {
        for &trigger in &options.trigger {
            let mut case = Case { story: &mut story, carrier, trigger };
            let (bytes, part) = (usize::from(options.bytes), usize::from(options.read));
            case.all_read(bytes)?;
            case.part_read(bytes, part)?;
            case.two_arrivals(bytes, part)?;
            case.short_read(bytes, part)?;
            case.armed_again(bytes)?;
            case.idle()?;
            case.full()?;
        }
    }
    story.end(options.json)
}

struct Case<'a> {
    story: &'a mut Story,
    carrier: Carrier,
    trigger: Trigger,
}

impl Case<'_> {
    fn scene(&mut self, what: &str) -> Result<Ends> {
        self.story.scene(format!("{}, {}: {what}", self.carrier.name(), self.trigger.name()));
        let carrier = self.carrier;
        let made = format!("make a {}", carrier.name());
        self.story.step(made, Reaction::none(), |act| carrier.ends(act.calls))
    }

    fn all_read(&mut self, bytes: usize) -> Result<()> {
        let ends = self.scene("all is read")?;
        let epoll = epoll()?;
        let near = &ends.near;
        let flags = self.trigger.flag();
        self.story
            .step("ADD the reading end", Reaction::none().hooked(1), |act| act.add(&epoll, near, IN | flags, DATA))?;
        self.story.step(format!("write {bytes} bytes"), Reaction::none().linked(1), |act| {
            act.write(&ends.far, &vec![b'x'; bytes])?;
            ends.until_unread(bytes)
        })?;
        self.story.step("wait", Reaction::wait(1), |act| act.wait(&epoll, 1))?;
        self.story.step("read until EAGAIN", Reaction::none(), |act| act.drain(near, bytes))?;
        self.story.step("wait again", self.trigger.nothing_left(), |act| act.wait(&epoll, 1))?;
        self.story.step("wait once more", Reaction::none(), |act| act.wait(&epoll, 1))?;
        Ok(())
    }

    fn part_read(&mut self, bytes: usize, part: usize) -> Result<()> {
        let ends = self.scene("a part is read")?;
        let epoll = epoll()?;
        let near = &ends.near;
        let (carrier, trigger) = (self.carrier, self.trigger);
        self.story.step("ADD the reading end", Reaction::none().hooked(1), |act| {
            act.add(&epoll, near, IN | trigger.flag(), DATA)
        })?;
        self.story.step(format!("write {bytes} bytes"), Reaction::none().linked(1), |act| {
            act.write(&ends.far, &vec![b'x'; bytes])?;
            ends.until_unread(bytes)
        })?;
        self.story.step("wait", Reaction::wait(1), |act| act.wait(&epoll, 1))?;
        self.story.step(format!("read {part} bytes"), Reaction::none(), |act| {
            act.read(near, part)?;
            act.tell("left", bytes - part);
            Ok(())
        })?;
        self.story.step("wait: the rest is there", trigger.something_left(), |act| act.wait(&epoll, 1))?;
        let arrives = more(carrier, trigger, trigger == Trigger::Lt)?;
        self.story.step(format!("write {part} bytes more"), arrives, |act| {
            act.write(&ends.far, &vec![b'y'; part])?;
            ends.until_unread(bytes)
        })?;
        self.story.step("wait", Reaction::wait(1), |act| act.wait(&epoll, 1))?;
        self.story.step("read until EAGAIN: nothing was lost", Reaction::none(), |act| {
            act.drain(near, bytes)?;
            act.tell("left", 0);
            Ok(())
        })?;
        self.story.step("wait", trigger.nothing_left(), |act| act.wait(&epoll, 1))?;
        Ok(())
    }

    fn two_arrivals(&mut self, bytes: usize, more_bytes: usize) -> Result<()> {
        let ends = self.scene("two arrivals before a wait")?;
        let epoll = epoll()?;
        let (carrier, trigger) = (self.carrier, self.trigger);
        self.story.step("ADD the reading end", Reaction::none().hooked(1), |act| {
            act.add(&epoll, &ends.near, IN | trigger.flag(), DATA)
        })?;
        self.story.step(format!("write {bytes} bytes"), Reaction::none().linked(1), |act| {
            act.write(&ends.far, &vec![b'x'; bytes])?;
            ends.until_unread(bytes)
        })?;
        self.story.step(format!("write {more_bytes} bytes more"), more(carrier, trigger, true)?, |act| {
            act.write(&ends.far, &vec![b'y'; more_bytes])?;
            ends.until_unread(bytes + more_bytes)
        })?;
        self.story.step("wait: one event for both", Reaction::wait(1), |act| act.wait(&epoll, 4))?;
        self.story.step("read until EAGAIN", Reaction::none(), |act| act.drain(&ends.near, bytes))?;
        self.story.step("wait", trigger.nothing_left(), |act| act.wait(&epoll, 1))?;
        Ok(())
    }

    /// A read that gives less than it was asked for has found the end: no EAGAIN is needed to know it.
    fn short_read(&mut self, bytes: usize, more_bytes: usize) -> Result<()> {
        let ends = self.scene("a read that gives less than it asked for")?;
        let epoll = epoll()?;
        let trigger = self.trigger;
        self.story.step("ADD the reading end", Reaction::none().hooked(1), |act| {
            act.add(&epoll, &ends.near, IN | trigger.flag(), DATA)
        })?;
        self.story.step(format!("write {bytes} bytes"), Reaction::none().linked(1), |act| {
            act.write(&ends.far, &vec![b'x'; bytes])?;
            ends.until_unread(bytes)
        })?;
        self.story.step("wait", Reaction::wait(1), |act| act.wait(&epoll, 1))?;
        self.story.step(format!("read once, at most {} bytes", bytes + 1), Reaction::none(), |act| {
            act.read(&ends.near, bytes + 1).map(drop)
        })?;
        // The buffer is empty, so even a pipe that is sparing with wakeups makes one.
        let arrives = match trigger {
            Trigger::Lt => Reaction::none().already_linked(1),
            Trigger::Et => Reaction::none().linked(1),
        };
        self.story.step(format!("write {more_bytes} bytes more"), arrives, |act| {
            act.write(&ends.far, &vec![b'y'; more_bytes])?;
            ends.until_unread(more_bytes)
        })?;
        self.story.step("wait: they are reported", Reaction::wait(1), |act| act.wait(&epoll, 1))?;
        Ok(())
    }

    /// What was reported and not read is reported again, without anything new.
    fn armed_again(&mut self, bytes: usize) -> Result<()> {
        let ends = self.scene("MOD, with bytes unread")?;
        let epoll = epoll()?;
        let mask = IN | self.trigger.flag();
        self.story
            .step("ADD the reading end", Reaction::none().hooked(1), |act| act.add(&epoll, &ends.near, mask, DATA))?;
        self.story.step(format!("write {bytes} bytes"), Reaction::none().linked(1), |act| {
            act.write(&ends.far, &vec![b'x'; bytes])?;
            ends.until_unread(bytes)
        })?;
        self.story.step("wait", Reaction::wait(1), |act| act.wait(&epoll, 1))?;
        self.story.step("MOD to the same", Reaction::none(), |act| act.modify(&epoll, &ends.near, mask, DATA))?;
        self.story.step("wait: it is reported again", Reaction::wait(1), |act| act.wait(&epoll, 1))?;
        Ok(())
    }

    fn idle(&mut self) -> Result<()> {
        let ends = self.scene("room to write, and nobody writes")?;
        let epoll = epoll()?;
        let trigger = self.trigger;
        self.story.step("ADD the writing end with EPOLLOUT", Reaction::none().hooked(1), |act| {
            act.add(&epoll, &ends.far, OUT | trigger.flag(), DATA)
        })?;
        let reports = if trigger == Trigger::Lt { IDLE_WAITS } else { 1 };
        let kernel = Reaction::none().scans(reports).events(reports);
        self.story.step(format!("wait {IDLE_WAITS} times"), kernel, |act| {
            for _ in 0..IDLE_WAITS {
                act.wait(&epoll, 1)?;
            }
            Ok(())
        })
    }

    fn full(&mut self) -> Result<()> {
        let ends = self.scene("no room to write, then room")?;
        let epoll = epoll()?;
        let trigger = self.trigger;
        self.story.step("ADD the writing end with EPOLLOUT", Reaction::none().hooked(1), |act| {
            act.add(&epoll, &ends.far, OUT | trigger.flag(), DATA)
        })?;
        self.story.step("wait: there is room", Reaction::wait(1), |act| act.wait(&epoll, 1))?;
        // While it fills, acknowledgements may make room and call back.
        let fills = Reaction::none().linked(Times::ANY).already_linked(Times::ANY);
        let written = self.story.step("write until EAGAIN", fills, |act| fill(act, &ends))?;
        let mut kernel = Reaction::none().scans(Times::ANY);
        if trigger == Trigger::Lt {
            kernel = kernel.scans(1);
        }
        self.story.step("wait: there is no room", kernel, |act| act.wait(&epoll, 1))?;
        let callbacks = match self.carrier {
            // Each packet that is read gives its room back (unix_write_space, net/unix/af_unix.c).
            Carrier::Unix => Reaction::none().linked(1).already_linked(Times::ANY),
            Carrier::Tcp | Carrier::Pipe => Reaction::none().linked(1),
        };
        self.story.step("the other end reads all of it", callbacks, |act| {
            let mut read = 0;
            while read < written {
                read += act.drain(&ends.near, 65_536)?;
            }
            ends.until_acknowledged()
        })?;
        self.story.step("wait: there is room again", Reaction::wait(1), |act| act.wait(&epoll, 1))?;
        self.story.step("wait again", trigger.something_left(), |act| act.wait(&epoll, 1))?;
        Ok(())
    }
}

/// Writes until there is no room, and no acknowledgement is on its way that could make some.
pub(crate) fn fill(act: &mut crate::story::act::Act<'_>, ends: &Ends) -> Result<usize> {
    let block = vec![b'x'; 65_536];
    let mut sum = 0;
    loop {
        let mut taken = 0;
        while let Some(written) = act.try_write(&ends.far, &block)? {
            taken += written;
        }
        if taken == 0 {
            return Ok(sum);
        }
        sum += taken;
        ends.until_acknowledged()?;
    }
}

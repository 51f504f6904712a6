//! `demos stays`: every way in which an item comes to a ready list, and every way in which it goes, each a known number of times.
//!
//! In: nothing, or the name of one way. Out: how many stays began and ended for which reason, under the names of a report's
//! `ready_list`, and the truth. Every wait has a timeout of 0, so nothing sleeps and the kernel has no choice; only where a scan has to
//! be held up a second thread makes the wait.

mod ended;
mod held;
mod lists;

use std::fmt::Write as _;
use std::os::fd::{AsRawFd as _, OwnedFd};

use anyhow::{Context as _, Result, ensure};
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::counted::Counted;
use crate::fds::{epoll, eventfd, raise};
use crate::truth::{Counts, Truth};

/// Every way to the ready list and from it, each a known number of times
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  demos stays
  demos stays --only one-shot --json

A callback during a scan takes userfaultfd(2), which takes root.")]
pub(crate) struct Options {
    /// Only this way
    #[arg(long, value_enum, value_name = "NAME")]
    only: Option<Scene>,
    /// How often each way is gone; the end of the process is gone once
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: u32,
    /// Print one line of JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// A way to the ready list, or from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Scene {
    /// Ready when it is added
    ReadyAtAdd,
    /// Ready when it is modified
    ReadyAtMod,
    /// A callback, and a delivery of EPOLLET
    Callback,
    /// Callbacks while a scan runs
    Overflow,
    /// Level-triggered: back after each delivery, until it is found not ready
    Requeue,
    /// More ready items than the program has room for
    CarriedOver,
    /// EPOLLONESHOT disables it
    OneShot,
    /// Found not ready
    NotReady,
    /// The program's array cannot be written, or only its beginning
    Fault,
    /// DEL
    Deleted,
    /// The last descriptor of its file is closed
    FileClosed,
    /// The last descriptor of its eventpoll is closed
    EventpollClosed,
    /// The process ends
    Exit,
}

/// Stays by why they began, as in a report.
#[derive(Debug, Default, Serialize)]
struct Came {
    callback: u64,
    overflow: u64,
    ready_at_add: u64,
    ready_at_mod: u64,
    requeue: u64,
    carried_over: u64,
    before: u64,
    unknown: u64,
}

/// Stays by why they ended, as in a report.
#[derive(Debug, Default, Serialize)]
struct Went {
    delivered: u64,
    oneshot: u64,
    not_ready: u64,
    carried_over: u64,
    deleted: u64,
    closed: u64,
    unknown: u64,
    still_there: u64,
}

/// What the demo did, counted where it did it.
#[derive(Debug, Default)]
struct Stage {
    calls: Counted,
    came: Came,
    went: Went,
    /// Waits that the program's array cut short.
    faults: u64,
    others: Vec<(i32, Counts)>,
    missing: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Outcome {
    demo: &'static str,
    pid: u32,
    /// What this kernel does not have, or this user may not do.
    missing: Vec<String>,
    came: Came,
    went: Went,
    faults: u64,
    truth: Truth,
}

const IN: u32 = libc::EPOLLIN.cast_unsigned();
const EDGE: u32 = libc::EPOLLET.cast_unsigned();
const ONCE: u32 = libc::EPOLLONESHOT.cast_unsigned();

/// Runs the demo and returns what it prints.
pub(crate) fn run(options: &Options) -> Result<String> {
    let mut stage = Stage::default();
    for &scene in Scene::value_variants() {
        if options.only.is_none_or(|only| only == scene) {
            let rounds = if scene == Scene::Exit { 1 } else { options.rounds };
            (0..rounds).try_for_each(|_| play(scene, &mut stage)).with_context(|| format!("{scene:?}"))?;
        }
    }
    let own = (nix::unistd::getpid().as_raw(), stage.calls.counts());
    let outcome = Outcome {
        demo: "stays",
        pid: std::process::id(),
        missing: stage.missing,
        came: stage.came,
        went: stage.went,
        faults: stage.faults,
        truth: Truth::new(Counts::default(), std::iter::once(own).chain(stage.others)),
    };
    if options.json {
        return serde_json::to_string(&outcome).map(|line| line + "\n").context("write the result as JSON");
    }
    outcome.text()
}

impl Outcome {
    fn text(&self) -> Result<String> {
        let mut text = String::new();
        // Writing to a String does not fail.
        for missing in &self.missing {
            let _ = writeln!(text, "not here: {missing}");
        }
        let _ = writeln!(text, "came: {}", listed(&self.came)?);
        let _ = writeln!(text, "went: {}", listed(&self.went)?);
        let _ = write!(text, "cut short by a fault: {}\n\n{}", self.faults, self.truth);
        Ok(text)
    }
}

/// `callback 3, requeue 2`: what is not 0.
fn listed(counts: &impl Serialize) -> Result<String> {
    let counts = serde_json::to_value(counts).context("write counts as JSON")?;
    let counts = counts.as_object().context("counts are an object")?.iter().filter(|(_, number)| **number != 0);
    Ok(counts.map(|(why, number)| format!("{why} {number}")).collect::<Vec<_>>().join(", "))
}

fn play(scene: Scene, stage: &mut Stage) -> Result<()> {
    match scene {
        Scene::ReadyAtAdd => lists::ready_at_add(stage),
        Scene::ReadyAtMod => lists::ready_at_mod(stage),
        Scene::Callback => lists::callback(stage),
        Scene::Overflow => held::overflow(stage),
        Scene::Requeue => lists::requeue(stage),
        Scene::CarriedOver => lists::carried_over(stage),
        Scene::OneShot => lists::one_shot(stage),
        Scene::NotReady => lists::not_ready(stage),
        Scene::Fault => ended::fault(stage),
        Scene::Deleted => ended::deleted(stage),
        Scene::FileClosed => ended::file_closed(stage),
        Scene::EventpollClosed => ended::eventpoll_closed(stage),
        Scene::Exit => ended::exit(stage),
    }
}

impl Stage {
    /// A new eventpoll, and a new eventfd in it that is not ready.
    fn idle(&mut self, events: u32) -> Result<(OwnedFd, OwnedFd)> {
        let (epoll, file) = (epoll()?, eventfd(0)?);
        self.ctl(&epoll, libc::EPOLL_CTL_ADD, &file, events)?;
        Ok((epoll, file))
    }

    /// The same, and a callback has put it on the ready list.
    fn ready(&mut self, events: u32) -> Result<(OwnedFd, OwnedFd)> {
        let (epoll, file) = self.idle(events)?;
        self.raise(&file)?;
        Ok((epoll, file))
    }

    /// The data of an item is its descriptor.
    fn ctl(&mut self, epoll: &OwnedFd, op: i32, file: &OwnedFd, events: u32) -> Result<()> {
        let fd = file.as_raw_fd();
        let data = u64::try_from(fd).context("a descriptor is negative")?;
        self.calls.ctl(epoll.as_raw_fd(), op, fd, Some((events, data))).context("epoll_ctl")
    }

    /// A write to an eventfd whose one item waits for it and is on no list: a callback puts it on the ready list.
    fn raise(&mut self, file: &OwnedFd) -> Result<()> {
        raise(file)?;
        self.came.callback += 1;
        Ok(())
    }

    /// A wait with room for so many events, that does not sleep and returns so many.
    fn wait(&mut self, epoll: &OwnedFd, room: usize, expected: u64) -> Result<()> {
        let mut room = vec![libc::epoll_event { events: 0, u64: 0 }; room];
        let events = self.calls.wait_raw(epoll.as_raw_fd(), &mut room, 0);
        ensure!(events == expected, "a wait returned {events} events, not {expected}");
        Ok(())
    }
}

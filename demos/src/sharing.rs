//! What the demos of shared ports have in common: the same connections through each way to share.
//!
//! In: the way, the workers, the connections. Out: three scenes: one connection with slow workers, as many connections as workers while
//! they are busy, and connections one by one. Every number is what the kernel must do, with all threads on one CPU.

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use crate::crew::{Crew, Way};
use crate::story::Story;
use crate::story::reaction::{Reaction, Times};

/// Options of these demos.
#[derive(Debug, Args, Serialize)]
pub(crate) struct Load {
    /// How many workers
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(2..=64))]
    workers: u8,
    /// How many connections arrive one by one
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
    /// Print one line of JSON instead of text
    #[arg(long)]
    #[serde(skip)]
    pub(crate) json: bool,
}

/// All three scenes.
pub(crate) fn scenes(story: &mut Story, way: Way, load: &Load) -> Result<()> {
    slow(story, way, load.workers)?;
    busy(story, way, load.workers)?;
    one_by_one(story, way, load)
}

/// Whoever is told of the connection has left its wait before anyone accepts.
fn slow(story: &mut Story, way: Way, workers: u8) -> Result<()> {
    story.scene(format!("{}: one connection, and workers that are slow to accept", way.name()));
    let all = u64::from(workers);
    let mut crew = Crew::start(story, way, workers)?;
    crew.hold(true);
    let arrives = match way {
        Way::Own => Reaction::wait(all).linked(all).woken(all).scans(all),
        // The scan puts the level-triggered item back and wakes the next worker (ep_done_scan).
        Way::Shared => Reaction::wait(all).linked(1).woken(all).scans(all),
        Way::Exclusive | Way::SharedEt | Way::Oneshot | Way::Reuseport => Reaction::wait(1).linked(1).woken(1),
    };
    crew.connections(story, 1, arrives)?;
    // Level-triggered, one more scan takes the item off the list again.
    let scans = match way {
        Way::Own => all,
        Way::Exclusive | Way::Shared | Way::Reuseport => 1,
        Way::SharedEt | Way::Oneshot => 0,
    };
    crew.release(story, Reaction::none().scans(scans))?;
    crew.stop(story)
}

/// Every connection after the first finds a worker busy.
fn busy(story: &mut Story, way: Way, workers: u8) -> Result<()> {
    story.scene(format!("{}: {workers} connections, and workers that are busy", way.name()));
    let all = u64::from(workers);
    let mut crew = Crew::start(story, way, workers)?;
    crew.hold(true);
    for number in 0..all {
        let first = number == 0;
        let arrives = match way {
            Way::Own if first => Reaction::wait(all).linked(all).woken(all).scans(all),
            Way::Own => Reaction::none().already_linked(all),
            Way::Shared if first => Reaction::wait(all).linked(1).woken(all).scans(all),
            Way::Shared => Reaction::none().already_linked(1),
            // Each busy worker's item is called back as well, and has no sleeper to wake: the walk goes on.
            Way::Exclusive => Reaction::wait(1).linked(1).already_linked(number).woken(1),
            Way::Oneshot if !first => Reaction::none().disabled(1),
            Way::SharedEt | Way::Oneshot => Reaction::wait(1).linked(1).woken(1),
            Way::Reuseport => by_hash(),
        };
        crew.connections(story, 1, arrives)?;
    }
    let go_on = match way {
        // Who has accepted and looks again finds another connection, which another worker will have taken.
        Way::Own | Way::Exclusive => Reaction::none().events(all - 1).scans(2 * all - 1),
        Way::Shared => Reaction::none().events(all - 1).scans(all),
        // The first takes all of them.
        Way::SharedEt => Reaction::none(),
        // Each MOD finds the next connection there, and wakes the next worker. Whoever made the MOD may wait again, and take the
        // event, before that one runs.
        Way::Oneshot => Reaction::none().events(all - 1).scans(Times::at_least(all - 1)).woken(all - 1),
        Way::Reuseport => by_hash().linked(0).already_linked(0),
    };
    crew.release(story, go_on)?;
    crew.stop(story)
}

/// The kernel chooses the socket by a hash of the addresses: whose it is, and whether that worker sleeps, is not known.
fn by_hash() -> Reaction {
    let any = Times::ANY;
    Reaction::none().linked(any).already_linked(any).woken(any).scans(any).events(any)
}

fn one_by_one(story: &mut Story, way: Way, load: &Load) -> Result<()> {
    story.scene(format!("{}: connections one by one, and who gets them", way.name()));
    let (all, times) = (u64::from(load.workers), u64::from(load.connections));
    let mut crew = Crew::start(story, way, load.workers)?;
    let kernel = match way {
        // Who comes first accepts; who looks before that returns as well.
        Way::Own => Reaction::none()
            .linked(all * times)
            .woken(all * times)
            .scans(Times::at_least(all * times))
            .events(Times::at_least(times)),
        Way::Shared => Reaction::none()
            .linked(times)
            .woken(Times::at_least(times))
            .scans(Times::at_least(times))
            .events(Times::at_least(times)),
        Way::Exclusive | Way::Reuseport => Reaction::wait(times).linked(times).woken(times).scans(2 * times),
        Way::SharedEt | Way::Oneshot => Reaction::wait(times).linked(times).woken(times).scans(times),
    };
    crew.connections(story, load.connections, kernel)?;
    crew.stop(story)
}

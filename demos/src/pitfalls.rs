//! `demos pitfalls`: ways to use epoll badly, each with its correct twin.
//!
//! In: which pitfall, and which of the two. Out: the truth, and what was done in words. One task does all of it.

mod calls;
mod deliveries;
mod descriptors;
mod edges;
mod steps;

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::counted::Counted;
use crate::truth::{Counts, Truth};

/// Ways to use epoll badly, each with its correct twin
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  demos pitfalls
  demos pitfalls --mode ctl-churn
  demos pitfalls --mode ctl-churn --correct --json
  demos pitfalls --mode et-not-drained
  eptrace lint -- demos pitfalls")]
pub(crate) struct Options {
    /// Which of them; all, one after another, unless one is given
    #[arg(long, value_enum)]
    mode: Option<Mode>,
    /// Do the same work without the pitfall
    #[arg(long)]
    correct: bool,
    /// Print one line of JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// The pitfalls, by the ids that `eptrace lint` gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    /// A pipe's writer has gone, and its reader stays registered; correct: it is deleted
    HangupIgnored,
    /// accept with no descriptor left, again and again; correct: the socket is deleted until there is one
    AcceptFails,
    /// Looking with a timeout of 0 until something comes; correct: sleeping until it does
    ZeroTimeoutSpin,
    /// ADD of what is added already; correct: nothing, it is added already
    CtlFails,
    /// DEL and ADD to change a mask; correct: MOD
    CtlChurn,
    /// Room for 4 events where 32 descriptors are ready; correct: room for 32
    SmallMaxevents,
    /// EPOLLET, and one read for each event where there is more to read; correct: read until EAGAIN
    EtNotDrained,
    /// EPOLLET, and one accept for one event of 3 connections; correct: accept until EAGAIN
    EtAcceptOnce,
    /// EPOLLET, and a blocking descriptor that is read until it is empty; correct: the same with `O_NONBLOCK`
    EtBlocking,
    /// EPOLLOUT, level-triggered, with nothing to write; correct: EPOLLIN alone
    EpolloutAlwaysReady,
    /// Something to read, level-triggered, and nobody reads it; correct: it is read
    LevelIgnored,
    /// The process wakes itself through a pipe; correct: through an eventfd
    SelfPipe,
    /// A registered descriptor is closed while a duplicate lives; correct: it is deleted before
    ClosedRegistered,
    /// EPOLLONESHOT, and more comes after the one event; correct: it is armed again with MOD
    OneshotNotRearmed,
}

#[derive(Debug, Serialize)]
struct Outcome {
    demo: &'static str,
    pid: u32,
    modes: Vec<Mode>,
    correct: bool,
    truth: Truth,
}

/// Runs the demo and returns what it prints.
pub(crate) fn run(options: &Options) -> Result<String> {
    let modes = options.mode.map_or_else(|| Mode::value_variants().to_vec(), |mode| vec![mode]);
    let mut calls = Counted::default();
    let correct = options.correct;
    for mode in &modes {
        match mode {
            Mode::HangupIgnored => deliveries::hangup(&mut calls, correct)?,
            Mode::AcceptFails => calls::accept_fails(&mut calls, correct)?,
            Mode::ZeroTimeoutSpin => calls::spin(&mut calls, correct)?,
            Mode::CtlFails => calls::ctl_fails(&mut calls, correct)?,
            Mode::CtlChurn => calls::ctl_churn(&mut calls, correct)?,
            Mode::SmallMaxevents => deliveries::small_maxevents(&mut calls, correct)?,
            Mode::EtNotDrained => edges::not_drained(&mut calls, correct)?,
            Mode::EtAcceptOnce => edges::accept_once(&mut calls, correct)?,
            Mode::EtBlocking => edges::blocking(&mut calls, correct)?,
            Mode::EpolloutAlwaysReady => deliveries::always_writable(&mut calls, correct)?,
            Mode::LevelIgnored => deliveries::ignored(&mut calls, correct)?,
            Mode::SelfPipe => descriptors::self_pipe(&mut calls, correct)?,
            Mode::ClosedRegistered => descriptors::closed_registered(&mut calls, correct)?,
            Mode::OneshotNotRearmed => deliveries::oneshot(&mut calls, correct)?,
        }
    }
    let tasks = std::iter::once((nix::unistd::gettid().as_raw(), calls.counts()));
    let outcome = Outcome {
        demo: "pitfalls",
        pid: std::process::id(),
        modes,
        correct,
        truth: Truth::new(Counts::default(), tasks),
    };
    if options.json {
        return serde_json::to_string(&outcome).map(|line| line + "\n").context("write the result as JSON");
    }
    let way = if correct { "the correct way" } else { "the pitfall" };
    Ok(format!("{} of {}: {way}\n\n{}", outcome.modes.len(), Mode::value_variants().len(), outcome.truth))
}

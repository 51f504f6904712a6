//! `demos herd`: N workers wait with epoll for connections to one TCP address.
//!
//! In: how they wait ([`Mode`]), how fast the connections come ([`Rhythm`]) and how many of each. Out: [`Outcome`], the
//! counts of every worker.
//!
//! This module is the master: it sets the stage, starts the crew of workers and the client, stops the crew when the
//! client has been served, and compares what the two sides counted.

pub(crate) mod client;
mod crew;
mod driver;
mod message;
mod sleepers;
mod stage;
mod worker;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::truth::{Counts, Truth};

use self::crew::Crew;
use self::stage::Stage;

/// Let N workers wait for connections to one TCP address, and count what each of them gets
///
/// Every worker calls `epoll_wait`, accepts, answers with one byte and closes, as a small server does. The counts are
/// those of calls: a worker that the kernel wakes, finds nothing for and puts back to sleep inside `epoll_wait` cannot
/// know of it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  demos herd --mode lt                         four threads, 200 connections, one at a time
  demos herd --mode exclusive --processes      four processes, as a prefork server has them
  demos herd --mode reuseport --workers 8 --connections 2000 --rhythm burst
  demos herd --mode et --pause 200             slowly, to look at it with eptrace top
  demos herd --mode oneshot --json             one line of JSON for scripts

The step rhythm reads /proc/PID/task/TID/syscall of the workers, and so needs /proc.")]
pub(crate) struct Options {
    /// How the workers share the address
    #[arg(long, value_enum)]
    mode: Mode,

    /// How many workers
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=128))]
    workers: u8,

    /// How many connections the client makes
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    connections: u32,

    /// When the client makes the next connection
    #[arg(long, value_enum, default_value = "step")]
    rhythm: Rhythm,

    /// Milliseconds that the client lets pass after each connection
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=60_000))]
    pause: u32,

    /// The port of the address on the loopback interface; 0: one that is free
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    port: u16,

    /// Make every worker a process that inherits the socket, instead of a thread
    #[arg(long)]
    processes: bool,

    /// Print one line of JSON instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// An epoll instance per worker, one socket registered in all of them: level-triggered
    Lt,
    /// The same, edge-triggered (EPOLLET): accept until EAGAIN
    Et,
    /// The same, with EPOLLEXCLUSIVE
    Exclusive,
    /// One epoll instance for all workers, EPOLLONESHOT: accept, re-arm, answer
    Oneshot,
    /// A socket (`SO_REUSEPORT`) and an epoll instance per worker
    Reuseport,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Rhythm {
    /// When every worker sleeps in `epoll_wait`, as the kernel itself shows it
    Step,
    /// At once, with 32 connections in flight
    Burst,
}

#[derive(Debug, Serialize)]
struct Outcome {
    demo: &'static str,
    mode: &'static str,
    rhythm: &'static str,
    workers: u8,
    processes: bool,
    connections: u32,
    pid: u32,
    listen: SocketAddr,
    truth: Truth,
}

/// Runs the demo and returns what it prints.
pub(crate) fn run(options: &Options) -> Result<String> {
    let (stage, mut master) = Stage::set(options.mode, options.port)?;
    let stage = Arc::new(stage);
    let address = stage.address();
    let mut crew = Crew::start(&stage, options.workers, options.processes)?;
    let served = driver::drive(&mut crew, address, options)?;
    let workers = crew.stop()?;
    let master = stage.clear(&mut master)?;
    compare(&served, &workers)?;

    let outcome = Outcome {
        demo: "herd",
        mode: options.mode.name(),
        rhythm: options.rhythm.name(),
        workers: options.workers,
        processes: options.processes,
        connections: options.connections,
        pid: std::process::id(),
        listen: address,
        truth: Truth::new(master, workers),
    };
    outcome.print(options.json)
}

/// The client knows by the byte it got which worker answered: both sides must have counted the same. `served` has one number
/// more than there are workers: answers that did not reach the client.
fn compare(served: &[u64], workers: &[(i32, Counts)]) -> Result<()> {
    let accepts = workers.iter().map(|(_, counts)| counts.accepts).sum::<u64>();
    let unheard = served.last().copied().unwrap_or(0);
    let told: u64 = served.iter().sum();
    ensure!(told == accepts, "the workers accepted {accepts} connections, but the client made {told}");
    for (index, (by_client, (tid, counts))) in served.iter().zip(workers).enumerate() {
        ensure!(
            (*by_client..=by_client + unheard).contains(&counts.accepts),
            "worker {index} (tid {tid}) accepted {} connections, but the client was answered {by_client} times by it; \
             did another program connect to the demo's port? Run it again",
            counts.accepts
        );
    }
    Ok(())
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Self::Lt => "lt",
            Self::Et => "et",
            Self::Exclusive => "exclusive",
            Self::Oneshot => "oneshot",
            Self::Reuseport => "reuseport",
        }
    }
}

impl Rhythm {
    fn name(self) -> &'static str {
        match self {
            Self::Step => "step",
            Self::Burst => "burst",
        }
    }
}

impl Outcome {
    fn print(&self, json: bool) -> Result<String> {
        if json {
            return Ok(serde_json::to_string(self).context("write the result as JSON")? + "\n");
        }
        Ok(format!(
            "herd {}, {}: {} connections to {}, {} {} of pid {}\n\n{}",
            self.mode,
            self.rhythm,
            self.connections,
            self.listen,
            self.workers,
            if self.processes { "child processes" } else { "threads" },
            self.pid,
            self.truth
        ))
    }
}

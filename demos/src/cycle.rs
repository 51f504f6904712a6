//! `demos cycle`: the cheapest complete use of epoll, for measuring what a tracer adds to it.
//!
//! In: the number of iterations. Out: nanoseconds per iteration. One task writes a byte into a pipe, waits for it with
//! `epoll_wait` and reads it; nothing ever sleeps, since the byte is there before the wait begins.

use std::io::{PipeReader, PipeWriter, Read as _, Write as _, pipe};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::signal::{Signal, raise};
use serde::Serialize;

use crate::counted::Counted;
use crate::truth::Truth;

/// Iterations before the clock starts: they fill caches and take first-time paths. They count in the truth.
const WARM_UP: u64 = 256;

/// Measure one write + `epoll_wait` + read on a pipe, by one task that never sleeps
///
/// The truth that is printed with the time includes 256 warm-up iterations, which are not timed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  demos cycle --iterations 1000000
  demos cycle --iterations 10000 --json
  demos cycle --iterations 10000 --stop-after 2000 --stop-after 9000")]
pub(crate) struct Options {
    /// How many iterations to time
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    iterations: u64,

    /// Stop (SIGSTOP) after so many of them, until SIGCONT comes: something else can happen in between (may be repeated)
    #[arg(long, value_name = "N")]
    stop_after: Vec<u64>,

    /// Print one line of JSON instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Outcome {
    demo: &'static str,
    iterations: u64,
    warm_up: u64,
    pid: u32,
    ns_per_iteration: f64,
    truth: Truth,
}

struct Bench {
    epoll: Epoll,
    reader: PipeReader,
    writer: PipeWriter,
    calls: Counted,
}

/// Runs the demo and returns what it prints.
pub(crate) fn run(options: &Options) -> Result<String> {
    let (reader, writer) = pipe().context("pipe")?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("epoll_create1")?;
    let mut calls = Counted::default();
    calls.add(&epoll, &reader, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
    let mut bench = Bench { epoll, reader, writer, calls };

    bench.turn(WARM_UP)?;
    // Instant is CLOCK_MONOTONIC.
    let start = Instant::now();
    let mut stops: Vec<u64> = options.stop_after.iter().copied().filter(|stop| *stop <= options.iterations).collect();
    stops.sort_unstable();
    let mut done = 0;
    for stop in stops {
        bench.turn(stop - done)?;
        done = stop;
        raise(Signal::SIGSTOP).context("stop")?;
    }
    bench.turn(options.iterations - done)?;
    let elapsed = start.elapsed();

    #[expect(clippy::cast_precision_loss, reason = "an average over at most 1e9 iterations fits an f64 well")]
    let ns_per_iteration = elapsed.as_nanos() as f64 / options.iterations as f64;
    let outcome = Outcome {
        demo: "cycle",
        iterations: options.iterations,
        warm_up: WARM_UP,
        pid: std::process::id(),
        ns_per_iteration,
        truth: Truth::new(crate::truth::Counts::default(), [(nix::unistd::gettid().as_raw(), bench.calls.counts())]),
    };
    outcome.print(options.json)
}

impl Bench {
    fn turn(&mut self, iterations: u64) -> Result<()> {
        let mut room = [EpollEvent::empty(); 1];
        let mut byte = [0_u8; 1];
        for _ in 0..iterations {
            self.writer.write_all(&byte).context("write to the pipe")?;
            // An interrupted wait has no events; the byte is still there.
            while self.calls.wait(&self.epoll, &mut room)?.is_empty() {}
            let read = self.reader.read(&mut byte).context("read from the pipe")?;
            ensure!(read == 1, "epoll reported a byte in the pipe, and read found none");
        }
        Ok(())
    }
}

impl Outcome {
    fn print(&self, json: bool) -> Result<String> {
        if json {
            return Ok(serde_json::to_string(self).context("write the result as JSON")? + "\n");
        }
        Ok(format!(
            "cycle: {:.1} ns per write + epoll_wait + read, over {} iterations after {} of warm-up\n\n{}",
            self.ns_per_iteration, self.iterations, self.warm_up, self.truth
        ))
    }
}

//! `demos churn`: threads that do everything one can do with epoll, at random, to the same few eventpolls and files.
//!
//! In: a seed and sizes. Out: the truth. What a thread chooses depends on the seed alone; what comes of it depends on the
//! others. Nothing blocks: every descriptor is non-blocking and a wait ends after a millisecond at most. A descriptor may be
//! closed, and its number used again, between the moment a thread picks it and the moment it uses it: calls that fail are part
//! of the stress, and count.

mod ends;

use std::os::fd::{IntoRawFd as _, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;

use anyhow::{Context as _, Result, anyhow};
use clap::Args;
use fastrand::Rng;
use nix::sys::epoll::{Epoll, EpollCreateFlags};
use serde::Serialize;

use crate::counted::Counted;
use crate::truth::{Counts, Truth};
use ends::{Ends, Kind};

/// The most events that one wait asks for.
const ROOM: usize = 64;
/// Data that many registrations share, on purpose.
const SHARED_DATA: u64 = 7;

/// Add, modify, delete, dup, close, nest, write, read and wait at random, from several threads
///
/// The choices of each thread depend on the seed only. Every descriptor is non-blocking, so that it ends by itself.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  demos churn --seed 7 --json
  demos churn --threads 8 --epolls 2 --files 64 --operations 100000")]
pub(crate) struct Options {
    /// What the random numbers begin with
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Threads
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=256))]
    threads: u32,
    /// Eventpolls that the threads share
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    epolls: u32,
    /// Pairs of file ends that the threads share: eventfds, pipes, unix sockets and TCP sockets in turn
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    files: u32,
    /// Operations of each thread
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    operations: u64,
    /// Print one line of JSON instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Outcome {
    demo: &'static str,
    seed: u64,
    pid: u32,
    truth: Truth,
}

/// What the threads share: numbers of descriptors, which any of them may close and replace.
struct Field {
    epolls: Vec<AtomicI32>,
    files: Vec<Ends>,
}

/// Runs the demo and returns what it prints.
pub(crate) fn run(options: &Options) -> Result<String> {
    let mut master = Counted::default();
    let field = Arc::new(Field {
        epolls: (0..options.epolls).map(|_| epoll().map(AtomicI32::new)).collect::<Result<_>>()?,
        files: (0..options.files).map(|n| Ends::new(Kind::of(n), &mut master)).collect::<Result<_>>()?,
    });
    let mut threads = Vec::new();
    for number in 0..options.threads {
        let mut thread = Churner {
            field: Arc::clone(&field),
            rng: Rng::with_seed(options.seed.wrapping_mul(1_000_003).wrapping_add(u64::from(number))),
            calls: Counted::default(),
            number,
            registrations: 0,
        };
        let operations = options.operations;
        let spawn = thread::Builder::new().name(format!("churn-{number}"));
        threads.push(spawn.spawn(move || thread.run(operations)).context("cannot start a thread")?);
    }
    let mut workers = Vec::new();
    for thread in threads {
        workers.push(thread.join().map_err(|_| anyhow!("a thread panicked"))??);
    }
    let outcome = Outcome {
        demo: "churn",
        seed: options.seed,
        pid: std::process::id(),
        truth: Truth::new(master.counts(), workers),
    };
    if options.json {
        return Ok(serde_json::to_string(&outcome).context("write the result as JSON")? + "\n");
    }
    Ok(format!("churn with seed {}\n\n{}", outcome.seed, outcome.truth))
}

/// A new eventpoll, by its number: whoever closes it takes it out of the field first.
fn epoll() -> Result<RawFd> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("epoll_create1")?;
    Ok(epoll.0.into_raw_fd())
}

struct Churner {
    field: Arc<Field>,
    rng: Rng,
    calls: Counted,
    number: u32,
    registrations: u64,
}

impl Churner {
    fn run(&mut self, operations: u64) -> Result<(i32, Counts)> {
        for _ in 0..operations {
            self.step()?;
        }
        Ok((nix::unistd::gettid().as_raw(), self.calls.counts()))
    }

    fn step(&mut self) -> Result<()> {
        // All random numbers are drawn whatever comes of the calls.
        let (what, epoll, file) = (self.rng.u32(0..100), self.any_epoll(), self.any_file());
        let end = if self.rng.bool() { self.field.files[file].read_end() } else { self.field.files[file].write_end() };
        match what {
            0..20 => self.register(epoll, libc::EPOLL_CTL_ADD, end),
            20..32 => self.register(epoll, libc::EPOLL_CTL_MOD, end),
            32..42 => self.calls.ctl_raw(epoll, libc::EPOLL_CTL_DEL, end, None),
            42..64 => self.field.files[file].write(),
            64..74 => self.field.files[file].read(),
            74..86 => self.wait(epoll, 0),
            86..88 => self.wait(epoll, 1),
            88..92 => self.field.files[file].reopen(&mut self.calls)?,
            92..95 => self.duplicate(epoll, end),
            95..98 => self.nest(epoll),
            98..99 => self.scratch()?,
            _ => self.reopen_epoll()?,
        }
        Ok(())
    }

    fn any_epoll(&mut self) -> RawFd {
        let number = self.rng.usize(0..self.field.epolls.len());
        self.field.epolls[number].load(Ordering::Relaxed)
    }

    fn any_file(&mut self) -> usize {
        self.rng.usize(0..self.field.files.len())
    }

    fn register(&mut self, epoll: RawFd, op: i32, fd: RawFd) {
        let events = self.mask();
        let data = self.data();
        self.calls.ctl_raw(epoll, op, fd, Some((events, data)));
    }

    fn mask(&mut self) -> u32 {
        let directions = [libc::EPOLLIN, libc::EPOLLIN, libc::EPOLLOUT, libc::EPOLLIN | libc::EPOLLOUT, 0];
        let manners = [0, 0, libc::EPOLLET, libc::EPOLLET, libc::EPOLLONESHOT, libc::EPOLLEXCLUSIVE];
        let mask = directions[self.rng.usize(0..directions.len())] | manners[self.rng.usize(0..manners.len())];
        mask.cast_unsigned()
    }

    /// Tells one registration from all others, most of the time.
    fn data(&mut self) -> u64 {
        self.registrations += 1;
        if self.rng.u32(0..16) == 0 { SHARED_DATA } else { u64::from(self.number + 1) << 32 | self.registrations }
    }

    fn wait(&mut self, epoll: RawFd, timeout_ms: i32) {
        let room = [1, 2, 3, ROOM][self.rng.usize(0..4)];
        self.calls.wait_raw(epoll, &mut [libc::epoll_event { events: 0, u64: 0 }; ROOM][..room], timeout_ms);
    }

    /// Another number for the same file: a registration of its own, which its close leaves behind while the file is open.
    fn duplicate(&mut self, epoll: RawFd, fd: RawFd) {
        // SAFETY: no pointers; the number may be of any file, or of none.
        let copy = unsafe { libc::dup(fd) };
        self.register(epoll, libc::EPOLL_CTL_ADD, copy);
        if copy >= 0 {
            // SAFETY: as above.
            unsafe { libc::close(copy) };
        }
    }

    /// An eventpoll in an eventpoll: itself, a loop and too deep a chain are refused.
    fn nest(&mut self, outer: RawFd) {
        let (inner, remove) = (self.any_epoll(), self.rng.bool());
        if remove {
            self.calls.ctl_raw(outer, libc::EPOLL_CTL_DEL, inner, None);
        } else {
            self.register(outer, libc::EPOLL_CTL_ADD, inner);
        }
    }

    /// An eventpoll that comes and goes with what is registered in it.
    fn scratch(&mut self) -> Result<()> {
        let own = epoll()?;
        for _ in 0..3 {
            let file = self.any_file();
            self.register(own, libc::EPOLL_CTL_ADD, self.field.files[file].read_end());
        }
        self.wait(own, 0);
        // SAFETY: a number that only this thread knows.
        unsafe { libc::close(own) };
        Ok(())
    }

    fn reopen_epoll(&mut self) -> Result<()> {
        let number = self.rng.usize(0..self.field.epolls.len());
        let old = self.field.epolls[number].swap(epoll()?, Ordering::Relaxed);
        // SAFETY: the number left the field: nobody else closes it.
        unsafe { libc::close(old) };
        Ok(())
    }
}

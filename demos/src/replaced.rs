//! `demos replaced`: descriptors that a thread gives to other files while another uses them in `epoll_ctl` and `epoll_wait`.
//!
//! In: how many eventpolls. Out: the truth: how many there were, and how many items. What a descriptor stands for when a call is made may not
//! be what it stands for when the kernel looks.

use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use anyhow::{Context as _, Result, anyhow};
use clap::Args;
use serde::Serialize;

use crate::counted::Counted;
use crate::fds::{epoll, eventfd, give};
use crate::truth::{Counts, Truth};

const IN: u32 = libc::EPOLLIN.cast_unsigned();
/// Calls that are made between two changes: none is still under way that began before the last change but one.
const CALLS: u64 = 2;

/// Descriptors that stand for another file from one moment to the next, while they are used
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  demos replaced
  demos replaced --epolls 1000 --json")]
pub(crate) struct Options {
    /// Eventpolls that get the same descriptor, one after another
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    epolls: u32,
    /// Print one line of JSON instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Outcome {
    demo: &'static str,
    pid: u32,
    /// Eventpolls that there were.
    epolls: u32,
    /// ADDs that succeeded.
    added: u64,
    /// DELs that succeeded.
    deleted: u64,
    truth: Truth,
}

/// What the threads share.
struct Field {
    /// An eventpoll, or what is none.
    epoll: RawFd,
    /// One of two files.
    file: RawFd,
    /// Always the same file, which every eventpoll has an item of when it comes.
    keeper: OwnedFd,
    calls: AtomicU64,
    over: AtomicBool,
}

/// Runs the demo and returns what it prints.
pub(crate) fn run(options: &Options) -> Result<String> {
    let (files, keeper) = ([eventfd(1)?, eventfd(1)?], eventfd(0)?);
    let numbers = [files[0].try_clone().context("dup")?, files[0].try_clone().context("dup")?];
    let (calls, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let field = Field { epoll: numbers[0].as_raw_fd(), file: numbers[1].as_raw_fd(), keeper, calls, over };
    let (replaced, used) = thread::scope(|scope| {
        let user = scope.spawn(|| {
            let mut user = Calls::default();
            user.use_until_over(&field);
            user.counts()
        });
        let mut mine = Calls::default();
        let done = mine.replace(&field, &files, options.epolls);
        field.over.store(true, Ordering::Relaxed);
        (done.map(|()| mine.counts()), user.join())
    });
    let (replaced, used) = (replaced?, used.map_err(|_| anyhow!("a thread panicked"))?);
    let outcome = Outcome {
        demo: "replaced",
        pid: std::process::id(),
        epolls: options.epolls,
        added: replaced.added + used.added,
        deleted: replaced.deleted + used.deleted,
        truth: Truth::new(replaced.counts, vec![(used.tid, used.counts)]),
    };
    if options.json {
        return Ok(serde_json::to_string(&outcome).context("write the result as JSON")? + "\n");
    }
    let Outcome { epolls, added, deleted, truth, .. } = outcome;
    Ok(format!("one descriptor, {epolls} eventpolls; {added} items were added and {deleted} deleted\n\n{truth}"))
}

/// The calls of one thread.
#[derive(Default)]
struct Calls {
    counted: Counted,
    added: u64,
    deleted: u64,
}

/// What came of them.
struct Made {
    tid: i32,
    counts: Counts,
    added: u64,
    deleted: u64,
}

impl Calls {
    fn counts(&self) -> Made {
        let &Self { ref counted, added, deleted } = self;
        Made { tid: nix::unistd::gettid().as_raw(), counts: counted.counts(), added, deleted }
    }

    fn add(&mut self, epoll: RawFd, file: RawFd, data: u64) {
        let answer = self.counted.ctl(epoll, libc::EPOLL_CTL_ADD, file, Some((IN, data)));
        self.added += u64::from(answer.is_ok());
    }

    fn delete(&mut self, epoll: RawFd, file: RawFd) {
        let answer = self.counted.ctl(epoll, libc::EPOLL_CTL_DEL, file, None);
        self.deleted += u64::from(answer.is_ok());
    }

    fn use_until_over(&mut self, field: &Field) {
        let (epoll, keeper) = (field.epoll, field.keeper.as_raw_fd());
        let mut data = 1 << 32;
        while !field.over.load(Ordering::Relaxed) {
            data += 1;
            self.add(epoll, field.file, data);
            field.calls.fetch_add(1, Ordering::Relaxed);
            self.counted.wait_raw(epoll, &mut [libc::epoll_event { events: 0, u64: 0 }; 4], 0);
            field.calls.fetch_add(1, Ordering::Relaxed);
            self.counted.ctl_raw(epoll, libc::EPOLL_CTL_MOD, field.file, Some((IN, data)));
            field.calls.fetch_add(1, Ordering::Relaxed);
            self.delete(epoll, keeper);
            field.calls.fetch_add(1, Ordering::Relaxed);
            self.add(epoll, keeper, data);
            field.calls.fetch_add(1, Ordering::Relaxed);
            // Where both share a CPU, the other has its turn.
            thread::yield_now();
        }
    }

    /// Gives the one descriptor to an eventpoll, and takes it away; the other to each of the files meanwhile.
    fn replace(&mut self, field: &Field, files: &[OwnedFd; 2], epolls: u32) -> Result<()> {
        for number in 0..epolls {
            let eventpoll = epoll()?;
            self.add(eventpoll.as_raw_fd(), field.keeper.as_raw_fd(), u64::from(number));
            give(field.epoll, &eventpoll)?;
            drop(eventpoll);
            for file in files {
                until_used(field);
                give(field.file, file)?;
            }
            until_used(field);
            give(field.epoll, &files[0])?;
            until_used(field);
        }
        Ok(())
    }
}

/// Until the other thread has made some more calls.
fn until_used(field: &Field) {
    let before = field.calls.load(Ordering::Relaxed);
    while field.calls.load(Ordering::Relaxed) < before + CALLS {
        thread::yield_now();
    }
}

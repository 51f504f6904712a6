//! `demos many`: very many items in one eventpoll, and very many eventpolls.
//!
//! In: how many. Out: the truth. Every item is registered, some become ready one after another and are waited for, and every
//! second one is deleted again; the rest ends with the process.

use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde::Serialize;

use crate::counted::Counted;
use crate::fds::{eventfd, lower, raise};
use crate::truth::{Counts, Truth};

/// Items that are made ready one by one.
const WRITES: usize = 1_000;
/// Descriptors beside those that are registered.
const SPARE: u64 = 64;

/// Very many items in one eventpoll, and very many eventpolls with one item each
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  demos many
  demos many --items 1000000 --epolls 100 --json")]
pub(crate) struct Options {
    /// Items of the one eventpoll, an eventfd each
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    items: u32,
    /// Eventpolls, each with the same eventfd
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    epolls: u32,
    /// Print one line of JSON instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Outcome {
    demo: &'static str,
    pid: u32,
    items: u32,
    epolls: u32,
    truth: Truth,
}

/// Runs the demo and returns what it prints.
pub(crate) fn run(options: &Options) -> Result<String> {
    room_for(u64::from(options.items) + u64::from(options.epolls))?;
    let mut calls = Counted::default();
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("epoll_create1")?;
    let files = (0..options.items).map(|_| eventfd(0)).collect::<Result<Vec<_>>>()?;
    for (data, file) in (0..).zip(&files) {
        calls.add(&epoll, file.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, data))?;
    }
    let shared = eventfd(0)?;
    let epolls = (0..options.epolls)
        .map(|_| Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("epoll_create1"))
        .collect::<Result<Vec<_>>>()?;
    for (data, epoll) in (0..).zip(&epolls) {
        calls.add(epoll, shared.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, data))?;
    }

    let mut room = [EpollEvent::empty(); 1];
    for file in files.iter().step_by((files.len() / WRITES).max(1)) {
        raise(file)?;
        ensure!(calls.wait(&epoll, &mut room)?.len() == 1, "a ready item was not delivered");
        lower(file)?;
    }
    // One callback for every eventpoll, from one write.
    nix::unistd::write(&shared, &1_u64.to_ne_bytes()).context("write to the shared eventfd")?;
    for epoll in &epolls {
        ensure!(calls.wait(epoll, &mut room)?.len() == 1, "an eventpoll did not get the shared event");
    }
    for file in files.iter().step_by(2) {
        calls.delete(&epoll, file.as_fd())?;
    }

    let outcome = Outcome {
        demo: "many",
        pid: std::process::id(),
        items: options.items,
        epolls: options.epolls,
        truth: Truth::new(Counts::default(), std::iter::once((nix::unistd::getpid().as_raw(), calls.counts()))),
    };
    if options.json {
        return serde_json::to_string(&outcome).map(|line| line + "\n").context("write the result as JSON");
    }
    Ok(format!("{} items, {} eventpolls\n\n{}", outcome.items, outcome.epolls, outcome.truth))
}

/// Raises the limit of open files.
pub(crate) fn room_for(files: u64) -> Result<()> {
    let needed = files + SPARE;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("getrlimit(RLIMIT_NOFILE)")?;
    if soft >= needed {
        return Ok(());
    }
    setrlimit(Resource::RLIMIT_NOFILE, needed, hard.max(needed)).with_context(|| {
        format!("{needed} open files are needed, and {hard} allowed: run it as root with fs.nr_open at least as large")
    })
}

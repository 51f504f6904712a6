//! `demos ready`: a few of many descriptors are ready: what epoll, poll and select have to look at.
//!
//! In: how many are registered, how many become ready. Out: the story: as many callbacks, items on the ready list and events as
//! there are ready descriptors, whatever the number of the others; a table of what one call costs; and the way of a TCP packet, a
//! pipe write and a timer to a thread that sleeps.

mod path;

use std::os::fd::{AsRawFd as _, OwnedFd};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use nix::errno::Errno;
use nix::time::{ClockId, clock_gettime};
use serde::Serialize;

use crate::fds::{epoll, eventfd};
use crate::many::room_for;
use crate::story::act::Act;
use crate::story::reaction::Reaction;
use crate::story::{Story, Table};

const IN: u32 = libc::EPOLLIN.cast_unsigned();
const BITS: usize = 64;

/// A few of many descriptors are ready: epoll, poll and select beside each other
#[derive(Debug, Args, Serialize)]
#[command(after_help = "Examples:
  demos ready
  demos ready --registered 1000 --ready 3
  demos ready --registered 10,100,1000,10000 --calls 100 --json

The times are the thread's processor time. In a guest whose clock ticks a nanosecond an instruction they are counts:
cargo xtask bench ready")]
pub(crate) struct Options {
    /// How many descriptors are registered, one after another
    #[arg(long, value_name = "N,N,...", value_delimiter = ',', default_values_t = [10, 100, 1_000, 10_000], value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    registered: Vec<u32>,
    /// How many of them become ready
    #[arg(long, value_name = "K", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=64))]
    ready: u8,
    /// How many calls of each kind are timed
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    calls: u32,
    /// Print one line of JSON instead of text
    #[arg(long)]
    #[serde(skip)]
    json: bool,
}

/// What one call costs, nanoseconds.
struct Row {
    registered: usize,
    epoll_ns: u64,
    poll_ns: u64,
    select_ns: u64,
}

/// Runs the demo and returns what it prints.
pub(crate) fn run(options: &Options) -> Result<String> {
    let most = options.registered.iter().max().copied().unwrap_or(0);
    ensure!(
        u32::from(options.ready) <= options.registered.iter().min().copied().unwrap_or(0),
        "--ready is above --registered"
    );
    room_for(u64::from(most))?;
    let mut story = Story::begin("ready", options)?;
    let mut rows = Vec::new();
    for &registered in &options.registered {
        story.scene(format!("{} of {registered} are ready", options.ready));
        rows.push(one(&mut story, registered as usize, usize::from(options.ready), options.calls)?);
    }
    path::ways(&mut story)?;
    story.table(table(&rows, options.ready));
    story.end(options.json)
}

fn one(story: &mut Story, registered: usize, ready: usize, calls: u32) -> Result<Row> {
    let epoll = epoll()?;
    let files = (0..registered).map(|_| eventfd(0)).collect::<Result<Vec<_>>>()?;
    let k = ready as u64;
    story.step(format!("ADD {registered} eventfds"), Reaction::none().hooked(registered as u64), |act| {
        (0..).zip(&files).try_for_each(|(data, file)| act.add(&epoll, file, IN, data))
    })?;
    // Spread over all of them.
    let chosen: Vec<&OwnedFd> = files.iter().step_by((registered / ready).max(1)).take(ready).collect();
    story.step(format!("write to {ready} of them"), Reaction::none().linked(k), |act| {
        chosen.iter().try_for_each(|file| act.write(*file, &1_u64.to_ne_bytes()))
    })?;
    story.step("wait", Reaction::wait(k), |act| {
        let events = act.wait(&epoll, 64)?;
        act.tell("untouched", registered - events.len());
        Ok(())
    })?;
    let times = u64::from(calls);
    let repeated = Reaction::none().scans(times).events(times * k);
    let epoll_ns = story.step(format!("epoll_wait, {calls} times"), repeated, |act| {
        let mut room = [libc::epoll_event { events: 0, u64: 0 }; 64];
        timed(act, calls, |act| Ok(act.calls.wait_raw(epoll.as_raw_fd(), &mut room, 0)), k)
    })?;
    let poll_ns = story.step(format!("poll of all {registered}, {calls} times"), Reaction::none(), |act| {
        act.tell("descriptors", registered);
        let mut watched: Vec<libc::pollfd> =
            files.iter().map(|file| libc::pollfd { fd: file.as_raw_fd(), events: libc::POLLIN, revents: 0 }).collect();
        timed(act, calls, |_| poll(&mut watched), k)
    })?;
    let select_ns = story.step(format!("select of all {registered}, {calls} times"), Reaction::none(), |act| {
        act.tell("descriptors", registered);
        let bits = bitmap(&files)?;
        timed(act, calls, |_| select(&mut bits.clone(), &files), k)
    })?;
    story.step("read all that were written", Reaction::none().filtered(k), |act| {
        chosen.iter().try_for_each(|file| act.read(*file, 8).map(drop))
    })?;
    story.step("wait: one look at those that were ready", Reaction::wait(0), |act| act.wait(&epoll, 64))?;
    story.step("wait: nothing to look at", Reaction::none(), |act| act.wait(&epoll, 64))?;
    Ok(Row { registered, epoll_ns, poll_ns, select_ns })
}

/// The processor time of one call, each of which must find `ready` descriptors.
fn timed(act: &mut Act<'_>, calls: u32, mut call: impl FnMut(&mut Act<'_>) -> Result<u64>, ready: u64) -> Result<u64> {
    let begin = cpu_ns()?;
    for _ in 0..calls {
        let found = call(act)?;
        ensure!(found == ready, "{found} descriptors are ready, not {ready}");
    }
    let each = (cpu_ns()? - begin) / u64::from(calls);
    act.tell("found", ready);
    act.tell("cpu_ns_per_call", each);
    Ok(each)
}

fn cpu_ns() -> Result<u64> {
    let now = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).context("clock_gettime(CLOCK_THREAD_CPUTIME_ID)")?;
    u64::try_from(std::time::Duration::from(now).as_nanos()).context("the clock is too large")
}

fn poll(watched: &mut [libc::pollfd]) -> Result<u64> {
    let number = libc::nfds_t::try_from(watched.len()).context("a number of descriptors")?;
    // SAFETY: as many entries as are told.
    let ready = Errno::result(unsafe { libc::poll(watched.as_mut_ptr(), number, 0) }).context("poll")?;
    u64::try_from(ready).context("poll")
}

fn bitmap(files: &[OwnedFd]) -> Result<Vec<u64>> {
    let last = files.iter().map(OwnedFd::as_raw_fd).max().unwrap_or(0);
    let mut bits = vec![0; usize::try_from(last).context("a descriptor")? / BITS + 1];
    for file in files {
        let number = usize::try_from(file.as_raw_fd()).context("a descriptor")?;
        bits[number / BITS] |= 1 << (number % BITS);
    }
    Ok(bits)
}

/// With a bitmap as long as it needs to be: glibc's `select` ends at 1024 descriptors, the kernel's does not.
fn select(bits: &mut [u64], files: &[OwnedFd]) -> Result<u64> {
    let end = files.iter().map(OwnedFd::as_raw_fd).max().unwrap_or(0) + 1;
    let none = std::ptr::null_mut::<u64>();
    let at_once = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a bitmap of at least `end` bits and a time that lives during the call; the others are absent.
    let ready =
        unsafe { libc::syscall(libc::SYS_pselect6, end, bits.as_mut_ptr(), none, none, &raw const at_once, none) };
    u64::try_from(Errno::result(ready).context("pselect6")?).context("pselect6")
}

fn table(rows: &[Row], ready: u8) -> Table {
    let cells = |row: &Row| {
        [row.registered as u64, row.epoll_ns, row.poll_ns, row.select_ns].map(|number| number.to_string()).to_vec()
    };
    Table {
        title: format!("Processor nanoseconds of one call that finds {ready} ready descriptors"),
        columns: ["registered", "epoll_wait", "poll", "select"].map(str::to_owned).to_vec(),
        rows: rows.iter().map(cells).collect(),
    }
}

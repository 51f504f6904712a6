//! `demos sources`: one file of every kind that programs register, and what the kernel says of each to whoever has it open.
//!
//! In: nothing, or a line on stdin when they are to become ready. Out: each file with its link in `/proc/self/fd`, its inode, and what
//! `getsockname`, `getpeername` and `getsockopt` say of a socket; then each has become ready, one after another.

mod asked;
mod internet;
mod kinds;

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, OwnedFd};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use nix::errno::Errno;
use serde::Serialize;

use self::asked::Told;
pub(crate) use self::kinds::Folder;
use crate::counted::Counted;
use crate::fds::epoll;
use crate::truth::{Counts, Truth};

/// Files of every kind, what the kernel says of each, and each becomes ready
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  demos sources
  mkfifo go; demos sources --held < go & exec 3> go; eptrace trace -p $! & sleep 5; echo >&3")]
pub(crate) struct Options {
    /// Say what is registered, then wait for a line on stdin before anything becomes ready
    #[arg(long)]
    held: bool,
    /// Print lines of JSON instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Outcome {
    demo: &'static str,
    pid: u32,
    epfd: i32,
    /// What this kernel does not have.
    missing: BTreeSet<&'static str>,
    sources: Vec<Told>,
    truth: Truth,
}

/// Makes a source ready.
type Wake = Box<dyn FnOnce() -> Result<()>>;

/// A file that is to be registered.
struct Source {
    name: String,
    file: OwnedFd,
    /// None where it is ready from the beginning.
    wake: Option<Wake>,
    /// Whom it is being connected to: `getpeername` says that only when it is.
    connecting_to: Option<SocketAddr>,
}

impl Source {
    fn new(name: impl Into<String>, file: impl Into<OwnedFd>, wake: impl FnOnce() -> Result<()> + 'static) -> Self {
        Self { name: name.into(), file: file.into(), wake: Some(Box::new(wake)), connecting_to: None }
    }

    fn ready(name: impl Into<String>, file: impl Into<OwnedFd>) -> Self {
        Self { name: name.into(), file: file.into(), wake: None, connecting_to: None }
    }
}

/// What is being opened, and everything that must stay open for it.
#[derive(Default)]
struct Stage {
    calls: Counted,
    sources: Vec<Source>,
    kept: Vec<OwnedFd>,
    missing: BTreeSet<&'static str>,
}

const MASK: u32 = (libc::EPOLLIN | libc::EPOLLET).cast_unsigned();

/// Runs the demo and returns what it prints at its end.
pub(crate) fn run(options: &Options) -> Result<String> {
    let epoll = epoll()?;
    let mut stage = Stage::default();
    let folder = Folder::new()?;
    kinds::all(&mut stage, folder.path())?;
    internet::all(&mut stage)?;
    let Stage { mut calls, sources, kept, missing } = stage;
    for source in &sources {
        ctl(&mut calls, &epoll, libc::EPOLL_CTL_ADD, source)?;
    }
    let told = sources.iter().map(asked::of).collect::<Result<_>>()?;
    let pid = std::process::id();
    let mut outcome =
        Outcome { demo: "sources", pid, epfd: epoll.as_raw_fd(), missing, sources: told, truth: truth(&calls) };
    if options.held {
        say(&outcome, options.json)?;
        io::stdin().read_line(&mut String::new()).context("read stdin")?;
    }
    become_ready(&mut calls, &epoll, sources)?;
    drop(kept);
    outcome.truth = truth(&calls);
    if options.held || options.json {
        return Ok(serde_json::to_string(&outcome).context("write the result as JSON")? + "\n");
    }
    say(&outcome, false)?;
    Ok(outcome.truth.to_string())
}

fn truth(calls: &Counted) -> Truth {
    Truth::new(Counts::default(), [(nix::unistd::getpid().as_raw(), calls.counts())])
}

/// Prints what is registered.
fn say(outcome: &Outcome, json: bool) -> Result<()> {
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer(&mut out, outcome).context("write the sources")?;
        writeln!(out).context("write the sources")?;
    } else {
        for told in &outcome.sources {
            writeln!(out, "{told}").context("write the sources")?;
        }
    }
    out.flush().context("write the sources")
}

/// Registers a source, or removes it; its data is its number.
fn ctl(calls: &mut Counted, epoll: &OwnedFd, op: i32, Source { name, file, .. }: &Source) -> Result<()> {
    let fd = file.as_raw_fd();
    let event = Some((MASK, u64::try_from(fd).context("a descriptor is negative")?));
    calls.ctl(epoll.as_raw_fd(), op, fd, event).with_context(|| format!("epoll_ctl({op}) of {name}"))
}

/// First those that are ready by themselves, in one wait; then the others one after another, each in a wait of its own.
fn become_ready(calls: &mut Counted, epoll: &OwnedFd, sources: Vec<Source>) -> Result<()> {
    let (ready, others): (Vec<_>, Vec<_>) = sources.into_iter().partition(|source| source.wake.is_none());
    let numbers = |sources: &[Source]| sources.iter().map(|source| source.file.as_raw_fd()).collect();
    ensure!(wait(calls, epoll)? == numbers(&ready), "other files than {:?} are ready", numbers(&ready));
    for source in &ready {
        ctl(calls, epoll, libc::EPOLL_CTL_DEL, source)?;
    }
    for mut source in others {
        let number = source.file.as_raw_fd();
        let wake = source.wake.take().context("a source that nothing makes ready")?;
        wake().with_context(|| format!("make {} ready", source.name))?;
        let found = wait(calls, epoll)?;
        ensure!(found == [number].into(), "{} is ready ({number}), and the wait returned {found:?}", source.name);
        ctl(calls, epoll, libc::EPOLL_CTL_DEL, &source)?;
    }
    Ok(())
}

/// The numbers of the files that a wait says are ready.
fn wait(calls: &mut Counted, epoll: &OwnedFd) -> Result<BTreeSet<i32>> {
    let mut room = [libc::epoll_event { events: 0, u64: 0 }; 64];
    let events = loop {
        match calls.wait_on(epoll.as_raw_fd(), &mut room, -1) {
            Err(Errno::EINTR) => {}
            other => break other.context("epoll_wait")?,
        }
    };
    let events = room.iter().take(usize::try_from(events).context("a number of events")?);
    events.map(|event| i32::try_from(event.u64).context("an event of another item")).collect()
}

//! `demos life`: what happens to eventpolls in ordinary life, one thing after another.
//!
//! In: nothing, or the name of one thing. Out: the truth, by task. Every thing is small and its outcome certain: where a call may
//! only give one result, any other is an error of the demo.

mod processes;
mod threads;
mod uring;
mod waits;

use std::os::fd::{AsRawFd as _, RawFd};

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, ValueEnum};
use nix::errno::Errno;
use serde::Serialize;

use self::threads::Span;
pub(crate) use self::threads::until_asleep;
use self::waits::Wait;
use crate::counted::Counted;
use crate::fds::{epoll, eventfd, lower, raise};
use crate::truth::{Counts, Truth};

/// Fork, dup, pass, share, close, reuse, nest, interrupt: what happens to eventpolls in ordinary life
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  demos life
  demos life --only nested --json")]
pub(crate) struct Options {
    /// Only this
    #[arg(long, value_enum, value_name = "NAME")]
    only: Option<Scene>,
    /// Print one line of JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Scene {
    /// A child inherits an eventpoll, and both use it
    Fork,
    /// A registered file has two numbers, and the eventpoll too
    Dup,
    /// An eventpoll and a registered file travel to another process
    Pass,
    /// A child in a pid namespace of its own, where it has another number
    Namespace,
    /// One file is in several eventpolls
    Shared,
    /// An eventpoll is closed while a thread waits in it
    Closed,
    /// Descriptors and eventpolls come back under the same number
    Reuse,
    /// Eventpolls in eventpolls, as deep as the kernel lets them
    Nested,
    /// Threads that sleep in an eventpoll and in one that watches it
    Inner,
    /// `epoll_pwait` and `epoll_pwait2` with signals and timeouts
    Waits,
    /// Threads that come and go
    Threads,
    /// Many items with the same data
    Data,
    /// An eventpoll that is told to poll its devices
    Busy,
    /// `epoll_ctl` and `epoll_wait` through io_uring
    Uring,
    /// A thread becomes another program
    Exec,
}

#[derive(Debug, Serialize)]
struct Outcome {
    demo: &'static str,
    pid: u32,
    /// What this kernel does not have.
    missing: Vec<&'static str>,
    /// The waits of the scene `waits`, in their order.
    waits: Vec<Wait>,
    /// How long the sleepers of the scene `inner` took to return.
    spans: Vec<Span>,
    truth: Truth,
}

/// What every task of a scene did, the demo's own first.
#[derive(Debug, Default)]
struct Cast {
    own: Counted,
    others: Vec<(i32, Counts)>,
    /// Tasks in a pid namespace of their own, and their numbers there.
    in_namespace: Vec<(i32, i32)>,
    missing: Vec<&'static str>,
    waits: Vec<Wait>,
    spans: Vec<Span>,
}

/// Runs the demo and returns what it prints.
pub(crate) fn run(options: &Options) -> Result<String> {
    let mut cast = Cast::default();
    for &scene in Scene::value_variants() {
        if options.only.is_none_or(|only| only == scene) {
            play(scene, &mut cast).with_context(|| format!("{scene:?}"))?;
        }
    }
    let own = (nix::unistd::getpid().as_raw(), cast.own.counts());
    let mut truth = Truth::new(Counts::default(), std::iter::once(own).chain(cast.others));
    for (tid, ns_tid) in cast.in_namespace {
        truth.in_namespace(tid, ns_tid);
    }
    let Cast { missing, waits, spans, .. } = cast;
    let outcome = Outcome { demo: "life", pid: std::process::id(), missing, waits, spans, truth };
    if options.json {
        return serde_json::to_string(&outcome).map(|line| line + "\n").context("write the result as JSON");
    }
    Ok(outcome.truth.to_string())
}

fn play(scene: Scene, cast: &mut Cast) -> Result<()> {
    match scene {
        Scene::Fork => processes::fork(cast),
        Scene::Dup => dup(&mut cast.own),
        Scene::Pass => processes::pass(cast),
        Scene::Namespace => processes::namespace(cast),
        Scene::Shared => shared(&mut cast.own),
        Scene::Closed => threads::closed(cast),
        Scene::Reuse => reuse(&mut cast.own),
        Scene::Nested => nested(&mut cast.own),
        Scene::Inner => threads::inner(cast),
        Scene::Waits => waits::all(cast),
        Scene::Threads => threads::come_and_go(cast),
        Scene::Data => data(&mut cast.own),
        Scene::Busy => waits::busy(cast),
        Scene::Uring => uring::all(cast),
        Scene::Exec => threads::exec(cast),
    }
}

const IN: u32 = libc::EPOLLIN.cast_unsigned();

fn add(calls: &mut Counted, epoll: RawFd, fd: RawFd, events: u32, data: u64) -> Result<()> {
    let failed = calls.counts().ctl_failed;
    calls.ctl_raw(epoll, libc::EPOLL_CTL_ADD, fd, Some((events, data)));
    ensure!(calls.counts().ctl_failed == failed, "epoll_ctl(EPOLL_CTL_ADD): {}", Errno::last());
    Ok(())
}

/// Waits without sleeping; the number of events.
fn poll(calls: &mut Counted, epoll: RawFd) -> u64 {
    wait(calls, epoll, 0)
}

fn wait(calls: &mut Counted, epoll: RawFd, timeout_ms: i32) -> u64 {
    let mut room = [libc::epoll_event { events: 0, u64: 0 }; 64];
    let before = calls.counts().events;
    calls.wait_raw(epoll, &mut room, timeout_ms);
    calls.counts().events - before
}

fn expect(what: &str, found: u64, expected: u64) -> Result<()> {
    ensure!(found == expected, "{what}: {found} events, not {expected}");
    Ok(())
}

/// The item stays with the file, not with the number: it lives until the last number of the file is closed.
fn dup(calls: &mut Counted) -> Result<()> {
    let (epoll, file) = (epoll()?, eventfd(0)?);
    let other_epoll = epoll.try_clone().context("dup")?;
    add(calls, epoll.as_raw_fd(), file.as_raw_fd(), IN, 1)?;
    let copy = file.try_clone().context("dup")?;
    add(calls, other_epoll.as_raw_fd(), copy.as_raw_fd(), IN, 2)?;
    raise(&file)?;
    expect("a file with two numbers", poll(calls, other_epoll.as_raw_fd()), 2)?;
    drop(epoll);
    let number = file.as_raw_fd();
    drop(file);
    expect("a number that is closed", poll(calls, other_epoll.as_raw_fd()), 2)?;
    // The number means nothing any more, so the item cannot be deleted by it.
    let failed = calls.counts().ctl_failed;
    calls.ctl_raw(other_epoll.as_raw_fd(), libc::EPOLL_CTL_DEL, number, None);
    ensure!(calls.counts().ctl_failed == failed + 1, "an item was deleted by a closed number");
    drop(copy);
    expect("a file that is closed", poll(calls, other_epoll.as_raw_fd()), 0)
}

fn shared(calls: &mut Counted) -> Result<()> {
    let file = eventfd(0)?;
    let epolls = (0..4).map(|_| epoll()).collect::<Result<Vec<_>>>()?;
    for epoll in &epolls {
        add(calls, epoll.as_raw_fd(), file.as_raw_fd(), IN, 3)?;
    }
    raise(&file)?;
    for epoll in &epolls {
        expect("a shared file", poll(calls, epoll.as_raw_fd()), 1)?;
    }
    lower(&file)?;
    for epoll in &epolls {
        expect("a shared file that is empty", poll(calls, epoll.as_raw_fd()), 0)?;
    }
    Ok(())
}

/// The kernel gives the lowest free number, and uses addresses again: at once, or when a grace period has passed after so many eventpolls
/// that it frees them together (`kfree_rcu`).
fn reuse(calls: &mut Counted) -> Result<()> {
    let mut numbers = None;
    for round in 0..2_000 {
        let (epoll, file) = (epoll()?, eventfd(0)?);
        let now = (epoll.as_raw_fd(), file.as_raw_fd());
        ensure!(*numbers.get_or_insert(now) == now, "the numbers are {now:?}, not {numbers:?}");
        add(calls, now.0, now.1, IN, round)?;
        raise(&file)?;
        expect("a number that came back", poll(calls, now.0), 1)?;
        if round % 100 == 0 {
            // Waits for a grace period. A kernel that will not goes without: the next rounds take as long.
            // SAFETY: a call without pointers.
            unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_GLOBAL, 0, 0) };
        }
        if round % 2 == 0 {
            // The file goes first: its item with it.
            drop(file);
            expect("a file that went first", poll(calls, now.0), 0)?;
        }
    }
    Ok(())
}

/// `EP_MAX_NESTS` is 4 (fs/eventpoll.c, 5.10 to 7.3): five eventpolls in a row are the most.
fn nested(calls: &mut Counted) -> Result<()> {
    let file = eventfd(0)?;
    let chain = (0..5).map(|_| epoll()).collect::<Result<Vec<_>>>()?;
    let [first, .., last] = chain.as_slice() else { bail!("the chain has no ends") };
    add(calls, first.as_raw_fd(), file.as_raw_fd(), IN, 0)?;
    for (level, pair) in (1..).zip(chain.windows(2)) {
        add(calls, pair[1].as_raw_fd(), pair[0].as_raw_fd(), IN, level)?;
    }
    for closes in [last, first] {
        let outer = epoll()?;
        let failed = calls.counts().ctl_failed;
        let (of, what) = if std::ptr::eq(closes, last) { (&outer, last) } else { (first, last) };
        calls.ctl_raw(of.as_raw_fd(), libc::EPOLL_CTL_ADD, what.as_raw_fd(), Some((IN, 9)));
        ensure!(calls.counts().ctl_failed == failed + 1, "the kernel nested too deep, or in a circle");
    }
    raise(&file)?;
    expect("the outermost eventpoll", poll(calls, last.as_raw_fd()), 1)?;
    lower(&file)?;
    expect("the outermost eventpoll, later", poll(calls, last.as_raw_fd()), 0)
}

/// The kernel does not look at data: that it repeats is the program's own affair.
fn data(calls: &mut Counted) -> Result<()> {
    let epoll = epoll()?;
    let files = (0..32).map(|_| eventfd(0)).collect::<Result<Vec<_>>>()?;
    for (number, file) in files.iter().enumerate() {
        let data = if number % 2 == 0 { 7 } else { 0xffff_ffff };
        add(calls, epoll.as_raw_fd(), file.as_raw_fd(), IN, data)?;
    }
    for file in files.iter().step_by(3) {
        raise(file)?;
    }
    expect("items with the same data", poll(calls, epoll.as_raw_fd()), 11)?;
    for file in files.iter().step_by(3) {
        lower(file)?;
    }
    expect("items with the same data, later", poll(calls, epoll.as_raw_fd()), 0)
}

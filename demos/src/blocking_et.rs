//! `demos blocking-et`: a loop that reads until EAGAIN, on a descriptor that never says EAGAIN.
//!
//! In: the deadline. Out: the story of a worker on a blocking descriptor, whose loop hangs in `read` until a signal ends it, and of
//! the same worker on a non-blocking one. Meanwhile a second descriptor becomes ready, which the first worker cannot serve.

use std::io::Read as _;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, anyhow, ensure};
use clap::Args;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::pthread::{Pthread, pthread_kill, pthread_self};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use serde::Serialize;

use crate::asleep::{until_in, until_waiting};
use crate::counted::Counted;
use crate::ends::{Carrier, Ends, set_blocking, unread};
use crate::fds::{epoll, eventfd};
use crate::story::Story;
use crate::story::reaction::Reaction;
use crate::trigger::Trigger;
use crate::truth::Counts;

const IN: u32 = libc::EPOLLIN.cast_unsigned();
const SOCKET: u64 = 1;
const SECOND: u64 = 2;
const STOP: u64 = 3;
const BYTES: usize = 100;

/// EPOLLET on a blocking descriptor: the loop that should end with EAGAIN hangs in read
#[derive(Debug, Args, Serialize)]
#[command(after_help = "Examples:
  demos blocking-et
  demos blocking-et --deadline-ms 2000 --json")]
pub(crate) struct Options {
    /// How long the worker may hang before a signal rescues it
    #[arg(long, value_name = "MS", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=60_000))]
    deadline_ms: u16,
    /// Print one line of JSON instead of text
    #[arg(long)]
    #[serde(skip)]
    json: bool,
}

/// What the worker waits for.
struct Desk {
    epoll: OwnedFd,
    ends: Ends,
    second: OwnedFd,
    stop: OwnedFd,
}

/// A worker at its desk. It closes `left` when it has left the reading loop.
struct Worker {
    tid: i32,
    thread: Pthread,
    left: UnixStream,
    handle: JoinHandle<Result<(i32, Counts, Done)>>,
}

/// What the worker got.
#[derive(Debug, Default)]
struct Done {
    read: usize,
    eagain: u64,
    interrupted: u64,
    second: u64,
}

/// Runs the demo and returns what it prints.
pub(crate) fn run(options: &Options) -> Result<String> {
    let mut story = Story::begin("blocking-et", options)?;
    let action = SigAction::new(SigHandler::Handler(nothing), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler does nothing. Without SA_RESTART it ends a read.
    unsafe { sigaction(Signal::SIGUSR1, &action) }.context("sigaction(SIGUSR1)")?;
    for blocking in [true, false] {
        story.scene(if blocking { "a blocking descriptor" } else { "the same, non-blocking" });
        one(&mut story, blocking, options.deadline_ms)?;
    }
    story.end(options.json)
}

extern "C" fn nothing(_: libc::c_int) {}

fn one(story: &mut Story, blocking: bool, deadline_ms: u16) -> Result<()> {
    let desk =
        story.step("register a unix socket with EPOLLET, and two eventfds", Reaction::none().hooked(3), |act| {
            let desk =
                Desk { epoll: epoll()?, ends: Carrier::Unix.ends(act.calls)?, second: eventfd(0)?, stop: eventfd(0)? };
            if blocking {
                set_blocking(&desk.ends.near)?;
            }
            act.add(&desk.epoll, &desk.ends.near, IN | Trigger::Et.flag(), SOCKET)?;
            act.add(&desk.epoll, &desk.second, IN, SECOND)?;
            act.add(&desk.epoll, &desk.stop, IN, STOP)?;
            Ok(std::sync::Arc::new(desk))
        })?;
    let worker = story.step("a worker waits", Reaction::none(), |_| {
        let worker = Worker::start(&desk)?;
        until_waiting(&[worker.tid])?;
        Ok(worker)
    })?;
    // Whichever way its loop ends, the worker has left the wait with one event.
    let mut kernel = Reaction::wait(1).linked(1).woken(1);
    if !blocking {
        // It found nothing more and sleeps again, after one more look at nothing.
        kernel = kernel.scans(1);
    }
    story.step(format!("write {BYTES} bytes: the worker reads until EAGAIN"), kernel, |act| {
        act.write(&desk.ends.far, &[b'x'; BYTES])?;
        if blocking { until_in(worker.tid, &[libc::SYS_read]) } else { until_served(&worker) }
    })?;
    let kernel = Reaction::none().linked(1);
    let kernel = if blocking { kernel } else { kernel.woken(1).scans(2).events(1).filtered(1) };
    story.step("write to an eventfd that the worker waits for as well", kernel, |act| {
        act.write(&desk.second, &1_u64.to_ne_bytes())?;
        if blocking { Ok(()) } else { until_waiting(&[worker.tid]) }
    })?;
    if blocking {
        story.step(format!("give it {deadline_ms} ms"), Reaction::none(), |act| {
            act.tell("hangs", !worker.leaves_within(deadline_ms)?);
            act.tell("left", unread(&desk.ends.near)?);
            Ok(())
        })?;
        let kernel = Reaction::none().scans(2).events(1).filtered(1);
        story.step("rescue it with a signal: read ends with EINTR", kernel, |_| {
            pthread_kill(worker.thread, Signal::SIGUSR1).context("pthread_kill")?;
            until_waiting(&[worker.tid])
        })?;
    }
    let kernel = Reaction::none().linked(1).woken(1).scans(1).events(1);
    let (tid, counts, done) = story.step("tell it to stop", kernel, |act| {
        act.write(&desk.stop, &1_u64.to_ne_bytes())?;
        worker.join()
    })?;
    let served = (done.read, done.eagain, done.interrupted, done.second);
    ensure!(served == (BYTES, u64::from(!blocking), u64::from(blocking), 1), "the worker got {done:?}");
    story.joined(tid, counts);
    Ok(())
}

/// Asleep in `epoll_wait`, which it is only when the reading loop has ended.
fn until_served(worker: &Worker) -> Result<()> {
    ensure!(worker.leaves_within(u16::MAX)?, "the worker does not leave its loop");
    until_waiting(&[worker.tid])
}

impl Worker {
    fn start(desk: &std::sync::Arc<Desk>) -> Result<Self> {
        let (left, leaves) = UnixStream::pair().context("socketpair")?;
        let (tell, told): (_, Receiver<(i32, Pthread)>) = channel();
        let desk = std::sync::Arc::clone(desk);
        let handle = std::thread::Builder::new()
            .name("worker".to_owned())
            .spawn(move || {
                let tid = nix::unistd::gettid().as_raw();
                tell.send((tid, pthread_self())).context("tell the thread's number")?;
                let mut calls = Counted::default();
                let done = work(&desk, &mut calls, leaves)?;
                Ok((tid, calls.counts(), done))
            })
            .context("start a thread")?;
        let (tid, thread) = told.recv().context("hear the thread's number")?;
        Ok(Self { tid, thread, left, handle })
    }

    /// Whether it leaves the reading loop in time.
    fn leaves_within(&self, ms: u16) -> Result<bool> {
        let mut fds = [PollFd::new(self.left.as_fd(), PollFlags::POLLIN)];
        Ok(poll(&mut fds, PollTimeout::from(ms)).context("poll")? > 0)
    }

    fn join(self) -> Result<(i32, Counts, Done)> {
        let done = self.handle.join().map_err(|_| anyhow!("the worker panicked"))??;
        let mut nothing = Vec::new();
        (&self.left).read_to_end(&mut nothing).context("read what the worker left")?;
        Ok(done)
    }
}

/// An edge-triggered loop as the rule has it: read until EAGAIN. `leaves` is closed when the loop has ended.
fn work(desk: &Desk, calls: &mut Counted, leaves: UnixStream) -> Result<Done> {
    let mut done = Done::default();
    let mut leaves = Some(leaves);
    let mut room = [libc::epoll_event { events: 0, u64: 0 }];
    loop {
        if calls.wait_raw(desk.epoll.as_raw_fd(), &mut room, -1) == 0 {
            continue;
        }
        match room[0].u64 {
            SOCKET => {
                read_until_eagain(desk, &mut done)?;
                leaves.take();
            }
            SECOND => {
                nix::unistd::read(&desk.second, &mut [0; 8]).context("read from the second descriptor")?;
                done.second += 1;
            }
            _ => return Ok(done),
        }
    }
}

fn read_until_eagain(desk: &Desk, done: &mut Done) -> Result<()> {
    let mut room = [0; 64];
    loop {
        match nix::unistd::read(&desk.ends.near, &mut room) {
            Ok(0) => return Ok(()),
            Ok(read) => done.read += read,
            Err(Errno::EAGAIN) => {
                done.eagain += 1;
                return Ok(());
            }
            Err(Errno::EINTR) => {
                done.interrupted += 1;
                return Ok(());
            }
            Err(errno) => return Err(errno).context("read"),
        }
    }
}

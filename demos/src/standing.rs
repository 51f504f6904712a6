//! `demos standing`: eventpolls whose structures are known, and that stand still.
//!
//! In: a line on stdin, when it is to end. Out: what stands where, as the demo built it: which items, which of them are ready in which
//! order, who sleeps in which order, in which order the entries of one socket's wait queue stand, what is nested in what, and a scan
//! that is held up in its middle.

mod held_scan;

use std::io::{self, Write as _};
use std::net::TcpListener;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::sync::mpsc::channel;
use std::thread;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use nix::errno::Errno;
use serde::Serialize;

use crate::fds::{epoll, eventfd};
use crate::life::until_asleep;

/// Build eventpolls whose structures are known, say so, and leave them as they are until a line comes on stdin
///
/// It counts nothing: look at it with eptrace snapshot.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  mkfifo go; demos standing --json < go & exec 3> go; eptrace snapshot -p $!; echo >&3
  demos standing --items 10000")]
pub(crate) struct Options {
    /// Items of the largest eventpoll
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(16..=1_000_000))]
    items: u32,
    /// Hold a thread up in the middle of a scan, by a page that is not there (userfaultfd); it goes on when a first line comes
    #[arg(long)]
    held_scan: bool,
    /// Print a line of JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Item {
    fd: RawFd,
    events: u32,
    data: u64,
}

/// One eventpoll.
#[derive(Debug, Default, Serialize)]
struct Standing {
    what: &'static str,
    epfd: RawFd,
    /// Other descriptors of it.
    copies: Vec<RawFd>,
    items: Vec<Item>,
    /// Descriptors on the ready list, first to last.
    ready: Vec<RawFd>,
    /// Threads asleep, in the order in which they are woken.
    asleep: Vec<i32>,
    /// Where the first item's entry stands on its wait queue, how many entries there are, and how many of them are exclusive.
    queue: Option<[u32; 3]>,
    /// The eventpoll that an item is.
    inner: Option<RawFd>,
    /// Descriptors that were closed or became another file after they were registered, with those that the file has instead.
    gone: Vec<(RawFd, &'static str, RawFd)>,
    /// Items that come while a scan is held up: descriptors in the order of the overflow list.
    overflow: Vec<RawFd>,
    /// The ready list when that scan is over.
    ready_after: Vec<RawFd>,
    /// The thread that is held up.
    scans: Option<i32>,
}

#[derive(Debug, Serialize)]
struct Outcome {
    demo: &'static str,
    pid: u32,
    eventpolls: Vec<Standing>,
}

const IN: u32 = libc::EPOLLIN.cast_unsigned();
const ET: u32 = libc::EPOLLET.cast_unsigned();
const EXCLUSIVE: u32 = libc::EPOLLEXCLUSIVE.cast_unsigned();
const ALWAYS: u32 = (libc::EPOLLERR | libc::EPOLLHUP).cast_unsigned();
/// Threads of the eventpoll that has some.
const SLEEPERS: usize = 4;

/// Runs the demo and returns what it prints at its end: nothing.
pub(crate) fn run(options: &Options) -> Result<String> {
    crate::many::room_for(u64::from(options.items) + 64)?;
    let mut open = Vec::new();
    let mut held = None;
    let mut eventpolls = vec![ready(options.items, &mut open)?, asleep(&mut open)?];
    eventpolls.extend(queue(&mut open)?);
    eventpolls.extend(nested(&mut open)?);
    if options.held_scan {
        let (standing, scan) = held_scan::begin(&mut open)?;
        eventpolls.push(standing);
        held = Some(scan);
    }
    eventpolls.push(Standing { what: "empty", ..standing(keep(&mut open, epoll()?)) });
    // The numbers that it closes stay closed, since nothing is opened after it.
    eventpolls.push(gone(&mut open)?);

    let outcome = Outcome { demo: "standing", pid: std::process::id(), eventpolls };
    say(&outcome, options.json)?;
    let mut lines = io::stdin().lines();
    if let Some(held) = held {
        lines.next().transpose().context("read stdin")?;
        held.end()?;
        say(&Outcome { eventpolls: Vec::new(), ..outcome }, options.json)?;
    }
    lines.next().transpose().context("read stdin")?;
    Ok(String::new())
}

fn say(outcome: &Outcome, as_json: bool) -> Result<()> {
    let mut out = io::stdout().lock();
    if as_json {
        serde_json::to_writer(&mut out, outcome).context("write what stands")?;
        writeln!(out).context("write what stands")?;
    } else {
        writeln!(out, "process {}", outcome.pid).context("write what stands")?;
        for Standing { what, epfd, items, .. } in &outcome.eventpolls {
            writeln!(out, "eventpoll {epfd:>3}  {what}, {} items", items.len()).context("write what stands")?;
        }
    }
    out.flush().context("write what stands")
}

fn keep(open: &mut Vec<OwnedFd>, fd: OwnedFd) -> RawFd {
    let number = fd.as_raw_fd();
    open.push(fd);
    number
}

fn standing(epfd: RawFd) -> Standing {
    Standing { epfd, ..Standing::default() }
}

impl Standing {
    fn add(&mut self, fd: RawFd, events: u32) -> Result<()> {
        let data = 0x5000_0000 + u64::try_from(fd).context("a descriptor is negative")?;
        let mut event = libc::epoll_event { events, u64: data };
        // SAFETY: a valid event and two numbers.
        let ret = unsafe { libc::epoll_ctl(self.epfd, libc::EPOLL_CTL_ADD, fd, &raw mut event) };
        ensure!(ret == 0, "epoll_ctl(EPOLL_CTL_ADD): {}", Errno::last());
        self.items.push(Item { fd, events: events | ALWAYS, data });
        Ok(())
    }
}

/// Makes an eventfd readable.
fn raise(fd: RawFd) -> Result<()> {
    let one = 1_u64.to_ne_bytes();
    // SAFETY: a buffer of eight bytes.
    let ret = unsafe { libc::write(fd, one.as_ptr().cast(), one.len()) };
    ensure!(ret == 8, "write to an eventfd: {}", Errno::last());
    Ok(())
}

/// Many items, four of them ready in an order that is none of the others'. Nobody waits, so the list stays as it is.
fn ready(items: u32, open: &mut Vec<OwnedFd>) -> Result<Standing> {
    let mut this = Standing { what: "ready", ..standing(keep(open, epoll()?)) };
    for number in 0..items {
        let fd = keep(open, eventfd(0)?);
        this.add(fd, if number % 2 == 0 { IN } else { IN | ET })?;
    }
    // Every third goes and comes again: the tree is not only what insertion makes of it.
    for item in this.items.iter().step_by(3) {
        let mut event = libc::epoll_event { events: item.events & !ALWAYS, u64: item.data };
        for op in [libc::EPOLL_CTL_DEL, libc::EPOLL_CTL_ADD] {
            // SAFETY: a valid event and three numbers.
            let ret = unsafe { libc::epoll_ctl(this.epfd, op, item.fd, &raw mut event) };
            ensure!(ret == 0, "epoll_ctl: {}", Errno::last());
        }
    }
    for place in [7, 2, 11, 5] {
        let fd = this.items.get(place).context("too few items")?.fd;
        raise(fd)?;
        this.ready.push(fd);
    }
    // One that is ready when it is added.
    let last = keep(open, eventfd(1)?);
    this.add(last, IN)?;
    this.ready.push(last);
    // SAFETY: a call without pointers gives a new descriptor, or -1.
    let copy = unsafe { crate::fds::own(libc::dup(this.epfd), "dup") }?;
    this.copies.push(keep(open, copy));
    Ok(this)
}

/// Threads that sleep, one after another: the last comes first.
fn asleep(open: &mut Vec<OwnedFd>) -> Result<Standing> {
    let mut this = Standing { what: "asleep", ..standing(keep(open, epoll()?)) };
    let fd = keep(open, eventfd(0)?);
    this.add(fd, IN)?;
    let epfd = this.epfd;
    for number in 0..SLEEPERS {
        let (tell, told) = channel();
        let spawn = thread::Builder::new().name(format!("sleeper-{number}"));
        spawn
            .spawn(move || {
                let _ = tell.send(nix::unistd::gettid().as_raw());
                let mut room = libc::epoll_event { events: 0, u64: 0 };
                // SAFETY: room for one event. It ends with the process.
                unsafe { libc::epoll_wait(epfd, &raw mut room, 1, -1) };
            })
            .context("cannot start a thread")?;
        let tid = told.recv().context("hear the thread's number")?;
        until_asleep(tid)?;
        this.asleep.insert(0, tid);
    }
    Ok(this)
}

/// One listening socket in four eventpolls: plain entries stand before those that were there, exclusive ones at the end.
fn queue(open: &mut Vec<OwnedFd>) -> Result<Vec<Standing>> {
    let listener = keep(open, TcpListener::bind("127.0.0.1:0").context("bind a TCP socket")?.into());
    let mut all = Vec::new();
    for (events, place) in [(IN, 1), (IN | EXCLUSIVE, 2), (IN, 0), (IN | EXCLUSIVE, 3)] {
        let mut this = Standing { what: "queue", queue: Some([place, 4, 2]), ..standing(keep(open, epoll()?)) };
        this.add(listener, events)?;
        all.push(this);
    }
    Ok(all)
}

/// An eventpoll in an eventpoll in an eventpoll; the innermost has something ready, and so they all have.
fn nested(open: &mut Vec<OwnedFd>) -> Result<Vec<Standing>> {
    let mut all: Vec<Standing> = Vec::new();
    for level in 0..3 {
        let mut this = Standing { what: "nested", ..standing(keep(open, epoll()?)) };
        this.inner = all.last().map(|inner| inner.epfd);
        let watched = match this.inner {
            Some(inner) => inner,
            None => keep(open, eventfd(1)?),
        };
        this.add(watched, IN)?;
        this.ready.push(watched);
        ensure!(level == 0 || this.inner.is_some(), "a level is missing");
        all.push(this);
    }
    all.reverse();
    Ok(all)
}

/// Items whose number was closed, or became another file's, while a copy keeps their file open.
fn gone(open: &mut Vec<OwnedFd>) -> Result<Standing> {
    let mut this = Standing { what: "gone", ..standing(keep(open, epoll()?)) };
    let [closed, reused] = [eventfd(0)?, eventfd(0)?];
    let copies = [&closed, &reused].map(|fd| fd.try_clone().context("dup"));
    let other = keep(open, eventfd(0)?);
    for (fd, copy, how) in [(closed, copies[0].as_ref(), "closed"), (reused, copies[1].as_ref(), "another file")] {
        let number = fd.as_raw_fd();
        let copy = copy.map_err(|error| anyhow::anyhow!("{error:#}"))?.as_raw_fd();
        this.add(number, IN)?;
        this.gone.push((number, how, copy));
        if how == "closed" {
            drop(fd);
        } else {
            // SAFETY: both numbers are open, and this one is the demo's own from here on.
            unsafe { libc::dup2(other, number) };
            open.push(fd);
        }
    }
    for copy in copies {
        open.push(copy?);
    }
    Ok(this)
}

//! `demos registered`: one item of every kind of file, registered and left alone, as a server that has run for long would have
//! them.
//!
//! In: a line on stdin, when it is to end. Out: first the items, as they are registered, then nothing but one `epoll_wait` when the
//! line comes.

use std::io::{self, BufRead as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;

use anyhow::{Context as _, Result};
use clap::Args;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use serde::Serialize;

use crate::counted::Counted;
use crate::fds::{eventfd, own};
use crate::truth::{Counts, Truth};

/// Register one file of each kind, say so, wait for a line on stdin, then wait once for events and end
///
/// Attach a tracer while it waits: everything is registered already, and nothing happens.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  demos registered
  mkfifo go; demos registered --json < go & exec 3> go; eptrace trace -p $! & sleep 5; echo >&3")]
pub(crate) struct Options {
    /// Print lines of JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// What a tracer should find.
#[derive(Debug, Serialize)]
struct Item {
    fd: i32,
    /// As the kernel keeps it: `EPOLLERR` and `EPOLLHUP` are always in, and after a delivery of `EPOLLONESHOT` nothing else is.
    events: u32,
    data: u64,
    /// What reports call it.
    kind: &'static str,
    /// Where it listens, or whom it is connected to.
    address: Option<String>,
    /// On the ready list.
    ready: bool,
}

#[derive(Debug, Serialize)]
struct Registered {
    demo: &'static str,
    pid: u32,
    epfd: i32,
    items: Vec<Item>,
}

#[derive(Debug, Serialize)]
struct Outcome {
    demo: &'static str,
    pid: u32,
    truth: Truth,
}

const ALWAYS: u32 = (libc::EPOLLERR | libc::EPOLLHUP).cast_unsigned();

/// What is being registered, and everything that must stay open for it.
struct Stage {
    epoll: Epoll,
    calls: Counted,
    items: Vec<Item>,
    open: Vec<OwnedFd>,
}

impl Stage {
    fn add(
        &mut self,
        file: impl Into<OwnedFd>,
        kind: &'static str,
        flags: EpollFlags,
        address: Option<String>,
        ready: bool,
    ) -> Result<()> {
        let file = file.into();
        let fd = file.as_raw_fd();
        let data = 0x1000 + u64::try_from(fd).context("a descriptor is negative")?;
        self.calls.add(&self.epoll, file.as_fd(), EpollEvent::new(flags, data))?;
        let events = flags.bits().cast_unsigned() | ALWAYS;
        self.items.push(Item { fd, events, data, kind, address, ready });
        self.open.push(file);
        Ok(())
    }
}

/// Runs the demo and returns what it prints at its end.
pub(crate) fn run(options: &Options) -> Result<String> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("epoll_create1")?;
    let mut stage = Stage { epoll, calls: Counted::default(), items: Vec::new(), open: Vec::new() };
    once(&mut stage)?;
    sockets(&mut stage)?;
    others(&mut stage)?;

    let registered = Registered {
        demo: "registered",
        pid: std::process::id(),
        epfd: stage.epoll.0.as_raw_fd(),
        items: std::mem::take(&mut stage.items),
    };
    let mut out = io::stdout().lock();
    if options.json {
        serde_json::to_writer(&mut out, &registered).context("write the items")?;
        writeln!(out).context("write the items")?;
    } else {
        writeln!(out, "process {}, eventpoll {}", registered.pid, registered.epfd).context("write the items")?;
        for Item { fd, kind, address, ready, .. } in &registered.items {
            let address = address.as_deref().unwrap_or_default();
            let ready = if *ready { "ready" } else { "" };
            writeln!(out, "fd {fd:>3}  {kind:<10} {address:<24} {ready}").context("write the items")?;
        }
    }
    out.flush().context("write the items")?;
    drop(out);

    io::stdin().lock().read_line(&mut String::new()).context("read stdin")?;
    let mut room = [EpollEvent::empty(); 32];
    stage.calls.wait(&stage.epoll, &mut room)?;
    let outcome = Outcome {
        demo: "registered",
        pid: std::process::id(),
        truth: Truth::new(Counts::default(), std::iter::once((nix::unistd::getpid().as_raw(), stage.calls.counts()))),
    };
    serde_json::to_string(&outcome).map(|line| line + "\n").context("write the result as JSON")
}

/// An item whose `EPOLLONESHOT` has been delivered: it is registered, and disarmed.
fn once(stage: &mut Stage) -> Result<()> {
    let fd = eventfd(1)?;
    stage.add(fd, "eventfd", EpollFlags::EPOLLIN | EpollFlags::EPOLLONESHOT, None, false)?;
    let mut room = [EpollEvent::empty(); 1];
    stage.calls.wait(&stage.epoll, &mut room)?;
    if let Some(item) = stage.items.last_mut() {
        item.events = libc::EPOLLONESHOT.cast_unsigned();
    }
    Ok(())
}

fn sockets(stage: &mut Stage) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").context("bind a TCP socket")?;
    let address = listener.local_addr().context("getsockname")?;
    let client =
        TcpStream::connect(address).with_context(|| format!("connect({address}); is the loopback interface up?"))?;
    let (server, _) = listener.accept().context("accept")?;
    let peer = server.peer_addr().context("getpeername")?;
    let exclusive = EpollFlags::EPOLLIN | EpollFlags::EPOLLEXCLUSIVE;
    stage.add(listener, "socket", exclusive, Some(address.to_string()), false)?;
    stage.add(server, "socket", EpollFlags::EPOLLIN | EpollFlags::EPOLLET, Some(peer.to_string()), false)?;
    stage.open.push(client.into());
    let udp = UdpSocket::bind("127.0.0.1:0").context("bind a UDP socket")?;
    let local = udp.local_addr().context("getsockname")?.to_string();
    stage.add(udp, "socket", EpollFlags::EPOLLIN, Some(local), false)?;
    let (ours, theirs) = UnixStream::pair().context("socketpair")?;
    stage.add(ours, "socket", EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP, None, false)?;
    stage.open.push(theirs.into());
    Ok(())
}

fn others(stage: &mut Stage) -> Result<()> {
    let (reader, writer) = nix::unistd::pipe().context("pipe")?;
    nix::unistd::write(&writer, b"x").context("write to the pipe")?;
    stage.add(reader, "pipe", EpollFlags::EPOLLIN, None, true)?;
    stage.open.push(writer);
    stage.add(eventfd(0)?, "eventfd", EpollFlags::EPOLLIN, None, false)?;
    // SAFETY: none of these calls takes a pointer but to what lives here; each gives a new descriptor or an error.
    unsafe {
        let timer = own(libc::timerfd_create(libc::CLOCK_MONOTONIC, 0), "timerfd_create")?;
        stage.add(timer, "timerfd", EpollFlags::EPOLLIN, None, false)?;
        let mut signals = std::mem::zeroed();
        libc::sigemptyset(&raw mut signals);
        let signal = own(libc::signalfd(-1, &raw const signals, 0), "signalfd")?;
        stage.add(signal, "signalfd", EpollFlags::EPOLLIN, None, false)?;
        let inotify = own(libc::inotify_init1(0), "inotify_init1")?;
        stage.add(inotify, "inotify", EpollFlags::EPOLLIN, None, false)?;
        let pid = libc::syscall(libc::SYS_pidfd_open, libc::getpid(), 0);
        let pidfd = own(i32::try_from(pid).context("pidfd_open")?, "pidfd_open")?;
        stage.add(pidfd, "pidfd", EpollFlags::EPOLLIN, None, false)?;
        let inner = own(libc::epoll_create1(0), "epoll_create1")?;
        stage.add(inner, "epoll", EpollFlags::EPOLLIN, None, false)?;
    }
    Ok(())
}

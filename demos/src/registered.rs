//! `demos registered`: one item of every kind of file, registered and left alone, as a server that has run for long would have
//! them.
//!
//! In: a line on stdin, when it is to end. Out: first the items, as they are registered; when the line comes a connection to the listening
//! socket, and one `epoll_wait`. A child has an eventpoll of its own, where one is asked for.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use serde::{Deserialize, Serialize};

use crate::child::Child;
use crate::counted::Counted;
use crate::ends::until_queued;
use crate::fds::{eventfd, own, raise};
use crate::many::room_for;
use crate::truth::Truth;

/// Register one file of each kind, say so, wait for a line on stdin, then connect, wait once for events and end
///
/// Attach a tracer while it waits: everything is registered already, and nothing happens.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  demos registered
  mkfifo go; demos registered --json < go & exec 3> go; eptrace trace -p $! & sleep 5; echo >&3")]
pub(crate) struct Options {
    /// A second eventpoll, with so many eventfds; every fiftieth is ready
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    many: u32,
    /// A child process with an eventpoll of its own
    #[arg(long)]
    child: bool,
    /// Print lines of JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// What a tracer should find.
#[derive(Debug, Serialize, Deserialize)]
struct Item {
    fd: i32,
    /// As the kernel keeps it: `EPOLLERR` and `EPOLLHUP` are always in, and after a delivery of `EPOLLONESHOT` nothing else is.
    events: u32,
    data: u64,
    /// What reports call it.
    kind: String,
    /// Where it listens, or whom it is connected to.
    address: Option<String>,
    /// On the ready list.
    ready: bool,
}

/// One eventpoll, as its process has it.
#[derive(Debug, Serialize, Deserialize)]
struct Eventpoll {
    pid: u32,
    epfd: i32,
    items: Vec<Item>,
}

#[derive(Debug, Serialize)]
struct Registered {
    demo: &'static str,
    /// The one with a file of each kind.
    #[serde(flatten)]
    each: Eventpoll,
    /// The others.
    others: Vec<Eventpoll>,
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
        self.items.push(Item { fd, events, data, kind: kind.to_owned(), address, ready });
        self.open.push(file);
        Ok(())
    }

    fn new() -> Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("epoll_create1")?;
        Ok(Self { epoll, calls: Counted::default(), items: Vec::new(), open: Vec::new() })
    }

    /// What is registered by now.
    fn told(&mut self) -> Eventpoll {
        Eventpoll { pid: std::process::id(), epfd: self.epoll.0.as_raw_fd(), items: std::mem::take(&mut self.items) }
    }
}

/// Runs the demo and returns what it prints at its end.
pub(crate) fn run(options: &Options) -> Result<String> {
    let child = if options.child { Some(Child::fork(in_child)?) } else { None };
    let mut others = Vec::new();
    if let Some(child) = &child {
        let mut line = String::new();
        BufReader::new(&child.tells).read_line(&mut line).context("hear of the child's items")?;
        others.push(serde_json::from_str(&line).with_context(|| format!("understand the child's items: {line}"))?);
    }
    let mut stage = Stage::new()?;
    once(&mut stage)?;
    let (listener, address) = sockets(&mut stage)?;
    self::others(&mut stage)?;
    let each = stage.told();
    let mut many = if options.many > 0 { Some(many(options.many)?) } else { None };
    others.extend(many.as_mut().map(Stage::told));
    say(&Registered { demo: "registered", each, others }, options.json)?;

    io::stdin().lock().read_line(&mut String::new()).context("read stdin")?;
    let client = TcpStream::connect(address).with_context(|| format!("connect({address})"))?;
    until_queued(stage.open.get(listener).context("the listening socket is gone")?, 1)?;
    let mut room = [EpollEvent::empty(); 32];
    ensure!(stage.calls.wait(&stage.epoll, &mut room)?.len() == 2, "not the pipe and the listening socket are ready");
    drop(client);
    let mut workers = vec![(nix::unistd::getpid().as_raw(), stage.calls.counts())];
    if let Some(mut child) = child {
        child.tells.write_all(b"\n").context("tell the child to go on")?;
        workers.push(child.join()?);
    }
    let master = many.map(|many| many.calls.counts()).unwrap_or_default();
    let outcome = Outcome { demo: "registered", pid: std::process::id(), truth: Truth::new(master, workers) };
    serde_json::to_string(&outcome).map(|line| line + "\n").context("write the result as JSON")
}

/// Prints what is registered.
fn say(registered: &Registered, json: bool) -> Result<()> {
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer(&mut out, registered).context("write the items")?;
        writeln!(out).context("write the items")?;
    } else {
        for Eventpoll { pid, epfd, items } in std::iter::once(&registered.each).chain(&registered.others) {
            writeln!(out, "process {pid}, eventpoll {epfd}").context("write the items")?;
            for Item { fd, kind, address, ready, .. } in items {
                let address = address.as_deref().unwrap_or_default();
                let ready = if *ready { "ready" } else { "" };
                writeln!(out, "fd {fd:>3}  {kind:<10} {address:<24} {ready}").context("write the items")?;
            }
        }
    }
    out.flush().context("write the items")
}

/// The child's part: two eventfds, one of them ready; the other becomes so when the parent says.
fn in_child(calls: &mut Counted, stream: &mut UnixStream) -> Result<()> {
    let mut stage = Stage::new()?;
    stage.add(eventfd(1)?, "eventfd", EpollFlags::EPOLLIN, None, true)?;
    stage.add(eventfd(0)?, "eventfd", EpollFlags::EPOLLIN | EpollFlags::EPOLLET, None, false)?;
    let told = serde_json::to_string(&stage.told()).context("write the items as JSON")?;
    writeln!(stream, "{told}").context("tell of the items")?;
    stream.read_exact(&mut [0]).context("hear when to go on")?;
    let second = stage.open.last().context("nothing is registered")?;
    raise(second)?;
    let mut room = [EpollEvent::empty(); 4];
    ensure!(stage.calls.wait(&stage.epoll, &mut room)?.len() == 2, "not both of the child's items are ready");
    *calls = stage.calls;
    Ok(())
}

/// An eventpoll whose items the kernel cannot list in one buffer.
fn many(items: u32) -> Result<Stage> {
    room_for(u64::from(items))?;
    let mut stage = Stage::new()?;
    for number in 0..items {
        let ready = number % 50 == 0;
        stage.add(eventfd(u32::from(ready))?, "eventfd", EpollFlags::EPOLLIN, None, ready)?;
    }
    Ok(stage)
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

/// Where in `open` the listening socket is, and its address.
fn sockets(stage: &mut Stage) -> Result<(usize, SocketAddr)> {
    let listener = TcpListener::bind("127.0.0.1:0").context("bind a TCP socket")?;
    let address = listener.local_addr().context("getsockname")?;
    let client =
        TcpStream::connect(address).with_context(|| format!("connect({address}); is the loopback interface up?"))?;
    let (server, _) = listener.accept().context("accept")?;
    let peer = server.peer_addr().context("getpeername")?;
    let exclusive = EpollFlags::EPOLLIN | EpollFlags::EPOLLEXCLUSIVE;
    let place = stage.open.len();
    stage.add(listener, "socket", exclusive, Some(address.to_string()), false)?;
    stage.add(server, "socket", EpollFlags::EPOLLIN | EpollFlags::EPOLLET, Some(peer.to_string()), false)?;
    stage.open.push(client.into());
    let udp = UdpSocket::bind("127.0.0.1:0").context("bind a UDP socket")?;
    let local = udp.local_addr().context("getsockname")?.to_string();
    stage.add(udp, "socket", EpollFlags::EPOLLIN, Some(local), false)?;
    let (ours, theirs) = UnixStream::pair().context("socketpair")?;
    stage.add(ours, "socket", EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP, None, false)?;
    stage.open.push(theirs.into());
    Ok((place, address))
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

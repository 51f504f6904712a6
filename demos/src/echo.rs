//! `demos echo`: the same requests to one echo server after another: blocking, select, poll, epoll, io_uring.
//!
//! In: the servers, connections, requests, how many requests are in flight. Out: for each server a step with what it did, all counted
//! by the kernel: system calls by name, context switches, processor time; the descriptors that it looked at; and a table that sets
//! them side by side.
//!
//! The server is a thread, so that the kernel's counters can be its own; the client is the demo's first thread. What is counted is
//! the steady state: all connections are there, and none has ended. Only the blocking server, which has one at a time, is
//! counted with its accepts and closes.

mod client;
mod measure;
mod ready;
mod ring;
pub(crate) mod table;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::json;

use crate::asleep::until_in;
use crate::counted::Counted;
use crate::ends::Listener;
use crate::many::room_for;
use crate::story::Story;
use crate::story::reaction::Reaction;
use crate::truth::Counts;

use self::client::Client;
use self::measure::Meter;

/// Bytes of a request, and of its answer.
pub(crate) const MESSAGE: usize = 64;

/// Echo servers from blocking to io_uring, under the same requests: system calls, descriptors, switches
#[derive(Debug, Args, Serialize)]
#[command(after_help = "Examples:
  demos echo
  demos echo --server poll --server epoll-lt --connections 1000 --requests 1
  demos echo --in-flight 1,16 --json

System calls are counted by the kernel (the tracepoint raw_syscalls:sys_enter), which takes root and tracefs.")]
pub(crate) struct Options {
    /// Which servers, in this order (may be repeated)
    #[arg(long, value_enum, default_values = ["blocking", "select", "poll", "epoll-lt", "epoll-et", "io-uring", "io-uring-sqpoll"])]
    server: Vec<Server>,
    /// How many connections are open
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
    /// How many requests each connection makes
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    requests: u32,
    /// How many connections have a request in flight at the same time
    #[arg(long, value_name = "N,N,...", value_delimiter = ',', default_values_t = [1, 10], value_parser = clap::value_parser!(u32).range(1..))]
    in_flight: Vec<u32>,
    /// Print one line of JSON instead of text
    #[arg(long)]
    #[serde(skip)]
    json: bool,
}

/// How a server waits for requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Server {
    /// One connection at a time: accept, read, write, close
    Blocking,
    /// select with all descriptors
    Select,
    /// poll with all descriptors
    Poll,
    /// epoll, level-triggered: one read for each event
    EpollLt,
    /// epoll, edge-triggered: read until EAGAIN
    EpollEt,
    /// epoll with EPOLLONESHOT: a MOD after each request
    EpollOneshot,
    /// io_uring: a receive, then a send
    IoUring,
    /// io_uring: a send and the next receive, linked, submitted together
    IoUringLinked,
    /// io_uring whose submissions a kernel thread picks up
    IoUringSqpoll,
}

/// What a server thread and those who watch it share.
#[derive(Debug, Default)]
pub(crate) struct Board {
    /// The server is about to wait for its first request.
    pub(crate) serving: AtomicBool,
    /// Descriptors that the kernel was asked about, or that it told of.
    pub(crate) scanned: AtomicU64,
}

/// What one server did.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) server: Server,
    pub(crate) connections: u32,
    pub(crate) in_flight: u32,
    pub(crate) requests: u64,
    pub(crate) took: Duration,
    pub(crate) scanned: u64,
    pub(crate) measured: measure::Measured,
}

/// Runs the demo and returns what it prints.
pub(crate) fn run(options: &Options) -> Result<String> {
    room_for(2 * u64::from(options.connections))?;
    let mut story = Story::begin_on_all_cpus("echo", options)?;
    let mut rows = Vec::new();
    for &in_flight in &options.in_flight {
        let in_flight = in_flight.min(options.connections);
        story.scene(format!("{} connections, {in_flight} in flight", options.connections));
        for &server in &options.server {
            if in_flight > 1 && server.one_in_flight()? {
                story.missing(format!("{}: {in_flight} requests in flight", server.name()));
                continue;
            }
            let load = Load { connections: options.connections, requests: options.requests, in_flight };
            rows.extend(serve(&mut story, server, load)?);
        }
    }
    story.table(table::of(&rows));
    story.end(options.json)
}

/// What a client does to a server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) connections: u32,
    pub(crate) requests: u32,
    pub(crate) in_flight: u32,
}

/// A server and its client, from first connection to last; None where this kernel has no such server.
pub(crate) fn serve(story: &mut Story, server: Server, load: Load) -> Result<Option<Row>> {
    if let Some(why) = server.missing() {
        story.missing(why);
        return Ok(None);
    }
    let did = format!("{} answers {} requests", server.name(), load.connections * load.requests);
    let (row, tid, counts) = story.step(did, Reaction::anything(), |act| {
        let (row, tid, counts) = one(act.calls, server, load)?;
        act.tell("server", json!(server));
        act.tell("connections", row.connections);
        act.tell("in_flight", row.in_flight);
        act.tell("requests", row.requests);
        act.tell("descriptors_scanned", row.scanned);
        act.tell("took_us", u64::try_from(row.took.as_micros()).unwrap_or(u64::MAX));
        row.measured.tell(act, row.requests);
        Ok((row, tid, counts))
    })?;
    if row.measured.calls.is_none() {
        story.missing("counting system calls in the kernel (needs root and tracefs)");
    }
    story.joined(tid, counts);
    Ok(Some(row))
}

fn one(calls: &mut Counted, server: Server, load: Load) -> Result<(Row, i32, Counts)> {
    let listener = Arc::new(Listener::new()?);
    let mut client = Client::new(Arc::clone(&listener), load, server == Server::Blocking);
    let connections = if server == Server::Blocking { Vec::new() } else { client.connect_all(calls)? };
    let board = Arc::new(Board::default());
    let (tell, told) = std::sync::mpsc::channel();
    let handle = {
        let (board, listener) = (Arc::clone(&board), Arc::clone(&listener));
        let thread = std::thread::Builder::new().name(server.name().chars().take(15).collect());
        thread.spawn(move || -> Result<Counts> {
            tell.send(nix::unistd::gettid().as_raw()).context("tell the thread's number")?;
            let mut calls = Counted::default();
            server.run(connections, &listener, load.connections, &mut calls, &board)?;
            Ok(calls.counts())
        })
    };
    let handle = handle.context("start a thread")?;
    let tid = told.recv().context("hear the thread's number")?;
    let settle = || server.until_waiting(tid, &board);
    settle()?;
    let meter = Meter::of(tid)?;
    let scanned = board.scanned.load(Ordering::Relaxed);
    let start = std::time::Instant::now();
    client.ask()?;
    let took = start.elapsed();
    settle()?;
    let measured = meter.read()?;
    let scanned = board.scanned.load(Ordering::Relaxed) - scanned;
    client.end()?;
    let counts = handle.join().map_err(|_| anyhow!("the server panicked"))??;
    let requests = u64::from(load.connections) * u64::from(load.requests);
    let Load { connections, in_flight, .. } = load;
    Ok((Row { server, connections, in_flight, requests, took, scanned, measured }, tid, counts))
}

impl Server {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Blocking => "blocking",
            Self::Select => "select",
            Self::Poll => "poll",
            Self::EpollLt => "epoll-lt",
            Self::EpollEt => "epoll-et",
            Self::EpollOneshot => "epoll-oneshot",
            Self::IoUring => "io-uring",
            Self::IoUringLinked => "io-uring-linked",
            Self::IoUringSqpoll => "io-uring-sqpoll",
        }
    }

    /// The blocking server has one connection. The SQPOLL server, the kernel's thread and the client all run at once: with fewer
    /// processors they wait for each other's turn to end.
    fn one_in_flight(self) -> Result<bool> {
        let processors = std::thread::available_parallelism().context("the number of processors")?.get();
        Ok(self == Self::Blocking || (self == Self::IoUringSqpoll && processors < 3))
    }

    fn missing(self) -> Option<&'static str> {
        match self {
            Self::IoUring | Self::IoUringLinked | Self::IoUringSqpoll if !ring::available() => Some("io_uring"),
            _ => None,
        }
    }

    fn run(
        self,
        connections: Vec<OwnedFd>,
        listener: &Listener,
        number: u32,
        calls: &mut Counted,
        board: &Board,
    ) -> Result<()> {
        match self {
            Self::Blocking => ready::blocking(listener, number, calls, board),
            Self::Select => ready::select(connections, board),
            Self::Poll => ready::poll(connections, board),
            Self::EpollLt | Self::EpollEt | Self::EpollOneshot => ready::epoll(self, connections, calls, board),
            Self::IoUring | Self::IoUringLinked | Self::IoUringSqpoll => ring::serve(self, connections, board),
        }
    }

    /// Returns when the server waits for a request, as the kernel shows it. With SQPOLL it never sleeps: then, when it needs no more calls.
    fn until_waiting(self, tid: i32, board: &Board) -> Result<()> {
        while !board.serving.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        match self {
            Self::Blocking => until_in(tid, &[libc::SYS_accept4]),
            Self::Select => until_in(tid, &[libc::SYS_pselect6]),
            Self::Poll => until_in(tid, &[libc::SYS_poll, libc::SYS_ppoll]),
            Self::EpollLt | Self::EpollEt | Self::EpollOneshot => until_in(tid, &crate::asleep::WAITS),
            Self::IoUring | Self::IoUringLinked => until_in(tid, &[libc::SYS_io_uring_enter]),
            Self::IoUringSqpoll => Ok(()),
        }
    }
}

//! `demos busy-poll`: a wait that polls the network card itself instead of sleeping until the card interrupts.
//!
//! In: the address of an echo server behind a network card with NAPI (not the loopback). Out: the truth, and how many packets the kernel
//! says that tasks took from their cards themselves.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd as _;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use nix::errno::Errno;
use serde::Serialize;

use crate::counted::Counted;
use crate::fds::{epoll, poll_devices};
use crate::truth::{Counts, Truth};

/// Wait for the bytes that come back from an echo server, while the kernel polls the card from within `epoll_wait`
///
/// Before Linux 6.9 an eventpoll polls when `net.core.busy_poll` says so; later one can be told by itself (`EPIOCSPARAMS`), and is.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  demos busy-poll --to 192.0.2.1:7
  demos busy-poll --to 192.0.2.1:7 --rounds 1000 --json")]
pub(crate) struct Options {
    /// An echo server that is reached through a network card
    #[arg(long, value_name = "ADDRESS:PORT")]
    to: SocketAddr,
    /// How many bytes go there and back, one after another
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rounds: u32,
    /// Print one line of JSON instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Outcome {
    demo: &'static str,
    pid: u32,
    rounds: u32,
    /// Packets that were taken from a card by a task that polled it, as the kernel counts them (`BusyPollRxPackets`).
    polled: u64,
    truth: Truth,
}

/// How long a wait polls before it sleeps, in microseconds: longer than any answer takes.
const POLL_US: u32 = 10_000_000;

/// For how many microseconds every wait polls, 0 if none does.
const ALL_POLL: &str = "/proc/sys/net/core/busy_poll";

/// Runs the demo and returns what it prints.
pub(crate) fn run(options: &Options) -> Result<String> {
    let mut calls = Counted::default();
    let mut stream = TcpStream::connect(options.to).with_context(|| format!("connect to {}", options.to))?;
    stream.set_nodelay(true).context("set TCP_NODELAY")?;
    // The answer to the connection has come by a card: now the socket knows which.
    let card = napi_id(&stream)?;
    ensure!(card != 0, "no card with NAPI is on the way to {}", options.to);
    let epoll = epoll()?;
    ensure!(
        poll_devices(&epoll, POLL_US)? || all_poll()?,
        "an eventpoll of this kernel cannot be told to poll (6.9 and later can): write microseconds to {ALL_POLL}"
    );
    calls.ctl_raw(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, stream.as_raw_fd(), Some((libc::EPOLLIN.cast_unsigned(), 1)));
    ensure!(calls.counts().ctl_failed == 0, "epoll_ctl(EPOLL_CTL_ADD): {}", Errno::last());
    let before = polled()?;
    for _ in 0..options.rounds {
        stream.write_all(b"x").context("write to the server")?;
        let mut room = [libc::epoll_event { events: 0, u64: 0 }];
        // An interrupted wait has no event; the byte is still on its way.
        while calls.wait_raw(epoll.as_raw_fd(), &mut room, -1) == 0 {
            ensure!(calls.counts().wait_errors == 0, "epoll_wait: {}", Errno::last());
        }
        ensure!(
            stream.read(&mut [0; 2]).context("read from the server")? == 1,
            "the server did not send one byte back"
        );
    }
    let outcome = Outcome {
        demo: "busy-poll",
        pid: std::process::id(),
        rounds: options.rounds,
        polled: polled()? - before,
        truth: Truth::new(Counts::default(), [(nix::unistd::gettid().as_raw(), calls.counts())]),
    };
    if options.json {
        return serde_json::to_string(&outcome).map(|line| line + "\n").context("write the result as JSON");
    }
    let (rounds, polled) = (outcome.rounds, outcome.polled);
    Ok(format!("busy-poll: {rounds} bytes there and back, {polled} packets polled from the card\n\n{}", outcome.truth))
}

fn all_poll() -> Result<bool> {
    Ok(std::fs::read_to_string(ALL_POLL).with_context(|| format!("read {ALL_POLL}"))?.trim() != "0")
}

/// The number of the card's queue that the socket's last packet came by; 0 when it came by none.
fn napi_id(stream: &TcpStream) -> Result<u32> {
    let (mut id, mut length) = (0_u32, libc::socklen_t::try_from(size_of::<u32>()).context("the length of a number")?);
    let (level, name) = (libc::SOL_SOCKET, libc::SO_INCOMING_NAPI_ID);
    // SAFETY: room for one number, whose length is told.
    let ret = unsafe { libc::getsockopt(stream.as_raw_fd(), level, name, (&raw mut id).cast(), &raw mut length) };
    Errno::result(ret).context("getsockopt(SO_INCOMING_NAPI_ID)")?;
    Ok(id)
}

/// `BusyPollRxPackets` of this network namespace (`__napi_busy_loop`, net/core/dev.c).
fn polled() -> Result<u64> {
    const COUNTS: &str = "/proc/net/netstat";
    let text = std::fs::read_to_string(COUNTS).with_context(|| format!("read {COUNTS}"))?;
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else { bail!("{COUNTS} says nothing of TcpExt") };
    let found = names.split_whitespace().zip(values.split_whitespace()).find(|(name, _)| *name == "BusyPollRxPackets");
    let (_, value) = found.with_context(|| format!("{COUNTS} does not count BusyPollRxPackets"))?;
    value.parse().with_context(|| format!("{value} is no count"))
}

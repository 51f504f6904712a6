//! EPOLLET, which tells of what arrives and not of what is there: loops that end too early, and one that does not end.

use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::sys::epoll::{EpollEvent, EpollFlags};
use nix::sys::socket::{setsockopt, sockopt::ReceiveTimeout};
use nix::sys::time::{TimeVal, TimeValLike as _};

use super::steps::{MOMENT_MS, epoll, nothing_for, one_event, until_eagain, write};
use crate::counted::Counted;
use crate::ends::{Carrier, Listener, set_blocking, unread};

const EDGE: EpollFlags = EpollFlags::EPOLLIN.union(EpollFlags::EPOLLET);
/// How long nothing is told of what was left behind, milliseconds.
const SILENCE_MS: i32 = 200;
/// Times that bytes arrive.
const BURSTS: usize = 3;
/// Bytes that arrive at once.
const BURST: usize = 400;
/// And how many of them a read has room for.
const ROOM: usize = 256;
/// Connections that arrive before the first is accepted.
const CLIENTS: u32 = 3;
/// Bytes for the read that has nothing to come after it.
const FEW: usize = 10;
/// `SO_RCVTIMEO`: what rescues a read that sleeps, milliseconds.
const DEADLINE_MS: u32 = 100;

/// Reads once for each event, where there is more to read.
pub(super) fn not_drained(calls: &mut Counted, correct: bool) -> Result<()> {
    let (epoll, ends) = (epoll()?, Carrier::Unix.ends(calls)?);
    calls.add(&epoll, ends.near.as_fd(), EpollEvent::new(EDGE, 0))?;
    for burst in 1..=BURSTS {
        write(&ends.far, &[b'x'; BURST])?;
        one_event(calls, &epoll, EpollFlags::EPOLLIN)?;
        if correct {
            let reads = until_eagain(&ends.near, ROOM)?;
            ensure!(reads == [ROOM, BURST - ROOM], "the reads until EAGAIN gave {reads:?}");
            nothing_for(calls, &epoll, MOMENT_MS)?;
        } else {
            let read = nix::unistd::read(&ends.near, &mut [0; ROOM]).context("read")?;
            ensure!(read == ROOM, "a read gave {read} bytes where there were more than {ROOM}");
            nothing_for(calls, &epoll, SILENCE_MS)?;
            let (left, expected) = (unread(&ends.near)?, burst * (BURST - ROOM));
            ensure!(left == expected, "{left} bytes are left, not {expected}");
        }
    }
    Ok(())
}

/// Accepts once for one event, where several connections wait.
pub(super) fn accept_once(calls: &mut Counted, correct: bool) -> Result<()> {
    let (epoll, listener) = (epoll()?, Listener::new()?);
    calls.add(&epoll, listener.socket.as_fd(), EpollEvent::new(EDGE, 0))?;
    let _clients = (0..CLIENTS).map(|_| listener.connect()).collect::<Result<Vec<_>>>()?;
    listener.until_queued(CLIENTS)?;
    one_event(calls, &epoll, EpollFlags::EPOLLIN)?;
    let mut connections: Vec<_> = calls.accept(&listener.socket)?.into_iter().collect();
    if !correct {
        ensure!(connections.len() == 1, "no connection is there");
        return nothing_for(calls, &epoll, SILENCE_MS);
    }
    while let Some(connection) = calls.accept(&listener.socket)? {
        connections.push(connection);
    }
    ensure!(connections.len() == CLIENTS as usize, "{} connections were there", connections.len());
    nothing_for(calls, &epoll, MOMENT_MS)
}

/// Reads a blocking descriptor until it is empty.
pub(super) fn blocking(calls: &mut Counted, correct: bool) -> Result<()> {
    let (epoll, ends) = (epoll()?, Carrier::Unix.ends(calls)?);
    if !correct {
        set_blocking(&ends.near)?;
    }
    setsockopt(&ends.near, ReceiveTimeout, &TimeVal::milliseconds(DEADLINE_MS.into()))
        .context("setsockopt(SO_RCVTIMEO)")?;
    calls.add(&epoll, ends.near.as_fd(), EpollEvent::new(EDGE, 0))?;
    write(&ends.far, &[b'x'; FEW])?;
    one_event(calls, &epoll, EpollFlags::EPOLLIN)?;
    let begun = Instant::now();
    let reads = until_eagain(&ends.near, ROOM)?;
    ensure!(reads == [FEW], "the reads until EAGAIN gave {reads:?}");
    // The deadline counts in ticks, of which the first may be half over.
    let slept = begun.elapsed() >= Duration::from_millis(u64::from(DEADLINE_MS)) / 2;
    ensure!(correct || slept, "the second read did not sleep");
    Ok(())
}

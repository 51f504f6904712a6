//! Servers that are told what is ready, and read and write themselves; and the one that is told nothing.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd};
use std::sync::atomic::Ordering;

use anyhow::{Context as _, Result, bail};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};

use super::{Board, MESSAGE, Server};
use crate::counted::Counted;
use crate::ends::{Listener, set_blocking};
use crate::fds;

const IN: u32 = libc::EPOLLIN.cast_unsigned();
const ET: u32 = libc::EPOLLET.cast_unsigned();
const ONESHOT: u32 = libc::EPOLLONESHOT.cast_unsigned();
/// Room for this many events in each wait.
const ROOM: usize = 64;

/// What a read came to.
enum Read {
    Request(usize),
    Nothing,
    End,
}

fn read(fd: RawFd, room: &mut [u8]) -> Result<Read> {
    // SAFETY: room for as many bytes.
    let read = unsafe { libc::read(fd, room.as_mut_ptr().cast(), room.len()) };
    match Errno::result(read) {
        Ok(0) | Err(Errno::ECONNRESET) => Ok(Read::End),
        Ok(bytes) => Ok(Read::Request(usize::try_from(bytes).context("read")?)),
        Err(Errno::EAGAIN) => Ok(Read::Nothing),
        Err(errno) => Err(errno).context("read"),
    }
}

fn write(fd: RawFd, bytes: &[u8]) -> Result<()> {
    // SAFETY: as many bytes as there are.
    let written = unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) };
    match Errno::result(written).context("write")? {
        // Answers are small, and the client reads each before it asks again.
        written if usize::try_from(written) == Ok(bytes.len()) => Ok(()),
        written => bail!("{written} of {} bytes were written", bytes.len()),
    }
}

fn scanned(board: &Board, descriptors: usize) {
    board.scanned.fetch_add(descriptors as u64, Ordering::Relaxed);
}

/// Waits for one connection, serves it to its end, and only then looks at the next.
pub(super) fn blocking(listener: &Listener, connections: u32, calls: &mut Counted, board: &Board) -> Result<()> {
    set_blocking(&listener.socket)?;
    board.serving.store(true, Ordering::Release);
    let mut room = [0; MESSAGE];
    // One more than make requests: so it is asleep in accept4 when all has been answered, and the last one ends it.
    for _ in 0..=connections {
        let connection = calls.accept_blocking(&listener.socket)?;
        while let Read::Request(bytes) = read(connection.as_raw_fd(), &mut room)? {
            write(connection.as_raw_fd(), &room[..bytes])?;
        }
    }
    Ok(())
}

pub(super) fn poll(connections: Vec<OwnedFd>, board: &Board) -> Result<()> {
    let mut open = connections;
    let mut room = [0; MESSAGE];
    board.serving.store(true, Ordering::Release);
    while !open.is_empty() {
        let mut watched: Vec<_> = open.iter().map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN)).collect();
        scanned(board, watched.len());
        nix::poll::poll(&mut watched, PollTimeout::NONE).context("poll")?;
        let ready: Vec<bool> = watched.iter().map(|fd| fd.any().unwrap_or(true)).collect();
        serve_ready(&mut open, &ready, &mut room)?;
    }
    Ok(())
}

/// With a bitmap as long as it needs to be: glibc's `select` ends at 1024 descriptors, the kernel's does not.
pub(super) fn select(connections: Vec<OwnedFd>, board: &Board) -> Result<()> {
    const BITS: usize = 64;
    let mut open = connections;
    let mut room = [0; MESSAGE];
    board.serving.store(true, Ordering::Release);
    while !open.is_empty() {
        let numbers: Vec<usize> = open.iter().filter_map(|fd| usize::try_from(fd.as_raw_fd()).ok()).collect();
        let end = numbers.iter().max().map_or(0, |last| last + 1);
        let mut bits = vec![0_u64; end.div_ceil(BITS)];
        for number in &numbers {
            bits[number / BITS] |= 1 << (number % BITS);
        }
        scanned(board, numbers.len());
        let none = std::ptr::null_mut::<u64>();
        // SAFETY: a bitmap of at least `end` bits; the others are absent.
        let ready = unsafe { libc::syscall(libc::SYS_pselect6, end, bits.as_mut_ptr(), none, none, none, none) };
        Errno::result(ready).context("pselect6")?;
        let ready: Vec<bool> = numbers.iter().map(|number| bits[number / BITS] >> (number % BITS) & 1 != 0).collect();
        serve_ready(&mut open, &ready, &mut room)?;
    }
    Ok(())
}

/// One read and one write for each that is ready; those that have ended are closed.
fn serve_ready(open: &mut Vec<OwnedFd>, ready: &[bool], room: &mut [u8]) -> Result<()> {
    let mut ended = vec![false; open.len()];
    for ((fd, _), ended) in open.iter().zip(ready).zip(&mut ended).filter(|((_, ready), _)| **ready) {
        match read(fd.as_raw_fd(), room)? {
            Read::Request(bytes) => write(fd.as_raw_fd(), &room[..bytes])?,
            Read::Nothing => {}
            Read::End => *ended = true,
        }
    }
    let mut ended = ended.into_iter();
    open.retain(|_| !ended.next().unwrap_or(false));
    Ok(())
}

pub(super) fn epoll(server: Server, connections: Vec<OwnedFd>, calls: &mut Counted, board: &Board) -> Result<()> {
    let epoll = fds::epoll()?;
    let mask = IN
        | match server {
            Server::EpollEt => ET,
            Server::EpollOneshot => ONESHOT,
            _ => 0,
        };
    for (number, fd) in (0..).zip(&connections) {
        let event = Some((mask, number));
        calls.ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd.as_raw_fd(), event).context("epoll_ctl(ADD)")?;
    }
    let mut open: Vec<Option<OwnedFd>> = connections.into_iter().map(Some).collect();
    let mut left = open.len();
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; ROOM];
    let mut room = [0; MESSAGE];
    board.serving.store(true, Ordering::Release);
    while left > 0 {
        let number = usize::try_from(calls.wait_raw(epoll.as_raw_fd(), &mut events, -1)).unwrap_or(0);
        scanned(board, number);
        for event in &events[..number] {
            let slot =
                usize::try_from(event.u64).ok().and_then(|index| open.get_mut(index)).context("a stray event")?;
            let fd = slot.as_ref().context("an event of a closed connection")?.as_raw_fd();
            let mut ended = false;
            loop {
                match read(fd, &mut room)? {
                    Read::Request(bytes) => write(fd, &room[..bytes])?,
                    Read::Nothing => break,
                    Read::End => {
                        ended = true;
                        break;
                    }
                }
                if server != Server::EpollEt {
                    break;
                }
            }
            if ended {
                *slot = None;
                left -= 1;
            } else if server == Server::EpollOneshot {
                let event = Some((mask, event.u64));
                calls.ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_MOD, fd, event).context("epoll_ctl(MOD)")?;
            }
        }
    }
    Ok(())
}

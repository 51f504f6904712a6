//! Servers that let the kernel read and write: io_uring.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::atomic::Ordering;

use anyhow::{Context as _, Result, ensure};
use io_uring::squeue::Flags;
use io_uring::{IoUring, opcode, types};

use super::{Board, MESSAGE, Server};
use crate::ends::set_blocking;

/// How long the kernel's thread looks for submissions before it sleeps: longer than any of these servers lives.
const IDLE_MS: u32 = 600_000;

/// Whether this kernel lets us make a ring.
pub(super) fn available() -> bool {
    IoUring::new(1).is_ok()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Receive,
    Send,
}

/// A connection, and the buffer that the kernel reads into and writes from.
struct Line {
    fd: OwnedFd,
    buffer: Box<[u8; MESSAGE]>,
}

struct Ring {
    queues: IoUring,
    lines: Vec<Line>,
    linked: bool,
}

/// Serves all connections until all have ended.
pub(super) fn serve(server: Server, connections: Vec<OwnedFd>, board: &Board) -> Result<()> {
    let entries =
        u32::try_from((2 * connections.len()).next_power_of_two().clamp(8, 32_768)).context("a ring's size")?;
    let sqpoll = server == Server::IoUringSqpoll;
    let ring = if sqpoll { IoUring::builder().setup_sqpoll(IDLE_MS).build(entries) } else { IoUring::new(entries) };
    let ring = ring.context("io_uring_setup")?;
    // On a non-blocking socket io_uring would say EAGAIN rather than wait.
    for fd in &connections {
        set_blocking(fd)?;
    }
    let lines: Vec<Line> = connections.into_iter().map(|fd| Line { fd, buffer: Box::new([0; MESSAGE]) }).collect();
    let mut left = lines.len();
    let mut ring = Ring { queues: ring, lines, linked: server == Server::IoUringLinked };
    for line in 0..left {
        ring.begin(line)?;
    }
    if sqpoll {
        // The kernel's thread begins asleep, and is woken by calls (`io_sq_thread`, io_uring/sqpoll.c): steady is what comes after.
        while !ring.queues.submission().is_empty() {
            ring.queues.submit().context("io_uring_enter")?;
        }
    }
    board.serving.store(true, Ordering::Release);
    while left > 0 {
        if sqpoll {
            // The kernel's thread sees what is new; only if it sleeps does this make a call.
            ring.queues.submit().context("io_uring_enter")?;
        } else {
            // A send completes at once: linked, it comes together with its receive.
            ring.queues.submit_and_wait(if ring.linked { 2 } else { 1 }).context("io_uring_enter")?;
        }
        let mut found = Vec::new();
        for entry in ring.queues.completion() {
            found.push((entry.user_data(), entry.result()));
        }
        if found.is_empty() {
            std::hint::spin_loop();
        }
        board.scanned.fetch_add(found.len() as u64, Ordering::Relaxed);
        for (data, result) in found {
            left -= usize::from(ring.completed(data, result)?);
        }
    }
    Ok(())
}

impl Ring {
    /// The first receive of a connection, or of its next request.
    fn begin(&mut self, line: usize) -> Result<()> {
        if self.linked {
            self.push(line, What::Receive, Flags::IO_LINK)?;
            return self.push(line, What::Send, Flags::empty());
        }
        self.push(line, What::Receive, Flags::empty())
    }

    fn push(&mut self, number: usize, what: What, flags: Flags) -> Result<()> {
        let line = self.lines.get_mut(number).context("a stray completion")?;
        let fd = types::Fd(line.fd.as_raw_fd());
        let length = u32::try_from(MESSAGE).context("a length")?;
        let entry = match what {
            What::Receive => opcode::Recv::new(fd, line.buffer.as_mut_ptr(), length).flags(libc::MSG_WAITALL).build(),
            What::Send => opcode::Send::new(fd, line.buffer.as_ptr(), length).build(),
        };
        let entry = entry.flags(flags).user_data(number as u64 * 2 + u64::from(what == What::Send));
        // SAFETY: the buffer lives as long as the ring, and nobody else uses it while the kernel does.
        unsafe { self.queues.submission().push(&entry) }.context("fill the ring")
    }

    /// What follows a completion; whether the connection has ended.
    fn completed(&mut self, data: u64, result: i32) -> Result<bool> {
        let number = usize::try_from(data / 2).context("a stray completion")?;
        let what = if data.is_multiple_of(2) { What::Receive } else { What::Send };
        let whole = usize::try_from(result) == Ok(MESSAGE);
        match what {
            What::Receive if !whole => {
                ensure!(
                    result >= 0 || result == -libc::ECONNRESET,
                    "receive: {}",
                    std::io::Error::from_raw_os_error(-result)
                );
                ensure!(result <= 0, "{result} bytes were received");
                // Linked, the send that was to follow is cancelled, and tells of the end.
                Ok(!self.linked)
            }
            What::Receive if self.linked => Ok(false),
            What::Receive => self.push(number, What::Send, Flags::empty()).map(|()| false),
            What::Send if whole => self.begin(number).map(|()| false),
            What::Send => {
                ensure!(self.linked && result == -libc::ECANCELED, "send: {result}");
                Ok(true)
            }
        }
    }
}

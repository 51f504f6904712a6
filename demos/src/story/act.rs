//! What a step may do: calls that are counted, and whose results become part of what the program saw.

use std::os::fd::AsRawFd;

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use serde_json::{Map, Value, json};

use crate::counted::Counted;

/// Room for as many events as a wait of a demo may return.
const ROOM: usize = 64;

/// An event that a wait returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Delivered {
    pub(crate) data: u64,
    pub(crate) events: u32,
}

/// One step at work.
#[derive(Debug)]
pub(crate) struct Act<'a> {
    pub(crate) calls: &'a mut Counted,
    told: Map<String, Value>,
    delivered: Vec<Value>,
    errors: Vec<String>,
}

impl<'a> Act<'a> {
    pub(super) fn new(calls: &'a mut Counted) -> Self {
        Self { calls, told: Map::new(), delivered: Vec::new(), errors: Vec::new() }
    }

    pub(super) fn told(mut self) -> Map<String, Value> {
        if !self.delivered.is_empty() {
            self.told.insert("delivered".to_owned(), Value::from(self.delivered));
        }
        if !self.errors.is_empty() {
            self.told.insert("errors".to_owned(), json!(self.errors));
        }
        self.told
    }

    /// Something else that the program saw.
    pub(crate) fn tell(&mut self, key: &str, value: impl Into<Value>) {
        self.told.insert(key.to_owned(), value.into());
    }

    fn count(&mut self, key: &str, number: usize) {
        let sum = self.told.get(key).and_then(Value::as_u64).unwrap_or(0) + number as u64;
        self.tell(key, sum);
    }

    pub(crate) fn add(&mut self, epoll: &impl AsRawFd, fd: &impl AsRawFd, events: u32, data: u64) -> Result<()> {
        self.ctl(epoll, libc::EPOLL_CTL_ADD, fd, events, data).context("epoll_ctl(EPOLL_CTL_ADD)")
    }

    pub(crate) fn modify(&mut self, epoll: &impl AsRawFd, fd: &impl AsRawFd, events: u32, data: u64) -> Result<()> {
        self.ctl(epoll, libc::EPOLL_CTL_MOD, fd, events, data).context("epoll_ctl(EPOLL_CTL_MOD)")
    }

    pub(crate) fn delete(&mut self, epoll: &impl AsRawFd, fd: &impl AsRawFd) -> Result<()> {
        self.ctl(epoll, libc::EPOLL_CTL_DEL, fd, 0, 0).context("epoll_ctl(EPOLL_CTL_DEL)")
    }

    /// An `epoll_ctl` whose answer, whichever it is, is what the step shows.
    pub(crate) fn ctl(
        &mut self,
        epoll: &impl AsRawFd,
        op: i32,
        fd: &impl AsRawFd,
        events: u32,
        data: u64,
    ) -> Result<(), Errno> {
        let answer = self.calls.ctl(epoll.as_raw_fd(), op, fd.as_raw_fd(), Some((events, data)));
        if let Err(errno) = answer {
            self.errors.push(format!("{errno:?}"));
        }
        answer
    }

    /// Waits for at most so many events, without sleeping.
    pub(crate) fn wait(&mut self, epoll: &impl AsRawFd, most: usize) -> Result<Vec<Delivered>> {
        let mut room = [libc::epoll_event { events: 0, u64: 0 }; ROOM];
        let errors = self.calls.counts().wait_errors;
        let found = self.calls.wait_raw(epoll.as_raw_fd(), &mut room[..most.min(ROOM)], 0);
        anyhow::ensure!(self.calls.counts().wait_errors == errors, "epoll_wait: {}", Errno::last());
        let found = room.iter().take(usize::try_from(found).unwrap_or(0));
        let events: Vec<Delivered> = found.map(|event| Delivered { data: event.u64, events: event.events }).collect();
        self.delivered.extend(events.iter().map(|event| json!({"data": event.data, "events": mask(event.events)})));
        Ok(events)
    }

    /// Writes all of it, and fails when the file does not take it all at once.
    pub(crate) fn write(&mut self, fd: &impl AsRawFd, bytes: &[u8]) -> Result<()> {
        let written = self.try_write(fd, bytes)?;
        anyhow::ensure!(written == Some(bytes.len()), "{written:?} of {} bytes were written", bytes.len());
        Ok(())
    }

    /// Writes what the file takes; None where it takes nothing (EAGAIN).
    pub(crate) fn try_write(&mut self, fd: &impl AsRawFd, bytes: &[u8]) -> Result<Option<usize>> {
        // SAFETY: as many bytes as there are.
        let written = unsafe { libc::write(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) };
        let written = self.moved(written, "write")?;
        self.count("written", written.unwrap_or(0));
        Ok(written)
    }

    /// Reads once; None where there is nothing (EAGAIN).
    pub(crate) fn read(&mut self, fd: &impl AsRawFd, most: usize) -> Result<Option<usize>> {
        let mut room = vec![0_u8; most];
        // SAFETY: room for as many bytes.
        let read = unsafe { libc::read(fd.as_raw_fd(), room.as_mut_ptr().cast(), room.len()) };
        let read = self.moved(read, "read")?;
        self.count("read", read.unwrap_or(0));
        self.count("reads", 1);
        Ok(read)
    }

    /// Reads until there is nothing more (EAGAIN), at most so many bytes at once; all that it read.
    pub(crate) fn drain(&mut self, fd: &impl AsRawFd, at_once: usize) -> Result<usize> {
        let mut sum = 0;
        loop {
            match self.read(fd, at_once)? {
                None | Some(0) => return Ok(sum),
                Some(read) => sum += read,
            }
        }
    }

    fn moved(&mut self, ret: isize, call: &'static str) -> Result<Option<usize>> {
        match Errno::result(ret) {
            Ok(bytes) => Ok(Some(usize::try_from(bytes).context(call)?)),
            Err(Errno::EAGAIN) => {
                self.count("eagain", 1);
                Ok(None)
            }
            Err(errno) => Err(errno).context(call),
        }
    }
}

/// Bits of an event mask (`include/uapi/linux/eventpoll.h`) that a wait may return.
const BITS: [(i32, &str); 10] = [
    (libc::EPOLLIN, "EPOLLIN"),
    (libc::EPOLLPRI, "EPOLLPRI"),
    (libc::EPOLLOUT, "EPOLLOUT"),
    (libc::EPOLLERR, "EPOLLERR"),
    (libc::EPOLLHUP, "EPOLLHUP"),
    (libc::EPOLLRDNORM, "EPOLLRDNORM"),
    (libc::EPOLLRDBAND, "EPOLLRDBAND"),
    (libc::EPOLLWRNORM, "EPOLLWRNORM"),
    (libc::EPOLLWRBAND, "EPOLLWRBAND"),
    (libc::EPOLLRDHUP, "EPOLLRDHUP"),
];

fn mask(events: u32) -> String {
    let names: Vec<&str> =
        BITS.iter().filter(|(bit, _)| events & bit.cast_unsigned() != 0).map(|(_, name)| *name).collect();
    names.join("|")
}

//! Two ends of a file that can be watched, and replaced at any moment.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{IntoRawFd as _, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result};
use nix::fcntl::OFlag;
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::pipe2;

use crate::counted::Counted;

/// What the ends are of.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Eventfd,
    Pipe,
    Unix,
    Tcp,
}

impl Kind {
    /// Each in turn.
    pub(super) const fn of(number: u32) -> Self {
        match number % 4 {
            0 => Self::Eventfd,
            1 => Self::Pipe,
            2 => Self::Unix,
            _ => Self::Tcp,
        }
    }
}

/// The numbers of both ends, in one word so that they change together.
pub(super) struct Ends {
    kind: Kind,
    numbers: AtomicU64,
}

const fn pack(read: RawFd, write: RawFd) -> u64 {
    (read.cast_unsigned() as u64) << 32 | write.cast_unsigned() as u64
}

const fn read_number(packed: u64) -> RawFd {
    ((packed >> 32) as u32).cast_signed()
}

const fn write_number(packed: u64) -> RawFd {
    ((packed & 0xffff_ffff) as u32).cast_signed()
}

impl Ends {
    pub(super) fn new(kind: Kind, calls: &mut Counted) -> Result<Self> {
        let (read, write) = open(kind, calls)?;
        Ok(Self { kind, numbers: AtomicU64::new(pack(read, write)) })
    }

    pub(super) fn read_end(&self) -> RawFd {
        read_number(self.numbers.load(Ordering::Relaxed))
    }

    pub(super) fn write_end(&self) -> RawFd {
        write_number(self.numbers.load(Ordering::Relaxed))
    }

    /// Writes eight bytes, if there is room.
    pub(super) fn write(&self) {
        let bytes = 1_u64.to_ne_bytes();
        // SAFETY: eight valid bytes. Sockets: a peer that is gone is no reason to be killed.
        unsafe {
            if libc::send(self.write_end(), bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) < 0 {
                libc::write(self.write_end(), bytes.as_ptr().cast(), bytes.len());
            }
        }
    }

    /// Reads what fits into a small buffer: sometimes all there is.
    pub(super) fn read(&self) {
        let mut bytes = [0_u8; 24];
        // SAFETY: room for as many bytes as are asked for.
        unsafe { libc::read(self.read_end(), bytes.as_mut_ptr().cast(), bytes.len()) };
    }

    /// New ends in place of these, which are closed: both, or first one and then the other.
    pub(super) fn reopen(&self, calls: &mut Counted) -> Result<()> {
        let (read, write) = open(self.kind, calls)?;
        let old = self.numbers.swap(pack(read, write), Ordering::Relaxed);
        let (read, write) = (read_number(old), write_number(old));
        // SAFETY: the numbers left the field: nobody else closes them.
        unsafe {
            libc::close(read);
            if write != read {
                libc::close(write);
            }
        }
        Ok(())
    }
}

/// New ends by their numbers: for reading, for writing. An eventfd has one for both.
fn open(kind: Kind, calls: &mut Counted) -> Result<(RawFd, RawFd)> {
    let (read, write) = match kind {
        Kind::Eventfd => {
            let eventfd = EventFd::from_flags(EfdFlags::EFD_NONBLOCK).context("eventfd")?;
            let number = OwnedFd::from(eventfd).into_raw_fd();
            return Ok((number, number));
        }
        Kind::Pipe => pipe2(OFlag::O_NONBLOCK).context("pipe2")?,
        Kind::Unix => {
            socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_NONBLOCK).context("socketpair")?
        }
        Kind::Tcp => {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("bind")?;
            let write = TcpStream::connect(listener.local_addr().context("getsockname")?).context("connect")?;
            // Blocking: the connection is on its way.
            let read = calls.accept(&listener)?.context("a blocking accept found no connection")?;
            write.set_nonblocking(true).context("O_NONBLOCK")?;
            (read, OwnedFd::from(write))
        }
    };
    Ok((read.into_raw_fd(), write.into_raw_fd()))
}

//! Calls that are made too often, or in vain.

use std::os::fd::{AsFd as _, AsRawFd as _};

use anyhow::{Context as _, Result, ensure};
use nix::errno::Errno;
use nix::sys::epoll::{EpollEvent, EpollFlags};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{SockFlag, accept4};

use super::steps::{MOMENT_MS, epoll};
use crate::counted::Counted;
use crate::fds::eventfd;

/// How often each of the others is made.
const TIMES: usize = 400;
/// How often it looks for an event: a machine that is busy with others makes some of these looks look like work, not all.
const LOOKS: usize = 4_096;
/// How often `accept` fails: its socket is ready all the while, which is no other pitfall as long as it is so seldom.
const REFUSED: usize = 48;

/// Looks for an event that does not come.
pub(super) fn spin(calls: &mut Counted, correct: bool) -> Result<()> {
    let (epoll, quiet) = (epoll()?, eventfd(0)?);
    calls.add(&epoll, quiet.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
    let mut room = [libc::epoll_event { events: 0, u64: 0 }; 8];
    if correct {
        calls.wait_raw(epoll.0.as_raw_fd(), &mut room, MOMENT_MS);
        return Ok(());
    }
    for _ in 0..LOOKS {
        calls.wait_raw(epoll.0.as_raw_fd(), &mut room, 0);
    }
    Ok(())
}

/// Makes sure, again and again, that a descriptor is registered.
pub(super) fn ctl_fails(calls: &mut Counted, correct: bool) -> Result<()> {
    let (epoll, file) = (epoll()?, eventfd(0)?);
    let mut registered = false;
    for _ in 0..TIMES {
        if correct && registered {
            continue;
        }
        calls.ctl_raw(epoll.0.as_raw_fd(), libc::EPOLL_CTL_ADD, file.as_raw_fd(), Some((1, 0)));
        registered = true;
    }
    Ok(())
}

/// Changes a descriptor's mask, to and fro.
pub(super) fn ctl_churn(calls: &mut Counted, correct: bool) -> Result<()> {
    let (epoll, file) = (epoll()?, eventfd(0)?);
    calls.add(&epoll, file.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
    for n in 0..TIMES {
        let mask = if n % 2 == 0 { EpollFlags::EPOLLPRI } else { EpollFlags::EPOLLIN };
        if correct {
            calls.modify(&epoll, file.as_fd(), EpollEvent::new(mask, 0))?;
        } else {
            calls.delete(&epoll, file.as_fd())?;
            calls.add(&epoll, file.as_fd(), EpollEvent::new(mask, 0))?;
        }
    }
    Ok(())
}

/// Has a connection to accept, and no descriptor for it.
pub(super) fn accept_fails(calls: &mut Counted, correct: bool) -> Result<()> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).context("bind to 127.0.0.1")?;
    listener.set_nonblocking(true).context("make the listening socket non-blocking")?;
    let epoll = epoll()?;
    calls.add(&epoll, listener.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
    let address = listener.local_addr().context("getsockname")?;
    let _client = std::net::TcpStream::connect(address).context("connect to the listening socket")?;

    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("getrlimit(RLIMIT_NOFILE)")?;
    // The least number that is free is the first that may not be used.
    let free = eventfd(0)?;
    let limit = u64::try_from(free.as_raw_fd()).context("a descriptor is not negative")?;
    drop(free);
    let mut room = [EpollEvent::empty(); 8];
    setrlimit(Resource::RLIMIT_NOFILE, limit, hard).context("lower RLIMIT_NOFILE")?;
    for _ in 0..REFUSED {
        ensure!(!calls.wait(&epoll, &mut room)?.is_empty(), "the connection is not there");
        let refused = accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC);
        ensure!(refused == Err(Errno::EMFILE), "accept4 with no descriptor left gave {refused:?}");
        if correct {
            calls.delete(&epoll, listener.as_fd())?;
            break;
        }
    }
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).context("raise RLIMIT_NOFILE")?;
    if correct {
        calls.add(&epoll, listener.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
        ensure!(!calls.wait(&epoll, &mut room)?.is_empty(), "the connection is not there");
    }
    ensure!(calls.accept(listener.as_fd())?.is_some(), "the connection cannot be accepted");
    Ok(())
}

//! All ways to wait, and all ways in which a wait ends.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, raise as raise_signal, sigaction};
use serde::Serialize;

use super::{Cast, IN, add, expect};
use crate::counted::Counted;
use crate::fds::{epoll, eventfd, lower, poll_devices, raise};

/// One wait: what the program asked for, and what it got.
#[derive(Debug, Serialize)]
pub(super) struct Wait {
    epfd: i32,
    /// -1: without end.
    timeout_ns: i64,
    maxevents: usize,
    /// Events, or a negative errno.
    ret: i64,
}

/// How one wait is made.
#[derive(Clone, Copy)]
enum Call {
    Wait { timeout_ms: i32 },
    Pwait { timeout_ms: i32 },
    Pwait2 { timeout: Option<Duration> },
}

const WITHOUT_END: i32 = -1;

impl Call {
    /// Makes it.
    fn make(self, calls: &mut Counted, epoll: i32, blocked: Option<&SigSet>) -> Result<u64, Errno> {
        match self {
            Self::Wait { timeout_ms } => {
                calls.wait_on(epoll, &mut [libc::epoll_event { events: 0, u64: 0 }], timeout_ms)
            }
            Self::Pwait { timeout_ms } => calls.pwait(epoll, timeout_ms, blocked),
            Self::Pwait2 { timeout } => calls.pwait2(epoll, timeout, blocked),
        }
    }

    fn timeout_ns(self) -> i64 {
        match self {
            Self::Wait { timeout_ms } | Self::Pwait { timeout_ms } if timeout_ms < 0 => -1,
            Self::Wait { timeout_ms } | Self::Pwait { timeout_ms } => i64::from(timeout_ms) * 1_000_000,
            Self::Pwait2 { timeout } => {
                timeout.map_or(-1, |timeout| i64::try_from(timeout.as_nanos()).unwrap_or(i64::MAX))
            }
        }
    }
}

extern "C" fn nothing(_: libc::c_int) {}

/// A signal that is blocked but for the wait ends it; time ends it; an event ends it; a bad argument ends it.
pub(super) fn all(cast: &mut Cast) -> Result<()> {
    let (epoll, file) = (epoll()?, eventfd(0)?);
    add(&mut cast.own, epoll.as_raw_fd(), file.as_raw_fd(), IN, 4)?;

    let action = SigAction::new(SigHandler::Handler(nothing), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler does nothing.
    unsafe { sigaction(Signal::SIGUSR1, &action) }.context("sigaction")?;
    signals(cast, &epoll)?;
    times(cast, &epoll)?;
    raise(&file)?;
    let longest = Duration::new(i64::MAX.cast_unsigned(), 0);
    for call in [
        Call::Wait { timeout_ms: WITHOUT_END },
        Call::Wait { timeout_ms: i32::MAX },
        Call::Pwait { timeout_ms: WITHOUT_END },
        Call::Pwait2 { timeout: Some(Duration::from_micros(700)) },
        Call::Pwait2 { timeout: Some(longest) },
        Call::Pwait2 { timeout: None },
    ] {
        one(cast, call, epoll.as_raw_fd(), None, Ok(1)).context("a wait that an event ends")?;
    }
    lower(&file)?;
    nonsense(cast, &epoll, &file)
}

/// A wait that must end so. What a kernel does not have is missing.
fn one(cast: &mut Cast, call: Call, epfd: i32, blocked: Option<&SigSet>, end: Result<u64, Errno>) -> Result<()> {
    let found = call.make(&mut cast.own, epfd, blocked);
    if found == Err(Errno::ENOSYS) && matches!(call, Call::Pwait2 { .. }) {
        if !cast.missing.contains(&"epoll_pwait2") {
            cast.missing.push("epoll_pwait2");
        }
        return Ok(());
    }
    ensure!(found == end, "it ended with {found:?}, not with {end:?}");
    told(cast, epfd, call.timeout_ns(), 1, end)
}

fn told(cast: &mut Cast, epfd: i32, timeout_ns: i64, maxevents: usize, end: Result<u64, Errno>) -> Result<()> {
    let ret = end.map_or_else(|errno| Ok(-i64::from(errno as i32)), i64::try_from).context("a number of events")?;
    cast.waits.push(Wait { epfd, timeout_ns, maxevents, ret });
    Ok(())
}

fn signals(cast: &mut Cast, epoll: &OwnedFd) -> Result<()> {
    let mut blocked = SigSet::empty();
    blocked.add(Signal::SIGUSR1);
    blocked.thread_block().context("block the signal")?;
    let mut open = SigSet::thread_get_mask().context("read the mask")?;
    open.remove(Signal::SIGUSR1);
    for call in [
        Call::Pwait { timeout_ms: WITHOUT_END },
        Call::Pwait { timeout_ms: 60_000 },
        Call::Pwait2 { timeout: None },
        Call::Pwait2 { timeout: Some(Duration::new(60, 1)) },
    ] {
        raise_signal(Signal::SIGUSR1).context("raise the signal")?;
        one(cast, call, epoll.as_raw_fd(), Some(&open), Err(Errno::EINTR)).context("a wait that a signal ends")?;
    }
    // Without `epoll_pwait2` the last ones are still to come, and come now.
    blocked.thread_unblock().context("let the signal pass again")
}

fn times(cast: &mut Cast, epoll: &OwnedFd) -> Result<()> {
    for call in [
        Call::Wait { timeout_ms: 0 },
        Call::Wait { timeout_ms: 2 },
        Call::Pwait { timeout_ms: 0 },
        Call::Pwait { timeout_ms: 3 },
        Call::Pwait2 { timeout: Some(Duration::ZERO) },
        Call::Pwait2 { timeout: Some(Duration::from_nanos(1)) },
        Call::Pwait2 { timeout: Some(Duration::from_nanos(700_001)) },
    ] {
        one(cast, call, epoll.as_raw_fd(), None, Ok(0)).context("a wait that time ends")?;
    }
    Ok(())
}

/// No room, no such descriptor, not an eventpoll.
fn nonsense(cast: &mut Cast, epoll: &OwnedFd, file: &OwnedFd) -> Result<()> {
    let mut room = [libc::epoll_event { events: 0, u64: 0 }];
    for (epfd, maxevents, errno) in
        [(epoll.as_raw_fd(), 0, Errno::EINVAL), (-1, 1, Errno::EBADF), (file.as_raw_fd(), 1, Errno::EINVAL)]
    {
        let found = cast.own.wait_on(epfd, &mut room[..maxevents], 0);
        ensure!(found == Err(errno), "a wait that makes no sense ended with {found:?}, not with {errno}");
        told(cast, epfd, 0, maxevents, found)?;
    }
    for op in [0, 9] {
        let found = cast.own.ctl(epoll.as_raw_fd(), op, file.as_raw_fd(), Some((IN, 0)));
        ensure!(found == Err(Errno::EINVAL), "an operation that there is not ended with {found:?}");
    }
    refused(epoll, file)
}

/// Calls that the kernel refuses before they come to epoll: an event that cannot be read, a set of signals and a time that make no sense.
/// They count as none.
fn refused(epoll: &OwnedFd, file: &OwnedFd) -> Result<()> {
    let (epfd, fd) = (epoll.as_raw_fd(), file.as_raw_fd());
    let mut room = libc::epoll_event { events: 0, u64: 0 };
    let room = &raw mut room;
    let signals = 0_u64;
    let never = [0_i64, 2_000_000_000];
    // SAFETY: the kernel finds out that there is no event at address 1.
    let unreadable = unsafe { libc::syscall(libc::SYS_epoll_ctl, epfd, libc::EPOLL_CTL_ADD, fd, 1) };
    ensure!(unreadable < 0 && Errno::last() == Errno::EFAULT, "an ADD without an event: {}", Errno::last());
    // SAFETY: room for an event, and a set that lives during the call and has another size than the kernel's.
    let odd = unsafe { libc::syscall(libc::SYS_epoll_pwait, epfd, room, 1, 0, &raw const signals, 7) };
    ensure!(odd < 0 && Errno::last() == Errno::EINVAL, "a set of signals of 7 bytes: {}", Errno::last());
    // SAFETY: as above, and a time that lives during the call.
    let late = unsafe { libc::syscall(libc::SYS_epoll_pwait2, epfd, room, 1, never.as_ptr(), 0, size_of::<u64>()) };
    ensure!(
        late < 0 && matches!(Errno::last(), Errno::EINVAL | Errno::ENOSYS),
        "too many nanoseconds: {}",
        Errno::last()
    );
    Ok(())
}

/// Busy polling changes how a wait passes its time, not what it returns. `demos busy-poll` does it on a device that can be polled.
pub(super) fn busy(cast: &mut Cast) -> Result<()> {
    let epoll = epoll()?;
    if !poll_devices(&epoll, 50)? {
        cast.missing.push("busy polling of one eventpoll");
    }
    let listener = std::net::UdpSocket::bind("127.0.0.1:0").context("bind a UDP socket")?;
    let address = listener.local_addr().context("getsockname")?;
    add(&mut cast.own, epoll.as_raw_fd(), listener.as_raw_fd(), IN, 8)?;
    for _ in 0..8 {
        expect("busy polling of nothing", super::wait(&mut cast.own, epoll.as_raw_fd(), 1), 0)?;
        listener.send_to(b"x", address).context("send to itself")?;
        expect("busy polling", super::wait(&mut cast.own, epoll.as_raw_fd(), -1), 1)?;
        listener.recv(&mut [0; 8]).context("receive from itself")?;
    }
    Ok(())
}

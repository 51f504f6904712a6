//! `epoll_ctl` and `epoll_wait` through io_uring: the kernel goes past the system calls (`io_epoll_ctl`, 5.10 to 7.3, and
//! `io_epoll_wait`, 6.15 to 7.3, `io_uring/epoll.c`).

use std::io::ErrorKind;
use std::os::fd::{AsRawFd as _, OwnedFd};

use anyhow::{Context as _, Result, ensure};
use io_uring::{IoUring, opcode, squeue, types};

use super::threads::{joined, thread};
use super::{Cast, IN, add, expect, poll};
use crate::absent_page::AbsentPage;
use crate::fds::{epoll, eventfd, lower, raise};

/// All that io_uring does with eventpolls, as far as the kernel has it.
pub(super) fn all(cast: &mut Cast) -> Result<()> {
    let mut ring = match IoUring::new(4) {
        Ok(ring) => ring,
        Err(error) if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::Unsupported) => {
            cast.missing.push("io_uring");
            return Ok(());
        }
        Err(error) => return Err(error).context("io_uring_setup"),
    };
    ctl(cast, &mut ring)?;
    contended(cast, &mut ring)?;
    wait(cast, &mut ring)
}

/// An `epoll_ctl` whose operands live until it has completed.
fn entry(epoll: &OwnedFd, op: i32, file: &OwnedFd, event: &libc::epoll_event) -> squeue::Entry {
    let event = std::ptr::from_ref(event).cast::<types::epoll_event>();
    opcode::EpollCtl::new(types::Fd(epoll.as_raw_fd()), types::Fd(file.as_raw_fd()), op, event).build()
}

fn ctl(cast: &mut Cast, ring: &mut IoUring) -> Result<()> {
    let (epoll, file) = (epoll()?, eventfd(0)?);
    raise(&file)?;
    for (op, expected) in [(libc::EPOLL_CTL_ADD, 1), (libc::EPOLL_CTL_MOD, 1), (libc::EPOLL_CTL_DEL, 0)] {
        let event = libc::epoll_event { events: IN, u64: 11 };
        // SAFETY: the event lives until the operation has completed, which is waited for below.
        unsafe { ring.submission().push(&entry(&epoll, op, &file, &event)) }.context("fill the ring")?;
        ring.submit_and_wait(1).context("io_uring_enter")?;
        let result = ring.completion().next().context("the ring is empty")?.result();
        if result == -libc::EINVAL && op == libc::EPOLL_CTL_ADD {
            cast.missing.push("epoll_ctl through io_uring");
            return Ok(());
        }
        cast.own.ctl_made(op, result < 0);
        ensure!(result == 0, "epoll_ctl through io_uring: {}", std::io::Error::from_raw_os_error(-result));
        expect("what io_uring registered", poll(&mut cast.own, epoll.as_raw_fd()), expected)?;
    }
    Ok(())
}

/// An `epoll_ctl` while a scan holds the eventpoll's mutex: io_uring's own try finds it taken, and a worker makes the call anew. It is one
/// call.
fn contended(cast: &mut Cast, ring: &mut IoUring) -> Result<()> {
    let Ok(page) = AbsentPage::new() else {
        cast.missing.push("epoll_ctl by a worker of io_uring");
        return Ok(());
    };
    let (epoll, first, second) = (epoll()?, eventfd(1)?, eventfd(1)?);
    add(&mut cast.own, epoll.as_raw_fd(), first.as_raw_fd(), IN, 31)?;
    let (address, number) = (page.address, epoll.as_raw_fd());
    let waiter = thread(move |calls| {
        let room = std::ptr::with_exposed_provenance_mut::<libc::epoll_event>(address);
        // SAFETY: the page is mapped, aligned, ours, and nobody else's while the thread lives.
        let events = unsafe { calls.wait_at(number, room, 4, -1) }.context("epoll_wait")?;
        expect("a scan that is held up", events, 1)
    });
    page.until_missed()?;
    let event = libc::epoll_event { events: IN, u64: 32 };
    // SAFETY: the event lives until the operation has completed, which is waited for below.
    unsafe { ring.submission().push(&entry(&epoll, libc::EPOLL_CTL_ADD, &second, &event)) }.context("fill the ring")?;
    ring.submit().context("io_uring_enter")?;
    // The try has failed by now.
    page.give()?;
    ring.submit_and_wait(1).context("io_uring_enter")?;
    let result = ring.completion().next().context("the ring is empty")?.result();
    ensure!(result == 0, "epoll_ctl by a worker: {}", std::io::Error::from_raw_os_error(-result));
    cast.own.ctl_made(libc::EPOLL_CTL_ADD, false);
    cast.others.push(joined(waiter)?);
    expect("what a worker registered", poll(&mut cast.own, epoll.as_raw_fd()), 2)
}

/// Waits that find events at once, and one that is called back: io_uring hangs on the eventpoll's own wait queue like a watching
/// eventpoll, and tries again when it is called.
fn wait(cast: &mut Cast, ring: &mut IoUring) -> Result<()> {
    let (epoll, first, second) = (epoll()?, eventfd(1)?, eventfd(1)?);
    add(&mut cast.own, epoll.as_raw_fd(), first.as_raw_fd(), IN, 21)?;
    add(&mut cast.own, epoll.as_raw_fd(), second.as_raw_fd(), IN, 22)?;
    for (case, expected) in [2, 1, 1].into_iter().enumerate() {
        let mut room = [libc::epoll_event { events: 0, u64: 0 }; 4];
        let entry = opcode::EpollWait::new(
            types::Fd(epoll.as_raw_fd()),
            room.as_mut_ptr().cast::<types::epoll_event>(),
            u32::try_from(room.len()).context("the room is small")?,
        );
        // SAFETY: the room lives until the operation has completed, which is waited for below.
        unsafe { ring.submission().push(&entry.build()) }.context("fill the ring")?;
        if case == 2 {
            ring.submit().context("io_uring_enter")?;
            raise(&second)?;
        }
        ring.submit_and_wait(1).context("io_uring_enter")?;
        let result = ring.completion().next().context("the ring is empty")?.result();
        if result == -libc::EINVAL && case == 0 {
            cast.missing.push("epoll_wait through io_uring");
            return Ok(());
        }
        let events = u64::try_from(result).map_err(|_| std::io::Error::from_raw_os_error(-result));
        let events = events.context("epoll_wait through io_uring")?;
        cast.own.uring_waited(events);
        expect("what io_uring waited for", events, expected)?;
        match case {
            0 => lower(&first)?,
            1 => lower(&second)?,
            _ => {}
        }
    }
    Ok(())
}

//! `epoll_ctl` through io_uring: the kernel goes past the system call (`io_epoll_ctl`, `io_uring/epoll.c`, 5.10 to 7.3).

use std::io::ErrorKind;
use std::os::fd::AsRawFd as _;

use anyhow::{Context as _, Result, ensure};
use io_uring::{IoUring, opcode, types};

use super::{Cast, IN, expect, poll, raise};
use crate::fds::{epoll, eventfd};

pub(super) fn ctl(cast: &mut Cast) -> Result<()> {
    let mut ring = match IoUring::new(4) {
        Ok(ring) => ring,
        Err(error) if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::Unsupported) => {
            cast.missing.push("io_uring");
            return Ok(());
        }
        Err(error) => return Err(error).context("io_uring_setup"),
    };
    let (epoll, file) = (epoll()?, eventfd(0)?);
    raise(&file)?;
    for (op, expected) in [(libc::EPOLL_CTL_ADD, 1), (libc::EPOLL_CTL_MOD, 1), (libc::EPOLL_CTL_DEL, 0)] {
        let event = libc::epoll_event { events: IN, u64: 11 };
        let entry = opcode::EpollCtl::new(
            types::Fd(epoll.as_raw_fd()),
            types::Fd(file.as_raw_fd()),
            op,
            (&raw const event).cast::<types::epoll_event>(),
        );
        // SAFETY: the event lives until the operation has completed, which is waited for below.
        unsafe { ring.submission().push(&entry.build()) }.context("fill the ring")?;
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

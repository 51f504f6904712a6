//! A scan that is held up in its middle: the kernel is to write an event to a page that is not there, and whoever is asked for the page
//! (userfaultfd) lets it wait. Meanwhile the scan holds the eventpoll's mutex, and what becomes ready goes to the overflow list.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::mpsc::channel;
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, anyhow, ensure};
use nix::errno::Errno;

use super::{IN, Standing, keep, raise, standing};
use crate::fds::{epoll, eventfd, own};

/// `_IOWR(0xaa, 0x3f, struct uffdio_api)` and the others (uapi/linux/userfaultfd.h).
const UFFDIO_API: libc::c_ulong = 0xc018_aa3f;
const UFFDIO_REGISTER: libc::c_ulong = 0xc020_aa00;
const UFFDIO_ZEROPAGE: libc::c_ulong = 0xc020_aa04;
/// `UFFD_API`
const API: u64 = 0xaa;
/// `UFFDIO_REGISTER_MODE_MISSING`
const MISSING: u64 = 1;
/// Bytes of `struct uffd_msg`.
const MESSAGE: usize = 32;
const PAGE: usize = 4096;

/// The thread that is held up.
pub(super) struct HeldScan {
    faults: OwnedFd,
    page: u64,
    thread: JoinHandle<i32>,
}

/// Items beside the one whose delivery is held up.
const LATER: usize = 3;

pub(super) fn begin(open: &mut Vec<OwnedFd>) -> Result<(Standing, HeldScan)> {
    let mut this = Standing { what: "held", ..standing(keep(open, epoll()?)) };
    let first = keep(open, eventfd(1)?);
    this.add(first, IN)?;
    for _ in 0..LATER {
        let fd = keep(open, eventfd(0)?);
        this.add(fd, IN)?;
    }
    let (faults, page) = missing_page()?;
    let (epfd, (tell, told)) = (this.epfd, channel());
    let thread = std::thread::Builder::new()
        .name("held-scan".to_owned())
        .spawn(move || {
            let _ = tell.send(nix::unistd::gettid().as_raw());
            // SAFETY: the page is mapped, with room for the events.
            unsafe { libc::epoll_wait(epfd, page as *mut libc::epoll_event, 8, -1) }
        })
        .context("cannot start a thread")?;
    this.scans = Some(told.recv().context("hear the thread's number")?);
    // The kernel asks for the page: the scan is in its middle.
    let mut message = [0_u8; MESSAGE];
    let read = nix::unistd::read(&faults, &mut message).context("read from the userfaultfd")?;
    ensure!(read == MESSAGE, "the userfaultfd gave {read} bytes");
    // The last to come stands first.
    for item in this.items.iter().skip(1) {
        raise(item.fd)?;
        this.overflow.insert(0, item.fd);
    }
    // The end of the scan turns them round, and puts them before what it delivered.
    this.ready_after.extend(this.overflow.iter().rev().copied().chain([first]));
    Ok((this, HeldScan { faults, page, thread }))
}

impl HeldScan {
    /// Gives the page, and waits for the wait's end.
    pub(super) fn end(self) -> Result<()> {
        // `struct uffdio_zeropage { start, len, mode, zeropage }`
        let mut zeropage = [self.page, PAGE as u64, 0, 0];
        ioctl(&self.faults, UFFDIO_ZEROPAGE, &mut zeropage).context("ioctl(UFFDIO_ZEROPAGE)")?;
        let events = self.thread.join().map_err(|_| anyhow!("a thread panicked"))?;
        ensure!(events == 1, "the wait that was held up gave {events} events, not 1");
        Ok(())
    }
}

/// A page that is there when the userfaultfd gives it.
fn missing_page() -> Result<(OwnedFd, u64)> {
    // SAFETY: a call without pointers gives a new descriptor, or -1.
    let faults = unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC) };
    let faults = i32::try_from(faults).context("userfaultfd")?;
    // SAFETY: as above.
    let faults = unsafe { own(faults, "userfaultfd; is this root?") }?;
    // `struct uffdio_api { api, features, ioctls }`
    ioctl(&faults, UFFDIO_API, &mut [API, 0, 0]).context("ioctl(UFFDIO_API)")?;
    let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping anywhere.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), PAGE, access, flags, -1, 0) };
    ensure!(page != libc::MAP_FAILED, "mmap: {}", Errno::last());
    let page = page as u64;
    // `struct uffdio_register { range { start, len }, mode, ioctls }`
    ioctl(&faults, UFFDIO_REGISTER, &mut [page, PAGE as u64, MISSING, 0]).context("ioctl(UFFDIO_REGISTER)")?;
    Ok((faults, page))
}

fn ioctl<const WORDS: usize>(fd: &OwnedFd, request: libc::c_ulong, words: &mut [u64; WORDS]) -> Result<()> {
    // SAFETY: each of these structures has as many words as the request's own size says.
    let ret = unsafe { libc::ioctl(fd.as_raw_fd(), request, words.as_mut_ptr()) };
    ensure!(ret == 0, "{}", Errno::last());
    Ok(())
}

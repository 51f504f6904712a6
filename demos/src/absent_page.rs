//! A page of memory that is not there until it is given (userfaultfd(2)): whoever touches it meanwhile waits, the kernel as well.

use std::io::Read as _;
use std::os::fd::{AsRawFd as _, OwnedFd};

use anyhow::{Context as _, Result, ensure};
use nix::errno::Errno;

use crate::fds::own;

const PAGE: usize = 4096;
/// `_IOWR(0xaa, 0x3f, struct uffdio_api)` and the others (uapi/linux/userfaultfd.h).
const UFFDIO_API: libc::c_ulong = 0xc018_aa3f;
const UFFDIO_REGISTER: libc::c_ulong = 0xc020_aa00;
const UFFDIO_ZEROPAGE: libc::c_ulong = 0xc020_aa04;
/// `UFFD_API`
const API: u64 = 0xaa;
/// `UFFDIO_REGISTER_MODE_MISSING`
const MISSING: u64 = 1;
/// `UFFD_EVENT_PAGEFAULT`
const PAGEFAULT: u8 = 0x12;
/// Bytes of `struct uffd_msg`.
const MESSAGE: usize = 32;

/// The page.
pub(crate) struct AbsentPage {
    /// Where it is to be.
    pub(crate) address: usize,
    faults: OwnedFd,
}

impl AbsentPage {
    /// Maps one; this takes root.
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: a call without pointers gives a new descriptor, or -1 with an errno.
        let fd = unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC) };
        // SAFETY: the result of that call.
        let faults = unsafe { own(i32::try_from(fd).context("userfaultfd")?, "userfaultfd; is this root?") }?;
        // `struct uffdio_api { api, features, ioctls }`
        ioctl(&faults, UFFDIO_API, [API, 0, 0]).context("ioctl(UFFDIO_API)")?;
        let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping, where the kernel sees fit.
        let address = unsafe { libc::mmap(std::ptr::null_mut(), PAGE, access, flags, -1, 0) };
        ensure!(address != libc::MAP_FAILED, "mmap: {}", Errno::last());
        let page = Self { address: address.expose_provenance(), faults };
        // `struct uffdio_register { range { start, len }, mode, ioctls }`
        let range = [page.address as u64, PAGE as u64, MISSING, 0];
        ioctl(&page.faults, UFFDIO_REGISTER, range).context("ioctl(UFFDIO_REGISTER)")?;
        Ok(page)
    }

    /// Returns when somebody waits for the page.
    pub(crate) fn until_missed(&self) -> Result<()> {
        let mut message = [0; MESSAGE];
        let mut faults = std::fs::File::from(self.faults.try_clone().context("dup")?);
        faults.read_exact(&mut message).context("read from the userfaultfd")?;
        ensure!(message[0] == PAGEFAULT, "the kernel tells {message:?}");
        Ok(())
    }

    /// Here it is, and those who wait go on.
    pub(crate) fn give(&self) -> Result<()> {
        // `struct uffdio_zeropage { range { start, len }, mode, zeropage }`
        ioctl(&self.faults, UFFDIO_ZEROPAGE, [self.address as u64, PAGE as u64, 0, 0]).context("ioctl(UFFDIO_ZEROPAGE)")
    }
}

fn ioctl<const WORDS: usize>(fd: &OwnedFd, request: libc::c_ulong, mut words: [u64; WORDS]) -> Result<()> {
    // SAFETY: each of these structures has as many words as the request's own size says.
    let ret = unsafe { libc::ioctl(fd.as_raw_fd(), request, words.as_mut_ptr()) };
    ensure!(ret == 0, "{}", Errno::last());
    Ok(())
}

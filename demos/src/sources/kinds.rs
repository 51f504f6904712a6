//! Everything that is no internet socket.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use io_uring::{IoUring, opcode};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::signal::{SigSet, Signal, raise as raise_signal};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket, socketpair};
use nix::sys::stat::Mode;

use super::{MASK, Source, Stage};
use crate::child::Child;
use crate::fds::{epoll, eventfd, own, raise};

/// A folder of the demo's own, gone with it.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("demos-{}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| format!("mkdir({})", path.display()))?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Nothing can be done about one that stays.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// All of them.
pub(super) fn all(stage: &mut Stage, folder: &Path) -> Result<()> {
    // First, while there is nothing that the child could keep open.
    process(stage)?;
    pipes(stage, folder)?;
    let file = eventfd(0)?;
    let copy = file.try_clone().context("dup")?;
    stage.sources.push(Source::new("eventfd", file, move || raise(&copy)));
    timer(stage)?;
    signals(stage)?;
    folder_watch(stage, folder)?;
    nested(stage)?;
    ring(stage)?;
    terminal(stage)?;
    unix(stage)?;
    netlink(stage)
}

fn process(stage: &mut Stage) -> Result<()> {
    let child = Child::fork(|_, told| told.read_exact(&mut [0]).context("hear when to end"))?;
    let pid = child.pid();
    // SAFETY: a call without pointers gives a new descriptor, or -1 with an errno.
    let file = unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0);
        own(i32::try_from(fd).context("pidfd_open")?, "pidfd_open")?
    };
    stage.sources.push(Source::new("pidfd", file, move || {
        (&child.tells).write_all(b"\n").context("tell the child to end")?;
        child.join().map(drop)
    }));
    Ok(())
}

fn pipes(stage: &mut Stage, folder: &Path) -> Result<()> {
    let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC).context("pipe2")?;
    stage.sources.push(Source::new("pipe", reader, move || write(&writer)));
    let path = folder.join("fifo");
    nix::unistd::mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).context("mkfifo")?;
    let file =
        open(&path, OFlag::O_RDWR | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC, Mode::empty()).context("open a FIFO")?;
    let copy = file.try_clone().context("dup")?;
    stage.sources.push(Source::new("FIFO", file, move || write(&copy)));
    Ok(())
}

fn write(file: &OwnedFd) -> Result<()> {
    nix::unistd::write(file, b"x").map(drop).context("write")
}

fn timer(stage: &mut Stage) -> Result<()> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
    let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC).context("timerfd_create")?;
    let file = OwnedFd::from(timer);
    let (copy, expired) = (file.try_clone().context("dup")?, file.try_clone().context("dup")?);
    stage.sources.push(Source::new("timerfd", file, move || {
        // SAFETY: the copy is a timerfd, and given away.
        let timer = unsafe { TimerFd::from_owned_fd(copy) };
        let soon = Expiration::OneShot(Duration::from_nanos(1).into());
        timer.set(soon, TimerSetTimeFlags::empty()).context("timerfd_settime")?;
        // It expires in an interrupt: let that be none of a probe of the wait, where a kernel would skip another. A poll that does not
        // sleep is on no wait queue.
        let mut readable = [PollFd::new(expired.as_fd(), PollFlags::POLLIN)];
        while poll(&mut readable, PollTimeout::ZERO).context("poll")? == 0 {}
        Ok(())
    }));
    Ok(())
}

fn signals(stage: &mut Stage) -> Result<()> {
    let mut set = SigSet::empty();
    set.add(Signal::SIGUSR1);
    set.thread_block().context("sigprocmask")?;
    // SAFETY: a set that lives during the call, which gives a new descriptor, or -1 with an errno.
    let file = unsafe { own(libc::signalfd(-1, set.as_ref(), libc::SFD_CLOEXEC), "signalfd")? };
    let wake = || raise_signal(Signal::SIGUSR1).context("raise");
    stage.sources.push(Source::new("signalfd", file, wake));
    Ok(())
}

fn folder_watch(stage: &mut Stage, folder: &Path) -> Result<()> {
    use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC).context("inotify_init1")?;
    inotify.add_watch(folder, AddWatchFlags::IN_CREATE).context("inotify_add_watch")?;
    let path = folder.join("new");
    let wake = move || File::create(&path).map(drop).context("create a file");
    stage.sources.push(Source::new("inotify", inotify, wake));
    Ok(())
}

fn nested(stage: &mut Stage) -> Result<()> {
    let (inner, file) = (epoll()?, eventfd(0)?);
    let event = Some((MASK, 0));
    stage.calls.ctl(inner.as_raw_fd(), libc::EPOLL_CTL_ADD, file.as_raw_fd(), event).context("epoll_ctl")?;
    let copy = file.try_clone().context("dup")?;
    stage.sources.push(Source::new("epoll", inner, move || raise(&copy)));
    stage.kept.push(file);
    Ok(())
}

fn ring(stage: &mut Stage) -> Result<()> {
    let ring = match IoUring::new(2) {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) || error.raw_os_error() == Some(libc::ENOSYS) => {
            stage.missing.insert("io_uring");
            return Ok(());
        }
        ring => ring.context("io_uring_setup")?,
    };
    // SAFETY: the number is the ring's, which lives; dup gives another.
    let file = unsafe { std::os::fd::BorrowedFd::borrow_raw(ring.as_raw_fd()) }.try_clone_to_owned().context("dup")?;
    stage.sources.push(Source::new("io_uring", file, move || {
        let mut ring = ring;
        // SAFETY: an operation without operands.
        unsafe { ring.submission().push(&opcode::Nop::new().build()) }.context("fill the ring")?;
        ring.submit().map(drop).context("io_uring_enter")
    }));
    Ok(())
}

fn terminal(stage: &mut Stage) -> Result<()> {
    use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
    let master = match posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC) {
        Err(Errno::ENOENT) => {
            stage.missing.insert("terminals");
            return Ok(());
        }
        master => master.context("open /dev/ptmx")?,
    };
    grantpt(&master).context("grantpt")?;
    unlockpt(&master).context("unlockpt")?;
    let path = ptsname_r(&master).context("ptsname")?;
    let slave = open(path.as_str(), OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC, Mode::empty());
    let slave = slave.with_context(|| format!("open {path}"))?;
    // SAFETY: the number is the master's, which gives it away.
    let master = unsafe { OwnedFd::from_raw_fd(std::os::fd::IntoRawFd::into_raw_fd(master)) };
    stage.sources.push(Source::new("terminal", master, move || write(&slave)));
    Ok(())
}

fn unix(stage: &mut Stage) -> Result<()> {
    let named = |what: &str| {
        SocketAddr::from_abstract_name(format!("demos-{what}-{}", std::process::id())).context("an abstract name")
    };
    let (near, mut far) = UnixStream::pair().context("socketpair")?;
    stage.sources.push(Source::new("unix stream", near, move || far.write_all(b"x").context("write")));
    let name = named("stream")?;
    let listener = UnixListener::bind_addr(&name).context("bind")?;
    let wake = move || UnixStream::connect_addr(&name).map(drop).context("connect");
    stage.sources.push(Source::new("unix listening", listener, wake));
    let name = named("datagram")?;
    let datagram = UnixDatagram::bind_addr(&name).context("bind")?;
    let wake = move || {
        let other = UnixDatagram::unbound().context("socket")?;
        other.connect_addr(&name).context("connect")?;
        other.send(b"x").map(drop).context("send")
    };
    stage.sources.push(Source::new("unix datagram", datagram, wake));
    let pair = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC);
    let (near, far) = pair.context("socketpair")?;
    stage.sources.push(Source::new("unix packets", near, move || write(&far)));
    Ok(())
}

/// The kernel answers a request by netlink at once.
fn netlink(stage: &mut Stage) -> Result<()> {
    // `struct nlmsghdr` (length, type, flags, sequence, port) and `struct rtgenmsg` (family), padded (uapi/linux/{netlink,rtnetlink}.h).
    const LENGTH: u32 = 20;
    let flags = libc::NLM_F_REQUEST | libc::NLM_F_DUMP;
    let request = [
        &LENGTH.to_ne_bytes()[..],
        &libc::RTM_GETLINK.to_ne_bytes(),
        &u16::try_from(flags).context("flags")?.to_ne_bytes(),
        &[0; 12],
    ];
    let request = request.concat();
    let file = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, None).context("socket")?;
    let copy = file.try_clone().context("dup")?;
    let wake = move || nix::unistd::write(&copy, &request).map(drop).context("write to netlink");
    stage.sources.push(Source::new("netlink", file, wake));
    Ok(())
}

//! `demos answers`: what the kernel answers to whoever asks: what an eventpoll is, which files it takes, how a process's end is an
//! event, and who may have a kernel thread for io_uring.
//!
//! In: nothing. Out: the story, with the answers as the kernel gave them.

use std::fs::{self, File};
use std::os::fd::{AsRawFd as _, OwnedFd};

use anyhow::{Context as _, Result, anyhow, ensure};
use clap::Args;
use io_uring::IoUring;
use nix::errno::Errno;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::{ForkResult, Pid, fork, geteuid};
use serde::Serialize;

use crate::ends::Carrier;
use crate::fds::{epoll, eventfd, own};
use crate::many::room_for;
use crate::story::Story;
use crate::story::reaction::{Reaction, Times};

const IN: u32 = libc::EPOLLIN.cast_unsigned();
const DATA: u64 = 1;
/// The user "nobody".
const NOBODY: libc::c_long = 65_534;
const ITEMS: u32 = 1000;

/// What the kernel answers: files that epoll takes and refuses, a process's end as an event, who may use SQPOLL
#[derive(Debug, Args, Serialize)]
#[command(after_help = "Examples:
  demos answers
  demos answers --json")]
pub(crate) struct Options {
    /// Print one line of JSON instead of text
    #[arg(long)]
    #[serde(skip)]
    json: bool,
}

/// Runs the demo and returns what it prints.
pub(crate) fn run(options: &Options) -> Result<String> {
    room_for(u64::from(ITEMS) + 64)?;
    let mut story = Story::begin("answers", options)?;
    takes(&mut story)?;
    refuses(&mut story)?;
    a_process_ends(&mut story)?;
    memory(&mut story)?;
    rings(&mut story)?;
    story.end(options.json)
}

fn takes(story: &mut Story) -> Result<()> {
    story.scene("files that epoll takes");
    let epoll = story.step("epoll_create1", Reaction::none(), |act| {
        let epoll = epoll()?;
        let path = format!("/proc/self/fd/{}", epoll.as_raw_fd());
        let file = fs::read_link(&path).with_context(|| format!("readlink({path})"))?;
        act.tell("file", file.to_string_lossy());
        Ok(epoll)
    })?;
    let ends = [Carrier::Tcp, Carrier::Unix, Carrier::Pipe];
    let ends = story.step("make a socket of each kind, and a pipe", Reaction::none(), |act| {
        ends.into_iter().map(|carrier| carrier.ends(act.calls)).collect::<Result<Vec<_>>>()
    })?;
    let mut take = |what: &str, file: &OwnedFd| {
        let did = format!("ADD {what}");
        story.step(did, Reaction::none().hooked(1), |act| act.add(&epoll, file, IN, DATA))
    };
    for ends in &ends {
        take(&format!("a {}", ends.carrier.name()), &ends.near)?;
    }
    take("an eventfd", &eventfd(0)?)?;
    take("a timerfd", &timerfd()?)?;
    take("a signalfd", &signalfd()?)?;
    take("an inotify instance", &inotify()?)?;
    take("a process (pidfd)", &pidfd(Pid::this())?)?;
    take("another eventpoll", &crate::fds::epoll()?)
}

fn refuses(story: &mut Story) -> Result<()> {
    story.scene("files that epoll refuses");
    let epoll = epoll()?;
    for (what, path) in
        [("a regular file", "/proc/self/exe"), ("a directory", "/"), ("a device without poll", "/dev/null")]
    {
        let file = File::open(path).with_context(|| format!("open({path})"))?;
        story.step(format!("ADD {what}: refused"), Reaction::none(), |act| {
            let answer = act.ctl(&epoll, libc::EPOLL_CTL_ADD, &file, IN, DATA);
            ensure!(answer == Err(Errno::EPERM), "the kernel answers {answer:?}");
            Ok(())
        })?;
    }
    Ok(())
}

/// No `waitpid` is needed to hear of it.
fn a_process_ends(story: &mut Story) -> Result<()> {
    story.scene("a process ends");
    let epoll = epoll()?;
    let (gate, key) = nix::unistd::pipe().context("pipe")?;
    let child = story.step("start a child, which waits", Reaction::none(), |_| {
        // SAFETY: this process has one thread by now, and the child makes two system calls and allocates nothing.
        match unsafe { fork() }.context("fork")? {
            ForkResult::Parent { child } => Ok(child),
            ForkResult::Child => {
                // SAFETY: the child's own copy is closed once, lest it waits for itself. The rest is plain calls.
                unsafe {
                    libc::close(key.as_raw_fd());
                    let mut byte = 0_u8;
                    libc::read(gate.as_raw_fd(), (&raw mut byte).cast(), 1);
                    libc::_exit(0)
                }
            }
        }
    })?;
    let process = pidfd(child)?;
    story.step("ADD its pidfd", Reaction::none().hooked(1), |act| act.add(&epoll, &process, IN, DATA))?;
    story.step("wait: it lives", Reaction::none(), |act| act.wait(&epoll, 1))?;
    // Since 6.9 its last thread tells as well that it has ended.
    let ends = Reaction::none().linked(1).already_linked(Times::ANY);
    story.step("it ends", ends, |_| {
        drop(key);
        let ended = waitid(Id::Pid(child), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).context("waitid")?;
        ensure!(matches!(ended, WaitStatus::Exited(_, 0)), "the child ended so: {ended:?}");
        Ok(())
    })?;
    story.step("wait: the kernel tells", Reaction::wait(1), |act| act.wait(&epoll, 1))?;
    story.step("DEL, then reap it", Reaction::none(), |act| {
        act.delete(&epoll, &process)?;
        waitpid(child, None).context("waitpid").map(drop)
    })
}

/// The tree of many items, and how many there may be.
fn memory(story: &mut Story) -> Result<()> {
    story.scene("memory");
    let epoll = epoll()?;
    let files = (0..ITEMS).map(|_| eventfd(0)).collect::<Result<Vec<_>>>()?;
    let did = format!("ADD {ITEMS} eventfds");
    story.step(did, Reaction::none().hooked(u64::from(ITEMS)), |act| {
        files.iter().try_for_each(|file| act.add(&epoll, file, IN, DATA))
    })?;
    story.step("look at the order of the tree", Reaction::none(), |act| {
        let path = format!("/proc/self/fdinfo/{}", epoll.as_raw_fd());
        let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        let number = |line: &str| line.strip_prefix("tfd:")?.split_whitespace().next()?.parse::<i32>().ok();
        let numbers: Vec<i32> = text.lines().filter_map(number).collect();
        act.tell("items", numbers.len());
        act.tell("falls", numbers.windows(2).filter(|pair| pair[0] > pair[1]).count());
        Ok(())
    })?;
    story.step("ask how many items a user may have", Reaction::none(), |act| {
        let path = "/proc/sys/fs/epoll/max_user_watches";
        let text = fs::read_to_string(path).with_context(|| format!("read {path}"))?;
        act.tell("max_user_watches", text.trim().parse::<u64>().with_context(|| format!("understand {path}"))?);
        Ok(())
    })
}

fn rings(story: &mut Story) -> Result<()> {
    story.scene("io_uring");
    if let Err(error) = IoUring::new(8) {
        story.missing(format!("io_uring: {error}"));
        return Ok(());
    }
    story.step("io_uring_setup", Reaction::none(), |act| {
        act.tell("ring", IoUring::new(8).is_ok());
        Ok(())
    })?;
    story.step("io_uring_setup(IORING_SETUP_SQPOLL) as nobody", Reaction::none(), |act| {
        let root = geteuid().is_root();
        let answer = std::thread::spawn(move || sqpoll_as_nobody(root)).join();
        let (user, answer) = answer.map_err(|_| anyhow!("the thread panicked"))??;
        act.tell("user", user);
        act.tell("sqpoll", answer.map_or_else(|errno| format!("{errno:?}"), |()| "allowed".to_owned()));
        Ok(())
    })
}

/// The thread stops being root: the kernel keeps users by thread, and only libraries keep threads together.
fn sqpoll_as_nobody(root: bool) -> Result<(u32, Result<(), Errno>)> {
    if root {
        // SAFETY: a call without pointers.
        let changed = unsafe { libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY) };
        Errno::result(changed).context("setresuid")?;
    }
    let ring: std::io::Result<IoUring> = IoUring::builder().setup_sqpoll(1).build(8);
    let errno = |error: std::io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(0));
    Ok((geteuid().as_raw(), ring.map(drop).map_err(errno)))
}

fn pidfd(process: Pid) -> Result<OwnedFd> {
    // SAFETY: a call without pointers gives a new descriptor, or -1 with an errno.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, process.as_raw(), 0) };
    // SAFETY: the result of that call.
    unsafe { own(i32::try_from(fd).context("pidfd_open")?, "pidfd_open") }
}

fn timerfd() -> Result<OwnedFd> {
    // SAFETY: as above.
    unsafe { own(libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_CLOEXEC), "timerfd_create") }
}

fn inotify() -> Result<OwnedFd> {
    // SAFETY: as above.
    unsafe { own(libc::inotify_init1(libc::IN_CLOEXEC), "inotify_init1") }
}

fn signalfd() -> Result<OwnedFd> {
    let signals = nix::sys::signal::SigSet::empty();
    // SAFETY: a set that lives during the call.
    unsafe { own(libc::signalfd(-1, std::ptr::from_ref(signals.as_ref()), libc::SFD_CLOEXEC), "signalfd") }
}

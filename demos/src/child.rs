//! A child process of a demo.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use anyhow::{Context as _, Result, bail};
use nix::errno::Errno;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::counted::Counted;
use crate::truth::Counts;

/// A child that does something and tells what it counted.
pub(crate) struct Child {
    pid: Pid,
    /// What it tells, and what it is told.
    pub(crate) tells: UnixStream,
}

impl Child {
    /// The demo has one thread when it forks.
    pub(crate) fn fork(work: impl FnOnce(&mut Counted, &mut UnixStream) -> Result<()>) -> Result<Self> {
        Self::apart(0, work)
    }

    /// A child in namespaces of its own: `CLONE_NEW*`.
    pub(crate) fn apart(
        namespaces: i32,
        work: impl FnOnce(&mut Counted, &mut UnixStream) -> Result<()>,
    ) -> Result<Self> {
        let (tells, mut told) = UnixStream::pair().context("socketpair")?;
        // SAFETY: with no stack given this forks; the demo has one thread here, so the child may do what it likes.
        let child = unsafe { libc::syscall(libc::SYS_clone, namespaces | libc::SIGCHLD, 0, 0, 0, 0) };
        match i32::try_from(child).context("clone gave no pid")? {
            ..0 => Err(Errno::last()).context("clone"),
            child @ 1.. => Ok(Self { pid: Pid::from_raw(child), tells }),
            0 => {
                drop(tells);
                let mut calls = Counted::default();
                let done = work(&mut calls, &mut told).and_then(|()| {
                    let counts = serde_json::to_vec(&calls.counts()).context("write the counts")?;
                    told.write_all(&counts).context("tell the counts")
                });
                if let Err(error) = &done {
                    eprintln!("demos: {error:#}");
                }
                // SAFETY: ends the process without running what belongs to the parent.
                unsafe { libc::_exit(i32::from(done.is_err())) }
            }
        }
    }

    /// Its number while it runs, or is not yet waited for.
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Its number and its counts, once it has ended.
    pub(crate) fn join(mut self) -> Result<(i32, Counts)> {
        let mut text = String::new();
        self.tells.read_to_string(&mut text).context("hear the counts")?;
        match waitpid(self.pid, None).context("waitpid")? {
            WaitStatus::Exited(_, 0) => {}
            other => bail!("the child ended with {other:?}"),
        }
        let counts = serde_json::from_str(&text).with_context(|| format!("understand the counts: {text}"))?;
        Ok((self.pid.as_raw(), counts))
    }
}

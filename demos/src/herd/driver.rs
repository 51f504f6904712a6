//! The master's side of the client: starts it, and watches it and the workers until it is done.
//!
//! In: the crew, the address, the options. Out: how many answers the client got from each worker.
//!
//! The client is this program again, as another process, so that a tracer which looks at the workers' process sees the
//! workers only.

use std::io::Read as _;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, bail};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{getpid, getppid};

use super::Options;
use super::crew::Crew;

/// Who ended first.
enum First {
    Client,
    Worker(usize),
}

/// A client that does not outlive the master's interest in it.
struct Client {
    child: Child,
    /// Only the client has the other end: it closes when the client ends.
    tally: ChildStdout,
}

/// Runs the client to its end. A worker that ends meanwhile ends the demo.
pub(super) fn drive(crew: &mut Crew, address: SocketAddr, options: &Options) -> Result<Vec<u64>> {
    let mut client = Client::start(crew, address, options)?;
    match client.watch(crew)? {
        First::Client => client.finish(),
        First::Worker(index) => Err(crew.why_ended(index)),
    }
}

impl Client {
    fn start(crew: &Crew, address: SocketAddr, options: &Options) -> Result<Self> {
        let tasks: Vec<_> = crew.tasks().map(|(pid, tid)| format!("{pid}:{tid}")).collect();
        let mut command = Command::new("/proc/self/exe");
        command
            .arg("herd-client")
            .args(["--address", &address.to_string()])
            .args(["--connections", &options.connections.to_string()])
            .args(["--rhythm", options.rhythm.name()])
            .args(["--pause", &options.pause.to_string()])
            .args(["--tasks", &tasks.join(",")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let master = getpid();
        // SAFETY: between fork and exec the closure makes two system calls and allocates nothing.
        unsafe {
            command.pre_exec(move || {
                prctl::set_pdeathsig(Signal::SIGKILL)?;
                // It ended between fork and prctl: nobody will end this child.
                if getppid() == master { Ok(()) } else { Err(Errno::ESRCH.into()) }
            });
        }
        let mut child = command.spawn().context("start the client from /proc/self/exe; is /proc mounted?")?;
        let tally = child.stdout.take().context("the client's stdout was piped")?;
        Ok(Self { child, tally })
    }

    /// Waits until the client or a worker ends. With both, the worker is named: it is what the client depends on.
    fn watch(&self, crew: &Crew) -> Result<First> {
        let mut watched: Vec<_> = crew.pipes().map(|pipe| PollFd::new(pipe, PollFlags::POLLIN)).collect();
        watched.push(PollFd::new(self.tally.as_fd(), PollFlags::POLLIN));
        let workers = watched.len() - 1;
        loop {
            match poll(&mut watched, PollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                other => other.context("poll")?,
            };
            let ready = watched.iter().position(|fd| fd.any().unwrap_or(true));
            match ready {
                Some(index) if index == workers => return Ok(First::Client),
                Some(index) => return Ok(First::Worker(index)),
                None => {}
            }
        }
    }

    fn finish(&mut self) -> Result<Vec<u64>> {
        let mut tally = String::new();
        self.tally.read_to_string(&mut tally).context("read from the client")?;
        let status = self.child.wait().context("wait for the client")?;
        if !status.success() {
            bail!("the client failed ({status}); its own message, if any, stands above");
        }
        serde_json::from_str(&tally).with_context(|| format!("understand the client: {tally}"))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // A client that has been waited for needs neither.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

//! The workers as the master sees them: started one after another, listened to, stopped, never left behind.
//!
//! In: the stage and how many. Out: each worker's tid while they run, and its counts when they have stopped.

use std::io::{BufRead as _, BufReader, PipeReader, PipeWriter, pipe};
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result, anyhow, bail};
use nix::errno::Errno;
use nix::sys::eventfd::EventFd;
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, getpid, getppid};

use crate::truth::Counts;

use super::message::Message;
use super::stage::{Stage, new_stop};
use super::worker::Post;

#[derive(Debug)]
pub(super) struct Crew {
    stage: Arc<Stage>,
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    index: u8,
    tid: i32,
    stop: Option<Arc<EventFd>>,
    messages: BufReader<PipeReader>,
    life: Life,
}

#[derive(Debug)]
enum Life {
    Thread(JoinHandle<()>),
    Process(Pid),
    Over,
}

impl Crew {
    /// Each worker has registered all it waits for before the next one starts, so that worker 0 is always the first
    /// in the socket's wait queue.
    pub(super) fn start(stage: &Arc<Stage>, workers: u8, processes: bool) -> Result<Self> {
        permit_observation()?;
        let mut crew = Self { stage: Arc::clone(stage), members: Vec::new() };
        for index in 0..workers {
            let stop = if crew.stage.shared().is_some() { None } else { Some(Arc::new(new_stop()?)) };
            let post = Post { index, stage: Arc::clone(&crew.stage), stop: stop.clone() };
            let (reader, writer) = pipe().context("pipe")?;
            let life = if processes { Life::fork(&post, writer)? } else { Life::spawn(post, writer)? };
            crew.members.push(Member { index, tid: 0, stop, messages: BufReader::new(reader), life });
            if let Some(member) = crew.members.last_mut() {
                member.expect_ready()?;
            }
        }
        Ok(crew)
    }

    /// Process and thread id of every worker, in order of start.
    pub(super) fn tasks(&self) -> impl Iterator<Item = (i32, i32)> {
        let master = getpid().as_raw();
        self.members.iter().map(move |member| match &member.life {
            Life::Process(pid) => (pid.as_raw(), member.tid),
            Life::Thread(_) | Life::Over => (master, member.tid),
        })
    }

    /// Where each worker's next message arrives, in order of start.
    pub(super) fn pipes(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.members.iter().map(|member| member.messages.get_ref().as_fd())
    }

    /// What the worker with this index said, or how it ended, although it was not told to stop.
    pub(super) fn why_ended(&mut self, index: usize) -> anyhow::Error {
        match self.members.get_mut(index).map(Member::hear) {
            Some(Err(error)) => error,
            Some(Ok(message)) => {
                anyhow!("worker {index} sent {message:?} before it was told to stop")
            }
            None => anyhow!("there is no worker {index}"),
        }
    }

    /// Stops every worker and returns tid and counts of each, in order of start.
    pub(super) fn stop(mut self) -> Result<Vec<(i32, Counts)>> {
        if let Some(shared) = self.stage.shared() {
            shared.stop.write(self.members.len() as u64).context("write to the shared eventfd")?;
        }
        for member in &self.members {
            if let Some(stop) = &member.stop {
                stop.write(1).with_context(|| format!("write to the eventfd of worker {}", member.index))?;
            }
        }
        let mut counts = Vec::new();
        for member in &mut self.members {
            counts.push((member.tid, member.expect_done()?));
        }
        Ok(counts)
    }
}

impl Drop for Crew {
    /// Only a crew that failed still has processes here. Threads end with the master.
    fn drop(&mut self) {
        for member in &self.members {
            if let Life::Process(pid) = member.life {
                // A child that is gone already needs neither.
                let _ = kill(pid, Signal::SIGKILL);
                let _ = waitpid(pid, None);
            }
        }
    }
}

impl Member {
    fn expect_ready(&mut self) -> Result<()> {
        match self.hear()? {
            Message::Ready { tid } => {
                self.tid = tid;
                Ok(())
            }
            other => bail!("worker {} sent {other:?} instead of Ready", self.index),
        }
    }

    fn expect_done(&mut self) -> Result<Counts> {
        match self.hear()? {
            Message::Done { counts } => match self.end() {
                None => Ok(counts),
                Some(how) => bail!("worker {} {how} after it had stopped", self.index),
            },
            other => bail!("worker {} sent {other:?} instead of Done", self.index),
        }
    }

    /// The next message. That of a worker which failed, and the silence of one which died, are errors.
    fn hear(&mut self) -> Result<Message> {
        let mut line = String::new();
        self.messages.read_line(&mut line).with_context(|| format!("read from worker {}", self.index))?;
        if line.is_empty() {
            let how = self.end().unwrap_or_else(|| "ended".to_owned());
            bail!("worker {} {how} without a report", self.index);
        }
        match serde_json::from_str(&line).with_context(|| format!("understand worker {}: {line}", self.index))? {
            Message::Failed { error } => bail!("worker {} failed: {error}", self.index),
            message => Ok(message),
        }
    }

    /// Waits for its end. None if it ended as it should.
    fn end(&mut self) -> Option<String> {
        match std::mem::replace(&mut self.life, Life::Over) {
            Life::Thread(handle) => handle.join().err().map(|_| "panicked".to_owned()),
            Life::Process(pid) => match waitpid(pid, None) {
                Ok(WaitStatus::Exited(_, 0)) => None,
                Ok(WaitStatus::Exited(_, code)) => Some(format!("(pid {pid}) exited with code {code}")),
                Ok(WaitStatus::Signaled(_, signal, _)) => Some(format!("(pid {pid}) was killed by {signal}")),
                Ok(other) => Some(format!("(pid {pid}) ended as {other:?}")),
                Err(errno) => Some(format!("(pid {pid}) could not be waited for: {errno}")),
            },
            Life::Over => None,
        }
    }
}

impl Life {
    fn spawn(post: Post, writer: PipeWriter) -> Result<Self> {
        let handle = thread::Builder::new().spawn(move || post.work(writer)).context("start a thread")?;
        Ok(Self::Thread(handle))
    }

    fn fork(post: &Post, writer: PipeWriter) -> Result<Self> {
        let master = getpid();
        // SAFETY: the master has no second thread when it forks (its workers are processes, and the client is started
        // after them), so the child finds no lock held and may do whatever the master may.
        match unsafe { fork() }.context("fork")? {
            ForkResult::Parent { child } => Ok(Self::Process(child)),
            ForkResult::Child => {
                let worked = catch_unwind(AssertUnwindSafe(|| live_as_child(master, post, writer)));
                let code = match worked {
                    Ok(Ok(())) => 0,
                    Ok(Err(error)) => {
                        eprintln!("demos: worker {}: {error:#}", post.index);
                        2
                    }
                    Err(_) => 101,
                };
                // SAFETY: ends this process at once. Nothing of the master's that the child has a copy of is dropped:
                // its destructors would kill the child's own siblings.
                unsafe { libc::_exit(code) }
            }
        }
    }
}

fn live_as_child(master: Pid, post: &Post, writer: PipeWriter) -> Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL).context("prctl(PR_SET_PDEATHSIG)")?;
    if getppid() != master {
        // It ended between fork and prctl: nobody will tell this child to stop.
        return Ok(());
    }
    permit_observation()?;
    post.work(writer);
    Ok(())
}

/// Lets the client read /proc/PID/task/TID/syscall of this process without being root.
fn permit_observation() -> Result<()> {
    // SAFETY: this option takes one integer and touches no memory.
    let set = unsafe { libc::prctl(libc::PR_SET_PTRACER, libc::PR_SET_PTRACER_ANY, 0, 0, 0) };
    match Errno::result(set) {
        // EINVAL: no Yama in this kernel, hence nothing to permit.
        Ok(_) | Err(Errno::EINVAL) => Ok(()),
        Err(errno) => Err(errno).context("prctl(PR_SET_PTRACER)"),
    }
}

//! Are all workers asleep in `epoll_wait`? The kernel is asked; nothing here guesses by time.
//!
//! In: the workers' tasks. Out: the moment when every one of them sleeps and no wakeup is under way.
//!
//! Two things are needed. /proc says of each task whether it is blocked and in which system call. But the wakeup that
//! a connection causes is a walk of the socket's wait queue in softirq context, one worker after another: on another
//! CPU a worker that was woken early can have answered before the walk comes to the last one, which would then still
//! look asleep. A softirq cannot be preempted by a task (`PREEMPT_RT` apart). So a task that has run on every CPU after
//! the answer arrived knows that the walk is over.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::str::FromStr;

use anyhow::{Context as _, Result, anyhow, ensure};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity, sched_yield};
use nix::unistd::Pid;

use crate::asleep::{WAITS, is_in, is_sleeping};

/// As many times in a row all workers must have been seen asleep.
const PASSES: u32 = 2;

/// PID:TID of one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Task {
    pid: i32,
    tid: i32,
}

#[derive(Debug)]
pub(super) struct Sleepers {
    sleepers: Vec<Sleeper>,
    cpus: Cpus,
}

#[derive(Debug)]
struct Sleeper {
    task: Task,
    /// Opened once and read anew each time, from offset 0.
    syscall: File,
    stat: File,
}

#[derive(Debug)]
struct Cpus {
    all: CpuSet,
    each: Vec<CpuSet>,
}

impl Sleepers {
    pub(super) fn open(tasks: &[Task]) -> Result<Self> {
        let sleepers = tasks.iter().map(|task| Sleeper::open(*task)).collect::<Result<_>>()?;
        Ok(Self { sleepers, cpus: Cpus::allowed()? })
    }

    /// Returns when every worker sleeps in `epoll_wait` and nothing is on its way to wake one.
    pub(super) fn wait(&mut self) -> Result<()> {
        self.cpus.visit()?;
        let mut passes = 0;
        while passes < PASSES {
            passes = if self.all_asleep()? { passes + 1 } else { 0 };
            sched_yield().context("sched_yield")?;
        }
        Ok(())
    }

    fn all_asleep(&self) -> Result<bool> {
        for sleeper in &self.sleepers {
            if !sleeper.is_asleep()? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Sleeper {
    fn open(task: Task) -> Result<Self> {
        Ok(Self { task, syscall: task.open("syscall")?, stat: task.open("stat")? })
    }

    fn is_asleep(&self) -> Result<bool> {
        let mut room = [0; 512];
        let syscall = self.read(&self.syscall, "syscall", &mut room)?;
        if !is_in(syscall, &WAITS) {
            return Ok(false);
        }
        let stat = self.read(&self.stat, "stat", &mut room)?;
        Ok(is_sleeping(stat))
    }

    fn read<'a>(&self, file: &File, name: &str, room: &'a mut [u8]) -> Result<&'a str> {
        let length = file.read_at(room, 0).with_context(|| {
            format!("read {}; run as the workers' user or as root (is the worker still there?)", self.task.path(name))
        })?;
        std::str::from_utf8(&room[..length]).with_context(|| format!("understand {}", self.task.path(name)))
    }
}

impl Cpus {
    fn allowed() -> Result<Self> {
        let all = sched_getaffinity(Pid::from_raw(0)).context("sched_getaffinity")?;
        let mut each = Vec::new();
        for cpu in 0..CpuSet::count() {
            if all.is_set(cpu).unwrap_or(false) {
                let mut one = CpuSet::new();
                one.set(cpu).context("a set with one CPU")?;
                each.push(one);
            }
        }
        Ok(Self { all, each })
    }

    /// Runs on every CPU in turn, and thereby after whatever softirq ran on it.
    fn visit(&self) -> Result<()> {
        for cpus in self.each.iter().chain([&self.all]) {
            sched_setaffinity(Pid::from_raw(0), cpus).context("sched_setaffinity; may this process choose its CPU?")?;
        }
        Ok(())
    }
}

impl Task {
    fn path(self, file: &str) -> String {
        format!("/proc/{}/task/{}/{file}", self.pid, self.tid)
    }

    fn open(self, file: &str) -> Result<File> {
        let path = self.path(file);
        File::open(&path).with_context(|| format!("open {path}; is /proc mounted, and may this user see the workers?"))
    }
}

impl FromStr for Task {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (pid, tid) = text.split_once(':').ok_or_else(|| anyhow!("{text:?} is not PID:TID"))?;
        let task = Self { pid: pid.parse().context("PID")?, tid: tid.parse().context("TID")? };
        ensure!(task.pid > 0 && task.tid > 0, "{text:?} names no task");
        Ok(task)
    }
}

#[cfg(test)]
mod tests {
    use super::Task;

    #[test]
    fn a_task_is_two_positive_numbers() {
        assert_eq!("3:7".parse::<Task>().unwrap(), Task { pid: 3, tid: 7 });
        for wrong in ["", "3", "3:", ":7", "0:1", "3:-7", "3:7:9"] {
            assert!(wrong.parse::<Task>().is_err(), "{wrong:?}");
        }
    }
}

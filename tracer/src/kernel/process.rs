//! The process that `-p` names.
//!
//! In: a pid and `/proc`. Out: what is known of the process, or a sentence that says why it cannot be traced.

use std::fs;
use std::io;
use std::path::PathBuf;

/// `PF_KTHREAD` (include/linux/sched.h, 5.10 to 7.3)
const KERNEL_THREAD: u64 = 0x0020_0000;

/// A process that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its pid in the namespace of the `/proc` that was read.
    pub pid: u32,
    /// Its name: 15 bytes at most, and its own to choose.
    pub comm: String,
    /// When it started, in clock ticks since boot: with the pid, this is one process and never another.
    pub start_ticks: u64,
    /// Its threads, ascending, the first one included unless it has ended before the others.
    pub threads: Vec<u32>,
}

/// Why a process cannot be traced.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// Nothing has this pid.
    #[error("there is no process {pid}")]
    NoProcess {
        /// What was asked for.
        pid: u32,
    },
    /// It is the id of a thread.
    #[error("{tid} is no process but a thread of process {pid} ({comm}); give {pid} instead")]
    Thread {
        /// What was asked for.
        tid: u32,
        /// The process it belongs to.
        pid: u32,
        /// The thread's name.
        comm: String,
    },
    /// It has ended, but nobody has waited for it.
    #[error("process {pid} ({comm}) has ended already, and its parent has not waited for it yet")]
    Zombie {
        /// What was asked for.
        pid: u32,
        /// Its name.
        comm: String,
    },
    /// It is a part of the kernel.
    #[error("{pid} ({comm}) is a thread of the kernel, which never calls epoll")]
    KernelThread {
        /// What was asked for.
        pid: u32,
        /// Its name.
        comm: String,
    },
    /// `/proc` does not let itself be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// `/proc` has another form than any known kernel's.
    #[error("{} has another form than expected", path.display())]
    Form {
        /// The file.
        path: PathBuf,
    },
}

impl Process {
    /// Looks at a process.
    ///
    /// # Errors
    /// [`ProcessError`]: there is none, or it is none that can be traced.
    pub fn find(pid: u32) -> Result<Self, ProcessError> {
        let stat_path = file(pid, "stat");
        let stat = read(pid, &stat_path)?;
        let stat = Stat::parse(&stat).ok_or(ProcessError::Form { path: stat_path })?;
        let status_path = file(pid, "status");
        let status = read(pid, &status_path)?;
        let tgid = tgid(&status).ok_or(ProcessError::Form { path: status_path })?;
        let comm = stat.comm.clone();
        if tgid != pid {
            return Err(ProcessError::Thread { tid: pid, pid: tgid, comm });
        }
        if stat.flags & KERNEL_THREAD != 0 {
            return Err(ProcessError::KernelThread { pid, comm });
        }
        let threads = threads(pid)?;
        // A first thread that has ended stays as a zombie as long as others run: then the process does.
        let ended = |tid: u32| tid == pid && stat.has_ended();
        if threads.iter().all(|&tid| ended(tid)) {
            return Err(ProcessError::Zombie { pid, comm });
        }
        let threads = threads.into_iter().filter(|&tid| !ended(tid)).collect();
        Ok(Self { pid, comm, start_ticks: stat.start_ticks, threads })
    }

    /// Whether the pid still stands for the same process, and it runs.
    #[must_use]
    pub fn still_runs(&self) -> bool {
        Self::find(self.pid).is_ok_and(|now| now.start_ticks == self.start_ticks)
    }
}

/// The children of these processes, their children, and so on, without the processes themselves. A process that begins or ends
/// meanwhile may be missed.
///
/// # Errors
/// `/proc` cannot be read.
pub fn descendants(of: &[u32]) -> io::Result<Vec<u32>> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // One that cannot be read has ended.
        let Ok(stat) = fs::read(file(pid, "stat")) else { continue };
        parents.extend(Stat::parse(&stat).map(|stat| (pid, stat.parent)));
    }
    Ok(below(of, &parents))
}

/// What descends from `of`, given every process with its parent.
fn below(of: &[u32], parents: &[(u32, u32)]) -> Vec<u32> {
    let mut found: Vec<u32> = Vec::new();
    loop {
        let is_new = |pid: u32| !of.contains(&pid) && !found.contains(&pid);
        let new: Vec<u32> = parents
            .iter()
            .filter(|(pid, parent)| is_new(*pid) && (of.contains(parent) || found.contains(parent)))
            .map(|(pid, _)| *pid)
            .collect();
        if new.is_empty() {
            return found;
        }
        found.extend(new);
    }
}

/// What `/proc/PID/stat` says (fs/proc/array.c, `do_task_stat`).
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stat {
    comm: String,
    state: char,
    parent: u32,
    flags: u64,
    start_ticks: u64,
}

impl Stat {
    /// `12 (a name) S 1 ..`: the name can hold anything, so the last parenthesis ends it.
    fn parse(text: &[u8]) -> Option<Self> {
        let open = text.iter().position(|&byte| byte == b'(')?;
        let close = text.iter().rposition(|&byte| byte == b')')?;
        let comm = String::from_utf8_lossy(text.get(open + 1..close)?).into_owned();
        let rest = std::str::from_utf8(text.get(close + 1..)?).ok()?;
        // Field 3 of proc(5) is the first here.
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        Some(Self {
            comm,
            state: fields.first()?.chars().next()?,
            parent: fields.get(4 - 3)?.parse().ok()?,
            flags: fields.get(9 - 3)?.parse().ok()?,
            start_ticks: fields.get(22 - 3)?.parse().ok()?,
        })
    }

    fn has_ended(&self) -> bool {
        matches!(self.state, 'Z' | 'X' | 'x')
    }
}

fn tgid(status: &[u8]) -> Option<u32> {
    let mut lines = status.split(|&byte| byte == b'\n');
    let value = lines.find_map(|line| line.strip_prefix(b"Tgid:"))?;
    std::str::from_utf8(value).ok()?.trim().parse().ok()
}

fn threads(pid: u32) -> Result<Vec<u32>, ProcessError> {
    let path = file(pid, "task");
    let fail = |source| failed(pid, path.clone(), source);
    let mut threads = Vec::new();
    for entry in fs::read_dir(&path).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        threads.extend(entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    threads.sort_unstable();
    Ok(threads)
}

fn file(pid: u32, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{name}"))
}

fn read(pid: u32, path: &PathBuf) -> Result<Vec<u8>, ProcessError> {
    fs::read(path).map_err(|source| failed(pid, path.clone(), source))
}

/// A process can end between two reads: then the file is gone, or the kernel says ESRCH.
fn failed(pid: u32, path: PathBuf, source: io::Error) -> ProcessError {
    let gone = source.kind() == io::ErrorKind::NotFound || source.raw_os_error() == Some(libc::ESRCH);
    if gone { ProcessError::NoProcess { pid } } else { ProcessError::Read { path, source } }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};
    use std::sync::mpsc;
    use std::thread;

    use super::{Process, ProcessError, Stat, below, descendants, tgid};

    const REST: &str = "S 1 7 7 0 -1 4194304 100 0 0 0 1 2 0 0 20 0 1 0 987654 1000 10 18446744073709551615 1 1";

    #[test]
    fn a_name_may_hold_anything() {
        for name in ["sh", "a b", "a) S 1 (b", "(", "", "\u{e9}\n"] {
            let stat = Stat::parse(format!("12 ({name}) {REST}\n").as_bytes()).unwrap();
            assert_eq!(
                stat,
                Stat { comm: name.to_owned(), state: 'S', parent: 1, flags: 4_194_304, start_ticks: 987_654 }
            );
        }
        assert_eq!(Stat::parse(b"12 (\xff) Z 1 2 3 4 5 6").map(|stat| stat.comm), None);
        for text in ["", "12 sh S", "12 )(", "12 (sh)", "12 (sh) S 1"] {
            assert_eq!(Stat::parse(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(tgid(b"Name:\tx\nTgid:\t12\nNgid:\t0\n"), Some(12));
        assert_eq!(tgid(b"Name:\tx\n"), None);
    }

    #[test]
    fn descendants_are_found_at_any_depth_and_in_any_order() {
        let parents = [(9, 8), (8, 7), (7, 1), (6, 1), (5, 6), (7, 1)];
        assert_eq!(below(&[7], &parents), [8, 9]);
        assert!(below(&[1], &[(3, 2), (2, 3)]).is_empty());
        assert_eq!(below(&[2], &[(3, 2), (2, 3)]), [3]);
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        assert!(descendants(&[std::process::id()]).unwrap().contains(&child.id()));
        drop(child.stdin.take());
        child.wait().unwrap();
    }

    #[test]
    fn finds_this_process_and_its_threads() {
        let pid = std::process::id();
        let (release, wait) = mpsc::channel::<()>();
        let (tell, tid) = mpsc::channel();
        let other = thread::spawn(move || {
            // SAFETY: gettid(2) takes nothing and cannot fail.
            tell.send(unsafe { libc::gettid() }).unwrap();
            let _ = wait.recv();
        });
        let tid = u32::try_from(tid.recv().unwrap()).unwrap();
        let process = Process::find(pid).unwrap();
        assert_eq!(process.pid, pid);
        assert!(process.threads.contains(&tid) && process.threads.is_sorted());
        assert!(process.still_runs());
        assert!(!Process { start_ticks: process.start_ticks + 1, ..process }.still_runs());
        let refused = Process::find(tid).unwrap_err();
        assert!(matches!(refused, ProcessError::Thread { pid: of, .. } if of == pid), "{refused}");
        drop(release);
        other.join().unwrap();
    }

    #[test]
    fn says_why_there_is_nothing_to_trace() {
        assert_eq!(Process::find(u32::MAX).unwrap_err().to_string(), "there is no process 4294967295");
        assert_eq!(Process::find(0).unwrap_err().to_string(), "there is no process 0");
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let running = Process::find(child.id()).unwrap();
        drop(child.stdin.take());
        // Its standard output ends when it does; then only this test's wait removes it.
        std::io::copy(child.stdout.as_mut().unwrap(), &mut std::io::sink()).unwrap();
        let refused = loop {
            match Process::find(child.id()) {
                Ok(_) => thread::yield_now(),
                Err(error) => break error,
            }
        };
        assert!(matches!(refused, ProcessError::Zombie { .. }), "{refused}");
        assert!(!running.still_runs());
        child.wait().unwrap();
        assert!(matches!(Process::find(child.id()), Err(ProcessError::NoProcess { .. })));
    }

    #[test]
    fn refuses_threads_of_the_kernel() {
        // In the initial pid namespace 2 is kthreadd; in another it is somebody else or nobody.
        if std::fs::read_to_string("/proc/2/comm").is_ok_and(|comm| comm == "kthreadd\n") {
            assert!(matches!(Process::find(2), Err(ProcessError::KernelThread { .. })));
        }
    }
}

//! A command that is held until the probes are on: forked at once, so that its process is known to the filter, and let go to
//! `execve` later.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Where the command's standard output goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Output {
    /// Where ours goes.
    Inherit,
    /// To our standard error: our standard output carries the report.
    Stderr,
    /// Nowhere, and it reads nothing: the terminal is ours alone.
    Nowhere,
}

/// A child that waits to be let go.
#[derive(Debug)]
pub(super) struct Held {
    /// Its process.
    pub(super) pid: u32,
    go: File,
    failure: File,
    words: Vec<OsString>,
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    /// It exited with this code.
    Code(i32),
    /// It was killed by this signal.
    Signal(i32),
}

impl Held {
    /// Forks. Must be called while the process has a single thread.
    ///
    /// # Errors
    /// When the command cannot be found or is not executable, or the system has no room for a process.
    pub(super) fn fork(words: &[OsString], output: Output) -> Result<Self> {
        let program = find(words.first().context("no command is given")?)?;
        let program = CString::new(program.as_os_str().as_bytes()).context("the command's path has a zero byte")?;
        let arguments = words
            .iter()
            .map(|word| CString::new(word.as_bytes()).context("an argument of the command has a zero byte"))
            .collect::<Result<Vec<_>>>()?;
        let mut pointers: Vec<_> = arguments.iter().map(|argument| argument.as_ptr()).collect();
        pointers.push(std::ptr::null());
        let (go_read, go) = pipe()?;
        let (failure, failure_write) = pipe()?;
        // SAFETY: there is one thread, so the child may go on as usual; it only makes system calls until it execs.
        let pid = unsafe { libc::fork() };
        if pid < 0 {
            return Err(std::io::Error::last_os_error()).context("cannot fork the command");
        }
        if pid == 0 {
            drop((go, failure));
            become_command(&program, &pointers, output, File::from(go_read), File::from(failure_write));
        }
        let pid = u32::try_from(pid).context("fork gave a negative pid")?;
        Ok(Self { pid, go: File::from(go), failure: File::from(failure), words: words.to_vec() })
    }

    /// Lets the command run.
    ///
    /// # Errors
    /// What `execve` said, if it failed.
    pub(super) fn release(mut self) -> Result<u32> {
        let name = self.words.first().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
        self.go.write_all(&[1]).with_context(|| format!("`{name}` ended before it was started"))?;
        drop(self.go);
        let mut errno = [0; 4];
        // The pipe closes when the exec succeeds.
        if self.failure.read_exact(&mut errno).is_err() {
            return Ok(self.pid);
        }
        let error = std::io::Error::from_raw_os_error(i32::from_ne_bytes(errno));
        Err(error).with_context(|| format!("cannot run `{name}`"))
    }
}

/// The child's side: waits for the word, then becomes the command.
fn become_command(
    program: &CString,
    arguments: &[*const libc::c_char],
    output: Output,
    mut go: File,
    mut failure: File,
) -> ! {
    // SAFETY: plain system calls with valid arguments; `arguments` ends in null and outlives the exec.
    unsafe {
        // The command does not outlive its tracer, however that ends.
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
        let mut byte = [0];
        if go.read_exact(&mut byte).is_err() {
            // The tracer is gone or has given up.
            libc::_exit(0);
        }
        if output == Output::Stderr {
            libc::dup2(libc::STDERR_FILENO, libc::STDOUT_FILENO);
        }
        if output == Output::Nowhere {
            let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR);
            for standard in [libc::STDIN_FILENO, libc::STDOUT_FILENO, libc::STDERR_FILENO] {
                libc::dup2(null, standard);
            }
        }
        // What Rust's runtime ignored for us must not be ignored for the command.
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        libc::execv(program.as_ptr(), arguments.as_ptr());
        let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::ENOEXEC);
        let _ = failure.write_all(&errno.to_ne_bytes());
        libc::_exit(127);
    }
}

/// A command by its path, or found in `PATH`.
fn find(name: &OsString) -> Result<PathBuf> {
    let shown = name.to_string_lossy();
    if name.as_bytes().contains(&b'/') {
        let path = PathBuf::from(name);
        return match std::fs::metadata(&path) {
            Err(error) => Err(error).with_context(|| format!("cannot run `{shown}`")),
            Ok(_) if !executable(&path) => bail!("cannot run `{shown}`: it is not an executable file"),
            Ok(_) => Ok(path),
        };
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|candidate| executable(candidate))
        .with_context(|| format!("there is no command `{shown}` in PATH"))
}

fn executable(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

/// A pipe that no exec keeps: its end to read, its end to write.
fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    let mut ends: [RawFd; 2] = [0; 2];
    // SAFETY: the array has room for two descriptors.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } < 0 {
        return Err(std::io::Error::last_os_error()).context("cannot make a pipe");
    }
    let [read, write] = ends;
    // SAFETY: the kernel just gave these descriptors to us.
    Ok(unsafe { (OwnedFd::from_raw_fd(read), OwnedFd::from_raw_fd(write)) })
}

/// Reaps a child that has ended.
pub(super) fn reap(pid: u32) -> Option<Status> {
    let mut status = 0;
    let pid = libc::pid_t::try_from(pid).ok()?;
    // SAFETY: the pointer is valid; only our own child is reaped.
    if unsafe { libc::waitpid(pid, &raw mut status, 0) } != pid {
        return None;
    }
    if libc::WIFSIGNALED(status) {
        return Some(Status::Signal(libc::WTERMSIG(status)));
    }
    Some(Status::Code(libc::WEXITSTATUS(status)))
}

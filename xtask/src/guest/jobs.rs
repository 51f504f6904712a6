//! Runs the plan's jobs, one after another.
//!
//! Process 1 inherits every orphan, so a single thread reaps all children and tells the job's own one apart.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::guest::port::Port;
use crate::vm::place::children_cpu_ns;
use crate::vm::plan::{Ending, Job, Plan};
use crate::vm::protocol::{Frame, MAX_BODY};

const WORK: &str = "/work";
/// After a job's end its pipes may be held open by a daemon it left behind: it is not waited for.
const PIPES_CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// Runs all jobs and sends what they do.
pub(super) fn run_all(plan: &Plan, port: &Port) -> Result<()> {
    std::thread::scope(|scope| {
        for (index, job) in plan.jobs.iter().enumerate() {
            let number = u32::try_from(index).context("too many jobs")?;
            port.send(&Frame::Start(number))?;
            let cwd = if job.cwd.is_empty() { WORK } else { &job.cwd };
            let before = children_cpu_ns()?;
            let ending = match start(job, cwd) {
                Ok(child) => {
                    let (done, finished) = channel();
                    follow(child, number, job, port, scope, &done, &finished)?
                }
                Err(error) => {
                    port.send(&Frame::Stderr(number, format!("guest: {error:#}\n").into_bytes()))?;
                    Ending::NotStarted
                }
            };
            let ns = children_cpu_ns()?.saturating_sub(before);
            for file in &job.returns {
                send_file(number, Path::new(cwd), file, port)?;
            }
            port.send(&Frame::End(number, ending, ns))?;
        }
        Ok(())
    })
}

fn start(job: &Job, cwd: &str) -> Result<Child> {
    fs::create_dir_all(cwd).with_context(|| format!("cannot create {cwd}"))?;
    let (program, arguments) = job.argv.split_first().context("the job has no command")?;
    Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", "/bin:/sbin:/usr/bin:/usr/sbin")
        .env("HOME", "/root")
        .env("LANG", "C.UTF-8")
        .envs(job.env.iter().map(|(name, value)| (name, value)))
        .current_dir(cwd)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {}", job.argv.join(" ")))
}

fn follow<'scope, 'env>(
    mut child: Child,
    number: u32,
    job: &Job,
    port: &'env Port,
    scope: &'scope std::thread::Scope<'scope, 'env>,
    done: &Sender<()>,
    finished: &Receiver<()>,
) -> Result<Ending> {
    let mut streams = 0;
    if let Some(stdout) = child.stdout.take() {
        forward(stdout, port, scope, done.clone(), move |bytes| Frame::Stdout(number, bytes));
        streams += 1;
    }
    if let Some(stderr) = child.stderr.take() {
        forward(stderr, port, scope, done.clone(), move |bytes| Frame::Stderr(number, bytes));
        streams += 1;
    }
    let pid = Pid::from_raw(child.id().cast_signed());
    let ending = reap_until(pid, Instant::now() + Duration::from_secs(job.timeout_s))?;
    // The job's own processes end with it; an empty group is no failure.
    let _ = killpg(pid, Signal::SIGKILL);
    let deadline = Instant::now() + PIPES_CLOSE_WITHIN;
    for _ in 0..streams {
        if finished.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_err() {
            break;
        }
    }
    Ok(ending)
}

/// Sends everything a pipe gives.
fn forward<'scope, 'env>(
    mut pipe: impl Read + Send + 'scope,
    port: &'env Port,
    scope: &'scope std::thread::Scope<'scope, 'env>,
    done: Sender<()>,
    frame: impl Fn(Vec<u8>) -> Frame + Send + 'scope,
) {
    scope.spawn(move || {
        let mut buffer = vec![0; MAX_BODY];
        loop {
            match pipe.read(&mut buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(count) if count > 0 => {
                    if port.send(&frame(buffer[..count].to_vec())).is_err() {
                        break;
                    }
                }
                Ok(_) | Err(_) => break,
            }
        }
        // Nobody listens any more when the job was given up.
        let _ = done.send(());
    });
}

/// Reaps children until the given one has ended, which it is made to do at the deadline.
fn reap_until(pid: Pid, deadline: Instant) -> Result<Ending> {
    let (tell, told) = channel();
    std::thread::spawn(move || {
        loop {
            let status = waitpid(Pid::from_raw(-1), Some(WaitPidFlag::__WALL));
            let ended =
                matches!(status, Ok(status) if status.pid() == Some(pid)) || status == Err(nix::errno::Errno::ECHILD);
            if ended {
                let _ = tell.send(status);
                return;
            }
        }
    });
    let left = deadline.saturating_duration_since(Instant::now());
    let in_time = told.recv_timeout(left).ok();
    let late = in_time.is_none();
    let status = if let Some(status) = in_time {
        status
    } else {
        // A group that has just ended by itself is no failure.
        let _ = killpg(pid, Signal::SIGKILL);
        told.recv().context("the reaping thread failed")?
    };
    Ok(match status.context("waitpid failed")? {
        _ if late => Ending::TimedOut,
        WaitStatus::Exited(_, code) => Ending::Exited(code),
        WaitStatus::Signaled(_, signal, _) => Ending::Signalled(signal as i32),
        _ => Ending::NotStarted,
    })
}

fn send_file(job: u32, cwd: &Path, name: &str, port: &Port) -> Result<()> {
    let path = cwd.join(name);
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) => return port.send(&Frame::FileMissing(job, format!("{name}: {error}"))),
    };
    port.send(&Frame::FileBegin(job, name.to_owned()))?;
    let mut buffer = vec![0; MAX_BODY];
    loop {
        let count = file.read(&mut buffer).with_context(|| format!("cannot read {}", path.display()))?;
        if count == 0 {
            return Ok(());
        }
        port.send(&Frame::FileBytes(job, buffer[..count].to_vec()))?;
    }
}

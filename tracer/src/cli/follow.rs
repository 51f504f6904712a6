//! Runs a live trace from the first probe to the last event: attaches, lets the command go, hands events on, and ends on Ctrl-C,
//! SIGTERM, `--duration`, or the end of what is traced. However it ends, the trace is complete.

use std::io::IsTerminal;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep_until};

use super::held::{Held, Output, Status, reap};
use super::target::TargetArgs;
use crate::event::{Event, TraceInfo};
use crate::kernel::process::Process;
use crate::output::sanitize;
use crate::source::EventSource;
use crate::source::live::Live;

/// How long a command may take to end after SIGTERM before it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// What takes the events of a live trace.
pub(super) trait Sink {
    /// Tracing has begun.
    fn start(&mut self, info: &TraceInfo) -> Result<()>;
    /// Some events, in order; called at least every few tens of milliseconds, also with none.
    fn take(&mut self, events: &[Event]) -> Result<()>;
}

/// Traces until the end. Events reach `sink` in order; the last is the mark of the stop.
///
/// # Errors
/// What the target, the kernel or the sink refused. After an error of the sink the probes are off and the command is stopped.
pub(super) fn follow(args: &TargetArgs, output: Output, verbose: u8, sink: &mut impl Sink) -> Result<()> {
    super::privilege::demand()?;
    let mut targets = args.pids.iter().map(|pid| Target::open(*pid)).collect::<Result<Vec<_>>>()?;
    let held = if args.command.is_empty() { None } else { Some(Held::fork(&args.command, output)?) };
    if let Some(held) = &held {
        targets.push(Target::child(held.pid)?);
    }
    let pids = targets.iter().map(|target| target.pid).collect();
    let options = args.options(pids, verbose)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")?;
    runtime.block_on(async {
        let mut live = Live::start(&options)?;
        for target in &targets {
            target.still_there()?;
        }
        sink.start(live.info())?;
        let child = held.map(Held::release).transpose()?;
        if let Some(path) = &args.ready_file {
            std::fs::write(path, b"").with_context(|| format!("cannot write the ready file {}", path.display()))?;
        }
        announce(args);
        let followed = run(&mut live, targets, args.duration, sink).await;
        let stopped = finish(&mut live, sink, followed.is_ok());
        if let Some(pid) = child {
            end_child(pid).await;
        }
        followed.and(stopped)
    })
}

/// Says on a terminal that the probes are on, and what ends it: attaching takes a while, and nothing else need appear for long.
fn announce(args: &TargetArgs) {
    if std::io::stderr().is_terminal() {
        let end = match args.duration {
            Some(duration) => format!("for {} s; Ctrl-C ends it sooner", duration.as_secs_f64()),
            None => "Ctrl-C ends it".to_owned(),
        };
        eprintln!("eptrace: tracing {} ({end})", sanitize::text(&args.words()));
    }
}

/// Hands events on until something says to stop.
async fn run(live: &mut Live, targets: Vec<Target>, duration: Option<Duration>, sink: &mut impl Sink) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let end = duration.map(|duration| Instant::now() + duration);
    let mut all_gone = std::pin::pin!(all_gone(targets));
    let mut events = Vec::new();
    loop {
        let stop = tokio::select! {
            () = all_gone.as_mut() => true,
            _ = interrupt.recv() => true,
            _ = terminate.recv() => true,
            () = reached(end) => true,
            waited = live.wait() => { waited.context("cannot wait for the ring buffer")?; false }
        };
        live.next_events(&mut events)?;
        sink.take(&events)?;
        events.clear();
        if stop {
            return Ok(());
        }
    }
}

/// Switches off, and hands the rest on unless the sink has already failed.
fn finish(live: &mut Live, sink: &mut impl Sink, deliver: bool) -> Result<()> {
    live.stop()?;
    let mut events = Vec::new();
    while live.next_events(&mut events)? {}
    if deliver { sink.take(&events) } else { Ok(()) }
}

async fn reached(end: Option<Instant>) {
    match end {
        Some(end) => sleep_until(end).await,
        None => std::future::pending().await,
    }
}

/// Returns when the last of the targets has ended; never when there are none.
async fn all_gone(targets: Vec<Target>) {
    if targets.is_empty() {
        std::future::pending::<()>().await;
    }
    for target in targets {
        target.gone().await;
    }
}

/// A process under trace, held by its pidfd so that its number cannot come to mean another.
#[derive(Debug)]
struct Target {
    pid: u32,
    pidfd: OwnedFd,
}

impl Target {
    /// A process that runs already.
    fn open(pid: u32) -> Result<Self> {
        let process = Process::find(pid)?;
        if pid == std::process::id() {
            bail!("eptrace does not trace itself (pid {pid})");
        }
        let target = Self::child(pid)?;
        if !process.still_runs() {
            bail!("process {pid} ended while eptrace looked at it");
        }
        Ok(target)
    }

    fn child(pid: u32) -> Result<Self> {
        // SAFETY: a system call without pointers.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        if fd < 0 {
            return Err(std::io::Error::last_os_error()).with_context(|| format!("cannot follow process {pid}"));
        }
        let fd = i32::try_from(fd).context("pidfd_open gave no descriptor")?;
        // SAFETY: the kernel just gave this descriptor to us.
        Ok(Self { pid, pidfd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// Whether it ended while the probes were attached.
    fn still_there(&self) -> Result<()> {
        let mut poll = libc::pollfd { fd: self.pidfd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid pollfd.
        let ended = unsafe { libc::poll(&raw mut poll, 1, 0) } > 0;
        if ended {
            bail!("process {} ended while eptrace was attaching", self.pid);
        }
        Ok(())
    }

    async fn gone(self) {
        // A pidfd is readable when its process has ended. One that cannot be watched never says so.
        // SAFETY: the descriptor is owned and open until it is dropped with the registration.
        match unsafe { AsyncFd::register_with_interest(self.pidfd, tokio::io::Interest::READABLE) } {
            Ok(fd) => drop(fd.readable().await),
            Err(_) => std::future::pending().await,
        }
    }
}

/// Ends the command if it still runs, and says how it ended if not well.
async fn end_child(pid: u32) {
    let Ok(target) = Target::child(pid) else { return };
    let stopped = target.still_there().is_ok();
    if stopped {
        kill(pid, libc::SIGTERM);
    }
    if tokio::time::timeout(GRACE, target.gone()).await.is_err() {
        kill(pid, libc::SIGKILL);
    }
    match reap(pid) {
        Some(Status::Code(code)) if code != 0 && !stopped => eprintln!("eptrace: the command exited with code {code}"),
        Some(Status::Signal(signal)) if !stopped => eprintln!("eptrace: the command was killed by signal {signal}"),
        _ => {}
    }
}

fn kill(pid: u32, signal: i32) {
    if let Ok(pid) = libc::pid_t::try_from(pid) {
        // SAFETY: a system call without pointers; the child is not reaped yet, so its number is its own.
        unsafe { libc::kill(pid, signal) };
    }
}

//! Runs a live trace from the first probe to the last event: attaches, lets the command go, hands events on, and ends on Ctrl-C,
//! SIGTERM, `--duration`, or the end of what is traced. However it ends, the trace is complete.

use std::io::IsTerminal;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep_until};

use super::held::{Held, Output, Status, reap};
use super::progress::Tracing;
use super::say::say;
use super::target::TargetArgs;
use crate::event::{Event, TraceInfo};
use crate::kernel::process::Process;
use crate::source::EventSource;
use crate::source::live::Live;

/// How long a command may take to end after SIGTERM before it is killed.
const GRACE: Duration = Duration::from_secs(5);
/// How often it is looked whether a command that was told to end has ended.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What takes the events of a live trace.
pub(super) trait Sink {
    /// Tracing has begun.
    fn start(&mut self, info: &TraceInfo) -> Result<()>;
    /// Some events, in order; called at least every few tens of milliseconds, also with none.
    fn take(&mut self, events: &[Event]) -> Result<()>;

    /// What else may be written to a terminal meanwhile.
    fn beside(&self) -> Beside {
        Beside::Words
    }

    /// Bytes that were written to a file so far.
    fn written(&self) -> Option<u64> {
        None
    }

    /// Whether the trace is to end.
    fn done(&self) -> bool {
        false
    }
}

/// What may be written to a terminal beside what the sink writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beside {
    /// Nothing: the terminal is the sink's.
    Nothing,
    /// Sentences.
    Words,
    /// Sentences, and a line that says how far it is: the sink writes elsewhere.
    Progress,
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
        // From here on a signal means a proper end.
        let mut signals = Signals::listen()?;
        let mut live = Live::start(&options)?;
        for target in &targets {
            target.still_there()?;
        }
        if let Some(path) = &args.ready_file {
            std::fs::write(path, b"").with_context(|| format!("cannot write the ready file {}", path.display()))?;
        }
        let child = held.map(Held::release).transpose()?;
        let followed = match sink.start(live.info()) {
            Ok(()) => {
                if sink.beside() != Beside::Nothing {
                    announce(args);
                }
                run(&mut live, targets, &mut signals, args.duration, child, sink).await
            }
            Err(error) => Err(error),
        };
        if let Some(pid) = child {
            end_command(&live, pid, matches!(followed, Ok(Ended::TargetsGone))).await;
        }
        let stopped = finish(&mut live, sink, followed.is_ok());
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
        say(&format!("tracing {} ({end})", args.words()));
    }
}

/// What ended a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// A signal, or the time that was given.
    Asked,
    /// Nothing is left of what was traced.
    TargetsGone,
}

/// The signals that end a trace.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    pub(super) fn listen() -> Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    pub(super) async fn any(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

/// Hands events on until something says to stop.
async fn run(
    live: &mut Live,
    targets: Vec<Target>,
    signals: &mut Signals,
    duration: Option<Duration>,
    child: Option<u32>,
    sink: &mut impl Sink,
) -> Result<Ended> {
    let end = duration.and_then(|duration| Instant::now().checked_add(duration));
    let mut all_gone = std::pin::pin!(all_gone(targets));
    let mut gone = false;
    let mut events = Vec::new();
    // A command has the terminal for itself.
    let mut progress = Tracing::new(sink.beside() == Beside::Progress && child.is_none());
    loop {
        let mut ended = tokio::select! {
            () = all_gone.as_mut(), if !gone => { gone = true; None }
            () = signals.any() => Some(Ended::Asked),
            () = reached(end) => Some(Ended::Asked),
            () = live.wait() => None,
        };
        // A command that puts itself into the background goes on in its children.
        if gone && (child.is_none() || !live.followed()?.into_iter().any(runs)) {
            ended = ended.or(Some(Ended::TargetsGone));
        }
        live.next_events(&mut events)?;
        sink.take(&events)?;
        if progress.is_shown() {
            progress.more(events.len(), lost(&events), sink.written());
        }
        events.clear();
        if sink.done() {
            ended = Some(Ended::Asked);
        }
        if let Some(ended) = ended {
            return Ok(ended);
        }
    }
}

/// Events that are missing, of those that were counted as such.
fn lost(events: &[Event]) -> u64 {
    events.iter().fold(0, |lost, event| match event {
        Event::Loss(loss) if loss.reason.loses_events(loss.hook) => lost.saturating_add(loss.count),
        _ => lost,
    })
}

/// Whether a process runs: a zombie does not.
fn runs(pid: u32) -> bool {
    Process::find(pid).is_ok()
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

/// Ends what still runs of the command and its children; says how the command ended, unless that was asked for.
async fn end_command(live: &Live, pid: u32, by_itself: bool) {
    let followed = live.followed().unwrap_or_default();
    let left = || followed.iter().copied().chain([pid]).filter(|pid| runs(*pid));
    left().for_each(|pid| kill(pid, libc::SIGTERM));
    let until = Instant::now() + GRACE;
    while left().next().is_some() && Instant::now() < until {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    left().for_each(|pid| kill(pid, libc::SIGKILL));
    match reap(pid) {
        Some(Status::Code(code)) if code != 0 && by_itself => say(&format!("the command exited with code {code}")),
        Some(Status::Signal(signal)) if by_itself => say(&format!("the command was killed by signal {signal}")),
        _ => {}
    }
}

fn kill(pid: u32, signal: i32) {
    if let Ok(pid) = libc::pid_t::try_from(pid) {
        // SAFETY: a system call without pointers; the child is not reaped yet, so its number is its own.
        unsafe { libc::kill(pid, signal) };
    }
}

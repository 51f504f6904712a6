//! Events of the running kernel: attaches the probes, drains the ring buffer, puts events in order, and counts what is lost.
//!
//! In: [`Options`]. Out: an [`EventSource`] that never blocks; [`Live::wait`] says when there may be more.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use aya::maps::{Array, HashMap, MapData, PerCpuArray, RingBuf};
use aya::programs::Iter;
use aya::{Btf, Ebpf, Endianness};
use tokio::io::unix::AsyncFd;
use tracer_common::{EVENTS_MAP, Hook, LOSS_SLOTS, Miss};

use super::{EventSource, probe_log};
use crate::decode::{DecodeError, Sequencer, decode};
use crate::event::{Event, Loss, LossReason, Mark, MarkKind, TraceInfo};
use crate::kernel::capabilities::System;
use crate::probes::OBJECT;
use crate::probes::attach::{Outcome, Sizes, attach, load, unload};
use crate::probes::catalog::{Backend, Need};
use crate::probes::facts::Facts;
use crate::probes::misses::Misses;
use crate::probes::plan::{Preference, plan};

/// How often the ring buffer is drained when the probes do not ask for it.
const DRAIN_EVERY: Duration = Duration::from_millis(20);
/// Records taken in one go, so that a stop is heard even when events come faster than they are read.
const DRAIN_AT_MOST: usize = 1 << 18;
/// How often the loss counters are read.
const LOSSES_EVERY_NS: u64 = 1_000_000_000;

/// Whom to trace, and how.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Thread groups; empty: every process but the tracer.
    pub pids: Vec<u32>,
    /// What is traced, in words.
    pub target: String,
    /// The processes already run: they may be inside a call when the probes are attached.
    pub running: bool,
    /// Children of traced processes are traced too.
    pub follow_forks: bool,
    /// Which backends to take.
    pub preference: Preference,
    /// Map sizes.
    pub sizes: Sizes,
    /// BTF of the running kernel, where the kernel itself does not offer it.
    pub btf: Option<PathBuf>,
    /// Probes to load instead of the built-in ones.
    pub object: Option<PathBuf>,
    /// How much to say.
    pub detail: Detail,
}

/// How much is said beside the events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detail {
    /// The end of the log of a verifier that refuses.
    #[default]
    Plain,
    /// All of that log.
    VerifierLog,
    /// And what the probes log, if they were built to.
    ProbeLog,
}

/// This kernel cannot be traced: the hooks that are needed and did not attach.
#[derive(Debug, thiserror::Error)]
#[error("this kernel cannot be traced; `eptrace check` shows why, hook by hook. First: {0}")]
pub struct Untraceable(pub String);

/// The probes, attached.
pub struct Live {
    ebpf: Ebpf,
    ring: AsyncFd<RingBuf<MapData>>,
    sequencer: Sequencer,
    losses: LossCounters,
    misses: Misses,
    info: TraceInfo,
    tick: tokio::time::Interval,
    pending: Vec<Event>,
    next_losses_ns: u64,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    Stopped,
}

impl Live {
    /// Loads and attaches the probes, takes the inventory of open eventpolls, and switches tracing on.
    ///
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`Untraceable`] when a needed hook does not attach; else what the kernel or the machine refused, with what to do.
    pub fn start(options: &Options) -> Result<Self> {
        let facts = match Facts::gather(options.btf.as_deref()) {
            Err(error) if options.btf.is_none() => return Err(Untraceable(format!("{error:#}")).into()),
            other => other?,
        };
        let fatal = facts.fatal_fields();
        if !fatal.is_empty() {
            return Err(
                Untraceable(format!("the kernel's structures are unknown to eptrace ({})", fatal.join("; "))).into()
            );
        }
        raise_memlock();
        let object = match &options.object {
            Some(path) => std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?,
            None => OBJECT.to_vec(),
        };
        let btf = Btf::parse_file(&facts.btf_path, Endianness::default())
            .with_context(|| format!("cannot read the BTF in {}", facts.btf_path.display()))?;
        let mut config = facts.config();
        config.trace_all = u32::from(options.pids.is_empty());
        config.follow_forks = u32::from(options.follow_forks);
        config.wake_bytes = u64::from(options.sizes.ring_bytes / 4);
        let mut ebpf =
            load(&object, config, options.sizes, Some(&btf)).map_err(|error| Untraceable(error.to_string()))?;
        let mut targets: HashMap<_, u32, u32> =
            HashMap::try_from(ebpf.map_mut("TGIDS").context("the object has no map TGIDS")?)?;
        for pid in &options.pids {
            targets.insert(*pid, 1, 0).with_context(|| format!("cannot add process {pid} to the filter"))?;
        }
        let outcomes = attach(
            &mut ebpf,
            plan(&facts.names, options.preference, options.running),
            Some(&btf),
            options.detail >= Detail::VerifierLog,
        );
        demand(&outcomes)?;
        if options.detail == Detail::ProbeLog {
            probe_log::show(&mut ebpf)?;
        }
        let misses = Misses::open(&ebpf, &outcomes, facts.missed_offset);
        let info = describe(options, &facts, &outcomes, &misses);
        let ring = ebpf.take_map(EVENTS_MAP).context("the object has no ring buffer")?;
        let ring = RingBuf::try_from(ring)?;
        // SAFETY: the ring buffer owns its descriptor and does not close or replace it before it is dropped.
        let ring = unsafe { AsyncFd::register_with_interest(ring, tokio::io::Interest::READABLE) }
            .context("cannot watch the ring buffer")?;
        let mut tick = tokio::time::interval(DRAIN_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut live = Self {
            ebpf,
            ring,
            sequencer: Sequencer::default(),
            losses: LossCounters::default(),
            misses,
            info,
            tick,
            pending: Vec::new(),
            next_losses_ns: 0,
            state: State::Running,
        };
        live.take_inventory()?;
        let now = monotonic_ns();
        live.sequencer.push(Event::Mark(Mark { ts_ns: now, what: MarkKind::Started }));
        live.set_enabled(true)?;
        Ok(live)
    }

    /// Returns when there may be more events: the ring buffer fills, or it is time to look.
    ///
    /// # Errors
    /// The runtime's own.
    pub async fn wait(&mut self) -> std::io::Result<()> {
        tokio::select! {
            guard = self.ring.readable() => guard?.clear_ready(),
            _ = self.tick.tick() => {}
        }
        Ok(())
    }

    /// Switches tracing off, detaches every probe, and collects what was seen until then; the next calls of
    /// [`EventSource::next_events`] give it.
    ///
    /// # Errors
    /// When the kernel does not let tracing be switched off.
    pub fn stop(&mut self) -> Result<()> {
        if self.state == State::Stopped {
            return Ok(());
        }
        self.state = State::Stopped;
        self.set_enabled(false)?;
        let stopped = monotonic_ns();
        let missed = self.misses.take();
        self.ebpf.programs_mut().for_each(|(_, program)| unload(program));
        while self.drain() == DRAIN_AT_MOST {}
        let now = monotonic_ns();
        self.report_misses(now, missed);
        self.read_losses(now)?;
        self.sequencer.release_all(&mut self.pending);
        let late = self.sequencer.take_late();
        self.loss(now, None, None, LossReason::Late, late);
        self.pending.push(Event::Mark(Mark { ts_ns: stopped, what: MarkKind::Stopped }));
        Ok(())
    }

    fn set_enabled(&mut self, on: bool) -> Result<()> {
        let mut enabled: Array<_, u32> =
            Array::try_from(self.ebpf.map_mut("ENABLED").context("the object has no map ENABLED")?)?;
        enabled.set(0, u32::from(on), 0).context("cannot switch tracing")
    }

    /// Walks the open files of the processes under trace: the probe adopts their eventpolls.
    fn take_inventory(&mut self) -> Result<()> {
        let Some(program) = self.ebpf.program_mut("inventory") else { return Ok(()) };
        if program.fd().is_err() {
            return Ok(());
        }
        let iter: &mut Iter = program.try_into()?;
        let link = iter.attach().context("cannot start the walk over open files")?;
        let mut file = iter.take_link(link)?.into_file().context("cannot read the walk over open files")?;
        std::io::copy(&mut file.by_ref(), &mut std::io::sink()).context("the walk over open files failed")?;
        Ok(())
    }

    /// Moves records to the sequencer; returns how many.
    fn drain(&mut self) -> usize {
        let mut taken = 0;
        let mut unknown = 0;
        let mut malformed = 0;
        let ring = self.ring.get_mut();
        while taken < DRAIN_AT_MOST {
            let Some(record) = ring.next() else { break };
            taken += 1;
            match decode(&record) {
                Ok(event) => self.sequencer.push(event),
                Err(DecodeError::UnknownKind(_)) => unknown += 1,
                Err(DecodeError::Malformed) => malformed += 1,
            }
        }
        let now = monotonic_ns();
        self.loss(now, None, None, LossReason::UnknownKind, unknown);
        self.loss(now, None, None, LossReason::Malformed, malformed);
        taken
    }

    fn loss(&mut self, ts_ns: u64, hook: Option<Hook>, cpu: Option<u32>, reason: LossReason, count: u64) {
        if count > 0 {
            self.pending.push(Event::Loss(Loss { ts_ns, hook, cpu, reason, count }));
        }
    }

    fn report_misses(&mut self, now: u64, missed: Vec<(Hook, LossReason, u64)>) {
        for (hook, reason, count) in missed {
            self.loss(now, Some(hook), None, reason, count);
        }
    }

    fn read_losses(&mut self, now: u64) -> Result<()> {
        let counters: PerCpuArray<_, u64> =
            PerCpuArray::try_from(self.ebpf.map("LOSSES").context("the object has no map LOSSES")?)?;
        for (hook, cpu, miss, count) in self.losses.news(&counters)? {
            self.loss(now, Some(hook), Some(cpu), LossReason::Probe(miss), count);
        }
        Ok(())
    }
}

impl EventSource for Live {
    type Error = anyhow::Error;

    fn info(&self) -> &TraceInfo {
        &self.info
    }

    fn next_events(&mut self, events: &mut Vec<Event>) -> Result<bool> {
        if self.state == State::Running {
            let before = monotonic_ns();
            if self.drain() < DRAIN_AT_MOST {
                self.sequencer.release(before, &mut self.pending);
            } else {
                self.sequencer.release_seen(&mut self.pending);
            }
            let late = self.sequencer.take_late();
            self.loss(before, None, None, LossReason::Late, late);
            if before >= self.next_losses_ns {
                self.next_losses_ns = before.saturating_add(LOSSES_EVERY_NS);
                let missed = self.misses.take();
                self.report_misses(before, missed);
                self.read_losses(before)?;
            }
        }
        events.append(&mut self.pending);
        Ok(self.state == State::Running)
    }
}

/// Every required hook must hold.
fn demand(outcomes: &[Outcome]) -> Result<()> {
    let missing = outcomes.iter().find(|outcome| outcome.held.is_none() && outcome.need == Need::Required);
    match missing {
        None => Ok(()),
        Some(outcome) => {
            let first = outcome.refused.first().map_or("no way to attach it is known", String::as_str);
            bail!(Untraceable(format!("{}: {first}", outcome.hook.name())))
        }
    }
}

fn describe(options: &Options, facts: &Facts, outcomes: &[Outcome], misses: &Misses) -> TraceInfo {
    let system = System::read();
    let release = system.release.unwrap_or_else(|why| format!("unknown ({why})"));
    let mut limits = Vec::new();
    for outcome in outcomes {
        if let (None, Need::Optional(lost)) = (outcome.held, outcome.need) {
            limits.push(format!("Without the hook {}: {lost}.", outcome.hook.name()));
        }
    }
    let kprobes = outcomes.iter().any(|outcome| outcome.held.is_some_and(|variant| variant.backend == Backend::Kprobe));
    if facts.file_operations.is_empty() {
        limits.push("The kernel's symbol table shows no data: what kind a file is, and the addresses of sockets, cannot be said.".to_owned());
    }
    if kprobes && facts.missed_offset.is_none() {
        limits.push(format!(
            "Linux {release} cannot count the kprobes that it skips (6.7 and later can): a callback that came while another probe ran on the same CPU cannot be excluded to be missing."
        ));
    }
    if let Some(why) = misses.uncounted().filter(|_| kprobes) {
        limits.push(format!("Kprobes that the kernel skipped cannot be counted ({why}): run eptrace as root."));
    }
    if system.realtime == Ok(true) {
        limits
            .push("On PREEMPT_RT a callback can be preempted: which callback woke a task is then a guess.".to_owned());
    }
    let realtime = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    TraceInfo {
        eptrace: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: release,
        machine: system.machine.unwrap_or_else(|_| std::env::consts::ARCH.to_owned()),
        cpus: system.possible_cpus.map_or(0, |cpus| cpus.count),
        target: options.target.clone(),
        realtime_ns: u64::try_from(realtime.as_nanos()).unwrap_or(0),
        monotonic_ns: monotonic_ns(),
        hooks: outcomes.iter().map(Outcome::info).collect(),
        symbols: facts.file_operations.iter().cloned().collect(),
        limits,
    }
}

/// What the per-CPU loss counters said last.
#[derive(Debug, Default)]
struct LossCounters {
    told: BTreeMap<(u32, u32), u64>,
}

impl LossCounters {
    /// What was lost since the last call.
    fn news(&mut self, counters: &PerCpuArray<&MapData, u64>) -> Result<Vec<(Hook, u32, Miss, u64)>> {
        let mut news = Vec::new();
        for hook in Hook::ALL {
            for miss in Miss::ALL {
                let slot = miss.slot(hook);
                debug_assert!(slot < LOSS_SLOTS, "the slots are numbered from 0");
                let values = counters.get(&slot, 0).context("cannot read the loss counters")?;
                for (cpu, value) in (0_u32..).zip(values.iter()) {
                    let told = self.told.entry((slot, cpu)).or_default();
                    if *value > *told {
                        news.push((hook, cpu, miss, *value - *told));
                        *told = *value;
                    }
                }
            }
        }
        Ok(news)
    }
}

/// `CLOCK_MONOTONIC` in nanoseconds: the clock of `bpf_ktime_get_ns`.
fn monotonic_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is valid; this clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    u64::try_from(time.tv_sec)
        .unwrap_or(0)
        .saturating_mul(1_000_000_000)
        .saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}

/// Before 5.11 maps count against `RLIMIT_MEMLOCK`. Where it cannot be raised, loading says what is wrong.
fn raise_memlock() {
    let limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the pointer is valid.
    unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) };
}

//! Events of the running kernel: attaches the probes, drains the ring buffer, puts events in order, and counts what is lost.
//!
//! In: [`Options`]. Out: an [`EventSource`] that never blocks; [`Live::wait`] says when there may be more.

mod begin;
mod clock;
mod inventory;
mod log;
mod losses;
mod options;
pub mod snapshot;
mod symbols;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use aya::Ebpf;
use aya::maps::{Array, HashMap, MapData, PerCpuArray, RingBuf};
use tracer_common::{ENABLED_MAP, EVENTS_MAP, Hook, Rescue};

use self::begin::{Begun, begin};
pub use self::clock::monotonic_ns;
use self::losses::Told;
pub use self::options::{Detail, Options, Untraceable};
use self::symbols::Symbolizer;
use super::EventSource;
use crate::decode::{DecodeError, Sequencer, decode};
use crate::event::{Event, Loss, LossReason, Mark, MarkKind, TraceInfo};
use crate::probes::attach::unload;
use crate::probes::losses::Losses;
use crate::probes::misses::Misses;

/// How often the ring buffer is drained at least: probes never wake the collector.
const DRAIN_EVERY: Duration = Duration::from_millis(20);
/// Bytes that come in a microsecond when very much happens: a smaller buffer is drained the more often.
const BYTES_PER_US: u32 = 256;
/// A buffer that was found fuller than this part of it is drained again at once.
const FULL_PART: usize = 8;
/// Records taken in one go, so that a stop is heard even when events come faster than they are read.
const DRAIN_AT_MOST: usize = 1 << 18;
/// Events that are held at most while the registered items are listed. What then fills the ring buffer is lost, and counted.
pub(crate) const HELD_AT_MOST: usize = 1 << 20;
/// How long a probe on another CPU is given to end its record when tracing stops.
const SETTLE: Duration = Duration::from_millis(5);
/// How often it is read what the kernel skipped.
const MISSES_EVERY_NS: u64 = 1_000_000_000;

/// The probes, attached.
pub struct Live {
    ebpf: Ebpf,
    ring: RingBuf<MapData>,
    ring_bytes: usize,
    /// The last drain found much.
    busy: bool,
    sequencer: Sequencer,
    losses: Losses,
    /// What was told of them.
    told: Told,
    misses: Misses,
    /// What the addresses of user stacks stand for, where they are told.
    symbolizer: Option<Symbolizer>,
    info: TraceInfo,
    tick: tokio::time::Interval,
    pending: Vec<Event>,
    /// When it is read next what the kernel skipped. What was rescued is read from a map, which makes the kernel skip the kprobes of that
    /// CPU meanwhile (`bpf_disable_instrumentation`, kernel/bpf/syscall.c, 5.10 to 7.3). Where the reader can be preempted in the middle
    /// of it, that can be long: there it is done once, at the end.
    next_misses_ns: u64,
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
        let Begun { mut ebpf, info, misses, preemptible } = begin(options)?;
        let ring = ebpf.take_map(EVENTS_MAP).context("the object has no ring buffer")?;
        let ring = RingBuf::try_from(ring)?;
        let losses = Losses::open(&ebpf).context("cannot read the loss counters")?;
        let symbolizer = if options.purpose.stacks { Some(symbolizer(&mut ebpf)?) } else { None };
        let fills_in = Duration::from_micros(u64::from(options.sizes.ring_bytes / BYTES_PER_US));
        let mut tick = tokio::time::interval(DRAIN_EVERY.min(fills_in));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut live = Self {
            ebpf,
            ring,
            ring_bytes: options.sizes.ring_bytes as usize,
            busy: false,
            sequencer: Sequencer::default(),
            losses,
            told: Told::default(),
            misses,
            symbolizer,
            info,
            tick,
            pending: Vec::new(),
            next_misses_ns: if preemptible { u64::MAX } else { 0 },
            state: State::Running,
        };
        if options.purpose.running {
            for name in inventory::task_names(&live.followed()?) {
                live.sequencer.push(name);
            }
        }
        inventory::find_eventpolls(&mut live.ebpf)?;
        let now = monotonic_ns();
        live.sequencer.push(Event::Mark(Mark { ts_ns: now, what: MarkKind::Started }));
        live.set_enabled(true)?;
        live.list_items()?;
        Ok(live)
    }

    /// Has the items told that are registered already. Tracing is on: what happens to them meanwhile is seen.
    fn list_items(&mut self) -> Result<()> {
        if !inventory::can_list(&self.ebpf) {
            return Ok(());
        }
        let pids = self.followed()?;
        std::thread::scope(|scope| {
            let listing = scope.spawn(|| inventory::list_items(&pids));
            // There may be more items than the ring buffer holds.
            while !listing.is_finished() {
                if self.sequencer.held() >= HELD_AT_MOST || self.drain() == 0 {
                    std::thread::sleep(SETTLE);
                }
            }
        });
        inventory::done(&mut self.ebpf);
        Ok(())
    }

    /// Returns when it is time to look for more events.
    pub async fn wait(&mut self) {
        if self.busy {
            tokio::task::yield_now().await;
        } else {
            self.tick.tick().await;
        }
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
        let missed = self.misses.take(|| rescued(&self.ebpf))?;
        self.ebpf.programs_mut().for_each(|(_, program)| unload(program));
        // A probe that was interrupted in the middle of a record hides those behind it until it goes on.
        while self.drain() > 0 {
            std::thread::sleep(SETTLE);
        }
        for symbol in self.symbolizer.iter_mut().flat_map(Symbolizer::finish) {
            self.sequencer.push(symbol);
        }
        let now = monotonic_ns();
        self.report_misses(now, missed);
        self.report_losses(now);
        self.report_late(now);
        self.sequencer.release_all(&mut self.pending);
        self.pending.push(Event::Mark(Mark { ts_ns: stopped, what: MarkKind::Stopped }));
        Ok(())
    }

    /// The processes under trace that have not ended for good; empty when every process is traced.
    ///
    /// # Errors
    /// When the filter cannot be read.
    pub fn followed(&self) -> Result<Vec<u32>> {
        let targets: HashMap<_, u32, u32> =
            HashMap::try_from(self.ebpf.map("TGIDS").context("the object has no map TGIDS")?)?;
        targets.keys().map(|pid| pid.context("cannot read the filter")).collect()
    }

    fn set_enabled(&mut self, on: bool) -> Result<()> {
        let mut enabled: Array<_, u32> = Array::try_from(
            self.ebpf.map_mut(ENABLED_MAP).with_context(|| format!("the object has no map {ENABLED_MAP}"))?,
        )?;
        enabled.set(0, u32::from(on), 0).context("cannot switch tracing")
    }

    /// Moves records to the sequencer; returns how many.
    fn drain(&mut self) -> usize {
        let mut taken = 0;
        let mut bytes = 0;
        let mut unknown = 0;
        let mut malformed = 0;
        while taken < DRAIN_AT_MOST {
            let Some(record) = self.ring.next() else { break };
            taken += 1;
            bytes += record.len();
            match decode(&record) {
                Ok(event) => {
                    if let (Event::Frame(frame), Some(symbolizer)) = (&event, &mut self.symbolizer) {
                        symbolizer.ask(frame);
                    }
                    self.sequencer.push(event);
                }
                Err(DecodeError::UnknownKind(_)) => unknown += 1,
                Err(DecodeError::Malformed) => malformed += 1,
            }
        }
        for symbol in self.symbolizer.iter_mut().flat_map(Symbolizer::answers) {
            self.sequencer.push(symbol);
        }
        self.busy = bytes >= self.ring_bytes / FULL_PART;
        let now = monotonic_ns();
        self.loss(now, None, None, LossReason::UnknownKind, unknown);
        self.loss(now, None, None, LossReason::Malformed, malformed);
        taken
    }

    fn loss(&mut self, ts_ns: u64, hook: Option<Hook>, cpu: Option<u32>, reason: LossReason, count: u64) {
        if count > 0 {
            self.sequencer.push(Event::Loss(Loss { ts_ns, hook, cpu, reason, count }));
        }
    }

    fn report_late(&mut self, now: u64) {
        for ((hook, cpu), count) in self.sequencer.take_late() {
            self.loss(now, hook, cpu, LossReason::Late, count);
        }
    }

    fn report_misses(&mut self, now: u64, missed: Vec<(Hook, LossReason, u64)>) {
        for (hook, reason, count) in missed {
            self.loss(now, Some(hook), None, reason, count);
        }
    }

    fn report_losses(&mut self, now: u64) {
        for (hook, cpu, miss, count) in self.told.news(self.losses.counted()) {
            self.loss(now, Some(hook), Some(cpu), LossReason::Probe(miss), count);
        }
    }
}

/// Begins to look up addresses.
fn symbolizer(ebpf: &mut Ebpf) -> Result<Symbolizer> {
    let returns = ebpf.take_map("RETURNS").context("the object has no map RETURNS")?;
    Ok(Symbolizer::start(HashMap::try_from(returns)?))
}

/// Skips that lost nothing, by hook: a twin did the work, or there was none because the task is not under trace.
fn rescued(ebpf: &Ebpf) -> Result<BTreeMap<Hook, u64>> {
    let counters: PerCpuArray<_, u64> =
        PerCpuArray::try_from(ebpf.map("RESCUES").context("the object has no map RESCUES")?)?;
    let sum = |rescue: Rescue, hook| -> Result<u64> {
        let by_cpu = counters.get(&rescue.slot(hook), 0).context("cannot read what was rescued")?;
        Ok(by_cpu.iter().sum())
    };
    Hook::ALL
        .into_iter()
        .map(|hook| {
            // In this order: what is not counted yet must not look like a loss.
            let first = sum(Rescue::FirstUntraced, hook)?;
            let untraced = sum(Rescue::LastUntraced, hook)?.saturating_sub(first);
            Ok((hook, sum(Rescue::Done, hook)?.saturating_add(untraced)))
        })
        .collect()
}

impl EventSource for Live {
    type Error = anyhow::Error;

    fn info(&self) -> &TraceInfo {
        &self.info
    }

    fn next_events(&mut self, events: &mut Vec<Event>) -> Result<bool> {
        if self.state == State::Running {
            let before = monotonic_ns();
            // What found no room until now came before what finds room once the buffer is drained.
            self.report_losses(before);
            if self.drain() < DRAIN_AT_MOST {
                self.sequencer.release(before, &mut self.pending);
            } else {
                self.sequencer.release_seen(&mut self.pending);
            }
            self.report_late(before);
            if before >= self.next_misses_ns {
                self.next_misses_ns = before.saturating_add(MISSES_EVERY_NS);
                let missed = self.misses.take(|| rescued(&self.ebpf))?;
                self.report_misses(before, missed);
            }
        }
        events.append(&mut self.pending);
        Ok(self.state == State::Running)
    }
}

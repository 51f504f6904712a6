//! Tracks and packets: which track an event stands on, described before its first event, and the bytes of both.

use std::io::{self, Write};

use ahash::AHashMap;
use prost::Message as _;

use super::proto::{
    AnnotationValue, CLOCK_MONOTONIC, CLOCK_REALTIME, Clock, ClockSnapshot, CounterDescriptor, Data, DebugAnnotation,
    PACKET_KEY, ProcessDescriptor, SEQ_INCREMENTAL_STATE_CLEARED, SEQ_NEEDS_INCREMENTAL_STATE, ThreadDescriptor,
    TracePacket, TracePacketDefaults, TrackDescriptor, TrackEvent, Type, Unit,
};
use crate::event::TraceInfo;
use crate::output::sanitize;

/// The one sequence of packets that this writer is.
const SEQUENCE: u32 = 1;
/// Tracks that are remembered as described. When they are forgotten they are described again, which does no harm.
const MAX_DESCRIBED: usize = 1 << 18;

/// Where an event stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Track {
    /// What eptrace itself did, and how the trace ended.
    Tracer,
    /// What is missing.
    Losses,
    /// All eventpolls: nothing but their parent.
    Eventpolls,
    /// One eventpoll, by the number of its life; 0 when it is not known.
    Eventpoll(u64),
    /// The length of its ready list.
    ReadyList(u64),
    /// A process.
    Process(u32),
    /// A task: its process and its tid.
    Task(u32, u32),
}

impl Track {
    /// Numbers of tracks are their own within one trace.
    fn uuid(self) -> u64 {
        // Pids have at most 22 bits, and numbers of lives never come near 60.
        let (kind, number) = match self {
            Self::Tracer => (1, 0),
            Self::Losses => (2, 0),
            Self::Eventpolls => (3, 0),
            Self::Eventpoll(life) => (4, life),
            Self::ReadyList(life) => (5, life),
            Self::Process(pid) => (6, u64::from(pid)),
            Self::Task(pid, tid) => (7, u64::from(pid) << 28 ^ u64::from(tid)),
        };
        kind << 60 | number & ((1 << 60) - 1)
    }
}

/// What is written of one event, apart from its time and track.
#[derive(Default)]
pub(super) struct Mark {
    pub(super) name: String,
    pub(super) args: Vec<DebugAnnotation>,
    /// Arrows that begin here or pass through.
    pub(super) flows: Vec<u64>,
    /// Arrows that end here.
    pub(super) ends: Vec<u64>,
}

impl Mark {
    pub(super) fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    pub(super) fn flow(mut self, flow: u64) -> Self {
        self.flows.push(flow);
        self
    }

    pub(super) fn end_of(mut self, flow: Option<u64>) -> Self {
        self.ends.extend(flow);
        self
    }

    pub(super) fn text(self, name: &str, value: &str) -> Self {
        self.arg(name, AnnotationValue::String(sanitize::text(value)))
    }

    pub(super) fn number(self, name: &str, value: impl Into<i64>) -> Self {
        self.arg(name, AnnotationValue::Int(value.into()))
    }

    pub(super) fn flag(self, name: &str, value: bool) -> Self {
        self.arg(name, AnnotationValue::Bool(value))
    }

    pub(super) fn address(self, name: &str, value: u64) -> Self {
        self.arg(name, AnnotationValue::Pointer(value))
    }

    fn arg(mut self, name: &str, value: AnnotationValue) -> Self {
        self.args.push(DebugAnnotation { name: Some(name.to_owned()), value: Some(value) });
        self
    }
}

/// Writes packets.
pub(super) struct Packets<W> {
    out: W,
    buffer: Vec<u8>,
    /// Tracks that were described, and as what.
    described: AHashMap<Track, String>,
}

impl<W: Write> Packets<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, buffer: Vec::new(), described: AHashMap::new() }
    }

    /// What comes first: the clock of the events, and the wall clock at one moment of it.
    pub(super) fn begin(&mut self, info: &TraceInfo) -> io::Result<()> {
        let clock = |id, timestamp| Clock { clock_id: Some(id), timestamp: Some(timestamp) };
        let mut clocks = vec![clock(CLOCK_MONOTONIC, info.monotonic_ns)];
        if info.realtime_ns != 0 {
            clocks.push(clock(CLOCK_REALTIME, info.realtime_ns));
        }
        self.packet(&TracePacket {
            timestamp: Some(info.monotonic_ns),
            trusted_packet_sequence_id: Some(SEQUENCE),
            sequence_flags: Some(SEQ_INCREMENTAL_STATE_CLEARED),
            defaults: Some(TracePacketDefaults { timestamp_clock_id: Some(CLOCK_MONOTONIC) }),
            data: Some(Data::ClockSnapshot(ClockSnapshot { clocks, primary_trace_clock: Some(CLOCK_MONOTONIC) })),
        })
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Describes a track, unless it was with the same name before.
    pub(super) fn describe(&mut self, track: Track, name: &str) -> io::Result<()> {
        if self.described.get(&track).is_some_and(|known| known == name) {
            return Ok(());
        }
        if self.described.len() >= MAX_DESCRIBED {
            self.described.clear();
        }
        self.described.insert(track, name.to_owned());
        let shown = sanitize::text(name);
        let number = |number: u32| Some(i32::try_from(number).unwrap_or(i32::MAX));
        let mut descriptor = TrackDescriptor { uuid: Some(track.uuid()), ..TrackDescriptor::default() };
        match track {
            Track::Tracer | Track::Losses | Track::Eventpolls => descriptor.name = Some(shown),
            Track::Eventpoll(_) => {
                self.describe(Track::Eventpolls, "eventpolls")?;
                descriptor.parent_uuid = Some(Track::Eventpolls.uuid());
                descriptor.name = Some(shown);
            }
            Track::ReadyList(life) => {
                descriptor.parent_uuid = Some(Track::Eventpoll(life).uuid());
                descriptor.name = Some(shown);
                descriptor.counter = Some(CounterDescriptor { unit: Some(Unit::Count.into()) });
            }
            Track::Process(pid) => {
                let process_name = Some(shown).filter(|name| !name.is_empty());
                descriptor.process = Some(ProcessDescriptor { pid: number(pid), process_name });
            }
            Track::Task(pid, tid) => {
                let thread_name = Some(shown).filter(|name| !name.is_empty());
                descriptor.thread = Some(ThreadDescriptor { pid: number(pid), tid: number(tid), thread_name });
            }
        }
        self.data(None, Data::TrackDescriptor(descriptor))
    }

    /// Forgets a track that ends: its number may come to mean another.
    pub(super) fn forget(&mut self, track: Track) {
        self.described.remove(&track);
    }

    pub(super) fn instant(&mut self, ts_ns: u64, track: Track, mark: Mark) -> io::Result<()> {
        self.event(ts_ns, track, Type::Instant, mark)
    }

    pub(super) fn slice_begin(&mut self, ts_ns: u64, track: Track, mark: Mark) -> io::Result<()> {
        self.event(ts_ns, track, Type::SliceBegin, mark)
    }

    pub(super) fn slice_end(&mut self, ts_ns: u64, track: Track) -> io::Result<()> {
        self.event(ts_ns, track, Type::SliceEnd, Mark::default())
    }

    pub(super) fn counter(&mut self, ts_ns: u64, track: Track, value: u64) -> io::Result<()> {
        let event = TrackEvent {
            r#type: Some(Type::Counter.into()),
            track_uuid: Some(track.uuid()),
            counter_value: Some(i64::try_from(value).unwrap_or(i64::MAX)),
            ..TrackEvent::default()
        };
        self.data(Some(ts_ns), Data::TrackEvent(event))
    }

    fn event(&mut self, ts_ns: u64, track: Track, kind: Type, mark: Mark) -> io::Result<()> {
        let event = TrackEvent {
            debug_annotations: mark.args,
            r#type: Some(kind.into()),
            track_uuid: Some(track.uuid()),
            name: Some(mark.name).filter(|name| !name.is_empty()),
            counter_value: None,
            flow_ids: mark.flows,
            terminating_flow_ids: mark.ends,
        };
        self.data(Some(ts_ns), Data::TrackEvent(event))
    }

    fn data(&mut self, timestamp: Option<u64>, data: Data) -> io::Result<()> {
        self.packet(&TracePacket {
            timestamp,
            trusted_packet_sequence_id: Some(SEQUENCE),
            sequence_flags: Some(SEQ_NEEDS_INCREMENTAL_STATE),
            defaults: None,
            data: Some(data),
        })
    }

    fn packet(&mut self, packet: &TracePacket) -> io::Result<()> {
        self.buffer.clear();
        self.buffer.push(PACKET_KEY);
        packet.encode_length_delimited(&mut self.buffer).map_err(io::Error::other)?;
        self.out.write_all(&self.buffer)
    }
}

//! What is written is read back: by the same messages, and byte by byte.

use proptest::prelude::{ProptestConfig, proptest};
use prost::Message;

use super::proto::{AnnotationValue, Data, PACKET_KEY, TracePacket, TrackDescriptor, TrackEvent, Type};
use super::{EventExport as _, Perfetto};
use crate::event::Event;
use crate::model::Model;
use crate::model::testing::nonsense::event;
use crate::model::testing::{LT, RING_FULL, Trace, chain, ep, exclusive, info, lt, workers};

/// `Trace` of Perfetto's trace.proto.
#[derive(Clone, PartialEq, Message)]
struct Packets {
    #[prost(message, repeated, tag = "1")]
    packet: Vec<TracePacket>,
}

fn bytes(events: &[Event], torn: Option<&str>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut perfetto = Perfetto::new(&mut out, &info(), Model::new()).expect("memory");
    for event in events {
        perfetto.event(event).expect("memory");
    }
    perfetto.finish(torn).expect("memory");
    out
}

/// What a trace became.
struct Decoded {
    tracks: Vec<TrackDescriptor>,
    events: Vec<(u64, TrackEvent)>,
}

impl Decoded {
    fn of(bytes: &[u8]) -> Self {
        let trace = Packets::decode(bytes).expect("a Perfetto trace");
        let mut decoded = Self { tracks: Vec::new(), events: Vec::new() };
        for packet in trace.packet {
            match packet.data {
                Some(Data::TrackDescriptor(described)) => decoded.tracks.push(described),
                Some(Data::TrackEvent(event)) => {
                    let described = decoded.tracks.iter().any(|track| track.uuid == event.track_uuid);
                    assert!(described, "an event on a track that was not described before: {event:?}");
                    decoded.events.push((packet.timestamp.expect("a time"), event));
                }
                Some(Data::ClockSnapshot(_)) | None => {}
            }
        }
        // As Perfetto does: by time, else as they stand in the file.
        decoded.events.sort_by_key(|(ts_ns, _)| *ts_ns);
        decoded
    }

    fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a TrackEvent> {
        let events = self.events.iter().map(|(_, event)| event);
        events.filter(move |event| event.name.as_deref().is_some_and(|own| own.starts_with(name)))
    }

    fn count(&self, name: &str) -> u64 {
        u64::try_from(self.named(name).count()).expect("a count")
    }

    fn sum(&self, name: &str, arg: &str) -> i64 {
        self.named(name).filter_map(|event| number(event, arg)).sum()
    }

    fn track(&self, name: &str) -> Option<u64> {
        self.tracks.iter().find(|track| track.name.as_deref() == Some(name)).and_then(|track| track.uuid)
    }
}

fn number(event: &TrackEvent, arg: &str) -> Option<i64> {
    let found = event.debug_annotations.iter().find(|annotation| annotation.name.as_deref() == Some(arg))?;
    match found.value {
        Some(AnnotationValue::Int(number)) => Some(number),
        _ => None,
    }
}

#[test]
fn the_numbers_are_those_of_the_model() {
    for trace in [lt(), exclusive(), chain()] {
        let decoded = Decoded::of(&bytes(&trace.events, None));
        let model = trace.model();
        let totals = model.totals();
        assert!(totals.waits > 0 && totals.woken > 0 && totals.events > 0);
        assert_eq!(decoded.count("epoll_wait: events"), totals.waits_returned);
        assert_eq!(decoded.count("epoll_wait: timeout"), totals.timeouts);
        assert_eq!(decoded.count("epoll_wait: not over"), totals.waits_open);
        assert_eq!(decoded.count("epoll_wait: "), totals.waits + totals.waits_open);
        assert_eq!(decoded.sum("epoll_wait: events", "ret"), i64::try_from(totals.events).expect("few"));
        assert_eq!(decoded.count("woken"), totals.woken);
        assert_eq!(decoded.count("accept EAGAIN"), totals.accept_eagain);
        assert_eq!(decoded.count("accept"), totals.accepts + totals.accept_eagain + totals.accept_failed);
        assert_eq!(decoded.count("epoll_ctl "), totals.ctl_add + totals.ctl_mod + totals.ctl_del + totals.ctl_other);
        let callbacks = trace.events.iter().filter(|event| matches!(event, Event::Callback(_))).count();
        assert_eq!(decoded.named("callback fd ").count(), callbacks);
    }
}

#[test]
fn an_arrow_leads_from_the_callback_to_the_woken_task_to_its_return() {
    let trace = exclusive();
    let decoded = Decoded::of(&bytes(&trace.events, None));
    let mut followed = 0;
    for woken in decoded.named("woken") {
        let arrow = woken.flow_ids[0];
        assert_eq!(decoded.named("callback fd ").filter(|callback| callback.flow_ids.contains(&arrow)).count(), 1);
        for back in decoded.named("returns ").filter(|back| back.terminating_flow_ids.contains(&arrow)) {
            assert_eq!(back.track_uuid, woken.track_uuid);
            followed += 1;
        }
    }
    assert_eq!(followed, decoded.named("returns ").count());
    assert!(followed > 0);
}

#[test]
fn slices_nest_and_only_a_wait_that_is_not_over_has_no_end() {
    for trace in [lt(), chain()] {
        let decoded = Decoded::of(&bytes(&trace.events, None));
        let mut open = std::collections::BTreeMap::new();
        for (_, event) in &decoded.events {
            let depth = open.entry(event.track_uuid).or_insert(0);
            match event.r#type.and_then(|kind| Type::try_from(kind).ok()) {
                Some(Type::SliceBegin) => *depth += 1,
                Some(Type::SliceEnd) => *depth -= 1,
                _ => {}
            }
            assert!((0..=1).contains(depth), "waits of one task overlap: {event:?}");
        }
        let left: u64 = open.values().map(|depth| u64::try_from(*depth).expect("not negative")).sum();
        assert_eq!(left, decoded.count("epoll_wait: not over"));
    }
}

#[test]
fn the_counter_follows_the_length_of_the_ready_list() {
    let trace = lt();
    let decoded = Decoded::of(&bytes(&trace.events, None));
    let mut model = Model::new();
    let mut lengths = Vec::new();
    for event in &trace.events {
        model.apply(event);
        if let Some(known) = model.eventpolls().last_at(ep(1)) {
            let length = i64::try_from(model.items().ready(known.id)).expect("few");
            if lengths.last().copied().unwrap_or(0) != length {
                lengths.push(length);
            }
        }
    }
    let counters: Vec<&TrackDescriptor> = decoded.tracks.iter().filter(|track| track.counter.is_some()).collect();
    let first = counters.first().expect("a ready list");
    let events = decoded.events.iter().map(|(_, event)| event).filter(|event| event.track_uuid == first.uuid);
    let written: Vec<i64> = events.filter_map(|event| event.counter_value).collect();
    assert!(written.len() > 2);
    assert_eq!(written, lengths);
}

#[test]
fn names_that_a_terminal_would_obey_are_written_out() {
    let mut trace = Trace::new();
    workers(&mut trace, 1, LT);
    trace.named(101, "\x1b]0;own\x07<b>");
    let bytes = bytes(&trace.events, None);
    assert!(!bytes.windows(2).any(|pair| pair == b"\x1b]"));
    let decoded = Decoded::of(&bytes);
    let names = decoded.tracks.iter().filter_map(|track| track.thread.as_ref()?.thread_name.as_deref());
    assert!(names.into_iter().any(|name| name == "\\u{1b}]0;own\\u{7}<b>"));
}

#[test]
fn losses_have_a_track_of_their_own_and_a_tear_is_said() {
    let mut trace = lt();
    trace.lost(tracer_common::Hook::Wake, RING_FULL, 7);
    let decoded = Decoded::of(&bytes(&trace.events, Some("cut off")));
    let lost: Vec<&TrackEvent> = decoded.named("LOST: ring-full").collect();
    assert_eq!(lost.len(), 1);
    assert_eq!(number(lost[0], "count"), Some(7));
    assert_eq!(lost[0].track_uuid, decoded.track("LOST"));
    assert_eq!(decoded.count("the recording ended without its end"), 1);
    assert_eq!(Decoded::of(&bytes(&lt().events, None)).track("LOST"), None);
}

#[test]
fn a_trace_is_nothing_but_packets_on_the_wire() {
    let bytes = bytes(&lt().events, None);
    let mut rest = bytes.as_slice();
    let mut packets = 0;
    while let [key, after @ ..] = rest {
        assert_eq!(*key, PACKET_KEY);
        let ends = after.iter().position(|byte| byte & 0x80 == 0).expect("the length ends");
        let length = after[..=ends].iter().rev().fold(0, |length, byte| length << 7 | usize::from(byte & 0x7f));
        rest = &after[ends + 1 + length..];
        packets += 1;
    }
    assert_eq!(packets, Packets::decode(bytes.as_slice()).expect("a trace").packet.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn events_that_make_no_sense_become_a_trace_all_the_same(events in proptest::collection::vec(event(), 0..200)) {
        Decoded::of(&bytes(&events, None));
    }
}

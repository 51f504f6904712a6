//! What is written is what is read.

use arrow_ipc::reader::StreamReader;
use arrow_ipc::{MessageHeader, root_as_message};
use proptest::collection::vec;
use proptest::test_runner::Config;
use proptest::{prop_assert, prop_assert_eq, proptest};
use tracer_common::events::ctl_flags;

use super::super::columns::fields;
use super::super::frame::{Frame, Frames};
use super::super::guard::MAX_HEAD_BYTES;
use super::super::{BATCH_ROWS, FORMAT, Reader, Writer};
use super::arbitrary::{event, one_of_each};
use super::{PATH, STOPPED, attached, info, read, written};
use crate::event::{Event, FileInfo, TraceInfo};

proptest! {
    #![proptest_config(Config { cases: 400, failure_persistence: None, ..Config::default() })]

    #[test]
    fn every_event_comes_back(events in vec(event(), 0..60), cut in 0_usize..60) {
        let (first, second) = events.split_at(cut.min(events.len()));
        let read = read(&written(&[first, second, &[STOPPED]])).unwrap();
        prop_assert!(read.error.is_none());
        prop_assert_eq!(read.torn, None);
        prop_assert_eq!(&read.events[..events.len()], &events[..]);
        prop_assert_eq!(&read.events[events.len()..], &[STOPPED]);
    }
}

#[test]
fn the_facts_come_back() {
    let bytes = written(&[&[STOPPED]]);
    let reader = Reader::new(&bytes[..], PATH).unwrap();
    assert_eq!(reader.info(), &info());
    assert_eq!(reader.format(), FORMAT);
}

#[test]
fn full_batches_are_written_by_themselves() {
    let all = one_of_each();
    let events: Vec<Event> = all.iter().copied().cycle().take(2 * BATCH_ROWS + 1).chain([STOPPED]).collect();
    let read = read(&written(&[&events])).unwrap();
    assert_eq!(read.torn, None);
    assert!(read.error.is_none());
    assert!(read.events == events, "some event of {} differs", events.len());
}

#[test]
fn a_dictionary_stands_in_the_file_once() {
    let each = one_of_each();
    let one = written(&[&each, &[STOPPED]]);
    let many = written(&[&each, &each, &each, &[STOPPED]]);
    let count = |bytes: &[u8]| {
        let mut frames = Frames::new(bytes);
        let mut dictionaries = 0;
        while let Ok(Frame::Message { metadata, .. }) = frames.next(MAX_HEAD_BYTES) {
            let message = root_as_message(&metadata).unwrap();
            dictionaries += usize::from(message.header_type() == MessageHeader::DictionaryBatch);
        }
        dictionaries
    };
    // Kind, hook, reason, mark.
    assert_eq!(count(&one), 4);
    assert_eq!(count(&many), 4);
}

#[test]
fn columns_of_a_hook_that_is_not_attached_are_left_out_and_read_as_null() {
    let of = |hooks: &[(&str, &str)], stacks: bool| {
        let hooks = hooks.iter().map(|(hook, backend)| attached(hook, backend)).collect();
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes, PATH, &TraceInfo { hooks, stacks, ..info() }).unwrap();
        writer.push(&STOPPED).unwrap();
        writer.finish().unwrap();
        let columns: Vec<String> = StreamReader::try_new(&bytes[..], None)
            .unwrap()
            .schema()
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect();
        assert_eq!(read(&bytes).unwrap().events, [STOPPED]);
        columns
    };
    let all: Vec<String> = fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(of(&[], false), all, "where nothing is known of hooks, every column is there");
    assert_eq!(of(&[("io", "tracepoint"), ("path", "fentry")], true), all);
    let without_path = of(&[("ctl", "fentry"), ("io", "tracepoint"), ("path", "")], false);
    assert!(without_path.contains(&"io_call".to_owned()) && !without_path.contains(&"softirq_ts_ns".to_owned()));
    assert_eq!(of(&[("ctl", "fentry")], true).len() + 9, all.len());
    assert_eq!(of(&[("ctl", "fentry")], false).len() + 15, all.len());
}

#[test]
fn a_row_of_a_hook_that_is_not_attached_is_refused_and_not_lost_in_silence() {
    let info = TraceInfo { hooks: vec![attached("ctl", "fentry")], stacks: false, ..info() };
    for event in one_of_each() {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes, PATH, &info).unwrap();
        writer.push(&event).unwrap();
        let refused =
            matches!(event, Event::Io(_) | Event::Path(_) | Event::Stack(_) | Event::Frame(_) | Event::Symbol(_));
        assert_eq!(writer.flush().is_err(), refused, "{event:?}");
    }
}

#[test]
fn an_empty_flush_writes_nothing() {
    assert_eq!(written(&[&[], &[STOPPED], &[], &[]]), written(&[&[STOPPED]]));
}

#[test]
fn a_mask_of_zero_is_not_the_same_as_none() {
    let Some(Event::Ctl(ctl)) = one_of_each().into_iter().next() else { panic!("the first kind is ctl") };
    for (flags, events) in [(0, 0), (0, 7), (ctl_flags::HAS_EVENT, 0)] {
        let event = Event::Ctl(crate::event::Ctl { flags, events, ..ctl });
        assert_eq!(read(&written(&[&[event, STOPPED]])).unwrap().events, [event, STOPPED]);
    }
}

#[test]
fn a_socket_without_a_peer_has_no_address_of_one_and_comes_back() {
    let mut infos =
        one_of_each().into_iter().filter_map(|event| if let Event::FileInfo(e) = event { Some(e) } else { None });
    let info = infos.next().unwrap();
    for (family, peer) in [(2, [0; 16]), (10, [0; 16]), (2, [127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])] {
        let event = Event::FileInfo(FileInfo { family, local: [0; 16], remote: peer, ..info });
        let bytes = written(&[&[event, STOPPED]]);
        let batch = StreamReader::try_new(&bytes[..], None).unwrap().next().unwrap().unwrap();
        let null = |column: &str| batch.column_by_name(column).unwrap().is_null(0);
        assert_eq!((null("local_addr"), null("remote_addr")), (false, peer == [0; 16]), "{family}");
        assert_eq!(read(&bytes).unwrap().events, [event, STOPPED]);
    }
}

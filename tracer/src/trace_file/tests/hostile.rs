//! Bytes that someone, or something, has changed.

use std::sync::Arc;

use arrow_array::types::Int8Type;
use arrow_array::{ArrayRef, DictionaryArray, Int8Array, RecordBatch, StringArray, UInt64Array};
use arrow_ipc::writer::StreamWriter;
use arrow_ipc::{MessageHeader, root_as_message};
use arrow_schema::{DataType, Field, Schema};

use super::super::columns::{Columns, fields};
use super::super::frame::{Frame, Frames};
use super::super::guard::MAX_HEAD_BYTES;
use super::super::head::schema;
use super::super::{BATCH_ROWS, FORMAT_KEY, INFO_KEY, ReadError, rows};
use super::arbitrary::one_of_each;
use super::{STOPPED, info, read, written};
use crate::event::{Event, Loss, LossReason};

/// The same pseudo-random numbers in every run.
struct Random(u64);

impl Random {
    fn byte(&mut self) -> u8 {
        self.below(256).to_le_bytes()[0]
    }

    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }
}

#[test]
fn changed_bytes_never_panic() {
    let each = one_of_each();
    let whole = written(&[&each, &each, &[STOPPED]]);
    let mut random = Random(7);
    for _ in 0..2_000 {
        let mut bytes = whole.clone();
        for _ in 0..=random.below(4) {
            let at = random.below(bytes.len());
            bytes[at] = [0, 0xff, 0x80, 1, random.byte()][random.below(5)];
        }
        if let Ok(read) = read(&bytes) {
            assert!(read.events.len() <= 3 * BATCH_ROWS);
        }
    }
}

#[test]
fn every_single_byte_may_be_wrong() {
    let each = one_of_each();
    let whole = written(&[&each, &[STOPPED]]);
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] = [0, 0xff, whole[at] ^ 0x40][at % 3];
        let _ = read(&bytes);
    }
}

#[test]
fn a_column_that_is_said_to_be_nothing_but_nulls_is_read_as_such() {
    let each = one_of_each();
    let whole = written(&[&each, &[STOPPED]]);
    // In the batch's head each column has the number of its rows, and of those that are null.
    let (columns, rows) = (schema(&info()).unwrap(), i64::try_from(each.len()).unwrap().to_le_bytes());
    let has_rows = |at: usize| whole.get(at..).is_some_and(|bytes| bytes.starts_with(&rows));
    let heads = |at: &usize| (0..columns.fields().len()).all(|column| has_rows(at + 16 * column));
    let at = (0..whole.len()).find(heads).unwrap() + 16 * columns.index_of("ret").unwrap() + 8;
    let mut bytes = whole.clone();
    bytes[at..at + 8].copy_from_slice(&rows);
    let told = |bytes: &[u8]| {
        let events = read(bytes).unwrap().events;
        let malformed = |event: &Event| match event {
            Event::Loss(Loss { reason: LossReason::Malformed, count, .. }) => *count,
            _ => 0,
        };
        let lost: u64 = events.iter().map(malformed).sum();
        let whole = events.iter().filter(|event| malformed(event) == 0).count() as u64;
        (whole + lost, lost)
    };
    let ((all, before), (all_after, after)) = (told(&whole), told(&bytes));
    assert_eq!(all_after, all);
    assert!(after > before, "no call is missing its result");
}

#[test]
fn foreign_files_are_called_so() {
    let png = b"\x89PNG\r\n\x1a\n and so on";
    let text = b"a text that someone wrote";
    let arrow_file = b"ARROW1\0\0\xff\xff\xff\xff\x10\0\0\0";
    let mut long = vec![0xff; 4];
    long.extend_from_slice(&u32::MAX.to_le_bytes());
    let end = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
    for bytes in [&png[..], &text[..], &arrow_file[..], &long, &end, &[0; 4096], b"x"] {
        let error = read(bytes).err().unwrap();
        assert!(matches!(error, ReadError::Foreign { .. }), "{error:?}");
        assert!(error.to_string().starts_with("test.trace is not an eptrace trace file ("), "{error}");
    }
}

#[test]
fn bytes_behind_the_end_are_not_overlooked() {
    let whole = written(&[&one_of_each(), &[STOPPED]]);
    let twice = [&whole[..], &whole[..]].concat();
    let read = read(&twice).unwrap();
    assert_eq!(read.events.len(), one_of_each().len() + 1);
    let error = read.error.unwrap();
    assert!(matches!(error, ReadError::Damaged { offset, .. } if offset == whole.len() as u64 - 8), "{error:?}");
}

#[test]
fn zeros_at_the_end_are_not_an_end() {
    let whole = written(&[&one_of_each()]);
    let mut bytes = whole[..whole.len() - 8].to_vec();
    bytes.resize(bytes.len() + 4096, 0);
    let read = read(&bytes).unwrap();
    assert_eq!(read.events, one_of_each());
    assert!(matches!(read.error, Some(ReadError::Damaged { .. })), "{:?}", read.error);
}

/// An Arrow stream of these batches, uncompressed.
fn stream(schema: &Schema, batches: &[RecordBatch]) -> Vec<u8> {
    let mut writer = StreamWriter::try_new(Vec::new(), schema).unwrap();
    for batch in batches {
        writer.write(batch).unwrap();
    }
    writer.into_inner().unwrap()
}

fn with_metadata(key: &str, value: Option<&str>) -> Vec<u8> {
    let schema = schema(&info()).unwrap();
    let mut metadata = schema.metadata().clone();
    match value {
        Some(value) => metadata.insert(key.to_owned(), value.to_owned()),
        None => metadata.remove(key),
    };
    stream(&schema.with_metadata(metadata), &[])
}

fn sentence(bytes: &[u8]) -> String {
    read(bytes).err().unwrap().to_string()
}

#[test]
fn a_newer_major_is_refused_and_a_newer_minor_read() {
    assert_eq!(
        sentence(&with_metadata(FORMAT_KEY, Some("2.0"))),
        "test.trace has the trace format 2.0, this eptrace reads up to 1.x; read it with a newer eptrace"
    );
    assert!(read(&with_metadata(FORMAT_KEY, Some("1.77"))).is_ok());
    assert!(read(&with_metadata(FORMAT_KEY, Some("1"))).is_ok());
    assert!(sentence(&with_metadata(FORMAT_KEY, None)).contains("without the metadata key `eptrace.format`"));
    assert!(sentence(&with_metadata(FORMAT_KEY, Some("one"))).contains("is not a version"));
}

#[test]
fn facts_that_are_not_there_or_not_json_are_told() {
    assert!(sentence(&with_metadata(INFO_KEY, None)).contains("`eptrace.info`) cannot be read: the key is missing"));
    assert!(sentence(&with_metadata(INFO_KEY, Some("{"))).contains("`eptrace.info`) cannot be read: EOF"));
    let deep = "[".repeat(1_000_000);
    assert!(sentence(&with_metadata(INFO_KEY, Some(&deep))).contains("cannot be read"));
}

#[test]
fn a_column_that_is_missing_or_of_another_type_is_named() {
    let metadata = schema(&info()).unwrap().metadata().clone();
    let fewer: Vec<Field> = fields().into_iter().filter(|field| field.name() != "whead").collect();
    let told = sentence(&stream(&Schema::new_with_metadata(fewer, metadata.clone()), &[]));
    assert!(told.starts_with("the column `whead` of test.trace is missing;"), "{told}");

    let to_text = |field: Field| if field.name() == "ep" { field.with_data_type(DataType::Utf8) } else { field };
    let other: Vec<Field> = fields().into_iter().map(to_text).collect();
    let told = sentence(&stream(&Schema::new_with_metadata(other, metadata), &[]));
    assert!(told.starts_with("the column `ep` of test.trace has the type Utf8 instead of UInt64;"), "{told}");
}

/// A trace of these events as a later version may write it: with one more column, in front, and a changed `kind` column.
fn from_the_future(events: &[Event], kind: Option<ArrayRef>) -> Vec<u8> {
    let mut columns = Columns::default();
    events.iter().enumerate().for_each(|(row, event)| rows::write(event, &mut columns, row));
    let mut arrays = columns.take(events.len()).unwrap();
    if let Some(kind) = kind {
        arrays[1] = kind;
    }
    arrays.insert(0, Arc::new(UInt64Array::from(vec![7; events.len()])));
    let mut all = fields();
    all.insert(0, Field::new("new", DataType::UInt64, false));
    let all: Vec<Field> = all.into_iter().map(|field| field.with_nullable(true)).collect();
    let schema = Arc::new(Schema::new_with_metadata(all, schema(&info()).unwrap().metadata().clone()));
    stream(&schema, &[RecordBatch::try_new(Arc::clone(&schema), arrays).unwrap()])
}

#[test]
fn what_a_later_version_adds_is_counted_and_skipped() {
    let each = one_of_each();
    assert_eq!(read(&from_the_future(&each, None)).unwrap().events, each);

    let (Some(Event::Ctl(ctl)), ts_ns) = (each.first().copied(), 9) else { panic!("the first kind is ctl") };
    let at =
        |ts_ns| Event::Ctl(crate::event::Ctl { header: crate::event::Header { ts_ns, cpu: 3, ..ctl.header }, ..ctl });
    let words: ArrayRef = Arc::new(StringArray::from(vec!["nested-wait", "ctl"]));
    let codes = Int8Array::from(vec![Some(1), Some(0), Some(0), None, Some(1)]);
    let kind = DictionaryArray::<Int8Type>::try_new(codes, words).unwrap();
    let events = [at(1), at(5), at(ts_ns), at(10), at(11)];
    let read = read(&from_the_future(&events, Some(Arc::new(kind)))).unwrap();
    let lost = |ts_ns, reason, count| Event::Loss(Loss { ts_ns, hook: None, cpu: Some(3), reason, count });
    assert_eq!(
        read.events,
        [at(1), lost(ts_ns, LossReason::UnknownKind, 2), lost(10, LossReason::Malformed, 1), at(11)]
    );
    assert_eq!(read.torn.unwrap().rows_read, 5);
}

#[test]
fn a_buffer_that_unpacks_to_too_much_is_refused() {
    let whole = written(&[&one_of_each(), &[STOPPED]]);
    let head = written(&[]).len() - 8;
    // Every zstd frame stands behind the length that it claims to have.
    let frames: Vec<usize> =
        (head + 8..whole.len() - 4).filter(|at| whole[*at..].starts_with(&[0x28, 0xb5, 0x2f, 0xfd])).collect();
    assert!(frames.len() > 3);
    for at in frames {
        for claim in [i64::MAX, i64::MIN, 1 << 40, 9 << 20, 1 << 20, -2] {
            let mut bytes = whole.clone();
            bytes[at - 8..at].copy_from_slice(&claim.to_le_bytes());
            assert!(matches!(read(&bytes).unwrap().error, Some(ReadError::Damaged { .. })), "{claim}");
        }
    }
}

#[test]
fn offsets_that_end_within_an_offset_are_refused() {
    // Arrow's decoder panics on them: the offsets of `comm` with one byte more than they need.
    let mut bytes = from_the_future(&one_of_each(), None);
    let (rows, comm) = (one_of_each().len(), 1 + fields().iter().position(|field| field.name() == "comm").unwrap());
    let mut frames = Frames::new(&bytes[..]);
    let (metadata, start) = loop {
        let Ok(Frame::Message { metadata, .. }) = frames.next(MAX_HEAD_BYTES) else { panic!("no rows") };
        if root_as_message(&metadata).unwrap().header_type() == MessageHeader::RecordBatch {
            break (metadata, usize::try_from(frames.start()).unwrap() + 8);
        }
    };
    let batch = root_as_message(&metadata).unwrap().header_as_record_batch().unwrap();
    // Every column before it has two buffers.
    let offsets = batch.buffers().unwrap().get(2 * comm + 1);
    assert_eq!(offsets.length(), 4 * (i64::try_from(rows).unwrap() + 1));
    let sixteen = [offsets.offset().to_le_bytes(), offsets.length().to_le_bytes()].concat();
    let at = start + metadata.windows(16).position(|window| window == sixteen).unwrap();
    bytes[at + 8] += 1;
    let error = read(&bytes).unwrap().error.unwrap();
    assert!(error.to_string().contains("a buffer that unpacks to"), "{error}");
}

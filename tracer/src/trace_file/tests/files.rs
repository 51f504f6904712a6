//! Paths, and disks that are full.

use std::fs;
use std::io::{self, Write};

use tempfile::tempdir;

use super::super::{ReadError, Reader, Target, WriteError, Writer};
use super::arbitrary::one_of_each;
use super::{STOPPED, info};
use crate::event::Event;
use crate::source::EventSource;
use crate::source::file::FileSource;

#[test]
fn a_file_source_gives_the_events_of_the_file() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("a.trace");
    let mut writer = Writer::create(&path, &info()).unwrap();
    let events = [one_of_each(), vec![STOPPED]].concat();
    for event in &events {
        writer.push(event).unwrap();
    }
    writer.finish().unwrap();

    let mut source = FileSource::open(&path).unwrap();
    assert_eq!(source.info(), &info());
    let mut read = Vec::new();
    while source.next_events(&mut read).unwrap() {}
    assert_eq!(read, events);
    assert_eq!(source.torn(), None);
}

/// Recorded by the first eptrace that wrote trace files.
const FORMAT_1_0: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/herd-lt.eptrace");

#[test]
fn a_recording_of_format_1_0_is_read_whatever_was_added_since() {
    let mut reader = Reader::open(FORMAT_1_0).unwrap();
    assert_eq!(reader.format().to_string(), "1.0");
    let mut events = Vec::new();
    while reader.next_batch(&mut events).unwrap() {}
    assert!(reader.torn().is_none());
    assert!(!events.iter().any(|event| matches!(event, Event::Loss(_))), "rows were left out");
    let waits = events.iter().filter(|event| matches!(event, Event::WaitExit(exit) if exit.ret > 0)).count();
    assert!(waits > 0, "{} events and no wait", events.len());

    let mut reader = Reader::open(FORMAT_1_0).unwrap();
    let rows = reader.next_rows().unwrap().unwrap();
    assert_eq!(rows.column_by_name("ns_tid").map(|column| column.null_count()), Some(rows.num_rows()));
    assert_eq!(rows.schema(), reader.schema());
}

#[test]
fn what_cannot_be_opened_is_told_with_its_path() {
    let dir = tempdir().unwrap();
    let told = |path: &str| Reader::open(dir.path().join(path)).err().unwrap().to_string();
    assert!(told("none").contains("none: No such file or directory"), "{}", told("none"));
    assert!(told("").contains("is a directory, not a trace"));
    fs::write(dir.path().join("empty"), b"").unwrap();
    assert!(told("empty").contains("empty is empty: nothing was recorded"));

    let error = Target::open(dir.path().join("none/a.trace")).err().unwrap();
    assert!(matches!(&error, WriteError::Open { .. }));
    assert!(error.to_string().contains("none/a.trace: No such file"), "{error}");
    assert!(matches!(Target::open(dir.path()), Err(WriteError::Open { .. })));
}

#[test]
fn a_target_that_is_not_begun_leaves_things_as_they_were() {
    let dir = tempdir().unwrap();
    let (new, old) = (dir.path().join("new"), dir.path().join("old"));
    fs::write(&old, b"an earlier recording").unwrap();
    let targets = (Target::open(&new).unwrap(), Target::open(&old).unwrap());
    assert!(new.exists());
    drop(targets);
    assert!(!new.exists());
    assert_eq!(fs::read(&old).unwrap(), b"an earlier recording");

    let mut writer = Target::open(&old).unwrap().begin(&info()).unwrap();
    writer.push(&STOPPED).unwrap();
    writer.finish().unwrap();
    let mut reader = Reader::open(&old).unwrap();
    let mut events = Vec::new();
    while reader.next_batch(&mut events).unwrap() {}
    assert_eq!((events, reader.torn()), (vec![STOPPED], None));
}

/// Takes so many bytes and no more.
struct Disk {
    room: usize,
    held: Vec<u8>,
}

impl Write for &mut Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.room - self.held.len());
        self.held.extend_from_slice(&bytes[..taken]);
        if taken == 0 && !bytes.is_empty() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(taken) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_told_and_what_was_written_is_read() {
    let each = one_of_each();
    let whole = super::written(&[&each, &each]).len();
    let mut disk = Disk { room: whole - 100, held: Vec::new() };
    let mut writer = Writer::new(&mut disk, "full.trace", &info()).unwrap();
    for event in &each {
        writer.push(event).unwrap();
    }
    writer.flush().unwrap();
    for event in &each {
        writer.push(event).unwrap();
    }
    let error = writer.flush().unwrap_err();
    assert!(matches!(error, WriteError::Write { .. }), "{error:?}");
    assert!(error.to_string().starts_with("the trace full.trace ends here"), "{error}");
    assert!(matches!(writer.push(&STOPPED), Err(WriteError::GivenUp { .. })));
    assert!(matches!(writer.finish(), Err(WriteError::GivenUp { .. })));

    let read = super::read(&disk.held).unwrap();
    assert_eq!(read.events, each);
    assert!(read.torn.is_some());
    assert!(matches!(Reader::new(&disk.held[..0], "x"), Err(ReadError::Empty { .. })));
}

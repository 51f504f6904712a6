//! Tests of the whole trace file: what is written is what is read, and hostile bytes do no harm.

mod arbitrary;
mod files;
mod hostile;
mod round_trip;
mod schema_doc;
mod torn;

use std::collections::BTreeMap;

use super::{ReadError, Reader, Torn, Writer};
use crate::event::{Event, HookInfo, Mark, MarkKind, TraceInfo};

/// What the tests call their file.
const PATH: &str = "test.trace";

const STOPPED: Event = Event::Mark(Mark { ts_ns: u64::MAX, what: MarkKind::Stopped });

fn info() -> TraceInfo {
    TraceInfo {
        eptrace: "0.1.0".to_owned(),
        kernel: "6.1.0".to_owned(),
        target: "-- a \"quoted\" command\n".to_owned(),
        realtime_ns: u64::MAX,
        // Those whose columns a trace may lack are attached.
        hooks: ["ctl", "io", "path"].map(|hook| attached(hook, "fentry")).into(),
        stacks: true,
        file_kinds: BTreeMap::from([(u64::MAX, "socket".to_owned())]),
        ..TraceInfo::default()
    }
}

fn attached(hook: &str, backend: &str) -> HookInfo {
    HookInfo {
        hook: hook.to_owned(),
        backend: backend.to_owned(),
        targets: vec!["do_epoll_ctl".to_owned()],
        missing: String::new(),
    }
}

/// A finished trace of these batches of events.
fn written(batches: &[&[Event]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes, PATH, &info()).unwrap();
    for batch in batches {
        batch.iter().for_each(|event| writer.push(event).unwrap());
        writer.flush().unwrap();
    }
    let totals = writer.finish().unwrap();
    assert_eq!(totals.bytes, bytes.len() as u64);
    assert_eq!(totals.rows, batches.iter().map(|batch| batch.len() as u64).sum::<u64>());
    bytes
}

/// What a trace holds.
struct Read {
    events: Vec<Event>,
    torn: Option<Torn>,
    error: Option<ReadError>,
}

fn read(bytes: &[u8]) -> Result<Read, ReadError> {
    let mut reader = Reader::new(bytes, PATH)?;
    let mut events = Vec::new();
    let error = loop {
        match reader.next_batch(&mut events) {
            Ok(true) => {}
            Ok(false) => break None,
            Err(error) => {
                assert!(!reader.next_batch(&mut events).unwrap(), "nothing follows an error");
                break Some(error);
            }
        }
    };
    Ok(Read { events, torn: reader.torn().cloned(), error })
}

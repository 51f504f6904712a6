//! One record of the ring buffer: a part of a snapshot.

use tracer_common::snapshot::{Begun, Ended, Entry, Listed, Node, OpenFile, Part, Rooted, Waited, Waiter, part_bytes};
use zerocopy::FromBytes as _;

use crate::decode::decode;
use crate::event::{Event, FileInfo};

/// What the probes told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record {
    /// A file is open.
    OpenFile(OpenFile),
    /// What a registered file is.
    File(FileInfo),
    /// A reading begins.
    Begun(Begun),
    /// An item.
    Node(Node),
    /// An `eppoll_entry` of the item before.
    Entry(Entry),
    /// An item on a list.
    Listed(Listed),
    /// All items were told.
    Rooted(Rooted),
    /// A task that sleeps.
    Waiter(Waiter),
    /// All tasks that sleep were told.
    Waited(Waited),
    /// A reading is over.
    Ended(Ended),
}

/// Reads one record: native byte order. `None` for bytes that are no part of a snapshot; no input panics.
#[must_use]
pub fn record(bytes: &[u8]) -> Option<Record> {
    let number = u16::from_ne_bytes(*bytes.first_chunk()?);
    match Part::from_number(number) {
        Some(part) => whole(part, bytes),
        None => match decode(bytes) {
            Ok(Event::FileInfo(info)) => Some(Record::File(info)),
            _ => None,
        },
    }
}

macro_rules! parts {
    ($($part:ident),+ $(,)?) => {
        /// The part that `bytes` begin with.
        fn whole(part: Part, bytes: &[u8]) -> Option<Record> {
            match part {
                $(Part::$part => {
                    let (found, _) = $part::read_from_prefix(bytes).ok()?;
                    (usize::from(found.header.len) == part_bytes(part)).then_some(Record::$part(found))
                })+
            }
        }
    };
}

parts!(OpenFile, Begun, Node, Entry, Listed, Rooted, Waiter, Waited, Ended);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tracer_common::snapshot::Part;

    use super::{Record, record};

    #[test]
    fn a_record_is_read_field_by_field() {
        let mut bytes = vec![0; 48];
        bytes[..2].copy_from_slice(&(Part::OpenFile as u16).to_ne_bytes());
        bytes[2..4].copy_from_slice(&48_u16.to_ne_bytes());
        bytes[24..32].copy_from_slice(&7_u64.to_ne_bytes());
        bytes[44..48].copy_from_slice(&(-1_i32).to_ne_bytes());
        let Some(Record::OpenFile(open)) = record(&bytes) else { panic!("no open file") };
        assert_eq!((open.file, open.fd), (7, -1));
        assert_eq!(record(&bytes[..47]), None);
        bytes[2] = 40;
        assert_eq!(record(&bytes), None);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(number in 0x00ff_u16..0x10a, len in 0_u16..110, mut bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            if let Some(head) = bytes.first_chunk_mut::<4>() {
                head[..2].copy_from_slice(&number.to_ne_bytes());
                head[2..].copy_from_slice(&len.to_ne_bytes());
            }
            let _ = record(&bytes);
        }
    }
}

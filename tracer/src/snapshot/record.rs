//! One record of the ring buffer: a part of a snapshot.

use bytes::{Buf, TryGetError};
use tracer_common::COMM_LEN;
use tracer_common::snapshot::{Begun, Ended, Entry, Listed, Node, OpenFile, Part, Rooted, Waited, Waiter, part_bytes};

use crate::decode::decode;
use crate::event::{Event, FileInfo, Header};

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
        Some(part) => fields(part, bytes).ok().flatten(),
        None => match decode(bytes) {
            Ok(Event::FileInfo(info)) => Some(Record::File(info)),
            _ => None,
        },
    }
}

/// Builds a record from its fields in the order of its layout.
macro_rules! read {
    ($rest:ident, $header:ident, $name:ident { $($field:ident: $get:ident),* $(,)? }) => {
        Record::$name($name { header: $header, $($field: $rest.$get()?),* })
    };
}

#[expect(clippy::too_many_lines, reason = "a list: each part with its fields, in the order of its layout")]
fn fields(part: Part, bytes: &[u8]) -> Result<Option<Record>, TryGetError> {
    let mut rest = bytes;
    let header = Header {
        kind: rest.try_get_u16_ne()?,
        len: rest.try_get_u16_ne()?,
        cpu: rest.try_get_u32_ne()?,
        ts_ns: rest.try_get_u64_ne()?,
        tgid: rest.try_get_u32_ne()?,
        tid: rest.try_get_u32_ne()?,
    };
    if usize::from(header.len) != part_bytes(part) || bytes.len() < usize::from(header.len) {
        return Ok(None);
    }
    Ok(Some(match part {
        Part::OpenFile => read!(
            rest,
            header,
            OpenFile { file: try_get_u64_ne, ep: try_get_u64_ne, tgid: try_get_u32_ne, fd: try_get_i32_ne }
        ),
        Part::Begun => Record::Begun(Begun {
            header,
            ep: rest.try_get_u64_ne()?,
            ovflist: rest.try_get_u64_ne()?,
            owner: rest.try_get_u64_ne()?,
            pass: rest.try_get_u32_ne()?,
            tgid: rest.try_get_u32_ne()?,
            tid: rest.try_get_u32_ne()?,
            pad: rest.try_get_u32_ne()?,
            comm: comm(&mut rest)?,
        }),
        Part::Node => read!(
            rest,
            header,
            Node {
                epi: try_get_u64_ne,
                node: try_get_u64_ne,
                parent_color: try_get_u64_ne,
                left: try_get_u64_ne,
                right: try_get_u64_ne,
                file: try_get_u64_ne,
                inner: try_get_u64_ne,
                data: try_get_u64_ne,
                events: try_get_u32_ne,
                fd: try_get_i32_ne,
                pass: try_get_u32_ne,
                index: try_get_u32_ne,
            }
        ),
        Part::Entry => read!(
            rest,
            header,
            Entry {
                epi: try_get_u64_ne,
                pwq: try_get_u64_ne,
                whead: try_get_u64_ne,
                pass: try_get_u32_ne,
                flags: try_get_u32_ne,
                entries: try_get_u32_ne,
                epolls: try_get_u32_ne,
                exclusive: try_get_u32_ne,
                position: try_get_u32_ne,
            }
        ),
        Part::Listed => read!(
            rest,
            header,
            Listed {
                epi: try_get_u64_ne,
                link: try_get_u64_ne,
                prev: try_get_u64_ne,
                list: try_get_u32_ne,
                index: try_get_u32_ne,
                pass: try_get_u32_ne,
                pad: try_get_u32_ne,
            }
        ),
        Part::Rooted => read!(
            rest,
            header,
            Rooted {
                ep: try_get_u64_ne,
                root: try_get_u64_ne,
                leftmost: try_get_u64_ne,
                ready_head: try_get_u64_ne,
                ready_last: try_get_u64_ne,
                ovflist: try_get_u64_ne,
                pass: try_get_u32_ne,
                items: try_get_u32_ne,
                ready: try_get_u32_ne,
                pad: try_get_u32_ne,
            }
        ),
        Part::Waiter => Record::Waiter(Waiter {
            header,
            link: rest.try_get_u64_ne()?,
            prev: rest.try_get_u64_ne()?,
            task: rest.try_get_u64_ne()?,
            tgid: rest.try_get_u32_ne()?,
            tid: rest.try_get_u32_ne()?,
            flags: rest.try_get_u32_ne()?,
            walk: rest.try_get_u32_ne()?,
            index: rest.try_get_u32_ne()?,
            pass: rest.try_get_u32_ne()?,
            comm: comm(&mut rest)?,
        }),
        Part::Waited => read!(
            rest,
            header,
            Waited {
                head: try_get_u64_ne,
                pass: try_get_u32_ne,
                walk: try_get_u32_ne,
                waiters: try_get_u32_ne,
                whole: try_get_u32_ne,
            }
        ),
        Part::Ended => read!(
            rest,
            header,
            Ended {
                ep: try_get_u64_ne,
                root: try_get_u64_ne,
                pass: try_get_u32_ne,
                items: try_get_u32_ne,
                misses: try_get_u32_ne,
                polled: try_get_u32_ne,
            }
        ),
    }))
}

fn comm(rest: &mut &[u8]) -> Result<[u8; COMM_LEN], TryGetError> {
    let mut comm = [0; COMM_LEN];
    rest.try_copy_to_slice(&mut comm)?;
    Ok(comm)
}

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

//! One record of the ring buffer.

use bytes::{Buf, TryGetError};
use thiserror::Error;
use tracer_common::events::{SYMBOL_PART, record_bytes};
use tracer_common::{COMM_LEN, Kind};

use crate::event::{
    Accept, Audited, AuditedItem, Callback, Ctl, Event, EventpollGone, EventpollSeen, FileEnds, FileGone, FileInfo,
    Fork, Frame, Header, Hooked, Io, ItemSeen, Path, Raced, Returned, Scan, Stack, Symbol, TaskExit, TaskName, TaskPid,
    WaitEnter, WaitExit, Wake, WakeCause,
};

/// Why a record is not an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// Newer probes than this collector, or garbage.
    #[error("a record of unknown kind {0}")]
    UnknownKind(u16),
    /// Shorter than its kind, its own length is another, or a field has no meaning.
    #[error("a malformed record")]
    Malformed,
}

impl From<TryGetError> for DecodeError {
    fn from(_: TryGetError) -> Self {
        Self::Malformed
    }
}

/// Reads one record: native byte order, as the probes of this machine wrote it. Bytes after the record (the ring buffer
/// rounds up to eight) are ignored.
///
/// # Errors
/// [`DecodeError`]; no input panics.
pub fn decode(bytes: &[u8]) -> Result<Event, DecodeError> {
    let mut rest = bytes;
    let kind_number = rest.try_get_u16_ne()?;
    let len = rest.try_get_u16_ne()?;
    let kind = Kind::from_number(kind_number).ok_or(DecodeError::UnknownKind(kind_number))?;
    if usize::from(len) != record_bytes(kind) || bytes.len() < usize::from(len) {
        return Err(DecodeError::Malformed);
    }
    let header = Header {
        kind: kind_number,
        len,
        cpu: rest.try_get_u32_ne()?,
        ts_ns: rest.try_get_u64_ne()?,
        tgid: rest.try_get_u32_ne()?,
        tid: rest.try_get_u32_ne()?,
    };
    fields(kind, header, rest)
}

/// Builds a record from its fields in the order of its layout.
macro_rules! record {
    ($rest:ident, $header:ident, $name:ident { $($field:ident: $get:ident),* $(,)? }) => {
        Event::$name($name { header: $header, $($field: $rest.$get()?),* })
    };
}

fn fields(kind: Kind, header: Header, mut rest: &[u8]) -> Result<Event, DecodeError> {
    Ok(match kind {
        Kind::Ctl => record!(
            rest,
            header,
            Ctl {
                ep: try_get_u64_ne,
                file: try_get_u64_ne,
                data: try_get_u64_ne,
                epi: try_get_u64_ne,
                epfd: try_get_i32_ne,
                op: try_get_i32_ne,
                fd: try_get_i32_ne,
                events: try_get_u32_ne,
                ret: try_get_i32_ne,
                flags: try_get_u32_ne,
            }
        ),
        Kind::Hooked => record!(
            rest,
            header,
            Hooked {
                ep: try_get_u64_ne,
                epi: try_get_u64_ne,
                file: try_get_u64_ne,
                whead: try_get_u64_ne,
                data: try_get_u64_ne,
                events: try_get_u32_ne,
                fd: try_get_i32_ne,
            }
        ),
        Kind::Callback => record!(
            rest,
            header,
            Callback {
                ep: try_get_u64_ne,
                epi: try_get_u64_ne,
                file: try_get_u64_ne,
                whead: try_get_u64_ne,
                wait: try_get_u64_ne,
                prev_wait: try_get_u64_ne,
                data: try_get_u64_ne,
                parent_ts: try_get_u64_ne,
                key: try_get_u32_ne,
                events: try_get_u32_ne,
                fd: try_get_i32_ne,
                flags: try_get_u32_ne,
            }
        ),
        Kind::Wake => return wake(header, rest),
        Kind::WaitEnter => record!(
            rest,
            header,
            WaitEnter {
                ep: try_get_u64_ne,
                timeout_ns: try_get_i64_ne,
                epfd: try_get_i32_ne,
                maxevents: try_get_i32_ne,
            }
        ),
        Kind::WaitExit => record!(
            rest,
            header,
            WaitExit {
                ep: try_get_u64_ne,
                data: try_get_u64_ne,
                epfd: try_get_i32_ne,
                ret: try_get_i32_ne,
                events: try_get_u32_ne,
                captured: try_get_u32_ne,
            }
        ),
        Kind::Returned => record!(
            rest,
            header,
            Returned { ep: try_get_u64_ne, data: try_get_u64_ne, events: try_get_u32_ne, index: try_get_u32_ne }
        ),
        Kind::Scan => {
            record!(
                rest,
                header,
                Scan {
                    ep: try_get_u64_ne,
                    first_left: try_get_u64_ne,
                    delivered: try_get_i32_ne,
                    flags: try_get_u32_ne
                }
            )
        }
        Kind::Accept => record!(rest, header, Accept { file: try_get_u64_ne, fd: try_get_i32_ne, ret: try_get_i32_ne }),
        Kind::Io => io(header, rest)?,
        Kind::Path => path(header, rest)?,
        Kind::Stack | Kind::Frame | Kind::Symbol => return stacks(kind, header, rest),
        Kind::Fork | Kind::TaskName | Kind::TaskPid | Kind::TaskExit => return lives(kind, header, rest),
        Kind::FileGone => record!(rest, header, FileGone { file: try_get_u64_ne }),
        Kind::EventpollGone => record!(rest, header, EventpollGone { ep: try_get_u64_ne }),
        Kind::FileInfo => file_info(header, rest)?,
        Kind::EventpollSeen | Kind::ItemSeen | Kind::Raced | Kind::Audited | Kind::AuditedItem | Kind::FileEnds => {
            return lists(kind, header, rest);
        }
    })
}

/// How tasks come, what they are called, and how they go.
fn lives(kind: Kind, header: Header, mut rest: &[u8]) -> Result<Event, DecodeError> {
    Ok(match kind {
        Kind::Fork => fork(header, rest)?,
        Kind::TaskName => Event::TaskName(TaskName { header, comm: array::<COMM_LEN>(&mut rest)? }),
        Kind::TaskPid => record!(rest, header, TaskPid { ns_tgid: try_get_u32_ne, ns_tid: try_get_u32_ne }),
        _ => Event::TaskExit(TaskExit { header, comm: array::<COMM_LEN>(&mut rest)? }),
    })
}

/// What the inventory and the audit read of the kernel's own lists.
fn lists(kind: Kind, header: Header, mut rest: &[u8]) -> Result<Event, DecodeError> {
    Ok(match kind {
        Kind::EventpollSeen => record!(
            rest,
            header,
            EventpollSeen { ep: try_get_u64_ne, owner_tgid: try_get_u32_ne, epfd: try_get_i32_ne, pad: try_get_u64_ne }
        ),
        Kind::ItemSeen => record!(
            rest,
            header,
            ItemSeen {
                ep: try_get_u64_ne,
                epi: try_get_u64_ne,
                file: try_get_u64_ne,
                data: try_get_u64_ne,
                events: try_get_u32_ne,
                fd: try_get_i32_ne,
                flags: try_get_u32_ne,
                pad: try_get_u32_ne,
            }
        ),
        Kind::FileEnds => record!(rest, header, FileEnds { file: try_get_u64_ne }),
        Kind::Raced => {
            record!(rest, header, Raced { ep: try_get_u64_ne, epi: try_get_u64_ne, callback_ts: try_get_u64_ne })
        }
        Kind::Audited => record!(
            rest,
            header,
            Audited {
                ep: try_get_u64_ne,
                moment: try_get_u32_ne,
                flags: try_get_u32_ne,
                count: try_get_u32_ne,
                pad: try_get_u32_ne,
            }
        ),
        _ => record!(
            rest,
            header,
            AuditedItem { ep: try_get_u64_ne, epi: try_get_u64_ne, list: try_get_u32_ne, index: try_get_u32_ne }
        ),
    })
}

fn wake(header: Header, mut rest: &[u8]) -> Result<Event, DecodeError> {
    let event = Wake {
        header,
        ep: rest.try_get_u64_ne()?,
        cause_ts: rest.try_get_u64_ne()?,
        woken_tgid: rest.try_get_u32_ne()?,
        woken_tid: rest.try_get_u32_ne()?,
        cause: rest.try_get_u32_ne()?,
        ret: rest.try_get_i32_ne()?,
        after_ns: rest.try_get_u32_ne()?,
        pad: rest.try_get_u32_ne()?,
    };
    if WakeCause::ALL.iter().any(|cause| *cause as u32 == event.cause) {
        Ok(Event::Wake(event))
    } else {
        Err(DecodeError::Malformed)
    }
}

fn io(header: Header, mut rest: &[u8]) -> Result<Event, DecodeError> {
    Ok(record!(
        rest,
        header,
        Io {
            file: try_get_u64_ne,
            fd: try_get_i32_ne,
            ret: try_get_i32_ne,
            left: try_get_u32_ne,
            call: try_get_u32_ne,
            flags: try_get_u32_ne,
            pad: try_get_u32_ne,
        }
    ))
}

fn path(header: Header, mut rest: &[u8]) -> Result<Event, DecodeError> {
    Ok(record!(
        rest,
        header,
        Path {
            ep: try_get_u64_ne,
            cause_ts: try_get_u64_ne,
            softirq_ts: try_get_u64_ne,
            interrupt_ts: try_get_u64_ne,
            sock_ts: try_get_u64_ne,
            wake_ts: try_get_u64_ne,
            cause_cpu: try_get_u32_ne,
            softirq: try_get_u32_ne,
        }
    ))
}

/// Where calls were made.
fn stacks(kind: Kind, header: Header, mut rest: &[u8]) -> Result<Event, DecodeError> {
    Ok(match kind {
        Kind::Stack => record!(rest, header, Stack { stack: try_get_u64_ne }),
        Kind::Frame => record!(
            rest,
            header,
            Frame { stack: try_get_u64_ne, address: try_get_u64_ne, index: try_get_u32_ne, count: try_get_u32_ne }
        ),
        _ => Event::Symbol(Symbol {
            header,
            address: rest.try_get_u64_ne()?,
            offset: rest.try_get_u64_ne()?,
            of: rest.try_get_u32_ne()?,
            part: rest.try_get_u32_ne()?,
            text: array::<SYMBOL_PART>(&mut rest)?,
        }),
    })
}

fn fork(header: Header, mut rest: &[u8]) -> Result<Event, DecodeError> {
    Ok(Event::Fork(Fork {
        header,
        child_tgid: rest.try_get_u32_ne()?,
        child_tid: rest.try_get_u32_ne()?,
        comm: array(&mut rest)?,
    }))
}

fn file_info(header: Header, mut rest: &[u8]) -> Result<Event, DecodeError> {
    Ok(Event::FileInfo(FileInfo {
        header,
        file: rest.try_get_u64_ne()?,
        f_op: rest.try_get_u64_ne()?,
        ino: rest.try_get_u64_ne()?,
        local: array(&mut rest)?,
        remote: array(&mut rest)?,
        local_port: rest.try_get_u16_ne()?,
        remote_port: rest.try_get_u16_ne()?,
        family: rest.try_get_u16_ne()?,
        sock_type: rest.try_get_u8()?,
        state: rest.try_get_u8()?,
        netns: rest.try_get_u32_ne()?,
        pad: rest.try_get_u32_ne()?,
    }))
}

fn array<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], DecodeError> {
    let mut bytes = [0; N];
    rest.try_copy_to_slice(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::{DecodeError, decode};
    use crate::event::{Event, Header, TaskName, Wake};
    use tracer_common::Kind;
    use tracer_common::events::record_bytes;

    fn bytes_of(kind: u16, len: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(len.to_ne_bytes());
        bytes.extend(3_u32.to_ne_bytes());
        bytes.extend(7_u64.to_ne_bytes());
        bytes.extend(11_u32.to_ne_bytes());
        bytes.extend(12_u32.to_ne_bytes());
        bytes.extend(body);
        bytes
    }

    #[test]
    fn a_record_is_read_field_by_field() {
        let body: Vec<u8> = (0..16).collect();
        let event = decode(&bytes_of(Kind::TaskName as u16, 40, &body)).unwrap();
        let header = Header { kind: 11, len: 40, cpu: 3, ts_ns: 7, tgid: 11, tid: 12 };
        let comm = core::array::from_fn(|i| u8::try_from(i).unwrap());
        assert_eq!(event, Event::TaskName(TaskName { header, comm }));
    }

    #[test]
    fn every_kind_is_read_from_as_many_bytes_as_it_has_and_from_no_fewer() {
        for kind in Kind::ALL {
            let len = record_bytes(kind);
            let bytes = bytes_of(kind as u16, u16::try_from(len).unwrap(), &vec![0; len - 24]);
            assert!(decode(&bytes).is_ok(), "{kind:?}");
            for cut in 0..len {
                assert_eq!(decode(&bytes[..cut]), Err(DecodeError::Malformed), "{kind:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn an_unknown_kind_is_named_and_a_wrong_length_is_malformed() {
        assert_eq!(decode(&bytes_of(999, 40, &[0; 16])), Err(DecodeError::UnknownKind(999)));
        assert_eq!(decode(&bytes_of(Kind::TaskName as u16, 39, &[0; 16])), Err(DecodeError::Malformed));
    }

    #[test]
    fn a_wake_of_no_known_cause_is_malformed() {
        let mut body = vec![0; 40];
        body[24] = 2;
        assert!(matches!(decode(&bytes_of(Kind::Wake as u16, 64, &body)), Ok(Event::Wake(Wake { cause: 2, .. }))));
        body[24] = 9;
        assert_eq!(decode(&bytes_of(Kind::Wake as u16, 64, &body)), Err(DecodeError::Malformed));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..160)) {
            let _ = decode(&bytes);
        }

        #[test]
        fn no_body_of_a_known_kind_panics(kind in 0_u16..30, body in proptest::collection::vec(proptest::num::u8::ANY, 0..96)) {
            let len = Kind::from_number(kind).map_or(40, record_bytes);
            let _ = decode(&bytes_of(kind, u16::try_from(len).unwrap(), &body));
        }
    }
}

//! One record of the ring buffer.

use bytes::{Buf, TryGetError};
use thiserror::Error;
use tracer_common::Kind;
use tracer_common::events::record_bytes;
use zerocopy::FromBytes;

use crate::event::{Event, WakeCause};

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
    let mut head = bytes;
    let number = head.try_get_u16_ne()?;
    let len = head.try_get_u16_ne()?;
    let kind = Kind::from_number(number).ok_or(DecodeError::UnknownKind(number))?;
    if usize::from(len) != record_bytes(kind) {
        return Err(DecodeError::Malformed);
    }
    let event = event(kind, bytes)?;
    match &event {
        Event::Wake(wake) if !WakeCause::ALL.iter().any(|cause| *cause as u32 == wake.cause) => {
            Err(DecodeError::Malformed)
        }
        _ => Ok(event),
    }
}

macro_rules! events {
    ($($kind:ident),+ $(,)?) => {
        /// The event that `bytes` begin with.
        fn event(kind: Kind, bytes: &[u8]) -> Result<Event, DecodeError> {
            Ok(match kind {
                $(Kind::$kind => Event::$kind(whole(bytes)?),)+
            })
        }
    };
}

events! {
    Ctl, Hooked, Callback, Wake, WaitEnter, WaitExit, Returned, Scan, Accept, Io, Path, Stack, Frame, Symbol, Fork, TaskName, TaskPid,
    TaskExit, FileGone, FileEnds, FileInfo, EventpollGone, EventpollSeen, ItemSeen, Raced, Audited, AuditedItem,
}

fn whole<T: FromBytes>(bytes: &[u8]) -> Result<T, DecodeError> {
    T::read_from_prefix(bytes).map(|(record, _)| record).map_err(|_| DecodeError::Malformed)
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

//! Arbitrary events: every kind, with fields that are often the ones that mean something special.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "any bits will do, whatever the type makes of them"
)]

use std::array::from_fn;

use proptest::prelude::{Strategy, any};
use tracer_common::events::{DELIVERED_UNKNOWN, Record, SYMBOL_PART, record_bytes};
use tracer_common::{Header, Hook, Kind};

use super::super::names::Name;
use super::super::rows::RowKind;
use crate::event::{
    Accept, Audited, AuditedItem, Callback, Ctl, Event, EventpollGone, EventpollSeen, FileEnds, FileGone, FileInfo,
    Fork, Frame, Hooked, Io, ItemSeen, Loss, LossReason, Mark, MarkKind, Path, Raced, Returned, Scan, Stack, Symbol,
    TaskExit, TaskName, TaskPid, WaitEnter, WaitExit, Wake,
};

/// One event from so many numbers.
const WORDS: usize = 24;

/// An event of any kind.
pub(super) fn event() -> impl Strategy<Value = Event> {
    (0..RowKind::ALL.len(), any::<[u64; WORDS]>()).prop_map(|(kind, words)| build(RowKind::ALL[kind], words))
}

/// Events of every kind, the same in every run.
pub(super) fn one_of_each() -> Vec<Event> {
    let mut seed = 1_u64;
    let mut word = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        seed ^ seed >> 29
    };
    RowKind::ALL.iter().map(|kind| build(*kind, from_fn(|_| word()))).collect()
}

struct Words(std::array::IntoIter<u64, WORDS>);

impl Words {
    fn u64(&mut self) -> u64 {
        let word = self.0.next().unwrap();
        match word % 8 {
            0 => 0,
            1 => u64::MAX,
            2 => word >> 40,
            _ => word,
        }
    }

    fn u32(&mut self) -> u32 {
        self.u64() as u32
    }

    fn u16(&mut self) -> u16 {
        self.u64() as u16
    }

    fn i32(&mut self) -> i32 {
        let word = self.u64();
        if word % 5 == 3 { DELIVERED_UNKNOWN } else { word as i32 }
    }

    fn bytes(&mut self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.u64().to_le_bytes());
        bytes[8..].copy_from_slice(&self.u64().to_le_bytes());
        match self.u64() % 4 {
            0 => bytes[4..].fill(0),
            1 => bytes.iter_mut().for_each(|byte| *byte = b"ab\\\0\x1b \xc3\xa4"[usize::from(*byte % 8)]),
            _ => {}
        }
        bytes
    }

    fn header<R: Record>(&mut self) -> Header {
        let len = record_bytes(R::KIND) as u16;
        Header { kind: R::KIND as u16, len, cpu: self.u32(), ts_ns: self.u64(), tgid: self.u32(), tid: self.u32() }
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.u64() as usize % all.len()]
    }
}

#[expect(clippy::too_many_lines, reason = "one literal per kind")]
fn build(kind: RowKind, words: [u64; WORDS]) -> Event {
    let mut w = Words(words.into_iter());
    match kind {
        RowKind::Ctl => Event::Ctl(Ctl {
            header: w.header::<Ctl>(),
            ep: w.u64(),
            file: w.u64(),
            data: w.u64(),
            epi: w.u64(),
            epfd: w.i32(),
            op: w.i32(),
            fd: w.i32(),
            events: w.u32(),
            ret: w.i32(),
            flags: w.u32(),
        }),
        RowKind::Hooked => Event::Hooked(Hooked {
            header: w.header::<Hooked>(),
            ep: w.u64(),
            epi: w.u64(),
            file: w.u64(),
            whead: w.u64(),
            data: w.u64(),
            events: w.u32(),
            fd: w.i32(),
        }),
        RowKind::Callback => Event::Callback(Callback {
            header: w.header::<Callback>(),
            ep: w.u64(),
            epi: w.u64(),
            file: w.u64(),
            whead: w.u64(),
            wait: w.u64(),
            prev_wait: w.u64(),
            data: w.u64(),
            parent_ts: w.u64(),
            key: w.u32(),
            events: w.u32(),
            fd: w.i32(),
            flags: w.u32(),
        }),
        RowKind::Wake => Event::Wake(Wake {
            header: w.header::<Wake>(),
            ep: w.u64(),
            cause_ts: w.u64(),
            woken_tgid: w.u32(),
            woken_tid: w.u32(),
            cause: w.u32(),
            ret: w.i32(),
            after_ns: w.u32(),
            pad: 0,
        }),
        RowKind::WaitEnter => Event::WaitEnter(WaitEnter {
            header: w.header::<WaitEnter>(),
            ep: w.u64(),
            timeout_ns: w.u64() as i64,
            epfd: w.i32(),
            maxevents: w.i32(),
        }),
        RowKind::WaitExit => Event::WaitExit(WaitExit {
            header: w.header::<WaitExit>(),
            ep: w.u64(),
            data: w.u64(),
            epfd: w.i32(),
            ret: w.i32(),
            events: w.u32(),
            captured: w.u32(),
        }),
        RowKind::Returned => Event::Returned(Returned {
            header: w.header::<Returned>(),
            ep: w.u64(),
            data: w.u64(),
            events: w.u32(),
            index: w.u32(),
        }),
        RowKind::Scan => Event::Scan(Scan {
            header: w.header::<Scan>(),
            ep: w.u64(),
            first_left: w.u64(),
            delivered: w.i32(),
            flags: w.u32(),
        }),
        RowKind::Accept => {
            Event::Accept(Accept { header: w.header::<Accept>(), file: w.u64(), fd: w.i32(), ret: w.i32() })
        }
        RowKind::Io => Event::Io(Io {
            header: w.header::<Io>(),
            file: w.u64(),
            fd: w.i32(),
            ret: w.i32(),
            left: w.u32(),
            call: w.u32(),
            flags: w.u32(),
            pad: 0,
        }),
        RowKind::Path => Event::Path(Path {
            header: w.header::<Path>(),
            ep: w.u64(),
            cause_ts: w.u64(),
            softirq_ts: w.u64(),
            interrupt_ts: w.u64(),
            sock_ts: w.u64(),
            wake_ts: w.u64(),
            cause_cpu: w.u32(),
            softirq: w.u32(),
        }),
        RowKind::Stack => Event::Stack(Stack { header: w.header::<Stack>(), stack: w.u64() }),
        RowKind::Frame => Event::Frame(Frame {
            header: w.header::<Frame>(),
            stack: w.u64(),
            address: w.u64(),
            index: w.u32(),
            count: w.u32(),
        }),
        RowKind::Symbol => Event::Symbol(Symbol {
            header: w.header::<Symbol>(),
            address: w.u64(),
            offset: w.u64(),
            of: w.u32(),
            part: w.u32(),
            text: {
                let start: [u8; 16] = w.bytes();
                let mut text = [0; SYMBOL_PART];
                text[..16].copy_from_slice(&start);
                text
            },
        }),
        RowKind::Fork => {
            Event::Fork(Fork { header: w.header::<Fork>(), child_tgid: w.u32(), child_tid: w.u32(), comm: w.bytes() })
        }
        RowKind::TaskName => Event::TaskName(TaskName { header: w.header::<TaskName>(), comm: w.bytes() }),
        RowKind::TaskPid => {
            Event::TaskPid(TaskPid { header: w.header::<TaskPid>(), ns_tgid: w.u32(), ns_tid: w.u32() })
        }
        RowKind::TaskExit => Event::TaskExit(TaskExit { header: w.header::<TaskExit>(), comm: w.bytes() }),
        RowKind::FileGone => Event::FileGone(FileGone { header: w.header::<FileGone>(), file: w.u64() }),
        RowKind::EventpollGone => {
            Event::EventpollGone(EventpollGone { header: w.header::<EventpollGone>(), ep: w.u64() })
        }
        RowKind::FileInfo => Event::FileInfo(FileInfo {
            header: w.header::<FileInfo>(),
            file: w.u64(),
            f_op: w.u64(),
            ino: w.u64(),
            local: w.bytes(),
            remote: w.bytes(),
            local_port: w.u16(),
            remote_port: w.u16(),
            family: {
                let any = w.u16();
                w.one_of(&[0, 1, 2, 10, any])
            },
            sock_type: w.u16() as u8,
            state: w.u16() as u8,
            netns: w.u32(),
            pad: 0,
        }),
        RowKind::EventpollSeen => Event::EventpollSeen(EventpollSeen {
            header: w.header::<EventpollSeen>(),
            ep: w.u64(),
            owner_tgid: w.u32(),
            epfd: w.i32(),
            pad: 0,
        }),
        RowKind::ItemSeen => Event::ItemSeen(ItemSeen {
            header: w.header::<ItemSeen>(),
            ep: w.u64(),
            epi: w.u64(),
            file: w.u64(),
            data: w.u64(),
            events: w.u32(),
            fd: w.i32(),
            flags: w.u32(),
            pad: 0,
        }),
        RowKind::Raced => {
            Event::Raced(Raced { header: w.header::<Raced>(), ep: w.u64(), epi: w.u64(), callback_ts: w.u64() })
        }
        RowKind::Audited => Event::Audited(Audited {
            header: w.header::<Audited>(),
            ep: w.u64(),
            moment: w.u32(),
            flags: w.u32(),
            count: w.u32(),
            pad: 0,
        }),
        RowKind::AuditedItem => Event::AuditedItem(AuditedItem {
            header: w.header::<AuditedItem>(),
            ep: w.u64(),
            epi: w.u64(),
            list: w.u32(),
            index: w.u32(),
        }),
        RowKind::FileEnds => Event::FileEnds(FileEnds { header: w.header::<FileEnds>(), file: w.u64() }),
        RowKind::Loss => Event::Loss(Loss {
            ts_ns: w.u64(),
            hook: {
                let hook = w.one_of(&Hook::ALL);
                w.one_of(&[None, Some(hook)])
            },
            cpu: {
                let cpu = w.u32();
                w.one_of(&[None, Some(cpu)])
            },
            reason: w.one_of(&LossReason::ALL),
            count: w.u64(),
        }),
        RowKind::Mark => Event::Mark(Mark { ts_ns: w.u64(), what: w.one_of(&[MarkKind::Started, MarkKind::Stopped]) }),
    }
}

#[test]
fn there_is_one_of_each() {
    assert_eq!(one_of_each().len(), Kind::ALL.len() + 2);
}

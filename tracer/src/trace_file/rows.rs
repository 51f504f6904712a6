//! Which field of which event stands in which column.

use tracer_common::events::{DELIVERED_UNKNOWN, LEFT_UNKNOWN, Record, record_bytes};
use tracer_common::{Header, Kind};

use super::columns::{Columns, Table};
use super::names::Name;
use super::storage::{Cell, Word, text_cell};
use super::text::{address_from_text, address_to_text};
use crate::event::{
    Accept, Audited, AuditedItem, Callback, Ctl, Event, EventpollGone, EventpollSeen, FileEnds, FileGone, FileInfo,
    Fork, Frame, Hooked, Io, ItemSeen, Loss, LossReason, Mark, Path, Raced, Returned, Scan, Stack, Symbol, TaskExit,
    TaskName, TaskPid, WaitEnter, WaitExit, Wake,
};

/// A record of the probes as a row.
///
/// The header's `kind` and `len` are not stored: they follow from the type.
trait Row: Record {
    /// Its columns, beside those of the header.
    #[cfg(test)]
    const COLUMNS: &'static [&'static str];

    fn header(&self) -> &Header;
    fn write(&self, out: &mut Columns, row: usize);
    fn read(table: &Table, row: usize, header: Header) -> Option<Self>;
}

/// `row!(Type { field: column, field: column or UNKNOWN, field: column or UNKNOWN => other, } field: constant)`
///
/// With `or`, the cell is null where the field is `UNKNOWN`; with `=>`, only where the field `other` is 0 as well. Without,
/// a null makes no sense. Fields behind the brace are not stored.
macro_rules! row {
    ($name:ident {
        $($field:ident: $column:ident $(or $unknown:expr $(=> $other:ident)?)?),+ $(,)?
    } $($rest:ident: $value:expr)?) => {
        impl Row for $name {
            #[cfg(test)]
            const COLUMNS: &'static [&'static str] = &[$(stringify!($column)),+];

            fn header(&self) -> &Header {
                &self.header
            }

            fn write(&self, out: &mut Columns, row: usize) {
                $(
                    let unknown = false $(|| (self.$field == $unknown $(&& self.$other == 0)?))?;
                    if !unknown {
                        out.$column.set(row, self.$field);
                    }
                )+
            }

            fn read(table: &Table, row: usize, header: Header) -> Option<Self> {
                Some(Self {
                    header,
                    $($field: table.$column.cell(row) $(.or(Some($unknown)))? ?,)+
                    $($rest: $value,)?
                })
            }
        }
    };
}

row!(Ctl {
    ep: ep or 0,
    file: file or 0,
    data: data or 0 => flags,
    epi: epi or 0,
    epfd: epfd,
    op: op,
    fd: fd,
    events: events or 0 => flags,
    ret: ret,
    flags: ctl_flags,
});
row!(Hooked {
    ep: ep or 0,
    epi: epi or 0,
    file: file or 0,
    whead: whead or 0,
    data: data,
    events: events,
    fd: fd,
});
row!(Callback {
    ep: ep or 0,
    epi: epi or 0,
    file: file or 0,
    whead: whead or 0,
    wait: wait or 0,
    prev_wait: prev_wait or 0,
    data: data,
    parent_ts: parent_ts_ns or 0,
    key: key,
    events: events,
    fd: fd,
    flags: callback_flags,
});
row!(Wake {
    ep: ep or 0,
    cause_ts: cause_ts_ns or 0,
    woken_tgid: woken_tgid,
    woken_tid: woken_tid,
    cause: cause,
    ret: ret,
    after_ns: wake_after_ns or 0,
} pad: 0);
row!(WaitEnter {
    ep: ep or 0,
    timeout_ns: timeout_ns,
    epfd: epfd,
    maxevents: maxevents,
});
row!(WaitExit {
    ep: ep or 0,
    data: data or 0 => captured,
    epfd: epfd or -1,
    ret: ret,
    events: events or 0 => captured,
    captured: captured,
});
row!(Returned {
    ep: ep or 0,
    data: data,
    events: events,
    index: index,
});
row!(Scan {
    ep: ep or 0,
    first_left: epi or 0,
    delivered: delivered or DELIVERED_UNKNOWN,
    flags: scan_flags,
});
row!(Accept {
    file: file or 0,
    fd: fd or -1,
    ret: ret,
});
row!(Io {
    file: file or 0,
    fd: fd,
    ret: ret,
    left: left or LEFT_UNKNOWN,
    call: io_call,
    flags: io_flags,
} pad: 0);
row!(Path {
    ep: ep or 0,
    cause_ts: cause_ts_ns or 0,
    softirq_ts: softirq_ts_ns or 0,
    interrupt_ts: interrupt_ts_ns or 0,
    sock_ts: sock_ts_ns or 0,
    wake_ts: wake_ts_ns,
    cause_cpu: cause_cpu,
    softirq: softirq or 0 => softirq_ts,
});
row!(Stack { stack: stack });
row!(Frame { stack: stack, address: address, index: index, count: frames });
row!(Symbol { address: address, offset: offset, of: symbol_of, part: index, text: symbol });
row!(Fork { child_tgid: child_tgid, child_tid: child_tid, comm: comm });
row!(TaskName { comm: comm });
row!(TaskPid { ns_tgid: ns_tgid, ns_tid: ns_tid });
row!(TaskExit { comm: comm });
row!(FileGone { file: file or 0, });
row!(FileEnds { file: file or 0, });
row!(EventpollGone { ep: ep or 0, });
row!(EventpollSeen {
    ep: ep or 0,
    owner_tgid: owner_tgid,
    epfd: epfd,
} pad: 0);
row!(ItemSeen {
    ep: ep or 0,
    epi: epi or 0,
    file: file or 0,
    data: data,
    events: events,
    fd: fd,
    flags: item_flags,
} pad: 0);
row!(Raced {
    ep: ep or 0,
    epi: epi or 0,
    callback_ts: cause_ts_ns or 0,
});
row!(Audited {
    ep: ep or 0,
    moment: audit_moment,
    flags: audit_flags,
    count: captured,
} pad: 0);
row!(AuditedItem {
    ep: ep or 0,
    epi: epi or 0,
    list: audit_list,
    index: index,
});

// Its addresses are text that depends on the family.
impl Row for FileInfo {
    #[cfg(test)]
    const COLUMNS: &'static [&'static str] = &[
        "file",
        "f_op",
        "ino",
        "family",
        "sock_type",
        "sock_state",
        "local_addr",
        "local_port",
        "remote_addr",
        "remote_port",
        "netns",
    ];

    fn header(&self) -> &Header {
        &self.header
    }

    fn write(&self, out: &mut Columns, row: usize) {
        let Self {
            header: _,
            file,
            f_op,
            ino,
            local,
            remote,
            local_port,
            remote_port,
            family,
            sock_type,
            state,
            netns,
            pad: _,
        } = *self;
        if file != 0 {
            out.file.set(row, file);
        }
        if f_op != 0 {
            out.f_op.set(row, f_op);
        }
        out.ino.set(row, ino);
        if self.is_socket() {
            out.family.set(row, family);
            out.sock_type.set(row, sock_type);
            out.sock_state.set(row, state);
            out.local_port.set(row, local_port);
            out.remote_port.set(row, remote_port);
        }
        if netns != 0 {
            out.netns.set(row, netns);
        }
        if let Some(text) = address_to_text(family, local) {
            out.local_addr.set(row, &text);
        }
        if let Some(text) = address_to_text(family, remote).filter(|_| self.has_peer()) {
            out.remote_addr.set(row, &text);
        }
    }

    fn read(table: &Table, row: usize, header: Header) -> Option<Self> {
        let address = |cell: Option<&str>| cell.map_or(Some([0; 16]), address_from_text);
        Some(Self {
            header,
            file: table.file.cell(row).unwrap_or_default(),
            f_op: table.f_op.cell(row).unwrap_or_default(),
            ino: table.ino.cell(row)?,
            local: address(text_cell(&table.local_addr, row))?,
            remote: address(text_cell(&table.remote_addr, row))?,
            local_port: table.local_port.cell(row).unwrap_or_default(),
            remote_port: table.remote_port.cell(row).unwrap_or_default(),
            family: table.family.cell(row).unwrap_or_default(),
            sock_type: table.sock_type.cell(row).unwrap_or_default(),
            state: table.sock_state.cell(row).unwrap_or_default(),
            netns: table.netns.cell(row).unwrap_or_default(),
            pad: 0,
        })
    }
}

fn write_record<R: Row>(record: &R, out: &mut Columns, row: usize) {
    let header = record.header();
    out.ts_ns.set(row, header.ts_ns);
    out.cpu.set(row, header.cpu);
    out.tgid.set(row, header.tgid);
    out.tid.set(row, header.tid);
    record.write(out, row);
}

fn read_record<R: Row>(table: &Table, row: usize) -> Option<R> {
    let header = Header {
        kind: R::KIND as u16,
        len: u16::try_from(record_bytes(R::KIND)).ok()?,
        cpu: table.cpu.cell(row)?,
        ts_ns: table.ts_ns.cell(row)?,
        tgid: table.tgid.cell(row)?,
        tid: table.tid.cell(row)?,
    };
    R::read(table, row, header)
}

fn write_loss(loss: &Loss, out: &mut Columns, row: usize) {
    let Loss { ts_ns, hook, cpu, reason, count } = *loss;
    out.ts_ns.set(row, ts_ns);
    if let Some(hook) = hook {
        out.hook.set(row, hook);
    }
    if let Some(cpu) = cpu {
        out.cpu.set(row, cpu);
    }
    out.reason.set(row, reason);
    out.count.set(row, count);
}

fn read_loss(table: &Table, row: usize) -> Option<Loss> {
    Some(Loss {
        ts_ns: table.ts_ns.cell(row)?,
        hook: match table.hook.word(row) {
            Word::Known(hook) => Some(hook),
            // A hook that a later version has: here it cannot be said.
            Word::Unknown | Word::Null => None,
        },
        cpu: table.cpu.cell(row),
        reason: match table.reason.word(row) {
            Word::Known(reason) => reason,
            // A reason that a later version has: that something was lost, and how much, still holds.
            Word::Unknown => LossReason::UnknownKind,
            Word::Null => return None,
        },
        count: table.count.cell(row)?,
    })
}

fn read_mark(table: &Table, row: usize) -> Result<Mark, LossReason> {
    match table.mark.word(row) {
        Word::Known(what) => Ok(Mark { ts_ns: table.ts_ns.cell(row).ok_or(LossReason::Malformed)?, what }),
        Word::Unknown => Err(LossReason::UnknownKind),
        Word::Null => Err(LossReason::Malformed),
    }
}

macro_rules! kinds {
    ($($record:ident $name:literal,)+) => {
        /// What a row is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(i8)]
        pub(super) enum RowKind {
            $($record,)+
            Loss,
            Mark,
        }

        impl Name for RowKind {
            const ALL: &'static [Self] = &[$(Self::$record,)+ Self::Loss, Self::Mark];

            fn name(self) -> &'static str {
                match self {
                    $(Self::$record => $name,)+
                    Self::Loss => "loss",
                    Self::Mark => "mark",
                }
            }

            fn code(self) -> i8 {
                self as i8
            }
        }

        // A kind that the probes have and the table below has not does not compile.
        const _: fn(Kind) -> RowKind = |kind| match kind {
            $(Kind::$record => RowKind::$record,)+
        };

        /// Sets the cells of `row`.
        pub(super) fn write(event: &Event, out: &mut Columns, row: usize) {
            let kind = match event {
                $(Event::$record(record) => {
                    write_record(record, out, row);
                    RowKind::$record
                })+
                Event::Loss(loss) => {
                    write_loss(loss, out, row);
                    RowKind::Loss
                }
                Event::Mark(mark) => {
                    out.ts_ns.set(row, mark.ts_ns);
                    out.mark.set(row, mark.what);
                    RowKind::Mark
                }
            };
            out.kind.set(row, kind);
        }

        /// The event of `row`; otherwise why it is none.
        pub(super) fn read(table: &Table, row: usize) -> Result<Event, LossReason> {
            let kind = match table.kind.word(row) {
                Word::Known(kind) => kind,
                Word::Unknown => return Err(LossReason::UnknownKind),
                Word::Null => return Err(LossReason::Malformed),
            };
            let event = match kind {
                $(RowKind::$record => read_record(table, row).map(Event::$record),)+
                RowKind::Loss => read_loss(table, row).map(Event::Loss),
                RowKind::Mark => return read_mark(table, row).map(Event::Mark),
            };
            event.ok_or(LossReason::Malformed)
        }

        /// Every kind's name with the columns that it has.
        #[cfg(test)]
        pub(super) fn columns_by_kind() -> Vec<(&'static str, Vec<&'static str>)> {
            let header = ["ts_ns", "kind", "cpu", "tgid", "tid"];
            vec![
                $(($name, [&header[..], <$record as Row>::COLUMNS].concat()),)+
                ("loss", vec!["ts_ns", "kind", "cpu", "hook", "reason", "count"]),
                ("mark", vec!["ts_ns", "kind", "mark"]),
            ]
        }
    };
}

kinds! {
    Ctl "ctl",
    Hooked "hooked",
    Callback "callback",
    Wake "wake",
    WaitEnter "wait-enter",
    WaitExit "wait-exit",
    Returned "returned",
    Scan "scan",
    Accept "accept",
    Fork "fork",
    TaskName "task-name",
    TaskExit "task-exit",
    FileGone "file-gone",
    EventpollGone "eventpoll-gone",
    FileInfo "file-info",
    EventpollSeen "eventpoll-seen",
    ItemSeen "item-seen",
    Raced "raced",
    Audited "audited",
    AuditedItem "audited-item",
    FileEnds "file-ends",
    TaskPid "task-pid",
    Io "io",
    Path "path",
    Stack "stack",
    Frame "frame",
    Symbol "symbol",
}

/// What stands for a row that is no event.
pub(super) fn skipped(table: &Table, row: usize, reason: LossReason) -> Loss {
    Loss { ts_ns: table.ts_ns.cell(row).unwrap_or_default(), hook: None, cpu: table.cpu.cell(row), reason, count: 1 }
}

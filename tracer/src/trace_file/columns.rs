//! The columns, in the order of the file. SCHEMA.md says what they mean; a test keeps the two equal.

use arrow_array::types::{Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, Field};
use tracer_common::events::SYMBOL_PART;
use tracer_common::{COMM_LEN, Hook};

use super::rows::RowKind;
use super::storage::{Filled, Filling, Named, Number, Padded, Storage, Text};
use crate::event::{LossReason, MarkKind, TraceInfo};

type U8 = Number<UInt8Type>;
type U16 = Number<UInt16Type>;
type U32 = Number<UInt32Type>;
type U64 = Number<UInt64Type>;
type I32 = Number<Int32Type>;
type I64 = Number<Int64Type>;
type Comm = Padded<COMM_LEN>;
type Part = Padded<SYMBOL_PART>;

macro_rules! columns {
    (
        required { $($must:ident: $must_type:ty,)+ }
        nullable { $($may:ident: $may_type:ty,)+ }
        added { $($late:ident: $late_type:ty $(, of $hook:ident)?;)+ }
    ) => {
        /// A batch that is being filled.
        #[derive(Default)]
        pub(super) struct Columns {
            $(pub(super) $must: <$must_type as Storage>::Filling,)+
            $(pub(super) $may: <$may_type as Storage>::Filling,)+
            $(pub(super) $late: <$late_type as Storage>::Filling,)+
        }

        impl Columns {
            /// The first `rows` rows as arrays in the order of [`fields`]; no row is left.
            pub(super) fn take(&mut self, rows: usize) -> Result<Vec<ArrayRef>, ArrowError> {
                Ok(vec![$(self.$must.take(rows)?,)+ $(self.$may.take(rows)?,)+ $(self.$late.take(rows)?,)+])
            }
        }

        /// A batch that was read.
        pub(super) struct Table {
            $(pub(super) $must: <$must_type as Storage>::Filled,)+
            $(pub(super) $may: <$may_type as Storage>::Filled,)+
            $(pub(super) $late: <$late_type as Storage>::Filled,)+
        }

        impl Table {
            /// The columns of `batch`, which stand in the order of [`fields`]; `None` when one has another type.
            pub(super) fn of(batch: &RecordBatch) -> Option<Self> {
                let mut arrays = batch.columns().iter();
                Some(Self {
                    $($must: Filled::of(arrays.next()?)?,)+
                    $($may: Filled::of(arrays.next()?)?,)+
                    $($late: Filled::of(arrays.next()?)?,)+
                })
            }
        }

        /// Every column as Arrow describes it.
        pub(super) fn fields() -> Vec<Field> {
            vec![
                $(Field::new(stringify!($must), <$must_type as Storage>::data_type(), false),)+
                $(Field::new(stringify!($may), <$may_type as Storage>::data_type(), true),)+
                $(Field::new(stringify!($late), <$late_type as Storage>::data_type(), true),)+
            ]
        }

        /// Columns that files of format 1.0 do not have: there they are null.
        pub(super) const ADDED: &[&str] = &[$(stringify!($late),)+];

        /// Those of them that only the records of one hook fill.
        const OF_ONE_HOOK: &[(&str, Hook)] = &[$($((stringify!($late), Hook::$hook),)?)+];
    };
}

columns! {
    required {
        ts_ns: U64,
        kind: Named<RowKind>,
    }
    nullable {
        cpu: U32,
        tgid: U32,
        tid: U32,
        ep: U64,
        epi: U64,
        file: U64,
        whead: U64,
        wait: U64,
        prev_wait: U64,
        epfd: I32,
        fd: I32,
        op: I32,
        events: U32,
        data: U64,
        ctl_flags: U32,
        key: U32,
        callback_flags: U32,
        parent_ts_ns: U64,
        woken_tgid: U32,
        woken_tid: U32,
        cause: U32,
        cause_ts_ns: U64,
        timeout_ns: I64,
        maxevents: I32,
        ret: I32,
        captured: U32,
        index: U32,
        delivered: I32,
        scan_flags: U32,
        child_tgid: U32,
        child_tid: U32,
        owner_tgid: U32,
        comm: Comm,
        f_op: U64,
        ino: U64,
        family: U16,
        sock_type: U8,
        sock_state: U8,
        local_addr: Text,
        local_port: U16,
        remote_addr: Text,
        remote_port: U16,
        hook: Named<Hook>,
        reason: Named<LossReason>,
        count: U64,
        mark: Named<MarkKind>,
        item_flags: U32,
        audit_moment: U32,
        audit_flags: U32,
        audit_list: U32,
    }
    added {
        ns_tgid: U32;
        ns_tid: U32;
        wake_after_ns: U32;
        netns: U32;
        left: U32, of Io;
        io_call: U32, of Io;
        io_flags: U32, of Io;
        softirq_ts_ns: U64, of Path;
        softirq: U32, of Path;
        interrupt_ts_ns: U64, of Path;
        sock_ts_ns: U64, of Path;
        wake_ts_ns: U64, of Path;
        cause_cpu: U32, of Path;
        stack: U64, of Stack;
        address: U64, of Stack;
        frames: U32, of Stack;
        symbol_of: U32, of Stack;
        offset: U64, of Stack;
        symbol: Part, of Stack;
    }
}

/// Whether a trace has a column: one that only the records of a hook fill is left out where that hook is known not to be attached. An
/// empty column costs the writer as much as one with values, in every batch.
pub(super) fn has(column: &str, info: &TraceInfo) -> bool {
    let attached = |hook: Hook| info.hooks.iter().any(|held| held.hook == hook.name() && !held.backend.is_empty());
    let filled_by = OF_ONE_HOOK.iter().find(|(name, _)| *name == column);
    info.hooks.is_empty()
        || filled_by.is_none_or(|(_, hook)| if *hook == Hook::Stack { info.stacks } else { attached(*hook) })
}

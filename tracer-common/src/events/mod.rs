//! The records, one module per probe topic.

mod audit;
mod callback;
mod ctl;
mod lifecycle;
mod path;
mod scan;
mod stack;
mod syscall;
mod wait;
mod wake;

pub use audit::{Audited, AuditedItem, FileEnds, Raced, audit_flags, audit_list, audit_moment};
pub use callback::{Callback, callback_flags};
pub use ctl::{Ctl, FileInfo, Hooked, ctl_flags};
pub use lifecycle::{EventpollGone, EventpollSeen, FileGone, Fork, ItemSeen, TaskExit, TaskName, TaskPid, item_flags};
pub use path::{Path, softirq};
pub use scan::{DELIVERED_UNKNOWN, Scan, scan_flags};
pub use stack::{Frame, MAX_FRAMES, SYMBOL_PART, Stack, Symbol, symbol_of};
pub use syscall::{Accept, Io, LEFT_UNKNOWN, io_call, io_flags};
pub use wait::{BY_IO_URING, Returned, WaitEnter, WaitExit};
pub use wake::{Wake, WakeCause};

use crate::{Header, Kind};

/// A record of the ring buffer: its kind, and the header it begins with.
pub trait Record: Copy {
    /// The kind that its header carries.
    const KIND: Kind;
}

macro_rules! records {
    ($($name:ident $bytes:literal),+ $(,)?) => {
        $(
            impl Record for $name {
                const KIND: Kind = Kind::$name;
            }
            const _: () = assert!(size_of::<$name>() == $bytes && align_of::<$name>() == 8);
            const _: () = assert!(core::mem::offset_of!($name, header) == 0 && size_of::<Header>() == 24);
        )+

        /// Bytes of a record of this kind.
        #[must_use]
        pub const fn record_bytes(kind: Kind) -> usize {
            match kind {
                $(Kind::$name => size_of::<$name>(),)+
            }
        }
    };
}

records! {
    Ctl 80,
    Hooked 72,
    Callback 104,
    Wake 64,
    WaitEnter 48,
    WaitExit 56,
    Returned 48,
    Scan 48,
    Accept 40,
    Fork 48,
    TaskName 40,
    TaskExit 40,
    FileGone 32,
    EventpollGone 32,
    FileInfo 96,
    EventpollSeen 48,
    ItemSeen 72,
    Raced 48,
    Audited 48,
    AuditedItem 48,
    FileEnds 32,
    TaskPid 32,
    Io 56,
    Path 80,
    Stack 32,
    Frame 48,
    Symbol 104,
}

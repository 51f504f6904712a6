//! The head of every record, and the numbers that say what follows it.

/// The first 24 bytes of every record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "user", derive(zerocopy::FromBytes))]
#[repr(C)]
pub struct Header {
    /// A [`Kind`] as a number.
    pub kind: u16,
    /// Bytes of the whole record, this header included.
    pub len: u16,
    /// The CPU that the probe ran on.
    pub cpu: u32,
    /// `bpf_ktime_get_ns()`, taken first in the probe: nanoseconds of `CLOCK_MONOTONIC`.
    pub ts_ns: u64,
    /// Thread group of the task that was current: in an interrupt, whoever was interrupted.
    pub tgid: u32,
    /// The task that was current, as the initial pid namespace numbers it.
    pub tid: u32,
}

const _: () = assert!(size_of::<Header>() == 24 && align_of::<Header>() == 8);

/// What a record is. The numbers are part of the [`ABI`](crate::ABI) and are never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u16)]
pub enum Kind {
    /// [`Ctl`](crate::events::Ctl)
    Ctl = 1,
    /// [`Hooked`](crate::events::Hooked)
    Hooked = 2,
    /// [`Callback`](crate::events::Callback)
    Callback = 3,
    /// [`Wake`](crate::events::Wake)
    Wake = 4,
    /// [`WaitEnter`](crate::events::WaitEnter)
    WaitEnter = 5,
    /// [`WaitExit`](crate::events::WaitExit)
    WaitExit = 6,
    /// [`Returned`](crate::events::Returned)
    Returned = 7,
    /// [`Scan`](crate::events::Scan)
    Scan = 8,
    /// [`Accept`](crate::events::Accept)
    Accept = 9,
    /// [`Fork`](crate::events::Fork)
    Fork = 10,
    /// [`TaskName`](crate::events::TaskName)
    TaskName = 11,
    /// [`TaskExit`](crate::events::TaskExit)
    TaskExit = 12,
    /// [`FileGone`](crate::events::FileGone)
    FileGone = 13,
    /// [`EventpollGone`](crate::events::EventpollGone)
    EventpollGone = 14,
    /// [`FileInfo`](crate::events::FileInfo)
    FileInfo = 15,
    /// [`EventpollSeen`](crate::events::EventpollSeen)
    EventpollSeen = 16,
    /// [`ItemSeen`](crate::events::ItemSeen)
    ItemSeen = 17,
    /// [`Raced`](crate::events::Raced)
    Raced = 18,
    /// [`Audited`](crate::events::Audited)
    Audited = 19,
    /// [`AuditedItem`](crate::events::AuditedItem)
    AuditedItem = 20,
    /// [`FileEnds`](crate::events::FileEnds)
    FileEnds = 21,
    /// [`TaskPid`](crate::events::TaskPid)
    TaskPid = 22,
    /// [`Io`](crate::events::Io)
    Io = 23,
    /// [`Path`](crate::events::Path)
    Path = 24,
    /// [`Stack`](crate::events::Stack)
    Stack = 25,
    /// [`Frame`](crate::events::Frame)
    Frame = 26,
    /// [`Symbol`](crate::events::Symbol)
    Symbol = 27,
}

impl Kind {
    /// Every kind, in the order of its number.
    pub const ALL: [Self; 27] = [
        Self::Ctl,
        Self::Hooked,
        Self::Callback,
        Self::Wake,
        Self::WaitEnter,
        Self::WaitExit,
        Self::Returned,
        Self::Scan,
        Self::Accept,
        Self::Fork,
        Self::TaskName,
        Self::TaskExit,
        Self::FileGone,
        Self::EventpollGone,
        Self::FileInfo,
        Self::EventpollSeen,
        Self::ItemSeen,
        Self::Raced,
        Self::Audited,
        Self::AuditedItem,
        Self::FileEnds,
        Self::TaskPid,
        Self::Io,
        Self::Path,
        Self::Stack,
        Self::Frame,
        Self::Symbol,
    ];

    /// The kind of this number, if there is one.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u16 == number)
    }
}

//! Identities: kernel addresses are reused, these numbers are not.

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub(crate) u64);

        impl $name {
            /// Its number.
            #[must_use]
            pub const fn number(self) -> u64 {
                self.0
            }
        }
    };
}

/// What pairs are made of.
pub(crate) trait Ranged: Copy + Ord {
    /// The least and the greatest, for ranges over pairs that end with one.
    const ALL: (Self, Self);
}

macro_rules! ranged {
    ($($name:ident),+) => {
        $(impl Ranged for $name {
            const ALL: (Self, Self) = (Self(0), Self(u64::MAX));
        })+
    };
}

id! {
    /// One life of an eventpoll: an address and a generation.
    EpId
}
id! {
    /// One life of an epitem.
    ItemId
}
id! {
    /// One life of a `struct file`. Number 0 stands for all files that were not kept.
    FileId
}
id! {
    /// One life of a task: tids are reused as well.
    TaskId
}
id! {
    /// One source wakeup.
    WakeupId
}
ranged!(EpId, FileId, ItemId, TaskId);

/// Hands out numbers from 1.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sequence(u64);

impl Sequence {
    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.saturating_add(1);
        self.0
    }
}

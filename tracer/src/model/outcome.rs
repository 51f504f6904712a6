//! What a callback did, from the state that it found (`ep_poll_callback`, fs/eventpoll.c, 5.10 to 7.3).

use serde::Serialize;
use tracer_common::EP_PRIVATE_BITS;
use tracer_common::events::{Callback, callback_flags};

use super::limits::bump;

/// `EPOLLEXCLUSIVE`
pub(crate) const EPOLLEXCLUSIVE: u32 = 1 << 28;
/// `EPOLLONESHOT`
pub(crate) const EPOLLONESHOT: u32 = 1 << 30;
/// `EPOLLET`
pub(crate) const EPOLLET: u32 = 1 << 31;
/// `EPOLLERR | EPOLLHUP`, which the kernel adds to every mask.
pub(crate) const ALWAYS_POLLED: u32 = 0x18;

/// What a callback did with its item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The item is disabled: `EPOLLONESHOT` delivered it and no MOD has armed it again.
    Disabled,
    /// The source announced nothing that the item waits for.
    Filtered,
    /// A scan was running: the item went to the overflow list.
    Overflow,
    /// A scan was running and the item was on the overflow list already.
    AlreadyOverflow,
    /// The item was put on the ready list.
    Linked,
    /// The item was on the ready list already.
    Already,
}

impl Outcome {
    /// Reads it off the state before the kernel took `ep->lock`.
    #[must_use]
    pub const fn of(callback: &Callback) -> Self {
        if callback.events & !EP_PRIVATE_BITS == 0 {
            Self::Disabled
        } else if callback.key != 0 && callback.key & callback.events == 0 {
            Self::Filtered
        } else if has_flag(callback, callback_flags::SCANNING) {
            if has_flag(callback, callback_flags::ON_OVFLIST) { Self::AlreadyOverflow } else { Self::Overflow }
        } else if has_flag(callback, callback_flags::LINKED) {
            Self::Already
        } else {
            Self::Linked
        }
    }

    /// The name that outputs use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Filtered => "filtered",
            Self::Overflow => "overflow",
            Self::AlreadyOverflow => "already on overflow list",
            Self::Linked => "linked",
            Self::Already => "already linked",
        }
    }
}

const fn has_flag(callback: &Callback, flag: u32) -> bool {
    callback.flags & flag != 0
}

/// How often each outcome occurred.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Outcomes {
    /// [`Outcome::Disabled`]
    pub disabled: u64,
    /// [`Outcome::Filtered`]
    pub filtered: u64,
    /// [`Outcome::Overflow`]
    pub ovflist: u64,
    /// [`Outcome::AlreadyOverflow`]
    pub already_ovflist: u64,
    /// [`Outcome::Linked`]
    pub linked: u64,
    /// [`Outcome::Already`]
    pub already_linked: u64,
}

impl Outcomes {
    /// Counts one.
    pub(crate) const fn count(&mut self, outcome: Outcome) {
        bump(match outcome {
            Outcome::Disabled => &mut self.disabled,
            Outcome::Filtered => &mut self.filtered,
            Outcome::Overflow => &mut self.ovflist,
            Outcome::AlreadyOverflow => &mut self.already_ovflist,
            Outcome::Linked => &mut self.linked,
            Outcome::Already => &mut self.already_linked,
        });
    }

    /// Adds another's numbers.
    pub fn merge(&mut self, other: &Self) {
        self.disabled = self.disabled.saturating_add(other.disabled);
        self.filtered = self.filtered.saturating_add(other.filtered);
        self.ovflist = self.ovflist.saturating_add(other.ovflist);
        self.already_ovflist = self.already_ovflist.saturating_add(other.already_ovflist);
        self.linked = self.linked.saturating_add(other.linked);
        self.already_linked = self.already_linked.saturating_add(other.already_linked);
    }

    /// All callbacks.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.disabled
            .saturating_add(self.filtered)
            .saturating_add(self.ovflist)
            .saturating_add(self.already_ovflist)
            .saturating_add(self.linked)
            .saturating_add(self.already_linked)
    }
}

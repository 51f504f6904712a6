//! Stays on the ready list: why an item came, why it went. Nobody tells; it is inferred from callbacks, scans and returns.
//!
//! A scan takes the whole ready list for itself and delivers from it, in the order of the list; what it delivered is known only
//! when its wait has returned. So a scan moves the stays into the scanning task's [`Batch`], and the end of the wait settles them:
//! returned with this data → delivered (and put back at once when level-triggered), else found not ready. What the scan did not
//! reach goes back to the head of the list: the probe tells the first of these, and the order of the list tells the others
//! (`ep_send_events`, `ep_done_scan`, fs/eventpoll.c, 5.10 to 7.3).

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::ids::{EpId, ItemId};
use super::limits::bump;

/// Why an item came to the ready list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Came {
    /// A callback put it there.
    Callback,
    /// A callback came while a scan ran; the scan's end put it there.
    Overflow,
    /// It was ready when it was added.
    ReadyAtAdd,
    /// It was ready when it was modified.
    ReadyAtMod,
    /// It is level-triggered and was just delivered.
    Requeue,
    /// A scan ended before it came to it.
    CarriedOver,
    /// It was there when tracing began.
    Before,
    /// Not seen.
    Unknown,
}

/// Why an item went from the ready list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Went {
    /// A wait returned it.
    Delivered,
    /// A wait returned it and `EPOLLONESHOT` disabled it.
    OneShot,
    /// A scan found it not ready.
    NotReady,
    /// A scan ended before it came to it.
    CarriedOver,
    /// It was removed by DEL.
    Deleted,
    /// Its file or its eventpoll was closed.
    Closed,
    /// Not seen.
    Unknown,
    /// It has not gone.
    Stays,
}

impl Went {
    /// The same of an item that was on the list for certain.
    pub(crate) const fn if_not(self, stale: bool) -> Self {
        if stale { Self::Unknown } else { self }
    }
}

/// What an item may have been ready at, unseen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Armed {
    Add,
    Mod,
}

impl Armed {
    /// Why an item must have come that is found ready without a callback.
    pub(crate) const fn came(armed: Option<Self>) -> Came {
        match armed {
            Some(Self::Add) => Came::ReadyAtAdd,
            Some(Self::Mod) => Came::ReadyAtMod,
            None => Came::Unknown,
        }
    }
}

/// A place on the overflow list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Overflow {
    /// The list is in the order of these.
    pub(crate) rank: u64,
    /// When the callback came that put the item there.
    pub(crate) called_ns: u64,
}

/// One stay of an item on the ready list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stay {
    /// Why it came.
    pub(crate) came: Came,
    /// Not certain yet: a requeue by a scan that has not shown what it delivered.
    pub(crate) tentative: bool,
    /// Scans that left it over.
    pub(crate) carried: u64,
    /// Its place: the list is in the order of these.
    pub(crate) rank: u64,
    /// When it began.
    pub(crate) since_ns: u64,
    /// When the callback came that made it begin; without one, when it began.
    pub(crate) called_ns: u64,
}

impl Stay {
    pub(crate) const fn new(came: Came, rank: u64, since_ns: u64) -> Self {
        Self { came, tentative: false, carried: 0, rank, since_ns, called_ns: since_ns }
    }

    /// A stay that begins with the end of a scan, during which the callback came.
    pub(crate) const fn overflowed(overflow: Overflow, since_ns: u64) -> Self {
        Self { called_ns: overflow.called_ns, ..Self::new(Came::Overflow, overflow.rank, since_ns) }
    }
}

/// An item as a scan took it: a MOD may change it before the wait returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Taken {
    /// The stay that the scan ended.
    pub(crate) stay: Stay,
    /// `epoll_event.data`
    pub(crate) data: u64,
    /// Its mask.
    pub(crate) events: u32,
    /// How often it had been modified.
    pub(crate) mods: u64,
    /// Something was lost since its place was shown.
    pub(crate) stale: bool,
}

/// Items that a task took off the ready list with its last scan, and how many of its wait's events are still to come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "what is known of one scan, each by itself")]
pub(crate) struct Batch {
    /// What the scan took and came to.
    pub(crate) taken: BTreeMap<ItemId, Taken>,
    /// The eventpoll that was scanned; `None` before the first scan of a wait.
    pub(crate) ep: Option<EpId>,
    /// When the scan was told.
    pub(crate) at_ns: u64,
    /// How many events the scan is known to have delivered: its wait returns as many, and is over. Not positive when that is not known.
    pub(crate) delivered: i32,
    /// It is known how far the scan came; else it may have ended anywhere behind the last item delivered.
    pub(crate) reach_known: bool,
    /// The order of the list was known.
    pub(crate) order_known: bool,
    /// The scan left items over.
    pub(crate) left_over: bool,
    /// The rank of the last item delivered.
    pub(crate) last_delivered: u64,
    /// What was on the overflow list when the scan ended.
    pub(crate) overflowed: Vec<ItemId>,
    /// Items that were delivered and put back.
    pub(crate) requeued: BTreeSet<ItemId>,
    /// Items that a walk of the kernel's list found put back (`--audit`), and when.
    pub(crate) found: Option<(u64, BTreeSet<ItemId>)>,
    /// Not all events of the wait will be told.
    pub(crate) truncated: bool,
    /// Events of the wait that will still be told.
    pub(crate) expected: u32,
}

impl Batch {
    /// Whether a wait that returned this is not the one that was scanned for: more of one before was to be told, or it returned another number.
    pub(crate) const fn is_of_another(&self, returned: i32) -> bool {
        self.truncated || self.expected > 0 || (self.delivered > 0 && self.delivered != returned)
    }

    /// What the scan delivered will not be told, or not all of it.
    pub(crate) const fn cut_off(&mut self) {
        self.truncated = true;
        // The end of the wait would have said whether there was room for all.
        self.left_over = true;
    }
}

/// Stays on ready lists by their reasons.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Memberships {
    /// Why they began.
    pub came: CameCounts,
    /// Why they ended.
    pub went: WentCounts,
    /// Returned events whose data several items of the eventpoll share: which of them it was is not known.
    pub ambiguous: u64,
    /// Returned events that fit no known item.
    pub unmatched: u64,
    /// Scans that ended early because the caller's array could not be written (`EFAULT`): what they did not reach was carried over.
    pub faults: u64,
}

/// Stays by [`Came`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct CameCounts {
    /// [`Came::Callback`]
    pub callback: u64,
    /// [`Came::Overflow`]
    pub overflow: u64,
    /// [`Came::ReadyAtAdd`]
    pub ready_at_add: u64,
    /// [`Came::ReadyAtMod`]
    pub ready_at_mod: u64,
    /// [`Came::Requeue`]
    pub requeue: u64,
    /// [`Came::CarriedOver`]
    pub carried_over: u64,
    /// [`Came::Before`]
    pub before: u64,
    /// [`Came::Unknown`]
    pub unknown: u64,
}

/// Stays by [`Went`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct WentCounts {
    /// [`Went::Delivered`]
    pub delivered: u64,
    /// [`Went::OneShot`]
    pub oneshot: u64,
    /// [`Went::NotReady`]
    pub not_ready: u64,
    /// [`Went::CarriedOver`]
    pub carried_over: u64,
    /// [`Went::Deleted`]
    pub deleted: u64,
    /// [`Went::Closed`]
    pub closed: u64,
    /// [`Went::Unknown`]
    pub unknown: u64,
    /// [`Went::Stays`]
    pub still_there: u64,
}

impl Memberships {
    /// Counts a stay that is over; each time it was carried over counts as one more.
    pub(crate) const fn end(&mut self, stay: Stay, went: Went) {
        self.count(stay.came, went);
        self.came.carried_over = self.came.carried_over.saturating_add(stay.carried);
        self.went.carried_over = self.went.carried_over.saturating_add(stay.carried);
    }

    const fn count(&mut self, came: Came, went: Went) {
        self.came.count(came);
        self.went.count(went);
    }
}

impl CameCounts {
    /// Counts one stay that began for this reason.
    pub(crate) const fn count(&mut self, came: Came) {
        bump(match came {
            Came::Callback => &mut self.callback,
            Came::Overflow => &mut self.overflow,
            Came::ReadyAtAdd => &mut self.ready_at_add,
            Came::ReadyAtMod => &mut self.ready_at_mod,
            Came::Requeue => &mut self.requeue,
            Came::CarriedOver => &mut self.carried_over,
            Came::Before => &mut self.before,
            Came::Unknown => &mut self.unknown,
        });
    }

    /// Adds the counts of another.
    pub(crate) fn add(&mut self, other: &Self) {
        let sums = [
            (&mut self.callback, other.callback),
            (&mut self.overflow, other.overflow),
            (&mut self.ready_at_add, other.ready_at_add),
            (&mut self.ready_at_mod, other.ready_at_mod),
            (&mut self.requeue, other.requeue),
            (&mut self.carried_over, other.carried_over),
            (&mut self.before, other.before),
            (&mut self.unknown, other.unknown),
        ];
        for (mine, theirs) in sums {
            *mine = mine.saturating_add(theirs);
        }
    }
}

impl WentCounts {
    /// Counts one stay that ended for this reason.
    pub(crate) const fn count(&mut self, went: Went) {
        bump(match went {
            Went::Delivered => &mut self.delivered,
            Went::OneShot => &mut self.oneshot,
            Went::NotReady => &mut self.not_ready,
            Went::CarriedOver => &mut self.carried_over,
            Went::Deleted => &mut self.deleted,
            Went::Closed => &mut self.closed,
            Went::Unknown => &mut self.unknown,
            Went::Stays => &mut self.still_there,
        });
    }

    /// Adds the counts of another.
    pub(crate) fn add(&mut self, other: &Self) {
        let sums = [
            (&mut self.delivered, other.delivered),
            (&mut self.oneshot, other.oneshot),
            (&mut self.not_ready, other.not_ready),
            (&mut self.carried_over, other.carried_over),
            (&mut self.deleted, other.deleted),
            (&mut self.closed, other.closed),
            (&mut self.unknown, other.unknown),
            (&mut self.still_there, other.still_there),
        ];
        for (mine, theirs) in sums {
            *mine = mine.saturating_add(theirs);
        }
    }
}

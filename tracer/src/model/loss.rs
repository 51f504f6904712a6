//! What is missing from the trace, and what the model does not know because of it.
//!
//! A loss is told some time after it happened, and not of which eventpoll. So whatever was shown of any item's place before that moment
//! may have changed unseen; it is known again when a callback, a call, a scan or a walk shows it anew.

use std::collections::BTreeMap;

use tracer_common::Hook;
use tracer_common::events::Audited;

use super::Model;
use super::ids::{EpId, ItemId};
use super::item::Item;
use crate::event::{Loss, LossReason};

/// Where and why: the hook and the CPU are `None` when they cannot be said.
pub type LossKey = (Option<Hook>, Option<u32>, LossReason);

/// Losses by hook, CPU and reason.
#[derive(Debug, Clone, Default)]
pub struct Losses {
    by: BTreeMap<LossKey, u64>,
    /// When the last was told that may hide what came to lists or went from them; 0 when none was.
    pub(super) lists_ns: u64,
}

/// Whether it may hide that an item came to a list or went from one. (A loss of the audit may be that of a [`Raced`](crate::event::Raced).)
const fn touches_lists(loss: &Loss) -> bool {
    let hooks = matches!(
        loss.hook,
        None | Some(
            Hook::Ctl | Hook::Hooked | Hook::Callback | Hook::WaitExit | Hook::Scan | Hook::Release | Hook::Audit
        )
    );
    hooks && loss.count > 0
}

impl Losses {
    /// Adds one row of the trace, told at this moment. Beyond `cap` the CPU is no longer told apart.
    pub(crate) fn add(&mut self, loss: &Loss, now_ns: u64, cap: usize) {
        if touches_lists(loss) && loss.reason.loses_events(loss.hook) {
            self.lists_ns = now_ns;
        }
        let mut key = (loss.hook, loss.cpu, loss.reason);
        if self.by.len() >= cap && !self.by.contains_key(&key) {
            key.1 = None;
        }
        let count = self.by.entry(key).or_default();
        *count = count.saturating_add(loss.count);
    }

    /// Every place and reason with its number.
    pub fn iter(&self) -> impl Iterator<Item = (LossKey, u64)> + '_ {
        self.by.iter().map(|(&key, &count)| (key, count)).filter(|&(_, count)| count > 0)
    }

    /// Events that are missing; details of events are not counted.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.iter()
            .filter(|((hook, _, reason), _)| reason.loses_events(*hook))
            .fold(0, |sum, (_, n)| sum.saturating_add(n))
    }

    /// Everything that is missing, details included.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.iter().fold(0, |sum, (_, n)| sum.saturating_add(n))
    }
}

impl Model {
    /// A walk of the kernel's lists is compared with what the model knows: not with what it knew before a loss.
    pub(super) fn on_walk(&mut self, walk: &Audited) {
        let ep = self.eventpolls.live_at(walk.ep).filter(|_| self.losses.lists_ns > 0).map(|ep| ep.id);
        let doubted = ep.is_some_and(|ep| self.doubt_stale(ep, walk.header.tid));
        self.on_audited(walk);
        if let Some(ep) = ep.filter(|_| doubted) {
            self.trust_compared(ep);
        }
    }

    /// An item that a walk has found: the model may have missed how it came there.
    pub(super) fn doubt_found(&mut self, epi: u64) {
        if self.losses.lists_ns > 0
            && let Some(id) = self.items.at(epi)
        {
            self.doubt_item(id);
        }
    }

    /// Puts in doubt what is on the lists of an eventpoll, or taken by the scan of this task, from before a loss.
    fn doubt_stale(&mut self, ep: EpId, tid: u32) -> bool {
        let mut ids = self.items.waiting(ep, usize::MAX);
        let batch = self.tasks.live_at(tid).map(|task| &task.batch).filter(|batch| batch.ep == Some(ep));
        ids.extend(batch.into_iter().flat_map(|batch| batch.taken.keys()));
        ids.into_iter().fold(false, |any, id| self.doubt_item(id) | any)
    }

    fn doubt_item(&mut self, id: ItemId) -> bool {
        let lost_ns = self.losses.lists_ns;
        let stale = |item: &mut Item| {
            let stale = item.is_stale(lost_ns);
            item.doubt |= stale;
            stale
        };
        self.items.change(id, stale).unwrap_or(false)
    }

    /// What was in doubt and is no longer, a walk has shown.
    fn trust_compared(&mut self, ep: EpId) {
        let now = self.span.last;
        for id in self.items.waiting(ep, usize::MAX) {
            self.items.change(id, |item| {
                if !item.doubt {
                    item.shown_ns = now;
                }
            });
        }
    }
}

//! The model against the kernel: walks of the real lists (`--audit`) compared with the stays that the model keeps.
//!
//! A walk counts only when nothing changed the lists meanwhile; then the model must say the same. What a scan put back is decided
//! when its wait returns, so that part of a comparison waits for it ([`Model::settle`]). After a difference the kernel's word
//! stands, so that each mistake is told once.

use std::collections::BTreeSet;

use ahash::AHashMap;
use tracer_common::Header;
use tracer_common::events::{Audited, AuditedItem, audit_flags, audit_list, audit_moment};

use super::Model;
use super::ids::{EpId, ItemId, TaskId};
use super::limits::bump;
use super::ready::{Batch, Came, Stay, Went};

/// Differences that are kept in full.
const KEPT: usize = 32;
/// Walks that may be told at the same time, and items told of one.
const OPEN_WALKS: usize = 1_024;
const WALK_ITEMS: usize = 1_024;
/// Unknown items that are remembered, so that each is told once.
const STRANGERS: usize = 1_024;

/// What came of the comparisons.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audit {
    /// Walks that the model was compared with.
    pub comparisons: u64,
    /// Comparisons that did not agree.
    pub differences: u64,
    /// Those of them where several tasks act on the eventpoll: the order in which they did may not be the order in which it is told. The
    /// others are mistakes of the model, of the probes, or of lost events.
    pub contended: u64,
    /// Walks during which another CPU changed the lists: they say nothing.
    pub raced: u64,
    /// Walks that saw only the beginning of a long list: what is missing there says nothing.
    pub truncated: u64,
    /// Walks of which records are missing.
    pub incomplete: u64,
    /// Items that were left out of a comparison: the model knows that it does not know.
    pub doubtful: u64,
    /// The first differences.
    pub first: Vec<Difference>,
}

/// One comparison that did not agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// When the list was walked, nanoseconds of `CLOCK_MONOTONIC`.
    pub ts_ns: u64,
    /// The eventpoll.
    pub ep: EpId,
    /// What was compared.
    pub what: &'static str,
    /// Whether several tasks act on the eventpoll.
    pub contended: bool,
    /// Items that the kernel has and the model has not: address, and descriptor if the item is known.
    pub missing: Vec<(u64, Option<i32>)>,
    /// Items that the model has and the kernel has not.
    pub surplus: Vec<(u64, Option<i32>)>,
}

/// Items told of walks that are not over.
#[derive(Debug, Clone, Default)]
pub(super) struct OpenWalks(AHashMap<(u32, u32, u64), Vec<(u32, u64)>>);

/// Items on a list that the model does not know, and that have been told as a difference.
#[derive(Debug, Clone, Default)]
pub(super) struct Strangers(BTreeSet<(EpId, u64)>);

impl Strangers {
    /// Whether this one has not been told yet.
    fn is_new(&mut self, ep: EpId, epi: u64) -> bool {
        if self.0.len() >= STRANGERS {
            self.0.clear();
        }
        self.0.insert((ep, epi))
    }
}

const fn key(header: &Header) -> (u32, u32, u64) {
    (header.cpu, header.tid, header.ts_ns)
}

impl Model {
    pub(super) fn on_audited_item(&mut self, item: &AuditedItem) {
        let walks = &mut self.open_walks.0;
        if walks.len() >= OPEN_WALKS && !walks.contains_key(&key(&item.header)) {
            walks.clear();
        }
        let items = walks.entry(key(&item.header)).or_default();
        if items.len() < WALK_ITEMS {
            items.push((item.list, item.epi));
        }
    }

    pub(super) fn on_audited(&mut self, walk: &Audited) {
        let items = self.open_walks.0.remove(&key(&walk.header)).unwrap_or_default();
        if walk.flags & audit_flags::VALID == 0 {
            bump(&mut self.audit.raced);
            return;
        }
        if u32::try_from(items.len()) != Ok(walk.count) {
            bump(&mut self.audit.incomplete);
            return;
        }
        let truncated = walk.flags & audit_flags::TRUNCATED != 0;
        if truncated {
            bump(&mut self.audit.truncated);
        }
        let Some(ep) = self.eventpolls.live_at(walk.ep).map(|ep| ep.id) else {
            return;
        };
        let on = |list: u32| items.iter().filter(move |(of, _)| *of == list).map(|(_, epi)| *epi);
        let ready: Vec<u64> = on(audit_list::READY).collect();
        if walk.moment == audit_moment::SCAN_END {
            let left: Vec<u64> = on(audit_list::LEFT_OVER).collect();
            let overflow: Vec<u64> = on(audit_list::OVERFLOW).collect();
            self.compare_overflow(walk, ep, &overflow, truncated);
            self.compare_scan(walk, ep, &ready, &left, truncated);
        } else {
            self.compare_list(walk, ep, &ready, truncated);
        }
    }

    /// The whole ready list at a moment when nothing was under way.
    fn compare_list(&mut self, walk: &Audited, ep: EpId, ready: &[u64], truncated: bool) {
        self.merge_overflow(ep);
        let ordered = self.eventpolls.get(ep).is_some_and(|ep| !ep.disorder);
        if let Some(ep) = self.eventpolls.get_mut(ep).filter(|_| !truncated) {
            ep.disorder = false;
        }
        if ordered {
            self.compare_order(walk, ep, ready);
        }
        let mut difference = Difference::of(walk.header.ts_ns, ep, "the ready list");
        let ts_ns = walk.header.ts_ns;
        let now = self.span.last;
        let mut seen = BTreeSet::new();
        for epi in ready {
            let Some(id) = self.item_in(ep, *epi) else {
                self.stranger(ep, *epi, &mut difference);
                continue;
            };
            seen.insert(id);
            let rank = self.next_rank();
            let (mut doubted, mut missing) = (false, None);
            self.items.change(id, |item| {
                let undecided = item.stay.is_none() && item.pending.is_some();
                doubted = item.ending | item.adding.is_some() | undecided | std::mem::take(&mut item.doubt);
                if let Some(stay) = &mut item.stay {
                    stay.rank = rank;
                    if stay.tentative {
                        item.observed = Some((ts_ns, true));
                    }
                } else {
                    missing = Some(item.fd).filter(|_| !doubted);
                    item.stay = Some(Stay::new(Came::Unknown, rank, now));
                }
            });
            difference.missing.extend(missing.map(|fd| (*epi, Some(fd))));
            self.audit.doubtful = self.audit.doubtful.saturating_add(u64::from(doubted));
        }
        if !truncated {
            self.compare_absent(ep, ts_ns, &seen, &mut difference);
        }
        bump(&mut self.audit.comparisons);
        self.differs(difference, walk.header.tid);
    }

    /// The places of the items on the ready list, where the model takes it that it knows them.
    fn compare_order(&mut self, walk: &Audited, ep: EpId, ready: &[u64]) {
        let mut difference = Difference::of(walk.header.ts_ns, ep, "the order of the ready list");
        let mut last = 0;
        for item in ready.iter().filter_map(|epi| self.item_in(ep, *epi)).filter_map(|id| self.items.get(id)) {
            let Some(stay) = item.stay.filter(|stay| !stay.tentative) else { continue };
            if item.doubt || item.ending || item.adding.is_some() {
                continue;
            }
            if stay.rank < last {
                difference.missing.push((item.epi, Some(item.fd)));
            }
            last = last.max(stay.rank);
        }
        self.differs(difference, walk.header.tid);
    }

    /// What the model has on a list and a whole walk did not find.
    fn compare_absent(&mut self, ep: EpId, ts_ns: u64, seen: &BTreeSet<ItemId>, difference: &mut Difference) {
        for id in self.items.waiting(ep, usize::MAX) {
            if seen.contains(&id) {
                continue;
            }
            let mut doubted = false;
            let ended = self.items.change(id, |item| {
                doubted = item.ending | item.adding.is_some() | std::mem::take(&mut item.doubt);
                let stay = item.stay?;
                if stay.tentative && !doubted {
                    item.observed = Some((ts_ns, false));
                    return None;
                }
                item.stay = None;
                Some((stay, item.epi, item.fd))
            });
            self.audit.doubtful = self.audit.doubtful.saturating_add(u64::from(doubted));
            if let Some((stay, epi, fd)) = ended.flatten() {
                if !doubted {
                    difference.surplus.push((epi, Some(fd)));
                }
                if !stay.tentative {
                    self.end_stay((ep, id), stay, Went::Unknown);
                }
            }
        }
    }

    /// What was called back during the scan that now ends.
    fn compare_overflow(&mut self, walk: &Audited, ep: EpId, overflow: &[u64], truncated: bool) {
        let task = self.tasks.live_at(walk.header.tid).filter(|task| task.batch.ep == Some(ep));
        let Some(expected) = task.map(|task| task.batch.overflowed.iter().copied().collect()) else { return };
        let mut difference = Difference::of(walk.header.ts_ns, ep, "the overflow list");
        let found = self.known_of(ep, overflow, &mut difference);
        self.set_apart(&found, &expected, !truncated, &mut difference);
        self.differs(difference, walk.header.tid);
    }

    /// The lists at a scan's end: what it left over is known now, what it put back when its wait returns.
    fn compare_scan(&mut self, walk: &Audited, ep: EpId, ready: &[u64], left: &[u64], truncated: bool) {
        let mut difference = Difference::of(walk.header.ts_ns, ep, "what a scan left over");
        let found = self.known_of(ep, ready, &mut difference);
        let task = self.tasks.live_at(walk.header.tid).map(|task| task.id);
        let batch = task.and_then(|id| self.tasks.get(id)).map(|task| &task.batch).filter(|batch| batch.ep == Some(ep));
        if batch.is_some_and(|batch| !batch.reach_known) {
            // The model knows that it does not know how far the scan came.
            self.audit.doubtful = self.audit.doubtful.saturating_add(left.len() as u64);
            self.differs(difference, walk.header.tid);
            return;
        }
        let mut seen = BTreeSet::new();
        for epi in left {
            let Some(id) = self.item_in(ep, *epi) else {
                self.stranger(ep, *epi, &mut difference);
                continue;
            };
            let Some(item) = self.items.get(id) else { continue };
            seen.insert(id);
            let known = item.stay.is_some_and(|stay| stay.carried > 0 && !stay.tentative);
            if item.doubt || item.ending {
                bump(&mut self.audit.doubtful);
            } else if !known {
                difference.missing.push((*epi, Some(item.fd)));
            }
        }
        if !truncated {
            for item in self.items.waiting(ep, usize::MAX).into_iter().filter_map(|id| self.items.get(id)) {
                let carried = item.stay.is_some_and(|stay| stay.carried > 0 && !stay.tentative);
                if carried && !item.doubt && !item.ending && !seen.contains(&item.id) {
                    difference.surplus.push((item.epi, Some(item.fd)));
                }
            }
            if let Some(task) = task.and_then(|id| self.tasks.get_mut(id)).filter(|task| task.batch.ep == Some(ep)) {
                task.batch.found = Some((walk.header.ts_ns, found));
            }
        }
        bump(&mut self.audit.comparisons);
        self.differs(difference, walk.header.tid);
    }

    /// What a scan delivered and put back, against what a walk found put back at its end.
    pub(super) fn compare_requeued(&mut self, task: TaskId, batch: &Batch) {
        let (Some(ep), Some((ts_ns, found))) = (batch.ep, &batch.found) else { return };
        if batch.truncated {
            return;
        }
        let mut difference = Difference::of(*ts_ns, ep, "what a scan put back");
        self.set_apart(found, &batch.requeued, true, &mut difference);
        bump(&mut self.audit.comparisons);
        self.differs(difference, self.tid(task));
    }

    /// What a walk found on a list beside what the model has there: items of one side only go into the difference, those of the model only
    /// if the walk saw the whole list, and are in doubt from then on.
    fn set_apart(
        &mut self,
        found: &BTreeSet<ItemId>,
        expected: &BTreeSet<ItemId>,
        whole: bool,
        difference: &mut Difference,
    ) {
        let place = |id: &ItemId| {
            self.items.get(*id).filter(|item| !item.doubt && !item.ending).map(|item| (item.epi, Some(item.fd)))
        };
        difference.missing.extend(found.difference(expected).filter_map(place));
        if whole {
            difference.surplus.extend(expected.difference(found).filter_map(place));
        }
        for id in found.symmetric_difference(expected) {
            self.items.change(*id, |item| item.doubt = true);
        }
    }

    /// What walks said of items whose stay was not decided yet, now that it is.
    pub(super) fn compare_observed(&mut self, task: TaskId, batch: &Batch) {
        let Some(ep) = batch.ep else { return };
        let ids: Vec<ItemId> = batch.taken.keys().chain(&batch.requeued).copied().collect();
        for id in ids {
            let mut told = None;
            self.items.change(id, |item| {
                if item.pending == Some(task) {
                    item.pending = None;
                    told = item
                        .observed
                        .take()
                        .filter(|_| !item.doubt && !item.ending)
                        .map(|(ts_ns, on)| (ts_ns, on, item.stay.is_some(), item.epi, item.fd));
                }
            });
            let differs = told.filter(|(_, on, is, ..)| on != is && !batch.truncated);
            let Some((ts_ns, on, _, epi, fd)) = differs else { continue };
            let mut difference = Difference::of(ts_ns, ep, "the ready list, decided later");
            let only = if on { &mut difference.missing } else { &mut difference.surplus };
            only.push((epi, Some(fd)));
            self.items.change(id, |item| item.doubt = true);
            self.differs(difference, self.tid(task));
        }
    }

    fn tid(&self, task: TaskId) -> u32 {
        self.tasks.get(task).map_or(0, |task| task.tid)
    }

    /// Counts a comparison that did not agree, of a walk by this task.
    fn differs(&mut self, difference: Difference, tid: u32) {
        if difference.missing.is_empty() && difference.surplus.is_empty() {
            return;
        }
        let (ep, ts_ns) = (difference.ep, difference.ts_ns);
        let kept = self.audit.add(difference);
        self.watch_difference(ep, (tid, ts_ns), kept);
    }

    /// An item on a list that the model does not know: nothing is made of it, since only a callback says what it watches.
    fn stranger(&mut self, ep: EpId, epi: u64, difference: &mut Difference) {
        if self.strangers.is_new(ep, epi) {
            difference.missing.push((epi, None));
        }
    }

    /// The items at these addresses; those that the model does not know go into the difference.
    fn known_of(&mut self, ep: EpId, epis: &[u64], difference: &mut Difference) -> BTreeSet<ItemId> {
        let mut known = BTreeSet::new();
        for epi in epis {
            match self.item_in(ep, *epi) {
                Some(id) => {
                    known.insert(id);
                }
                None => self.stranger(ep, *epi, difference),
            }
        }
        known
    }

    fn item_in(&self, ep: EpId, epi: u64) -> Option<ItemId> {
        self.items.at(epi).filter(|id| self.items.get(*id).is_some_and(|item| item.ep == ep))
    }
}

impl Difference {
    const fn of(ts_ns: u64, ep: EpId, what: &'static str) -> Self {
        Self { ts_ns, ep, what, contended: false, missing: Vec::new(), surplus: Vec::new() }
    }
}

impl Audit {
    /// Whether the trace has walks.
    pub(super) const fn has_walks(&self) -> bool {
        self.comparisons > 0 || self.raced > 0 || self.incomplete > 0
    }

    /// Counts a difference; its place if it is kept.
    fn add(&mut self, difference: Difference) -> Option<usize> {
        bump(&mut self.differences);
        let place = self.first.len();
        (place < KEPT).then(|| {
            self.first.push(difference);
            place
        })
    }

    /// A difference turns out to be one where several tasks act.
    pub(super) fn is_contended(&mut self, kept: Option<usize>) {
        bump(&mut self.contended);
        if let Some(difference) = kept.and_then(|place| self.first.get_mut(place)) {
            difference.contended = true;
        }
    }
}

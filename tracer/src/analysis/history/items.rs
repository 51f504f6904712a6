//! Which items were busiest: by callbacks, requeues, and tasks woken for nothing.

use std::collections::{BTreeMap, VecDeque};

use ahash::AHashMap;
use tracer_common::events::{Callback, Wake};

use crate::analysis::source::name;
use crate::event::TraceInfo;
use crate::model::{Came, EndedStay, EpId, FileId, ItemId, Model, SettledWake, TaskId, Went};

/// Items that are counted one by one. Beyond twice as many, those with the fewest callbacks are forgotten.
const MAX_COUNTED: usize = 16_384;

/// The busiest items of an eventpoll, in each way of being busy, that are kept.
const TOP: usize = 8;

/// Callbacks of a CPU that a wake may still name as its cause; CPUs that are followed.
const RECENT: usize = 16;
const MAX_CPUS: usize = 4_096;

/// How busy one item was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ItemHistory {
    /// The descriptor it was registered with.
    pub fd: i32,
    /// What it watches; not a string to trust.
    pub source: String,
    /// Its last mask.
    pub events: u32,
    /// Callbacks.
    pub callbacks: u64,
    /// Waits that returned it.
    pub delivered: u64,
    /// Deliveries after which it went back to the ready list.
    pub requeues: u64,
    /// Times that a scan found it not ready.
    pub not_ready: u64,
    /// Tasks that its callbacks woke.
    pub woken: u64,
    /// Of these, tasks that got nothing; `None` where nothing shows use.
    pub wasted: Option<u64>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    ep: Option<EpId>,
    file: Option<FileId>,
    fd: i32,
    events: u32,
    callbacks: u64,
    delivered: u64,
    requeues: u64,
    not_ready: u64,
    woken: u64,
    useful: u64,
}

/// The items while the trace goes on.
#[derive(Debug, Default)]
pub(crate) struct ItemsWatch {
    items: AHashMap<ItemId, Counted>,
    forgotten: AHashMap<EpId, usize>,
    recent: AHashMap<u32, VecDeque<(u64, ItemId)>>,
    /// Wakes that are not settled: the task, and the callback's CPU and time.
    open: AHashMap<(TaskId, u32, u64), ItemId>,
}

impl ItemsWatch {
    pub(crate) fn callback(&mut self, callback: &Callback, model: &Model) {
        let Some(item) = model.item_at(callback.epi) else { return };
        let counted = self.counted(item.id);
        counted.ep = Some(item.ep);
        counted.file = Some(item.file);
        counted.fd = item.fd;
        counted.events = callback.events;
        counted.callbacks += 1;
        let cpu = callback.header.cpu;
        if self.recent.len() >= MAX_CPUS && !self.recent.contains_key(&cpu) {
            return;
        }
        let recent = self.recent.entry(cpu).or_default();
        if recent.len() >= RECENT {
            recent.pop_front();
        }
        recent.push_back((callback.header.ts_ns, item.id));
    }

    /// A callback woke this task.
    pub(crate) fn wake(&mut self, wake: &Wake, task: TaskId) {
        let recent = self.recent.get(&wake.header.cpu);
        let item = recent.and_then(|recent| recent.iter().rev().find(|(ts, _)| *ts == wake.cause_ts));
        let Some(&(_, item)) = item else { return };
        self.counted(item).woken += 1;
        if self.open.len() < MAX_COUNTED {
            self.open.insert((task, wake.header.cpu, wake.cause_ts), item);
        }
    }

    /// It is known what came of a wake.
    pub(crate) fn settled(&mut self, wake: &SettledWake) {
        let Some((cpu, ts)) = wake.callback else { return };
        let item = self.open.remove(&(wake.task, cpu, ts));
        if let Some(item) = item.filter(|_| wake.useful) {
            self.counted(item).useful += 1;
        }
    }

    /// A stay on the ready list is over.
    pub(crate) fn stay(&mut self, stay: &EndedStay) {
        let counted = self.counted(stay.item);
        counted.ep = Some(stay.ep);
        match stay.went {
            Went::Delivered | Went::OneShot => counted.delivered += 1,
            Went::NotReady => counted.not_ready += 1,
            _ => {}
        }
        if stay.came == Came::Requeue {
            counted.requeues += 1;
        }
    }

    fn counted(&mut self, item: ItemId) -> &mut Counted {
        if self.items.len() >= 2 * MAX_COUNTED && !self.items.contains_key(&item) {
            self.forget();
        }
        self.items.entry(item).or_default()
    }

    /// Forgets the half of the items that was least busy.
    fn forget(&mut self) {
        let mut all: Vec<(u64, ItemId)> =
            self.items.iter().map(|(id, item)| (item.callbacks.saturating_add(item.requeues), *id)).collect();
        all.sort_unstable();
        for (_, id) in all.iter().take(all.len() / 2) {
            if let Some(ep) = self.items.remove(id).and_then(|item| item.ep) {
                *self.forgotten.entry(ep).or_default() += 1;
            }
        }
    }

    /// The busiest items of each eventpoll, and how many are not among them.
    pub(crate) fn finish(self, model: &Model, info: &TraceInfo) -> BTreeMap<EpId, (Vec<ItemHistory>, usize)> {
        let mut by_ep: BTreeMap<EpId, Vec<(ItemId, Counted)>> = BTreeMap::new();
        for (id, mut item) in self.items {
            if let Some(live) = model.items().get(id) {
                item.file = Some(live.file);
                item.fd = live.fd;
                item.events = live.events;
            }
            // One of which nothing is known but a stay cannot be named.
            if let (Some(ep), Some(_)) = (item.ep, item.file) {
                by_ep.entry(ep).or_default().push((id, item));
            }
        }
        let forgotten = |ep: EpId| self.forgotten.get(&ep).copied().unwrap_or(0);
        by_ep
            .into_iter()
            .map(|(ep, items)| {
                let busiest = busiest(&items);
                let more = items.len().saturating_sub(busiest.len()).saturating_add(forgotten(ep));
                (ep, (busiest.into_iter().map(|item| history(&item, model, info)).collect(), more))
            })
            .collect()
    }
}

/// The top of each ranking, in the order of callbacks.
fn busiest(items: &[(ItemId, Counted)]) -> Vec<Counted> {
    let mut chosen = BTreeMap::new();
    let rankings: [fn(&Counted) -> u64; 3] =
        [|item| item.callbacks, |item| item.requeues, |item| item.woken.saturating_sub(item.useful)];
    for rank in rankings {
        let mut all: Vec<&(ItemId, Counted)> = items.iter().collect();
        all.sort_by_key(|(id, item)| (std::cmp::Reverse(rank(item)), *id));
        chosen.extend(all.into_iter().take(TOP).copied());
    }
    let mut chosen: Vec<(ItemId, Counted)> = chosen.into_iter().collect();
    chosen.sort_by_key(|(id, item)| (std::cmp::Reverse((item.callbacks, item.requeues)), *id));
    chosen.into_iter().map(|(_, item)| item).collect()
}

fn history(item: &Counted, model: &Model, info: &TraceInfo) -> ItemHistory {
    let file = item.file.and_then(|file| model.files().get(file));
    ItemHistory {
        fd: item.fd,
        source: file.map_or_else(|| "a file that is gone".to_owned(), |file| name(file, info)),
        events: item.events,
        callbacks: item.callbacks,
        delivered: item.delivered,
        requeues: item.requeues,
        not_ready: item.not_ready,
        woken: item.woken,
        wasted: file.filter(|file| file.listening).map(|_| item.woken.saturating_sub(item.useful)),
    }
}

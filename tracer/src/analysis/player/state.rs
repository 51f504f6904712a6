//! An eventpoll as it stands at one step, and what changes from one step to the next.

use std::collections::{BTreeMap, BTreeSet};

use ahash::AHashMap;
use serde::Serialize;

use super::super::source::name;
use super::named;
use super::trees::{Shape, TreeNode, Trees};
use crate::event::{Event, TraceInfo};
use crate::model::{EpId, Item, ItemId, Model};

/// Items that are drawn at once, and tasks.
const MAX_ITEMS: usize = 40;
const MAX_TASKS: usize = 24;
/// Lists that are longer are not put in order for each step: only their length is told.
const MAX_LISTED: usize = 2_048;
/// Items whose chain to their wait queue is remembered.
const MAX_CHAINS: usize = 65_536;

/// How an item hangs on the wait queue of its source: `epitem` → `eppoll_entry` → `wait_queue_head`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Chain {
    /// The wait queue.
    pub whead: u64,
    /// The entry of the wait queue that lies in the item's `eppoll_entry`; `None` until it was called back.
    pub entry: Option<u64>,
}

/// The chains that are known.
#[derive(Debug, Default)]
pub(super) struct Chains(AHashMap<ItemId, Chain>);

impl Chains {
    /// Learns from an event; `model` has just taken it in.
    pub(super) fn learn(&mut self, event: &Event, model: &Model) {
        let (epi, chain) = match event {
            Event::Hooked(e) => (e.epi, Chain { whead: e.whead, entry: None }),
            Event::Callback(e) => (e.epi, Chain { whead: e.whead, entry: Some(e.wait) }),
            _ => return,
        };
        let Some(item) = model.item_at(epi) else { return };
        if self.0.len() >= MAX_CHAINS && !self.0.contains_key(&item.id) {
            self.0.retain(|id, _| model.items().get(*id).is_some());
            if self.0.len() >= MAX_CHAINS {
                return;
            }
        }
        self.0.insert(item.id, chain);
    }
}

/// One item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ItemState {
    /// The descriptor it was registered with.
    pub fd: i32,
    /// What it watches; not a string to trust.
    pub source: String,
    /// Its mask.
    pub events: u32,
    /// Its address.
    pub epi: String,
    /// The address of the entry that its `eppoll_entry` has on the source's wait queue; `None` until it was called back.
    pub entry: Option<String>,
    /// The address of that wait queue; `None` when it was not seen.
    pub whead: Option<String>,
}

/// One task inside a wait on the eventpoll.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TaskState {
    /// `comm/pid/tid`; not a string to trust.
    pub name: String,
    /// When its wait began, nanoseconds since the origin.
    pub since_ns: u64,
    /// It was taken off the wait queue and has not scanned the ready list since.
    pub woken: bool,
}

/// An eventpoll at one step. Long lists are cut; their lengths are exact.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct State {
    /// Items: the first that were registered, and those on the lists.
    pub items: BTreeMap<u64, ItemState>,
    /// How many it has.
    pub items_total: u64,
    /// Whether `tree` is the red-black tree of all of them.
    pub shape: Shape,
    /// Its nodes in the order of their keys; empty unless it is whole.
    pub tree: Vec<TreeNode>,
    /// The ready list, from its head; empty when it is too long to be put in order.
    pub ready: Vec<u64>,
    /// How many are on it.
    pub ready_total: u64,
    /// Whether its order is certain.
    pub ordered: bool,
    /// The overflow list, the first to come first.
    pub overflow: Vec<u64>,
    /// How many are on it.
    pub overflow_total: u64,
    /// Tasks in a wait, the latest to begin first.
    pub tasks: Vec<TaskState>,
    /// How many there are.
    pub tasks_total: u64,
    /// Whether it is open.
    pub alive: bool,
}

impl State {
    /// How an eventpoll stands now.
    pub(super) fn of(ep: EpId, model: &Model, info: &TraceInfo, (chains, trees): (&Chains, &Trees)) -> Self {
        let (shape, tree) = trees.told(ep);
        let lists = model.lists(ep, MAX_LISTED);
        let lengths = model.list_lengths(ep);
        let ordered = lists.as_ref().is_some_and(|lists| lists.ordered);
        let lists = lists.unwrap_or_default();
        let cut = |ids: &[ItemId]| ids.iter().take(MAX_ITEMS).map(|id| id.number()).collect::<Vec<u64>>();
        let mut shown: BTreeSet<ItemId> = lists.ready.iter().take(MAX_ITEMS).copied().collect();
        shown.extend(lists.overflow.iter().take(MAX_ITEMS));
        for item in model.first_items(ep, MAX_ITEMS) {
            if shown.len() >= MAX_ITEMS {
                break;
            }
            shown.insert(item.id);
        }
        let items = shown.into_iter().filter_map(|id| model.items().get(id));
        let tasks = model.waiting_tasks(ep);
        Self {
            items: items.map(|item| (item.id.number(), item_state(item, model, info, chains))).collect(),
            items_total: model.eventpolls().get(ep).map_or(0, |ep| ep.items),
            shape,
            tree,
            ready: cut(&lists.ready),
            ready_total: lengths.0,
            ordered,
            overflow: cut(&lists.overflow),
            overflow_total: lengths.1,
            tasks: tasks.iter().take(MAX_TASKS).filter_map(|waiter| task_state(waiter, model)).collect(),
            tasks_total: u64::try_from(tasks.len()).unwrap_or(u64::MAX),
            alive: model.eventpolls().get(ep).is_some_and(|ep| ep.alive),
        }
    }
}

fn task_state(waiter: &crate::model::Waiter, model: &Model) -> Option<TaskState> {
    let task = model.tasks().get(waiter.task)?;
    Some(TaskState {
        name: named(&task.comm, task.pid, task.tid),
        since_ns: waiter.since_ns.saturating_sub(model.span().origin()),
        woken: waiter.woken,
    })
}

fn item_state(item: &Item, model: &Model, info: &TraceInfo, chains: &Chains) -> ItemState {
    let chain = chains.0.get(&item.id);
    let address = |address: u64| format!("{address:#x}");
    ItemState {
        fd: item.fd,
        source: model.files().get(item.file).map_or_else(String::new, |file| name(file, info)),
        events: item.events,
        epi: address(item.epi),
        entry: chain.and_then(|chain| chain.entry).map(address),
        whead: chain.map(|chain| address(chain.whead)),
    }
}

/// What changed from one state to the next, as a JSON merge patch (RFC 7396): what is missing is as before, an item that is `null`
/// is gone, lists are replaced.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the fields are those of the state")]
pub struct Patch {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub items: BTreeMap<u64, Option<ItemState>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items_total: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shape: Option<Shape>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tree: Option<Vec<TreeNode>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<Vec<u64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_total: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ordered: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overflow: Option<Vec<u64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overflow_total: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tasks: Option<Vec<TaskState>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tasks_total: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alive: Option<bool>,
}

impl Patch {
    /// What must change for `before` to become `after`.
    #[must_use]
    pub fn between(before: &State, after: &State) -> Self {
        let mut items: BTreeMap<u64, Option<ItemState>> =
            before.items.keys().filter(|id| !after.items.contains_key(id)).map(|id| (*id, None)).collect();
        let changed = after.items.iter().filter(|(id, item)| before.items.get(id) != Some(item));
        items.extend(changed.map(|(id, item)| (*id, Some(item.clone()))));
        Self {
            items,
            items_total: changes(&before.items_total, &after.items_total),
            shape: changes(&before.shape, &after.shape),
            tree: changes(&before.tree, &after.tree),
            ready: changes(&before.ready, &after.ready),
            ready_total: changes(&before.ready_total, &after.ready_total),
            ordered: changes(&before.ordered, &after.ordered),
            overflow: changes(&before.overflow, &after.overflow),
            overflow_total: changes(&before.overflow_total, &after.overflow_total),
            tasks: changes(&before.tasks, &after.tasks),
            tasks_total: changes(&before.tasks_total, &after.tasks_total),
            alive: changes(&before.alive, &after.alive),
        }
    }

    /// Makes the change.
    pub fn apply(&self, state: &mut State) {
        for (id, item) in &self.items {
            match item {
                Some(item) => _ = state.items.insert(*id, item.clone()),
                None => _ = state.items.remove(id),
            }
        }
        set(&mut state.items_total, self.items_total.as_ref());
        set(&mut state.shape, self.shape.as_ref());
        set(&mut state.tree, self.tree.as_ref());
        set(&mut state.ready, self.ready.as_ref());
        set(&mut state.ready_total, self.ready_total.as_ref());
        set(&mut state.ordered, self.ordered.as_ref());
        set(&mut state.overflow, self.overflow.as_ref());
        set(&mut state.overflow_total, self.overflow_total.as_ref());
        set(&mut state.tasks, self.tasks.as_ref());
        set(&mut state.tasks_total, self.tasks_total.as_ref());
        set(&mut state.alive, self.alive.as_ref());
    }
}

fn changes<T: PartialEq + Clone>(before: &T, after: &T) -> Option<T> {
    (before != after).then(|| after.clone())
}

fn set<T: Clone>(place: &mut T, value: Option<&T>) {
    if let Some(value) = value {
        *place = value.clone();
    }
}

//! One object. Addresses and data are hexadecimal strings, since JSON numbers end at 2^53; items refer to each other by their place in
//! the tree's order.

use serde::Serialize;

use super::{View, hex};
use crate::analysis::SCHEMA_VERSION;
use crate::output::json::one_line;
use crate::output::names::epoll_events;
use crate::snapshot::{Descriptor, Eventpoll, Hook, Item, Place, Task};

#[derive(Serialize)]
struct Whole<'a> {
    schema_version: u32,
    kind: &'static str,
    kernel: &'a str,
    pid: u32,
    comm: &'a str,
    notes: &'a [String],
    eventpolls: Vec<EventpollRow<'a>>,
}

#[derive(Serialize)]
struct EventpollRow<'a> {
    ep: String,
    eventpoll: String,
    holders: Vec<HolderRow<'a>>,
    attempts: u32,
    consistent: bool,
    torn: Vec<TornRow>,
    mutex_owner: Option<TaskRow<'a>>,
    scan: Option<ScanRow>,
    tree: Option<TreeRow>,
    items: Option<Vec<ItemRow>>,
    ready: Option<Vec<PlaceRow>>,
    waiters: Option<Vec<WaiterRow<'a>>>,
    more_waiters: bool,
    polled: Option<u32>,
}

#[derive(Serialize)]
struct HolderRow<'a> {
    pid: u32,
    comm: &'a str,
    epfd: i32,
}

#[derive(Serialize)]
struct TornRow {
    what: &'static str,
    why: String,
}

#[derive(Serialize)]
struct TaskRow<'a> {
    pid: u32,
    tid: u32,
    comm: &'a str,
}

#[derive(Serialize)]
struct WaiterRow<'a> {
    #[serde(flatten)]
    task: TaskRow<'a>,
    exclusive: bool,
}

#[derive(Serialize)]
struct ScanRow {
    overflow: Vec<PlaceRow>,
    more: bool,
}

#[derive(Serialize)]
struct PlaceRow {
    item: Option<usize>,
    epi: String,
}

#[derive(Serialize)]
struct TreeRow {
    items: usize,
    left_out: usize,
    root: Option<usize>,
    depth: usize,
    black_height: Option<usize>,
    faults: Vec<String>,
}

#[derive(Serialize)]
struct ItemRow {
    item: usize,
    epi: String,
    fd: i32,
    descriptor: &'static str,
    instead: Vec<i32>,
    file: String,
    file_kind: String,
    name: String,
    ino: Option<u64>,
    events: String,
    mask: u32,
    data: String,
    colour: &'static str,
    depth: usize,
    parent: Option<usize>,
    left: Option<usize>,
    right: Option<usize>,
    ready: Option<usize>,
    inner: Option<String>,
    chain: Vec<HookRow>,
}

#[derive(Serialize)]
struct HookRow {
    pwq: String,
    whead: String,
    position: Option<u32>,
    is_exclusive: bool,
    entries: u32,
    epolls: u32,
    exclusive: u32,
    more: bool,
}

pub(super) fn json(view: &View<'_>) -> String {
    let snapshot = view.snapshot;
    one_line(&Whole {
        schema_version: SCHEMA_VERSION,
        kind: "snapshot",
        kernel: &snapshot.kernel,
        pid: snapshot.pid,
        comm: &snapshot.comm,
        notes: &snapshot.notes,
        eventpolls: snapshot.eventpolls.iter().map(|ep| eventpoll(view, ep)).collect(),
    })
}

fn eventpoll<'a>(view: &View<'_>, ep: &'a Eventpoll) -> EventpollRow<'a> {
    let reading = &ep.reading;
    let (shown, left_out) = view.shown(ep);
    let items = reading.items.iter().enumerate().filter(|(place, _)| shown.get(*place) == Some(&true));
    let waiter =
        |sleeper: &'a crate::snapshot::Sleeper| WaiterRow { task: task(&sleeper.task), exclusive: sleeper.exclusive };
    EventpollRow {
        ep: hex(ep.address),
        eventpoll: view.name(ep.address),
        holders: ep
            .holders
            .iter()
            .map(|holder| HolderRow { pid: holder.pid, comm: &holder.comm, epfd: holder.epfd })
            .collect(),
        attempts: ep.attempts,
        consistent: reading.torn.is_empty(),
        torn: reading.torn.iter().map(|torn| TornRow { what: torn.name(), why: torn.to_string() }).collect(),
        mutex_owner: reading.owner.as_ref().map(task),
        scan: reading.scan.as_ref().map(|scan| ScanRow { overflow: places(&scan.overflow), more: scan.more }),
        tree: reading.whole.then(|| TreeRow {
            items: reading.items.len(),
            left_out,
            root: reading.shape.root,
            depth: reading.shape.depth,
            black_height: reading.shape.black_height,
            faults: reading.shape.faults.iter().map(ToString::to_string).collect(),
        }),
        items: reading.whole.then(|| items.map(|(place, row)| item(view, ep, place, row)).collect()),
        ready: reading.whole.then(|| places(&reading.ready)),
        waiters: reading.whole.then(|| reading.waiters.iter().map(waiter).collect()),
        more_waiters: reading.more_waiters,
        polled: reading.whole.then_some(reading.polled),
    }
}

fn task(task: &Task) -> TaskRow<'_> {
    TaskRow { pid: task.pid, tid: task.tid, comm: &task.comm }
}

fn places(places: &[Place]) -> Vec<PlaceRow> {
    places.iter().map(|place| PlaceRow { item: place.item, epi: hex(place.epi) }).collect()
}

fn item(view: &View<'_>, ep: &Eventpoll, place: usize, item: &Item) -> ItemRow {
    let link = ep.reading.shape.links.get(place).copied().unwrap_or_default();
    let (descriptor, instead) = match &item.descriptor {
        Descriptor::Unknown => ("unknown", &[][..]),
        Descriptor::Same => ("open", &[][..]),
        Descriptor::Other { reused: true, instead } => ("another file", instead.as_slice()),
        Descriptor::Other { reused: false, instead } => ("closed", instead.as_slice()),
    };
    ItemRow {
        item: place,
        epi: hex(item.epi),
        fd: item.fd,
        descriptor,
        instead: instead.to_vec(),
        file: hex(item.file),
        file_kind: view.kind(item),
        name: view.what(item),
        ino: item.info.map(|info| info.ino),
        events: epoll_events(item.events),
        mask: item.events,
        data: hex(item.data),
        colour: link.colour.name(),
        depth: link.depth,
        parent: link.parent,
        left: link.left,
        right: link.right,
        ready: item.ready,
        inner: item.inner.map(hex),
        chain: item.chain.iter().map(hook).collect(),
    }
}

fn hook(hook: &Hook) -> HookRow {
    HookRow {
        pwq: hex(hook.pwq),
        whead: hex(hook.whead),
        position: hook.position,
        is_exclusive: hook.is_exclusive,
        entries: hook.entries,
        epolls: hook.epolls,
        exclusive: hook.exclusive,
        more: hook.more,
    }
}

//! From the records of one reading of an eventpoll to what stands in it, and whether that is of one piece.

use ahash::AHashMap;
use tracer_common::Miss;
use tracer_common::snapshot::{
    Begun, Ended, Entry, Listed, MAX_OVERFLOW, MAX_WAITERS, Node, Rooted, Waited, Waiter, entry_flags, listed_on,
};

use super::fdinfo::{self, Line};
use super::{Descriptor, Hook, Item, OpenFiles, Place, Record, Scan, Shape, Sleeper, Task, Torn};
use crate::event::FileInfo;

/// `EP_UNACTIVE_PTR` (fs/eventpoll.c): no scan runs.
const UNACTIVE: u64 = u64::MAX;
/// `WQ_FLAG_EXCLUSIVE` (include/linux/wait.h).
const EXCLUSIVE: u32 = 1;

/// An eventpoll as it was read once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    /// The kernel came to its end. If not, nothing is known of tree, ready list and sleeping tasks.
    pub whole: bool,
    /// Its items, in the tree's order.
    pub items: Vec<Item>,
    /// The tree.
    pub shape: Shape,
    /// The ready list, first to last.
    pub ready: Vec<Place>,
    /// The tasks that sleep in `epoll_wait`, in the order in which they are woken.
    pub waiters: Vec<Sleeper>,
    /// There are more of them.
    pub more_waiters: bool,
    /// Who held the mutex when the reading began.
    pub owner: Option<Task>,
    /// The scan that ran when the reading began.
    pub scan: Option<Scan>,
    /// Entries on `poll_wait`: who waits for the eventpoll itself, other eventpolls among them.
    pub polled: u32,
    /// Why it may be torn; nothing when all parts fit together.
    pub torn: Vec<Torn>,
}

/// The records of one pass.
#[derive(Default)]
struct Pass {
    begun: Option<Begun>,
    nodes: Vec<Node>,
    entries: Vec<Entry>,
    ready: Vec<Listed>,
    overflow: Vec<Listed>,
    rooted: Option<Rooted>,
    waiters: [Vec<Waiter>; 2],
    waited: [Option<Waited>; 2],
    ended: Option<Ended>,
}

impl Pass {
    fn is_whole(&self) -> bool {
        let empty = |ended: &Ended| ended.items == 0 && ended.root == 0;
        self.begun.is_some() && self.ended.is_some_and(|ended| self.rooted.is_some() || empty(&ended))
    }
}

impl Reading {
    /// Says of each item what its descriptor is.
    pub fn look_up(&mut self, open: &OpenFiles) {
        for item in &mut self.items {
            item.descriptor = open.descriptor(item.fd, item.file);
        }
    }
}

/// Puts the records of one reading of the eventpoll at `ep` together. `fdinfo` is the text that the kernel wrote meanwhile.
#[must_use]
pub fn read(ep: u64, records: &[Record], fdinfo: &str) -> Reading {
    let (mut passes, files) = sort(records);
    // The descriptor may have become another eventpoll's.
    passes.retain(|pass| pass.begun.is_some_and(|begun| begun.ep == ep));
    // Of several passes the last one made the text. What a scan had under way was there before the first.
    let scan = passes.iter().find_map(scan);
    let owner = passes.iter().find_map(|pass| pass.begun.as_ref().and_then(owner));
    let mut reading = match passes.iter().rev().find(|pass| pass.is_whole()) {
        Some(pass) => pass_to_reading(pass, &files, fdinfo),
        None => Reading { torn: vec![Torn::Incomplete], ..Reading::default() },
    };
    reading.owner = owner;
    reading.scan = scan.map(|listed| Scan {
        overflow: places(&listed, &reading.items),
        more: listed.len() >= usize::try_from(MAX_OVERFLOW).unwrap_or(usize::MAX),
    });
    reading
}

/// By pass, and what was told of files.
fn sort(records: &[Record]) -> (Vec<Pass>, AHashMap<u64, FileInfo>) {
    let mut passes: Vec<Pass> = Vec::new();
    let mut files = AHashMap::new();
    for record in records {
        if let Record::Begun(begun) = record {
            passes.push(Pass { begun: Some(*begun), ..Pass::default() });
            continue;
        }
        if let Record::File(info) = record {
            files.insert(info.file, *info);
            continue;
        }
        let Some(pass) = passes.last_mut() else { continue };
        match record {
            Record::Node(node) => pass.nodes.push(*node),
            Record::Entry(entry) => pass.entries.push(*entry),
            Record::Listed(listed) if listed.list == listed_on::READY => pass.ready.push(*listed),
            Record::Listed(listed) => pass.overflow.push(*listed),
            Record::Rooted(rooted) => pass.rooted = Some(*rooted),
            Record::Waiter(waiter) => pass.waiters[walk(waiter.walk)].push(*waiter),
            Record::Waited(waited) => pass.waited[walk(waited.walk)] = Some(*waited),
            Record::Ended(ended) => pass.ended = Some(*ended),
            Record::OpenFile(_) | Record::File(_) | Record::Begun(_) => {}
        }
    }
    (passes, files)
}

fn walk(number: u32) -> usize {
    usize::from(number != 0)
}

fn scan(pass: &Pass) -> Option<Vec<Listed>> {
    let ran = pass.begun.is_some_and(|begun| begun.ovflist != UNACTIVE);
    ran.then(|| pass.overflow.clone())
}

fn owner(begun: &Begun) -> Option<Task> {
    (begun.owner != 0).then(|| task(begun.tgid, begun.tid, &begun.comm))
}

fn task(pid: u32, tid: u32, comm: &[u8]) -> Task {
    let name = comm.split(|&byte| byte == 0).next().unwrap_or_default();
    Task { pid, tid, comm: String::from_utf8_lossy(name).into_owned() }
}

fn pass_to_reading(pass: &Pass, files: &AHashMap<u64, FileInfo>, fdinfo: &str) -> Reading {
    let rooted = pass.rooted;
    let mut torn = Vec::new();
    if let Some(misses) = pass.ended.map(|ended| misses(ended.misses)).filter(|misses| !misses.is_empty()) {
        torn.push(Torn::Missed(misses));
    }
    let told = rooted.map_or(0, |rooted| rooted.items);
    if usize::try_from(told) != Ok(pass.nodes.len()) {
        torn.push(Torn::Incomplete);
    }
    let (root, leftmost) = rooted.map_or((0, 0), |rooted| (rooted.root, rooted.leftmost));
    let shape = Shape::of(&pass.nodes, root, leftmost);
    if !shape.faults.is_empty() {
        torn.push(Torn::Tree);
    }
    let mut items = items(pass, files);
    if let Some(how) = contradiction(&items, &fdinfo::lines(fdinfo)) {
        torn.push(Torn::Fdinfo(how));
    }
    let ready = places(&pass.ready, &items);
    for (index, place) in ready.iter().enumerate() {
        if let Some(item) = place.item.and_then(|item| items.get_mut(item)) {
            item.ready = Some(index);
        }
    }
    if !ready_holds(pass, &ready) {
        torn.push(Torn::Ready);
    }
    if !waiters_hold(pass) {
        torn.push(Torn::Waiters);
    }
    let last = |waited: &Waited| waited.whole == 0 && waited.waiters == MAX_WAITERS;
    Reading {
        whole: true,
        items,
        shape,
        ready,
        waiters: pass.waiters[1].iter().map(sleeper).collect(),
        more_waiters: pass.waited[1].as_ref().is_some_and(last),
        polled: pass.ended.map_or(0, |ended| ended.polled),
        torn,
        ..Reading::default()
    }
}

fn misses(bits: u32) -> Vec<Miss> {
    Miss::ALL.into_iter().filter(|miss| bits & 1 << (*miss as u32) != 0).collect()
}

fn items(pass: &Pass, files: &AHashMap<u64, FileInfo>) -> Vec<Item> {
    let mut chains: AHashMap<u64, Vec<Hook>> = AHashMap::new();
    for entry in &pass.entries {
        chains.entry(entry.epi).or_default().push(hook(entry));
    }
    let item = |node: &Node| Item {
        epi: node.epi,
        file: node.file,
        fd: node.fd,
        descriptor: Descriptor::Unknown,
        events: node.events,
        data: node.data,
        info: files.get(&node.file).copied(),
        inner: (node.inner != 0).then_some(node.inner),
        ready: None,
        chain: chains.remove(&node.epi).unwrap_or_default(),
    };
    pass.nodes.iter().map(item).collect()
}

fn hook(entry: &Entry) -> Hook {
    let has = |flag: u32| entry.flags & flag != 0;
    Hook {
        pwq: entry.pwq,
        whead: entry.whead,
        position: has(entry_flags::FOUND).then_some(entry.position),
        is_exclusive: has(entry_flags::EXCLUSIVE),
        entries: entry.entries,
        epolls: entry.epolls,
        exclusive: entry.exclusive,
        more: entry.whead != 0 && !has(entry_flags::WHOLE),
    }
}

fn sleeper(waiter: &Waiter) -> Sleeper {
    Sleeper { task: task(waiter.tgid, waiter.tid, &waiter.comm), exclusive: waiter.flags & EXCLUSIVE != 0 }
}

fn places(listed: &[Listed], items: &[Item]) -> Vec<Place> {
    let by_address: AHashMap<u64, usize> = items.iter().enumerate().map(|(place, item)| (item.epi, place)).collect();
    listed.iter().map(|listed| Place { epi: listed.epi, item: by_address.get(&listed.epi).copied() }).collect()
}

/// The first difference between the tree and fdinfo.
fn contradiction(items: &[Item], lines: &[Line]) -> Option<String> {
    if items.len() != lines.len() {
        return Some(format!("{} items and not {}", lines.len(), items.len()));
    }
    items.iter().zip(lines).enumerate().find_map(|(place, (item, line))| {
        let ino = item.info.map_or(line.ino, |info| info.ino);
        let same = (item.fd, item.events, item.data, ino) == (line.fd, line.events, line.data, line.ino);
        (!same)
            .then(|| format!("item {place} is descriptor {} and not {}, or of another mask or file", line.fd, item.fd))
    })
}

/// Each link leads back to the one before it, the last one is the list's last, and every item is one of the tree's.
fn ready_holds(pass: &Pass, ready: &[Place]) -> bool {
    let Some(rooted) = pass.rooted else { return ready.is_empty() };
    let mut before = rooted.ready_head;
    for listed in &pass.ready {
        if listed.prev != before {
            return false;
        }
        before = listed.link;
    }
    let all_known = ready.iter().all(|place| place.item.is_some());
    before == rooted.ready_last && all_known && rooted.ovflist == UNACTIVE && distinct(&pass.ready)
}

fn distinct(listed: &[Listed]) -> bool {
    let mut seen = ahash::AHashSet::new();
    listed.iter().all(|listed| seen.insert(listed.link))
}

/// Both walks met the same tasks in the same order, and came to the end or to their bound.
fn waiters_hold(pass: &Pass) -> bool {
    let [Some(first), Some(second)] = &pass.waited else { return false };
    let holds = |waiters: &[Waiter], waited: &Waited| {
        let mut before = waited.head;
        for waiter in waiters {
            if waiter.prev != before {
                return false;
            }
            before = waiter.link;
        }
        let told = usize::try_from(waited.waiters) == Ok(waiters.len());
        told && (waited.whole != 0 || waited.waiters == MAX_WAITERS)
    };
    let same = |one: &Waiter, other: &Waiter| (one.task, one.link, one.flags) == (other.task, other.link, other.flags);
    let [before, after] = &pass.waiters;
    holds(before, first)
        && holds(after, second)
        && before.len() == after.len()
        && before.iter().zip(after).all(|(one, other)| same(one, other))
}

//! Readings made by hand: a sound tree of any size, with what the probes would tell of it.

use std::fmt::Write as _;

use tracer_common::snapshot::{Begun, Ended, Entry, Listed, Node, Rooted, Waited, Waiter, entry_flags};

use super::Record;
use crate::event::{FileInfo, Header};

pub(crate) const EP: u64 = 0xe000;
/// Where the lists themselves lie.
const READY_HEAD: u64 = 0xe050;
const WAITERS_HEAD: u64 = 0xe028;
pub(crate) const PIPE_FOPS: u64 = 0xf0;
pub(crate) const SOCKET_FOPS: u64 = 0xf1;

pub(crate) fn epi(place: usize) -> u64 {
    0x1_0000 + place as u64 * 0x80
}

/// What the probes tell of one reading, part by part, so that a test can change each.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) begun: Begun,
    pub(crate) nodes: Vec<Node>,
    pub(crate) files: Vec<FileInfo>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) listed: Vec<Listed>,
    pub(crate) rooted: Rooted,
    pub(crate) waiters: Vec<Waiter>,
    pub(crate) waited: Vec<Waited>,
    pub(crate) ended: Ended,
    pub(crate) fdinfo: String,
}

impl Told {
    pub(crate) fn records(&self) -> Vec<Record> {
        let mut records = vec![Record::Begun(self.begun)];
        records.extend(self.nodes.iter().copied().map(Record::Node));
        records.extend(self.files.iter().copied().map(Record::File));
        records.extend(self.entries.iter().copied().map(Record::Entry));
        records.extend(self.listed.iter().copied().map(Record::Listed));
        records.push(Record::Rooted(self.rooted));
        records.extend(self.waiters.iter().copied().map(Record::Waiter));
        records.extend(self.waited.iter().copied().map(Record::Waited));
        records.push(Record::Ended(self.ended));
        records
    }
}

/// A sound reading: so many items, some of them ready (by their places, in this order), so many tasks asleep.
pub(crate) fn told(items: usize, ready: &[usize], asleep: u32) -> Told {
    let header = Header::default();
    let mut nodes: Vec<Node> = (0..items).map(node).collect();
    let depth = (usize::BITS - items.leading_zeros()) as usize;
    let root = link(&mut nodes, 0, items, 0, 1, depth);
    let mut fdinfo = "pos:\t0\nflags:\t02\n".to_owned();
    for node in &nodes {
        let _ = writeln!(
            fdinfo,
            "tfd: {:8} events: {:8x} data: {:16x}  pos:0 ino:{:x} sdev:f",
            node.fd, node.events, node.data, node.file
        );
    }
    let entry = |node: &Node| Entry {
        header,
        epi: node.epi,
        pwq: node.epi + 0x40,
        whead: 0x7000,
        pass: 1,
        flags: entry_flags::FOUND | entry_flags::WHOLE,
        entries: 2,
        epolls: 2,
        exclusive: 0,
        position: 1,
    };
    let mut before = READY_HEAD;
    let mut listed = Vec::new();
    for (index, place) in (0..).zip(ready) {
        let link = epi(*place) + 24;
        listed.push(Listed { header, epi: epi(*place), link, prev: before, list: 0, index, pass: 1, pad: 0 });
        before = link;
    }
    let number = u32::try_from(items).unwrap();
    Told {
        begun: Begun { header, ep: EP, ovflist: u64::MAX, owner: 0, pass: 1, tgid: 0, tid: 0, pad: 0, comm: [0; 16] },
        files: nodes.iter().map(file).collect(),
        entries: nodes.iter().map(entry).collect(),
        listed,
        rooted: Rooted {
            header,
            ep: EP,
            root,
            leftmost: nodes.first().map_or(0, |node| node.node),
            ready_head: READY_HEAD,
            ready_last: before,
            ovflist: u64::MAX,
            pass: 1,
            items: number,
            ready: u32::try_from(ready.len()).unwrap(),
            pad: 0,
        },
        waiters: [0, 1].into_iter().flat_map(|walk| (0..asleep).map(move |index| waiter(walk, index))).collect(),
        waited: [0, 1]
            .map(|walk| Waited { header, head: WAITERS_HEAD, pass: 1, walk, waiters: asleep, whole: 1 })
            .into(),
        ended: Ended { header, ep: EP, root, pass: 1, items: number, misses: 0, polled: 0 },
        nodes,
        fdinfo,
    }
}

fn node(place: usize) -> Node {
    Node {
        header: Header::default(),
        epi: epi(place),
        node: epi(place),
        parent_color: 0,
        left: 0,
        right: 0,
        file: 0x9000 + place as u64,
        inner: 0,
        data: place as u64,
        events: 0x19,
        fd: i32::try_from(place).unwrap() + 5,
        pass: 1,
        index: u32::try_from(place).unwrap(),
    }
}

/// Balances: all levels but the last are full and black.
fn link(nodes: &mut [Node], from: usize, to: usize, parent: u64, level: usize, depth: usize) -> u64 {
    if from == to {
        return 0;
    }
    let middle = usize::midpoint(from, to);
    let address = nodes[middle].node;
    let black = u64::from(level < depth || level == 1);
    nodes[middle].left = link(nodes, from, middle, address, level + 1, depth);
    nodes[middle].right = link(nodes, middle + 1, to, address, level + 1, depth);
    nodes[middle].parent_color = parent | black;
    address
}

fn file(node: &Node) -> FileInfo {
    FileInfo {
        header: Header::default(),
        file: node.file,
        f_op: PIPE_FOPS,
        ino: node.file,
        local: [0; 16],
        remote: [0; 16],
        local_port: 0,
        remote_port: 0,
        family: 0,
        sock_type: 0,
        state: 0,
        netns: 0,
        pad: 0,
    }
}

fn waiter(walk: u32, index: u32) -> Waiter {
    let link = |index: u32| 0x4000 + u64::from(index) * 0x100;
    let mut comm = [0; 16];
    comm[..6].copy_from_slice(b"worker");
    Waiter {
        header: Header::default(),
        link: link(index),
        prev: index.checked_sub(1).map_or(WAITERS_HEAD, link),
        task: 0x5000 + u64::from(index),
        tgid: 70,
        tid: 79 - index,
        flags: 1,
        walk,
        index,
        pass: 1,
        comm,
    }
}

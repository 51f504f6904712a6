//! Snapshots of eventpolls: text, JSON, DOT and SVG.
//!
//! In: a [`Snapshot`] and the kinds of file by the addresses of their operations. Out: text. Names are those of a process that nobody
//! vouches for.

mod dot;
mod json;
mod svg;
#[cfg(test)]
mod tests;
mod text;

use std::collections::BTreeMap;

use crate::analysis::{description, file_kind};
use crate::snapshot::{Descriptor, Eventpoll, Hook, Item, Place, Scan, Sleeper, Snapshot, Task};

use super::layout::task_name;

/// `TCP_LISTEN` and the other states (`include/net/tcp_states.h`), from 1 on.
const TCP_STATES: [&str; 11] = [
    "established",
    "SYN sent",
    "SYN received",
    "FIN wait 1",
    "FIN wait 2",
    "time wait",
    "closed",
    "close wait",
    "last ACK",
    "listening",
    "closing",
];
const LISTENING: u8 = 10;

/// A snapshot, and how much of it is shown.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// What was read.
    pub snapshot: &'a Snapshot,
    /// Kinds of file, by the addresses of their operations.
    pub file_kinds: &'a BTreeMap<u64, String>,
    /// The most items of one eventpoll that are shown: those nearest to the root of its tree.
    pub max_items: usize,
}

impl View<'_> {
    /// As text, so many columns wide.
    #[must_use]
    pub fn text(&self, width: u16, colour: bool) -> String {
        text::text(self, usize::from(width), colour)
    }

    /// As one JSON object with `schema_version`.
    #[must_use]
    pub fn json(&self) -> String {
        json::json(self)
    }

    /// As a graph for Graphviz.
    #[must_use]
    pub fn dot(&self) -> String {
        dot::dot(self)
    }

    /// As a picture.
    #[must_use]
    pub fn svg(&self) -> String {
        svg::svg(self)
    }

    /// `comm/pid:epfd` of an eventpoll, or its address.
    fn name(&self, address: u64) -> String {
        let known = self.snapshot.eventpolls.iter().find(|ep| ep.address == address);
        let holder = known.and_then(|ep| ep.holders.first());
        holder.map_or_else(|| hex(address), |first| format!("{}/{}:{}", first.comm, first.pid, first.epfd))
    }

    /// What kind of file an item watches.
    fn kind(&self, item: &Item) -> String {
        match (&item.info, item.inner) {
            (_, Some(_)) => "epoll".to_owned(),
            (Some(info), None) => file_kind(info, self.file_kinds),
            (None, None) => "file".to_owned(),
        }
    }

    /// Which file an item watches, in a few words.
    fn what(&self, item: &Item) -> String {
        let kind = self.kind(item);
        if let Some(inner) = item.inner {
            return format!("{kind} {}", self.name(inner));
        }
        let Some(info) = &item.info else { return kind };
        let tcp = kind == "tcp";
        let description = description(info, tcp && info.state == LISTENING, self.file_kinds);
        if tcp { format!("{description} {}", tcp_state(info.state)) } else { description }
    }

    /// Whether each item is shown, in the tree's order, and how many are not.
    fn shown(&self, ep: &Eventpoll) -> (Vec<bool>, usize) {
        let links = &ep.reading.shape.links;
        let mut nearest: Vec<usize> = (0..links.len()).collect();
        // A node that no way leads to comes last.
        nearest.sort_by_key(|&place| links.get(place).map_or(usize::MAX, |link| link.depth.wrapping_sub(1)));
        let mut shown = vec![false; links.len()];
        for place in nearest.into_iter().take(self.max_items) {
            if let Some(shown) = shown.get_mut(place) {
                *shown = true;
            }
        }
        (shown, links.len().saturating_sub(self.max_items))
    }
}

fn tcp_state(state: u8) -> &'static str {
    usize::from(state).checked_sub(1).and_then(|place| TCP_STATES.get(place)).copied().unwrap_or("in an unknown state")
}

fn hex(number: u64) -> String {
    format!("{number:#x}")
}

fn task(task: &Task) -> String {
    task_name(&task.comm, task.pid, task.tid)
}

/// A task that sleeps; a wakeup ends with an exclusive one.
fn sleeper(sleeper: &Sleeper) -> String {
    task(&sleeper.task) + if sleeper.exclusive { " (exclusive)" } else { "" }
}

/// How large a tree is.
fn tree_words(ep: &Eventpoll) -> String {
    let shape = &ep.reading.shape;
    let items = ep.reading.items.len();
    if items == 0 {
        return "no items".to_owned();
    }
    let height = shape.black_height.map_or_else(|| "differs".to_owned(), |height| height.to_string());
    let plural = if items == 1 { "" } else { "s" };
    format!("{items} item{plural}, depth {}, black height {height}", shape.depth)
}

/// The overflow list, the last to come first.
fn overflow(ep: &Eventpoll, scan: &Scan) -> Vec<String> {
    let mut words: Vec<String> = scan.overflow.iter().map(|on| place(ep, on)).collect();
    if scan.more {
        words.push("perhaps more".to_owned());
    }
    words
}

/// `fd 5`, and what is to be said of that number.
fn descriptor(item: &Item) -> String {
    let fd = item.fd;
    match &item.descriptor {
        Descriptor::Unknown | Descriptor::Same => format!("fd {fd}"),
        Descriptor::Other { reused, instead } => {
            let now = if *reused { "now another file" } else { "closed" };
            let list = instead.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let place = if instead.is_empty() {
                "the file is open in no descriptor of this process".to_owned()
            } else {
                format!("the file is open as {list}")
            };
            format!("fd {fd} ({now}; {place})")
        }
    }
}

/// What stands on a list.
fn place(ep: &Eventpoll, place: &Place) -> String {
    match place.item.and_then(|item| ep.reading.items.get(item)) {
        Some(item) => format!("fd {}", item.fd),
        None => format!("item {}", hex(place.epi)),
    }
}

/// Where an item hangs on a wait queue.
fn hook(hook: &Hook) -> String {
    if hook.whead == 0 {
        return "its wait queue is gone".to_owned();
    }
    let exclusive = if hook.is_exclusive { ", exclusive" } else { "" };
    let place = hook.position.map_or_else(|| "not met".to_owned(), |position| (position + 1).to_string());
    let more = if hook.more { " or more" } else { "" };
    format!(
        "wait queue {}: place {place} of {}{more}{exclusive} ({} of eventpolls, {} exclusive)",
        hex(hook.whead),
        hook.entries,
        hook.epolls,
        hook.exclusive
    )
}

/// Whether the parts fit together, as a sentence.
fn verdict(ep: &Eventpoll) -> String {
    let tries = if ep.attempts == 1 { "at once".to_owned() } else { format!("after {} attempts", ep.attempts) };
    if ep.reading.torn.is_empty() {
        return format!("consistent: read {tries}");
    }
    let why: Vec<String> = ep.reading.torn.iter().map(ToString::to_string).collect();
    format!("MAY BE TORN, {tries}: {}", why.join("; "))
}

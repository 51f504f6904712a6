//! A graph for Graphviz: each eventpoll a cluster with its tree, lists and sleeping tasks; wait queues stand outside, for eventpolls
//! share them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{View, descriptor, sleeper, verdict};
use crate::output::names::epoll_events;
use crate::output::sanitize;
use crate::snapshot::{Colour, Eventpoll, Place};

pub(super) fn dot(view: &View<'_>) -> String {
    let mut graph = Graph { text: String::new(), queues: BTreeMap::new() };
    let snapshot = view.snapshot;
    graph.line("digraph eptrace {");
    graph.line("  graph [compound=true, ordering=out, fontname=\"sans-serif\"];");
    graph.line("  node [fontname=\"sans-serif\", fontsize=10]; edge [fontname=\"sans-serif\", fontsize=9];");
    let mut title = vec![format!("eptrace snapshot of {}/{}, kernel {}", snapshot.comm, snapshot.pid, snapshot.kernel)];
    title.extend(snapshot.notes.iter().cloned());
    graph.line(&format!("  label={};", quoted(&title)));
    for (number, ep) in snapshot.eventpolls.iter().enumerate() {
        graph.eventpoll(view, number, ep);
    }
    graph.nesting(view);
    graph.wait_queues();
    graph.line("}");
    graph.text
}

struct Graph {
    text: String,
    /// By address: how many entries.
    queues: BTreeMap<u64, u32>,
}

impl Graph {
    fn line(&mut self, line: &str) {
        let _ = writeln!(self.text, "{line}");
    }

    fn eventpoll(&mut self, view: &View<'_>, number: usize, ep: &Eventpoll) {
        self.line(&format!("  subgraph cluster_{number} {{"));
        let (shown, left_out) = view.shown(ep);
        let mut title = vec![format!("eventpoll {}", view.name(ep.address)), verdict(ep)];
        if !ep.reading.whole {
            title.push("all but the overflow list could not be read".to_owned());
        }
        if left_out > 0 {
            title.push(format!("{left_out} items are not shown"));
        }
        self.line(&format!("    label={};", quoted(&title)));
        self.sleeping(number, ep);
        let links = &ep.reading.shape.links;
        for (place, (item, link)) in ep.reading.items.iter().zip(links).enumerate() {
            if shown.get(place) != Some(&true) {
                continue;
            }
            let about = [descriptor(item), view.what(item), epoll_events(item.events)];
            let fill = if link.colour == Colour::Red { "#c0392b" } else { "#222222" };
            let label = quoted(&about);
            self.line(&format!(
                "    e{number}i{place} [label={label}, style=filled, fillcolor=\"{fill}\", fontcolor=white];"
            ));
            if let Some(parent) = link.parent {
                self.line(&format!("    e{number}i{parent} -> e{number}i{place};"));
            }
        }
        if ep.reading.whole {
            self.list(number, "ready", &ep.reading.ready, &shown);
        }
        if let Some(scan) = &ep.reading.scan {
            self.list(number, "overflow", &scan.overflow, &shown);
        }
        self.line("  }");
        self.chains(number, ep, &shown);
    }

    fn sleeping(&mut self, number: usize, ep: &Eventpoll) {
        if ep.reading.waiters.is_empty() {
            return;
        }
        let heading = "asleep in epoll_wait, the first is woken first:".to_owned();
        let tasks = ep.reading.waiters.iter().map(sleeper);
        let label = quoted(&std::iter::once(heading).chain(tasks).collect::<Vec<_>>());
        self.line(&format!("    e{number}waiters [shape=box, label={label}];"));
    }

    /// From the list's name to its first item, and from item to item.
    fn list(&mut self, number: usize, name: &str, places: &[Place], shown: &[bool]) {
        let mut from = format!("e{number}{name}");
        self.line(&format!("    {from} [shape=plaintext, label=\"{name} list: {}\"];", places.len()));
        for (index, item) in places.iter().filter_map(|place| place.item).enumerate() {
            if shown.get(item) == Some(&true) {
                let to = format!("e{number}i{item}");
                let order = index + 1;
                self.line(&format!("    {from} -> {to} [style=dashed, constraint=false, label=\"{order}\"];"));
                from = to;
            }
        }
    }

    fn chains(&mut self, number: usize, ep: &Eventpoll, shown: &[bool]) {
        for (place, item) in ep.reading.items.iter().enumerate().filter(|(place, _)| shown.get(*place) == Some(&true)) {
            for hook in item.chain.iter().filter(|hook| hook.whead != 0) {
                self.queues.insert(hook.whead, hook.entries);
                let position = hook.position.map_or_else(|| "?".to_owned(), |position| (position + 1).to_string());
                let exclusive = if hook.is_exclusive { " exclusive" } else { "" };
                let whead = hook.whead;
                self.line(&format!(
                    "  e{number}i{place} -> q{whead:x} [style=dotted, label=\"{position}{exclusive}\"];"
                ));
            }
        }
    }

    fn nesting(&mut self, view: &View<'_>) {
        let eventpolls = &view.snapshot.eventpolls;
        for (number, ep) in eventpolls.iter().enumerate() {
            let (shown, _) = view.shown(ep);
            for (place, item) in
                ep.reading.items.iter().enumerate().filter(|(place, _)| shown.get(*place) == Some(&true))
            {
                let inner = item.inner.and_then(|inner| eventpolls.iter().position(|ep| ep.address == inner));
                let root = inner.and_then(|inner| Some((inner, eventpolls.get(inner)?.reading.shape.root?)));
                if let Some((inner, root)) = root {
                    self.line(&format!("  e{number}i{place} -> e{inner}i{root} [lhead=cluster_{inner}, color=blue];"));
                }
            }
        }
    }

    fn wait_queues(&mut self) {
        for (whead, entries) in std::mem::take(&mut self.queues) {
            self.line(&format!("  q{whead:x} [shape=cds, label=\"wait queue\\n{whead:#x}\\nentries: {entries}\"];"));
        }
    }
}

/// A label of several lines.
fn quoted(lines: &[String]) -> String {
    let clean = |line: &String| sanitize::text(line).replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{}\"", lines.iter().map(clean).collect::<Vec<_>>().join("\\n"))
}

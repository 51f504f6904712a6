//! A picture: each eventpoll with its tree, every item in a column of its own, beneath it where it hangs on a wait queue; then the
//! lists. Names stand in text only, escaped.

use std::fmt::Write as _;

use super::{View, descriptor, hook, overflow, place, task, tree_words, verdict};
use crate::output::names::epoll_events;
use crate::output::sanitize;
use crate::snapshot::{Eventpoll, Item};

const MARGIN: usize = 20;
/// Columns and levels of a tree.
const COLUMN: usize = 76;
const LEVEL: usize = 54;
const RADIUS: usize = 17;
const LINE: usize = 18;
const MIN_WIDTH: usize = 900;
/// Boxes of a list.
const BOX: (usize, usize) = (150, 24);
/// Characters that fit into a column, and into a box.
const IN_COLUMN: usize = 11;
const IN_BOX: usize = 21;

const STYLE: &str = "svg{color-scheme:light dark;background:#fff}text{font:12px sans-serif;fill:#222}\
.h{font-weight:bold;font-size:15px}.w{fill:#b00020;font-weight:bold}.n{fill:#fff;text-anchor:middle}.c{text-anchor:middle}\
.black{fill:#222}.red{fill:#c0392b}.ready{stroke:#e6a100;stroke-width:4}line{stroke:#888}.q{stroke-dasharray:2 3}\
rect{fill:none;stroke:#888}.x{stroke-width:3}\
@media(prefers-color-scheme:dark){svg{background:#181818}text{fill:#ddd}.black{fill:#000;stroke:#aaa}.n{fill:#fff}.w{fill:#ff7b7b}}";

pub(super) fn svg(view: &View<'_>) -> String {
    let mut picture = Picture { body: String::new(), width: MIN_WIDTH, y: MARGIN };
    let snapshot = view.snapshot;
    picture.line("h", &format!("eptrace snapshot of {}/{}, kernel {}", snapshot.comm, snapshot.pid, snapshot.kernel));
    for note in &snapshot.notes {
        picture.line("w", note);
    }
    for ep in &snapshot.eventpolls {
        picture.eventpoll(view, ep);
    }
    let (width, height) = (picture.width, picture.y + MARGIN);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         role=\"img\"><style>{STYLE}</style>\n{}</svg>\n",
        picture.body
    )
}

struct Picture {
    body: String,
    width: usize,
    y: usize,
}

impl Picture {
    fn put(&mut self, element: &str) {
        let _ = writeln!(self.body, "{element}");
    }

    /// A line of text at the left.
    fn line(&mut self, class: &str, text: &str) {
        self.y += LINE;
        let y = self.y;
        self.put(&format!("<text class=\"{class}\" x=\"{MARGIN}\" y=\"{y}\">{}</text>", escaped(text)));
    }

    fn eventpoll(&mut self, view: &View<'_>, ep: &Eventpoll) {
        let reading = &ep.reading;
        self.y += LINE;
        self.line("h", &format!("eventpoll {}", view.name(ep.address)));
        self.line(if reading.torn.is_empty() { "" } else { "w" }, &verdict(ep));
        if let Some(scan) = &reading.scan {
            self.boxes("overflow list, while a scan ran", &thin(overflow(ep, scan)));
        }
        if !reading.whole {
            self.line("w", "all else could not be read");
            return;
        }
        self.line("", &tree_words(ep));
        let (shown, left_out) = view.shown(ep);
        if left_out > 0 {
            self.line("w", &format!("{left_out} items are not shown, the farthest from the root"));
        }
        self.tree(view, ep, &shown);
        self.boxes("ready list", &thin(reading.ready.iter().map(|on| place(ep, on))));
        let mut asleep: Vec<(String, bool)> =
            reading.waiters.iter().map(|waiter| (task(&waiter.task), waiter.exclusive)).collect();
        if reading.more_waiters {
            asleep.push(("and more".to_owned(), false));
        }
        self.boxes("asleep in epoll_wait, the first is woken first; a thick frame: exclusive", &asleep);
    }

    fn tree(&mut self, view: &View<'_>, ep: &Eventpoll, shown: &[bool]) {
        let columns: Vec<usize> = (0..shown.len()).filter(|place| shown.get(*place) == Some(&true)).collect();
        let Some(last) = columns.len().checked_sub(1) else { return };
        self.width = self.width.max(2 * MARGIN + (last + 1) * COLUMN);
        let links = &ep.reading.shape.links;
        let level = |place: usize| links.get(place).map_or(0, |link| link.depth);
        let top = self.y;
        let at = |place: usize| {
            let column = columns.binary_search(&place).ok()?;
            Some((MARGIN + COLUMN / 2 + column * COLUMN, top + level(place) * LEVEL - LEVEL / 3))
        };
        let bottom = top + columns.iter().map(|&place| level(place)).max().unwrap_or(0) * LEVEL + LINE;
        for &place in &columns {
            let parent = links.get(place).and_then(|link| link.parent).and_then(at);
            if let (Some((x, y)), Some((px, py))) = (at(place), parent) {
                self.put(&format!("<line x1=\"{px}\" y1=\"{py}\" x2=\"{x}\" y2=\"{y}\"/>"));
            }
        }
        let mut most = 0;
        for &place in &columns {
            let (Some(item), Some(link), Some((x, y))) = (ep.reading.items.get(place), links.get(place), at(place))
            else {
                continue;
            };
            most = most.max(item.chain.len());
            self.chain(view, item, (x, y), bottom);
            let ready = if item.ready.is_some() { " ready" } else { "" };
            let colour = link.colour.name();
            let (about, fd) = (escaped(&about(view, item)), item.fd);
            self.put(&format!(
                "<g><title>{about}</title><circle class=\"{colour}{ready}\" cx=\"{x}\" cy=\"{y}\" r=\"{RADIUS}\"/>"
            ));
            self.put(&format!("<text class=\"n\" x=\"{x}\" y=\"{}\">{fd}</text></g>", y + 4));
        }
        self.y = bottom + (most + 1) * LINE;
    }

    /// Down from a node to what it watches, and its place on each wait queue.
    fn chain(&mut self, view: &View<'_>, item: &Item, (x, y): (usize, usize), bottom: usize) {
        self.put(&format!("<line class=\"q\" x1=\"{x}\" y1=\"{y}\" x2=\"{x}\" y2=\"{}\"/>", bottom - LINE + 4));
        let mut text = |at: usize, text: &str| {
            self.put(&format!("<text class=\"c\" x=\"{x}\" y=\"{at}\">{}</text>", escaped(&cut(text, IN_COLUMN))));
        };
        text(bottom, &view.kind(item));
        for (row, hook) in item.chain.iter().enumerate() {
            let position = hook.position.map_or_else(|| "?".to_owned(), |position| (position + 1).to_string());
            let exclusive = if hook.is_exclusive { " excl" } else { "" };
            text(bottom + (row + 1) * LINE, &format!("{position} of {}{exclusive}", hook.entries));
        }
    }

    /// A list as boxes in its order, some of them with a thick frame.
    fn boxes(&mut self, name: &str, words: &[(String, bool)]) {
        self.line(
            "",
            &format!("{name}: {}", if words.is_empty() { "empty".to_owned() } else { words.len().to_string() }),
        );
        let (width, height) = BOX;
        let in_a_row = ((self.width - 2 * MARGIN) / (width + 10)).max(1);
        for row in words.chunks(in_a_row) {
            self.y += 6;
            let y = self.y;
            for (column, (word, thick)) in row.iter().enumerate() {
                let x = MARGIN + column * (width + 10);
                let class = if *thick { " class=\"x\"" } else { "" };
                self.put(&format!("<rect{class} x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"4\"/>"));
                let middle = x + width / 2;
                let word = escaped(&cut(word, IN_BOX));
                self.put(&format!("<text class=\"c\" x=\"{middle}\" y=\"{}\">{word}</text>", y + 16));
            }
            self.y += height;
        }
    }
}

/// Words of a list whose frames are all alike.
fn thin(words: impl IntoIterator<Item = String>) -> Vec<(String, bool)> {
    words.into_iter().map(|word| (word, false)).collect()
}

/// All of an item, for whoever points at it.
fn about(view: &View<'_>, item: &Item) -> String {
    let mut about =
        format!("{}: {}, {}, data {:#x}", descriptor(item), view.what(item), epoll_events(item.events), item.data);
    if let Some(ready) = item.ready {
        let _ = write!(about, ", ready (place {})", ready + 1);
    }
    for entry in &item.chain {
        let _ = write!(about, "; {}", hook(entry));
    }
    about
}

fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 1).chain(['…']).collect()
}

/// Nothing that a terminal obeys, and nothing that is markup.
fn escaped(text: &str) -> String {
    let clean = sanitize::text(text);
    clean.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

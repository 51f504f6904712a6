//! For people: what stands where, the tree as a tree, and each item with its chain.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};

use super::{View, descriptor, hook, overflow, place, sleeper, task, tree_words, verdict};
use crate::output::names::epoll_events;
use crate::output::sanitize;
use crate::snapshot::{Colour, Eventpoll, Item, Reading};

/// The narrowest width that is respected.
const MIN_WIDTH: usize = 40;
/// Columns of one level of a tree.
const INDENT: usize = 3;

const HEADING: Style = Style::new().bold();
const ALARM: Style = AnsiColor::Red.on_default().bold();
const RED: Style = AnsiColor::Red.on_default();
const BLACK: Style = Style::new().bold();
const PLAIN: Style = Style::new();

pub(super) fn text(view: &View<'_>, width: usize, colour: bool) -> String {
    let mut page = Page { text: String::new(), width: width.max(MIN_WIDTH), colour };
    let snapshot = view.snapshot;
    page.line(HEADING, &format!("eptrace snapshot of {}/{}", snapshot.comm, snapshot.pid));
    page.line(PLAIN, &format!("kernel {}", snapshot.kernel));
    for note in &snapshot.notes {
        page.paragraph("note: ", note, ALARM);
    }
    for ep in &snapshot.eventpolls {
        eventpoll(&mut page, view, ep);
    }
    page.text
}

fn eventpoll(page: &mut Page, view: &View<'_>, ep: &Eventpoll) {
    let reading = &ep.reading;
    page.gap();
    page.line(HEADING, &format!("eventpoll {} at {:#x}", view.name(ep.address), ep.address));
    let style = if reading.torn.is_empty() { PLAIN } else { ALARM };
    page.paragraph("  ", &verdict(ep), style);
    let holders: Vec<String> =
        ep.holders.iter().skip(1).map(|holder| format!("{}/{}:{}", holder.comm, holder.pid, holder.epfd)).collect();
    if !holders.is_empty() {
        page.fact("also open as", &holders.join(", "));
    }
    for outer in &view.snapshot.eventpolls {
        for item in outer.reading.items.iter().filter(|item| item.inner == Some(ep.address)) {
            page.fact("nested in", &format!("{} as fd {}", view.name(outer.address), item.fd));
        }
    }
    if !reading.whole {
        page.fact("overflow list", &scan(ep));
        page.fact("all else", "could not be read");
        return;
    }
    page.fact("tree", &tree_words(ep));
    for fault in &reading.shape.faults {
        page.paragraph("  ", &format!("the tree is not sound: {fault}"), ALARM);
    }
    let ready: Vec<String> = reading.ready.iter().map(|on| place(ep, on)).collect();
    page.fact("ready list", &list(&ready));
    page.fact("overflow list", &scan(ep));
    page.fact("sleeping", &sleeping(reading));
    if reading.polled > 0 {
        page.fact("polled by", &format!("{} (entries on its own wait queue poll_wait)", reading.polled));
    }
    let (shown, left_out) = view.shown(ep);
    if left_out > 0 {
        page.paragraph(
            "  ",
            &format!("{left_out} items are not shown, the farthest from the root: --max-items"),
            ALARM,
        );
    }
    tree(page, view, ep, &shown);
    items(page, view, ep, &shown);
}

fn list(words: &[String]) -> String {
    if words.is_empty() { "empty".to_owned() } else { format!("{}: {}", words.len(), words.join(", ")) }
}

fn sleeping(reading: &Reading) -> String {
    let mut waiters: Vec<String> = reading.waiters.iter().map(sleeper).collect();
    if reading.more_waiters {
        waiters.push("and more".to_owned());
    }
    list(&waiters)
}

fn scan(ep: &Eventpoll) -> String {
    let Some(scan) = &ep.reading.scan else { return "no scan runs".to_owned() };
    let who = ep.reading.owner.as_ref().map_or_else(|| "a task".to_owned(), task);
    format!("a scan by {who} ran when this began; the last to come first: {}", list(&overflow(ep, scan)))
}

/// The tree on its side: the root at the left, what comes before an item above it.
fn tree(page: &mut Page, view: &View<'_>, ep: &Eventpoll, shown: &[bool]) {
    let Some(root) = ep.reading.shape.root else { return };
    page.gap();
    page.line(PLAIN, "  tree (B black, R red; from top to bottom in the order of fdinfo)");
    let links = &ep.reading.shape.links;
    let mut stack = vec![Step::Down(root, String::new(), Side::Root)];
    while let Some(step) = stack.pop() {
        match step {
            Step::Down(node, prefix, side) => {
                let Some(link) = links.get(node) else { continue };
                let (above, below) = side.prefixes(&prefix);
                let child = |child: Option<usize>, prefix, side| child.map(|child| Step::Down(child, prefix, side));
                stack.extend(child(link.right, below, Side::Below));
                stack.push(Step::Here(node, prefix, side));
                stack.extend(child(link.left, above, Side::Above));
            }
            Step::Here(node, prefix, side) if shown.get(node) == Some(&true) => {
                if let (Some(link), Some(item)) = (links.get(node), ep.reading.items.get(node)) {
                    page.node(&(prefix + side.branch()), link.colour, &in_tree(view, item));
                }
            }
            Step::Here(..) => {}
        }
    }
}

/// Not recursive: a tree from hostile input may be as deep as it has items.
enum Step {
    Down(usize, String, Side),
    Here(usize, String, Side),
}

#[derive(Clone, Copy)]
enum Side {
    Root,
    Above,
    Below,
}

impl Side {
    const fn branch(self) -> &'static str {
        match self {
            Self::Root => "",
            Self::Above => "┌─ ",
            Self::Below => "└─ ",
        }
    }

    /// What stands before the children above and below.
    fn prefixes(self, prefix: &str) -> (String, String) {
        let (space, line) = (" ".repeat(INDENT), format!("│{}", " ".repeat(INDENT - 1)));
        match self {
            Self::Root => (String::new(), String::new()),
            Self::Above => (format!("{prefix}{space}"), format!("{prefix}{line}")),
            Self::Below => (format!("{prefix}{line}"), format!("{prefix}{space}")),
        }
    }
}

fn in_tree(view: &View<'_>, item: &Item) -> String {
    let ready = if item.ready.is_some() { " *ready" } else { "" };
    format!("fd {} {}{ready}", item.fd, view.what(item))
}

fn items(page: &mut Page, view: &View<'_>, ep: &Eventpoll, shown: &[bool]) {
    if ep.reading.items.is_empty() {
        return;
    }
    page.gap();
    page.line(PLAIN, "  items");
    for (item, _) in ep.reading.items.iter().zip(shown).filter(|(_, shown)| **shown) {
        page.paragraph("  ", &format!("{}: {}", descriptor(item), view.what(item)), PLAIN);
        let ready = item.ready.map_or_else(String::new, |place| format!(", ready (place {})", place + 1));
        page.paragraph("    ", &format!("{}, data {:#x}{ready}", epoll_events(item.events), item.data), PLAIN);
        for entry in &item.chain {
            page.paragraph("    ", &format!("eppoll_entry {:#x} on {}", entry.pwq, hook(entry)), PLAIN);
        }
    }
}

/// The text as it grows.
struct Page {
    text: String,
    width: usize,
    colour: bool,
}

impl Page {
    fn gap(&mut self) {
        self.text.push('\n');
    }

    fn styled(&self, style: Style, text: &str) -> String {
        if self.colour { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    fn line(&mut self, style: Style, text: &str) {
        let clean = cut(&sanitize::text(text), self.width);
        let _ = writeln!(self.text, "{}", self.styled(style, &clean));
    }

    /// As many lines as it takes; those after the first are indented further.
    fn paragraph(&mut self, indent: &str, text: &str, style: Style) {
        let after = format!("{}  ", " ".repeat(indent.len()));
        let options = textwrap::Options::new(self.width).initial_indent(indent).subsequent_indent(&after);
        // Lists of a thousand are no single string to be cut.
        let clean: Vec<String> = text.split(", ").map(sanitize::text).collect();
        for line in textwrap::wrap(&clean.join(", "), options) {
            let _ = writeln!(self.text, "{}", self.styled(style, line.trim_end()));
        }
    }

    fn fact(&mut self, name: &str, value: &str) {
        self.paragraph(&format!("  {name:<14}"), value, PLAIN);
    }

    fn node(&mut self, prefix: &str, colour: Colour, text: &str) {
        let (letter, style) = match colour {
            Colour::Red => ("R", RED),
            Colour::Black => ("B", BLACK),
        };
        let room = self.width.saturating_sub(prefix.chars().count() + 4);
        let clean = cut(&sanitize::text(text), room);
        let _ = writeln!(self.text, "  {prefix}{} {clean}", self.styled(style, letter));
    }
}

/// At most so many columns.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

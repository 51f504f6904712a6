//! Charts as SVG: bars stacked along the time, and a length with its least and greatest value. Colours are classes of the style
//! sheet, words stand beside the drawing, so that both follow the reader's size and theme.

use std::fmt::Write as _;

use maud::{Markup, html};

use super::Pictured;
use super::words::{duration, number};
use crate::analysis::history::{EventpollCell, History};

/// Long labels beneath columns that have room.
const MAX_LABELS: usize = 8;

/// Height of a drawing in its own units; its width is the number of its cells.
const HEIGHT: f64 = 100.0;

/// The greatest values, so that charts side by side have the same scale.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Scales {
    /// The length of time.
    pub(super) cells: usize,
    /// Tasks woken in one cell, of a listening source.
    pub(super) woken: u64,
    /// Length of a ready list.
    pub(super) ready: u64,
    /// Stays that began, or ended, in one cell.
    pub(super) moved: u64,
    /// Waits, or events, in one cell.
    pub(super) waits: u64,
    /// Tasks' wakes by one listening socket.
    pub(super) task: u64,
    /// Source wakeups with one and the same number.
    pub(super) fan: u64,
    /// The greatest of these numbers.
    pub(super) value: u64,
}

impl Scales {
    /// Scales that these fit.
    pub(super) fn of(all: &[Pictured<'_>]) -> Self {
        let mut scales = Self::default();
        for Pictured { report, history } in all {
            scales.cells = scales.cells.max(cells_of(history));
            let sources = history.sources.iter().filter(|source| source.listening);
            let woken = sources.flat_map(|source| &source.cells).map(|cell| cell.woken);
            scales.woken = scales.woken.max(woken.max().unwrap_or(0));
            for cell in history.eventpolls.iter().flat_map(|ep| &ep.cells) {
                scales.ready = scales.ready.max(cell.ready.0.map_or(0, |(_, most, _)| most));
                scales.moved = scales.moved.max(sum(&came(cell)).max(sum(&went(cell))));
                scales.waits = scales.waits.max(cell.waits).max(cell.returned);
            }
            for row in &report.herd {
                let tasks = row.tasks.iter().map(|task| task.woken.max(task.useful));
                scales.task = scales.task.max(tasks.max().unwrap_or(0));
                for spread in [&row.called, &row.woken, &row.returned, &row.useful, &row.wasted] {
                    scales.fan = scales.fan.max(spread.histogram.values().copied().max().unwrap_or(0));
                    scales.value = scales.value.max(spread.max);
                }
            }
        }
        scales
    }
}

fn cells_of(history: &History) -> usize {
    usize::try_from(history.duration_ns / history.cell_ns.max(1)).unwrap_or(usize::MAX).saturating_add(1)
}

fn sum(values: &[u64]) -> u64 {
    values.iter().fold(0, |sum, n| sum.saturating_add(*n))
}

/// Why stays began, in the order of [`CAME`].
pub(super) fn came(cell: &EventpollCell) -> [u64; 8] {
    let c = &cell.came;
    [c.callback, c.overflow, c.ready_at_add, c.ready_at_mod, c.requeue, c.carried_over, c.before, c.unknown]
}

/// Why stays ended, in the order of [`WENT`].
pub(super) fn went(cell: &EventpollCell) -> [u64; 8] {
    let c = &cell.went;
    [c.delivered, c.oneshot, c.not_ready, c.carried_over, c.deleted, c.closed, c.unknown, c.still_there]
}

/// The reasons why an item comes to the ready list, with the class of their colour.
pub(super) const CAME: [(&str, &str); 8] = [
    ("callback", "c1"),
    ("overflow list", "c2"),
    ("ready when added", "c3"),
    ("ready when modified", "c4"),
    ("requeued", "c5"),
    ("carried over", "c6"),
    ("there before", "c7"),
    ("unseen", "c8"),
];

/// The reasons why it goes.
pub(super) const WENT: [(&str, &str); 8] = [
    ("delivered", "d1"),
    ("disabled by EPOLLONESHOT", "d2"),
    ("found not ready", "d3"),
    ("carried over", "c6"),
    ("deleted", "d5"),
    ("closed", "d6"),
    ("unseen", "c8"),
    ("still there", "d8"),
];

/// One colour of a chart: what it stands for, and its value in each cell.
#[derive(Debug, Clone)]
pub(super) struct Series {
    pub(super) name: &'static str,
    pub(super) class: &'static str,
    pub(super) values: Vec<u64>,
}

impl Series {
    fn total(&self) -> u64 {
        sum(&self.values)
    }
}

/// What a chart needs besides its series.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame<'a> {
    /// What it shows.
    pub(super) title: &'a str,
    /// The greatest value.
    pub(super) max: u64,
    /// How many cells there are.
    pub(super) cells: usize,
    /// Nanoseconds of a cell.
    pub(super) cell_ns: u64,
    /// Cells in which events were lost.
    pub(super) lost: &'a [u64],
    /// The eventpoll to whose moment a click leads.
    pub(super) ep: Option<u64>,
}

impl Frame<'_> {
    fn draw(&self, rows: u32, unit: &str, drawing: &Markup) -> Markup {
        let cells = self.cells.max(1);
        let height = HEIGHT * f64::from(rows);
        let end = self.cell_ns.saturating_mul(u64::try_from(cells).unwrap_or(u64::MAX));
        html! {
            div.plot {
                div.y { span { (number(self.max)) } @if rows > 1 { span { "0" } span { (number(self.max)) } } @else { span { "0" } } }
                svg viewBox=(format!("0 0 {cells} {height}")) preserveAspectRatio="none" role="img" aria-label=(self.title)
                    data-ep=[self.ep] data-cell=(self.cell_ns) {
                    path.lost d=(self.marks(height)) {}
                    (drawing)
                }
                div.x { span { "0" } span { (unit) ", one column is " (duration(self.cell_ns)) } span { (duration(end)) } }
            }
        }
    }

    fn marks(&self, height: f64) -> String {
        let mut path = String::new();
        for (index, _) in self.lost.iter().enumerate().filter(|(_, lost)| **lost > 0) {
            let _ = write!(path, "M{index} 0h1v{height}h-1z");
        }
        path
    }
}

/// Bars stacked upwards, and others downwards from the same line.
pub(super) fn stacked(frame: &Frame<'_>, unit: &str, up: &[Series], down: &[Series]) -> Markup {
    let rows = if down.is_empty() { 1 } else { 2 };
    let (ups, downs) = (paths(frame, up, true), paths(frame, down, false));
    let drawing = html! {
        @for (class, path) in ups.iter().chain(&downs) {
            path class=(class) d=(path) {}
        }
        @if rows > 1 { path.axis d=(format!("M0 {HEIGHT}H{}", frame.cells.max(1))) {} }
    };
    html! {
        figure {
            figcaption { (frame.title) }
            (frame.draw(rows, unit, &drawing))
            (legend(up, if down.is_empty() { "" } else { "up" }))
            @if !down.is_empty() { (legend(down, "down")) }
        }
    }
}

fn paths(frame: &Frame<'_>, series: &[Series], up: bool) -> Vec<(&'static str, String)> {
    let mut base = vec![0_u64; frame.cells];
    let mut paths = Vec::new();
    for one in series {
        let mut path = String::new();
        for (index, (value, base)) in one.values.iter().zip(&mut base).enumerate().filter(|(_, (value, _))| **value > 0)
        {
            let (from, height) = (scaled(*base, frame.max), scaled(*value, frame.max));
            let y = if up { HEIGHT - from - height } else { HEIGHT + from };
            let _ = write!(path, "M{index} {y:.2}h1v{height:.2}h-1z");
            *base = base.saturating_add(*value);
        }
        if !path.is_empty() {
            paths.push((one.class, path));
        }
    }
    paths
}

#[expect(clippy::cast_precision_loss, reason = "a place on a screen")]
fn scaled(value: u64, max: u64) -> f64 {
    value as f64 / max.max(1) as f64 * HEIGHT
}

fn legend(series: &[Series], what: &str) -> Markup {
    let shown: Vec<&Series> = series.iter().filter(|one| one.total() > 0).collect();
    html! {
        ul.legend {
            @if !what.is_empty() { li.what { (what) } }
            @if shown.is_empty() { li { "none" } }
            @for one in shown {
                li { span class={"swatch " (one.class)} {} (one.name) " " b { (number(one.total())) } }
            }
        }
    }
}

/// How long the ready list was: the band from least to greatest, and the last value of each cell as a line.
pub(super) fn length(frame: &Frame<'_>, cells: &[EventpollCell]) -> Markup {
    let (mut band, mut line) = (String::new(), String::new());
    let mut before = 0;
    for (index, cell) in cells.iter().enumerate().take(frame.cells) {
        let (shortest, longest, end) = cell.ready.0.unwrap_or((before, before, before));
        let (top, bottom) = (HEIGHT - scaled(longest, frame.max), HEIGHT - scaled(shortest, frame.max));
        if longest > 0 {
            let _ = write!(band, "M{index} {top:.2}h1v{:.2}h-1z", (bottom - top).max(0.0));
        }
        let y = HEIGHT - scaled(end, frame.max);
        let _ = write!(line, "{}{index} {y:.2}h1", if index == 0 { 'M' } else { 'L' });
        before = end;
    }
    let drawing = html! {
        path.band d=(band) {}
        path.line d=(line) {}
    };
    html! {
        figure {
            figcaption { (frame.title) }
            (frame.draw(1, "items", &drawing))
            ul.legend {
                li { span.swatch.band {} "from the shortest to the longest in each column" }
                li { span.swatch.line {} "at its end" }
            }
        }
    }
}

/// Columns side by side: what each stands for, and how often.
pub(super) fn columns(title: &str, class: &str, rows: &[(String, u64)], max: u64) -> Markup {
    // Labels that would run into each other are left out.
    let every = if rows.iter().any(|(label, _)| label.chars().count() > 3) {
        rows.len().div_ceil(MAX_LABELS).max(1)
    } else {
        1
    };
    html! {
        div.columns role="img" aria-label=(columns_in_words(title, rows)) {
            @for (index, (label, value)) in rows.iter().enumerate() {
                div.column {
                    span.n { @if *value > 0 { (number(*value)) } }
                    span class={"bar " (class) (if label == "0" { " zero" } else { "" })} style={"height:" (super::words::share(*value, max) * 0.6) "px"} {}
                    span.label { @if index % every == 0 { (label) } }
                }
            }
        }
    }
}

fn columns_in_words(title: &str, rows: &[(String, u64)]) -> String {
    let rows: Vec<String> = rows.iter().filter(|(_, n)| *n > 0).map(|(label, n)| format!("{label}: {n}")).collect();
    format!("{title}: {}", rows.join(", "))
}

//! Draws a [`State`]. Fits 80 columns and 24 lines; what is wider gives its room to names.

use std::fmt::Write as _;

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row as Cells, Table, TableState};

use super::{EventpollRow, ItemRow, Playing, Rates, Row, Screen, Seen, State, TaskRow};
use crate::output::sanitize;

/// How the parts of the view look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Theme {
    /// Whether colours may be used; without them what matters is bold or reversed.
    pub colour: bool,
}

impl Theme {
    fn bad(self) -> Style {
        let style = Style::new().add_modifier(Modifier::BOLD);
        if self.colour { style.fg(Color::Red) } else { style.add_modifier(Modifier::REVERSED) }
    }

    fn good(self) -> Style {
        if self.colour { Style::new().fg(Color::Green) } else { Style::new() }
    }

    fn head(self) -> Style {
        let style = Style::new().add_modifier(Modifier::BOLD);
        if self.colour { style.fg(Color::Cyan) } else { style }
    }
}

/// Draws all of it.
pub fn draw(frame: &mut Frame, state: &State, theme: Theme) {
    let [top, middle, bottom] =
        Layout::vertical([Constraint::Length(4), Constraint::Min(1), Constraint::Length(1)]).areas(frame.area());
    frame.render_widget(Paragraph::new(header(state, theme)), top);
    if state.screen() == Screen::Help {
        frame.render_widget(Paragraph::new(HELP), middle);
    } else {
        table(frame, middle, state, theme);
    }
    footer(frame, bottom, state, theme);
}

/// Whom, how long, how much; and what is missing, before anything else is believed.
fn header(state: &State, theme: Theme) -> Vec<Line<'static>> {
    let info = state.info();
    let time = state.elapsed_ns() / 1_000_000_000;
    let playing = match state.playing() {
        Playing::On => Span::raw(""),
        Playing::Paused => Span::styled("PAUSED  ", theme.bad()),
        Playing::Ended => Span::styled("THE RECORDING HAS ENDED  ", theme.head()),
    };
    // What is long comes last: it may be cut off.
    let first = vec![
        Span::styled("eptrace top", theme.head()),
        Span::raw(format!("  {:02}:{:02}  ", time / 60, time % 60)),
        playing,
        Span::raw(format!("{}  {}", info.backend(), sanitize::text(&info.target))),
    ];
    let (rates, seen) = (state.all(), state.seen());
    let totals = state.totals();
    let second = format!(
        "{} callbacks/s {} waits/s {} woken/s {} ev/wait p50 {} p99 {}",
        shown(seen.callbacks, &number(rates.callbacks)),
        shown(seen.waits, &number(rates.waits)),
        shown(seen.wakes, &number(rates.woken)),
        shown(seen.waits, &optional(rates.events_per_wait, |ratio| format!("{ratio:.2}"))),
        shown(seen.wakes, &optional(rates.p50, time_of)),
        shown(seen.wakes, &optional(rates.p99, time_of)),
    );
    let third = format!(
        "in all: {} waits, {} events, {} woken, {} returned, {} useful",
        shown(seen.waits, &exact(totals.waits)),
        shown(seen.waits, &exact(totals.events)),
        shown(seen.wakes, &exact(totals.woken)),
        shown(seen.wakes, &exact(totals.returned)),
        shown(seen.wakes, &exact(totals.useful)),
    );
    vec![Line::from(first), losses(state, theme), Line::raw(second), Line::raw(third)]
}

fn losses(state: &State, theme: Theme) -> Line<'static> {
    let lost: u64 = state.lost().iter().fold(0, |sum, (_, count)| sum.saturating_add(*count));
    if lost > 0 {
        let by: Vec<String> = state.lost().iter().map(|(reason, count)| format!("{reason} {count}")).collect();
        return Line::styled(format!("LOST {lost} events ({}): numbers are too small", by.join(", ")), theme.bad());
    }
    let Seen { callbacks, waits, wakes } = state.seen();
    let missing: Vec<&str> = [(callbacks, "callbacks"), (waits, "ends of waits"), (wakes, "wakes")]
        .into_iter()
        .filter_map(|(seen, what)| (!seen).then_some(what))
        .collect();
    if missing.is_empty() {
        Line::styled("nothing lost", theme.good())
    } else {
        Line::styled(format!("not seen on this kernel: {} (eptrace check)", missing.join(", ")), theme.bad())
    }
}

fn table(frame: &mut Frame, area: Rect, state: &State, theme: Theme) {
    let (head, widths): (Vec<&str>, Vec<Constraint>) = match state.screen() {
        Screen::Items(_) => (
            vec!["FD", "READY", "CALLB/s", "EVENTS"],
            vec![Constraint::Length(8), Constraint::Length(6), Constraint::Length(8), Constraint::Min(20)],
        ),
        Screen::Tasks(_) | Screen::Process(_) => {
            (vec!["TASK", "STATE", "WAITS", "EVENTS", "WOKEN", "RETURNED", "USEFUL"], columns(24, &[8, 8, 8, 8, 8, 8]))
        }
        Screen::Eventpolls | Screen::Help => (
            vec!["EVENTPOLL", "ITEMS", "READY", "CALLB/s", "WAITS/s", "EV/W", "WOKEN/s", "GOT", "P50", "P99"],
            columns(16, &[5, 5, 7, 7, 5, 7, 4, 6, 6]),
        ),
    };
    let (text, seen) = (state.screen(), state.seen());
    let right = |text: &str| Cell::from(Line::from(text.to_owned()).alignment(Alignment::Right));
    let numbers_from = if matches!(text, Screen::Items(_)) { 0..3 } else { 1..head.len() };
    let cells =
        |texts: Vec<String>| {
            Cells::new(texts.iter().enumerate().map(|(column, text)| {
                if numbers_from.contains(&column) { right(text) } else { Cell::from(text.clone()) }
            }))
        };
    let rows: Vec<Cells> = state
        .rows()
        .iter()
        .map(|row| match row {
            Row::Process(_, row) => cells(eventpoll(row, "", seen)).style(Style::new().add_modifier(Modifier::BOLD)),
            Row::Eventpoll(_, row) => cells(eventpoll(row, "  ", seen)),
            Row::Item(_, row) => cells(item(row, seen)),
            Row::Task(_, row) => cells(task(row, seen)),
        })
        .collect();
    let empty = rows.is_empty();
    let head = cells(head.into_iter().map(str::to_owned).collect()).style(theme.head());
    let table = Table::new(rows, widths)
        .header(head)
        .column_spacing(1)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut selection = TableState::default().with_selected(state.selected_row());
    frame.render_stateful_widget(table, area, &mut selection);
    if empty && area.height > 2 {
        let what = if state.filter().0.is_empty() { "nothing yet" } else { "nothing that the filter lets through" };
        frame.render_widget(Paragraph::new(what), Rect { y: area.y + 2, height: 1, ..area });
    }
}

fn columns(name: u16, widths: &[u16]) -> Vec<Constraint> {
    std::iter::once(Constraint::Min(name)).chain(widths.iter().map(|width| Constraint::Length(*width))).collect()
}

fn eventpoll(row: &EventpollRow, indent: &str, seen: Seen) -> Vec<String> {
    let Rates { callbacks, waits, woken, events_per_wait, got, p50, p99 } = &row.rates;
    vec![
        format!("{indent}{}", sanitize::text(&row.name)),
        row.items.to_string(),
        row.ready.to_string(),
        shown(seen.callbacks, &number(*callbacks)),
        shown(seen.waits, &number(*waits)),
        shown(seen.waits, &optional(*events_per_wait, |ratio| format!("{ratio:.2}"))),
        shown(seen.wakes, &number(*woken)),
        shown(seen.wakes, &optional(*got, |got| format!("{got:.0}%"))),
        shown(seen.wakes, &optional(*p50, time_of)),
        shown(seen.wakes, &optional(*p99, time_of)),
    ]
}

fn item(row: &ItemRow, seen: Seen) -> Vec<String> {
    vec![
        row.fd.to_string(),
        if row.ready { "ready" } else { "" }.to_owned(),
        shown(seen.callbacks, &number(row.callbacks)),
        row.events.clone(),
    ]
}

fn task(row: &TaskRow, seen: Seen) -> Vec<String> {
    let counts = &row.counts;
    vec![
        sanitize::text(&row.name),
        if row.waits { "waits" } else { "runs" }.to_owned(),
        shown(seen.waits, &counts.waits.to_string()),
        shown(seen.waits, &counts.events.to_string()),
        shown(seen.wakes, &counts.woken.to_string()),
        shown(seen.wakes, &counts.returned.to_string()),
        shown(seen.wakes, &counts.useful.to_string()),
    ]
}

fn footer(frame: &mut Frame, area: Rect, state: &State, theme: Theme) {
    let (filter, typing) = state.filter();
    let line = if typing {
        Line::from(vec![Span::styled("filter: ", theme.head()), Span::raw(sanitize::text(filter)), Span::raw("_")])
    } else {
        let place = match state.screen() {
            Screen::Items(id) => format!("items of {}", sanitize::text(&state.name(id))),
            Screen::Tasks(id) => format!("tasks of {}", sanitize::text(&state.name(id))),
            Screen::Process(pid) => format!("tasks of process {pid}"),
            Screen::Eventpolls | Screen::Help => String::new(),
        };
        let (sort, reversed) = state.sort();
        let mut words = format!("by {}{}", sort.name(), if reversed { " (reversed)" } else { "" });
        if !filter.is_empty() {
            // Writing to a String does not fail.
            let _ = write!(words, ", only {}", sanitize::text(filter));
        }
        if state.left_out() > 0 {
            let _ = write!(words, ", {} more rows", state.left_out());
        }
        if place.is_empty() {
            Line::raw(format!("{words} | q quit p pause s sort / filter Enter items t tasks ? help"))
        } else {
            Line::raw(format!("{place}, {words} | Esc back q quit ? help"))
        }
    };
    frame.render_widget(Paragraph::new(line), area);
}

/// What could not be seen is not a number.
fn shown(seen: bool, text: &str) -> String {
    if seen { text.to_owned() } else { "?".to_owned() }
}

fn optional<T>(value: Option<T>, show: impl Fn(T) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), show)
}

/// A count as the report has it, as long as five of them fit a line.
#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
fn exact(count: u64) -> String {
    if count < 1_000_000 { count.to_string() } else { number(count as f64) }
}

/// A number in at most six characters.
fn number(value: f64) -> String {
    match value {
        ..9.95 => format!("{value:.1}"),
        ..99_999.5 => format!("{value:.0}"),
        ..9_999_500.0 => format!("{:.0}k", value / 1e3),
        _ => format!("{:.0}M", value / 1e6),
    }
}

/// Nanoseconds in at most five characters.
fn time_of(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns}ns"),
        1_000..1_000_000 => format!("{}us", ns / 1_000),
        1_000_000..1_000_000_000 => format!("{}ms", ns / 1_000_000),
        1_000_000_000..1_000_000_000_000 => format!("{}s", ns / 1_000_000_000),
        _ => ">999s".to_owned(),
    }
}

const HELP: &str = "
  q, Ctrl-C      quit                       up, down, j, k   select a row
  p, space       hold the picture still     PgUp, PgDn       ten rows
  s, r           next column, reversed      g, G             first row, last row
  /              filter by name             Enter, i         items of an eventpoll
  Esc            back                       t                tasks that wait on it

  READY    items on the ready list now, as it is reconstructed
  EV/W     events for each wait that returned some
  GOT      of the tasks woken, those that got something: a connection where
           somebody accepts, else events
  P50 P99  from the callback to the return of the task that it woke
  -        nothing to count    ? cannot be seen on this kernel";

#[cfg(test)]
mod tests {
    use super::{number, time_of};

    #[test]
    fn numbers_keep_to_their_columns() {
        for (value, text) in
            [(0.0, "0.0"), (9.94, "9.9"), (12.6, "13"), (99_999.0, "99999"), (123_456.0, "123k"), (2.5e7, "25M")]
        {
            assert_eq!(number(value), text);
        }
        for (ns, text) in [(0, "0ns"), (999_999, "999us"), (12_000_000, "12ms"), (u64::MAX, ">999s")] {
            assert_eq!(time_of(ns), text);
        }
    }
}

//! A listening socket: the fan-out of its wakeups, who was woken and who got something, and how that went over time.

use maud::{Markup, html};

use super::super::layout;
use super::charts::{Frame, Scales, Series, columns, stacked};
use super::head::{badge, class, source_of};
use super::text;
use super::words::{number, share};
use crate::analysis::history::{History, SourceCell};
use crate::analysis::{HerdRow, HerdTask, Spread};

/// Columns of a distribution, and tasks; JSON has them all.
const MAX_COLUMNS: u64 = 16;
const MAX_TASKS: usize = 32;

pub(super) fn section(row: &HerdRow, history: &History, scales: &Scales) -> Markup {
    html! {
        section.card {
            h2 { (text(&row.source)) " " span class={"chip " (class(row.verdict))} { (badge(row.verdict)) } }
            p.size { (layout::herd_size(row)) }
            div.pair {
                div { h3 { "Each wakeup: how many?" } (distributions(row, scales)) }
                div { h3 { "Who is woken, and who gets something" } (tasks(row, scales)) }
            }
            (over_time(row, history, scales))
        }
    }
}

/// The distributions of the five numbers, on the same scales.
pub(super) fn distributions(row: &HerdRow, scales: &Scales) -> Markup {
    let spreads = [
        ("called", "items called back", "n1", &row.called),
        ("woken", "tasks woken", "n2", &row.woken),
        ("returned", "waits ended with events", "n3", &row.returned),
        ("useful", "tasks got a connection", "good", &row.useful),
        ("wasted", "tasks woke for nothing", "bad", &row.wasted),
    ];
    html! {
        div.spreads {
            @for (name, what, colour, spread) in spreads {
                div.spread {
                    p { b { (name) } " " (what) br; "mean " b { (format!("{:.2}", spread.mean)) } ", " (number(spread.total)) " in all" }
                    (columns(&format!("{name}, how many wakeups had each number"), colour, &rows(spread, scales), scales.fan))
                }
            }
        }
        p.hint { "A column is the number of source wakeups that had the number beneath it." }
    }
}

/// A column for each number from 0 on; those beyond the last are taken together.
fn rows(spread: &Spread, scales: &Scales) -> Vec<(String, u64)> {
    let last = scales.value.min(MAX_COLUMNS);
    let mut rows: Vec<(String, u64)> =
        (0..=last).map(|value| (value.to_string(), spread.histogram.get(&value).copied().unwrap_or(0))).collect();
    if scales.value > last {
        let more = spread.histogram.range(last + 1..).fold(0_u64, |sum, (_, n)| sum.saturating_add(*n));
        rows.push((format!(">{last}"), more));
    }
    rows
}

/// The tasks: those that were woken for nothing most often first.
pub(super) fn tasks(row: &HerdRow, scales: &Scales) -> Markup {
    let mut tasks: Vec<&HerdTask> = row.tasks.iter().collect();
    tasks.sort_by_key(|task| (std::cmp::Reverse((task.wasted, task.woken)), task.pid, task.tid));
    html! {
        table.tasks {
            thead { tr { th { "task" } th { "woken: " span.good { "useful" } " and " span.bad { "for nothing" } } th.num { "woken" } th.num { "useful" } th.num { "wasted" } th.num { "accepts" } } }
            tbody {
                @for task in tasks.iter().take(MAX_TASKS) {
                    tr {
                        td { (text(&layout::task_name(&task.comm, task.pid, task.tid))) }
                        td.bars {
                            span.bar.good style={"width:" (share(task.useful, scales.task)) "%"} {}
                            span.bar.bad style={"width:" (share(task.wasted, scales.task)) "%"} {}
                        }
                        td.num { (number(task.woken)) }
                        td.num { (number(task.useful)) }
                        td.num.bad[task.wasted > 0] { (number(task.wasted)) }
                        td.num { (number(task.accepts)) }
                    }
                }
            }
        }
        @if tasks.is_empty() { p.hint { "No task was woken." } }
        @if tasks.len() > MAX_TASKS { p.hint { "and " (tasks.len() - MAX_TASKS) " more (all of them in JSON)" } }
    }
}

/// Woken tasks along the time: of use, and for nothing.
pub(super) fn over_time(row: &HerdRow, history: &History, scales: &Scales) -> Markup {
    let Some(source) = source_of(row, history) else { return html! {} };
    let frame = Frame {
        title: "Tasks woken over time",
        max: scales.woken,
        cells: scales.cells,
        cell_ns: history.cell_ns,
        lost: &history.lost,
        ep: source.worst.and_then(|worst| worst.ep).map(crate::model::EpId::number),
    };
    let useful =
        Series { name: "useful", class: "good", values: source.cells.iter().map(|cell| cell.useful).collect() };
    let wasted =
        Series { name: "for nothing", class: "bad", values: source.cells.iter().map(SourceCell::wasted).collect() };
    stacked(&frame, "tasks", &[useful, wasted], &[])
}

//! The eventpolls: their ready lists over time and why items came and went, waits and deliveries beneath, latencies, items.

use maud::{Markup, html};

use super::super::latency::{CALLBACK_TO_RETURN, CALLBACK_TO_WAKE, WOKEN_TO_RETURN, or_dash};
use super::super::names::epoll_events;
use super::charts::{CAME, Frame, Scales, Series, WENT, came, columns, length, stacked, went};
use super::text;
use super::words::{count, duration, number};
use crate::analysis::history::{EventpollCell, EventpollHistory, History, ItemHistory};
use crate::model::Latency;

/// Eventpolls with pictures, and those of them that are open at once.
const MAX_SHOWN: usize = 24;
const MAX_OPEN: usize = 2;

pub(super) fn section(history: &History, scales: &Scales) -> Markup {
    let all = history.eventpolls.len().saturating_add(history.more_eventpolls);
    html! {
        section.card {
            h2 { "Eventpolls" }
            @if history.eventpolls.is_empty() { p { "None was seen." } }
            @if all > MAX_SHOWN {
                p.hint { "The " (MAX_SHOWN) " busiest of " (number(u64::try_from(all).unwrap_or(u64::MAX))) ", on the same scales." }
            } @else if all > 1 {
                p.hint { "The busiest first, on the same scales. A click into a chart leads to that moment in the player." }
            }
            @for (index, ep) in history.eventpolls.iter().take(MAX_SHOWN).enumerate() {
                details.eventpoll open[index < MAX_OPEN] {
                    summary {
                        b { (text(&ep.name)) }
                        @if ep.generation > 1 { " (life " (ep.generation) " of its address)" }
                        span.hint {
                            " " (count(ep.steps, "event")) ", " (count(ep.items_ever, "item")) ", "
                            (count(u64::try_from(ep.tasks).unwrap_or(u64::MAX), "task")) ", ready list up to " (number(ep.longest.0))
                        }
                    }
                    (eventpoll(ep, history, scales))
                }
            }
        }
    }
}

fn eventpoll(ep: &EventpollHistory, history: &History, scales: &Scales) -> Markup {
    let frame = |title, max| Frame {
        title,
        max,
        cells: scales.cells,
        cell_ns: history.cell_ns,
        lost: &history.lost,
        ep: Some(ep.id.number()),
    };
    let waits = Series { name: "waits ended", class: "n2", values: ep.cells.iter().map(|cell| cell.waits).collect() };
    let returned =
        Series { name: "events returned", class: "n3", values: ep.cells.iter().map(|cell| cell.returned).collect() };
    html! {
        div.charts {
            (length(&frame("Length of the ready list", scales.ready), &ep.cells))
            (stacked(
                &frame("Why items came to the ready list (up), and why they went (down)", scales.moved),
                "stays",
                &reasons(&CAME, &ep.cells, came),
                &reasons(&WENT, &ep.cells, went),
            ))
            (stacked(&frame("Waits that ended (up), and the events that they returned (down)", scales.waits), "waits and events", &[waits], &[returned]))
        }
        div.pair {
            (latency(CALLBACK_TO_RETURN.title, CALLBACK_TO_RETURN.what, &ep.latencies.callback_to_return))
            (latency(CALLBACK_TO_WAKE.title, CALLBACK_TO_WAKE.what, &ep.latencies.callback_to_wake))
            (latency(WOKEN_TO_RETURN.title, WOKEN_TO_RETURN.what, &ep.latencies.woken_to_return))
        }
        (items(ep))
    }
}

fn reasons(
    names: &[(&'static str, &'static str); 8],
    cells: &[EventpollCell],
    of: fn(&EventpollCell) -> [u64; 8],
) -> Vec<Series> {
    let series = |(index, &(name, class)): (usize, &(&'static str, &'static str))| Series {
        name,
        class,
        values: cells.iter().map(|cell| of(cell)[index]).collect(),
    };
    names.iter().enumerate().map(series).collect()
}

/// Percentiles and histogram of a latency.
pub(super) fn latency(title: &str, what: &str, latency: &Latency) -> Markup {
    let at = |share| or_dash(latency.per_mille(share));
    let rows: Vec<(String, u64)> =
        latency.doublings().into_iter().map(|(end, count)| (format!("≤{}", duration(end)), count)).collect();
    let max = rows.iter().map(|(_, count)| *count).max().unwrap_or(0);
    html! {
        div.latency {
            h3 { (title) }
            p.hint { (what) }
            @if latency.samples() == 0 {
                p { "Not once." }
            } @else {
                table {
                    thead { tr { th.num { "times" } th.num { "p50" } th.num { "p90" } th.num { "p99" } th.num { "longest" } } }
                    tbody { tr {
                        td.num { (number(latency.samples())) }
                        td.num { (at(500)) } td.num { (at(900)) } td.num { (at(990)) }
                        td.num { (or_dash(latency.slowest().map(|slowest| slowest.took_ns))) }
                    } }
                }
                (columns(title, "n2", &rows, max))
            }
        }
    }
}

fn items(ep: &EventpollHistory) -> Markup {
    html! {
        h3 { "Busiest items" }
        @if ep.items.is_empty() {
            p { "No item was called back or returned." }
        } @else {
            div.wide { table.sortable {
                thead { tr {
                    th { "item" } th { "mask" }
                    th.num { "callbacks" } th.num { "delivered" } th.num { "requeues" } th.num { "not ready" } th.num { "woken" } th.num { "wasted" }
                } }
                tbody { @for item in &ep.items { (item_row(item)) } }
            } }
            @if ep.more_items > 0 { p.hint { "and " (number(u64::try_from(ep.more_items).unwrap_or(u64::MAX))) " less busy ones" } }
        }
    }
}

fn item_row(item: &ItemHistory) -> Markup {
    html! {
        tr {
            td { "fd " (item.fd) ": " (text(&item.source)) }
            td.mask { (epoll_events(item.events)) }
            @for n in [item.callbacks, item.delivered, item.requeues, item.not_ready, item.woken] { td.num { (number(n)) } }
            td.num.bad[item.wasted.is_some_and(|n| n > 0)] { (item.wasted.map_or_else(|| "not observed".to_owned(), number)) }
        }
    }
}

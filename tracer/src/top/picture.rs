//! The rows of a picture, made from the model and from what happened since the last one.

use ahash::AHashMap;

use super::rows::{EventpollRow, ItemRow, Rates, Row, Sort, measure, name_of, number_of};
use super::{State, Window};
use crate::analysis::eventpoll_name;
use crate::model::{EpId, Eventpoll, Item};
use crate::output::names::epoll_events;
use crate::output::task_name;

impl State {
    /// Processes with their eventpolls below them.
    pub(super) fn processes(&self) -> Vec<Row> {
        let model = self.meter.model();
        let mut groups: AHashMap<Option<u32>, (Window, Vec<Row>)> = AHashMap::new();
        for ep in model.eventpolls().iter().filter(|ep| ep.alive) {
            let row = self.eventpoll_row(ep);
            if !self.passes(&row) {
                continue;
            }
            let (sum, rows) = groups.entry(ep.seen_as.map(|(pid, _)| pid)).or_default();
            if let Some(window) = self.windows.get(&ep.id) {
                sum.flow.add(&window.flow);
                sum.latency.merge(&window.latency);
                sum.accepts |= window.accepts;
            }
            rows.push(row);
        }
        let mut groups: Vec<(Row, Vec<Row>)> = groups
            .into_iter()
            .map(|(pid, (sum, mut rows))| {
                self.order(&mut rows);
                (self.process_row(pid, &sum, &rows), rows)
            })
            .collect();
        groups.sort_by(|(one, _), (other, _)| self.compare(one, other));
        groups.into_iter().flat_map(|(process, rows)| std::iter::once(process).chain(rows)).collect()
    }

    fn process_row(&self, pid: Option<u32>, sum: &Window, rows: &[Row]) -> Row {
        let of = |what: fn(&EventpollRow) -> u64| {
            rows.iter().map(|row| if let Row::Eventpoll(_, row) = row { what(row) } else { 0 }).sum()
        };
        let name = pid.map_or_else(
            || "process not known".to_owned(),
            |pid| task_name(self.meter.model().tasks().process(pid).map_or("", |task| &task.comm), pid, pid),
        );
        let (items, ready) = (of(|row| row.items), of(|row| row.ready));
        Row::Process(pid.unwrap_or_default(), EventpollRow { name, items, ready, rates: Rates::of(sum, self.seconds) })
    }

    fn eventpoll_row(&self, ep: &Eventpoll) -> Row {
        let model = self.meter.model();
        let rates = self.windows.get(&ep.id).map_or_else(Rates::default, |window| Rates::of(window, self.seconds));
        let (name, ready) = (eventpoll_name(model, ep), model.items().ready(ep.id));
        Row::Eventpoll(ep.id, EventpollRow { name, items: ep.items, ready, rates })
    }

    #[expect(clippy::cast_precision_loss, reason = "rates are shown with three digits")]
    pub(super) fn items(&self, ep: EpId) -> Vec<Row> {
        let items = self.meter.model().items();
        let window = self.windows.get(&ep);
        let row = |item: &Item| {
            let callbacks = window.and_then(|window| window.items.get(&item.id)).copied().unwrap_or_default();
            let callbacks = if self.seconds > 0.0 { callbacks as f64 / self.seconds } else { 0.0 };
            let events = epoll_events(item.events);
            Row::Item(item.id, ItemRow { fd: item.fd, events, ready: item.stay.is_some(), callbacks })
        };
        items.of_ep(ep).into_iter().filter_map(|id| items.get(id)).map(row).collect()
    }

    pub(super) fn passes(&self, row: &Row) -> bool {
        let name = match row {
            Row::Process(_, row) | Row::Eventpoll(_, row) => row.name.clone(),
            Row::Item(_, row) => format!("fd {} {}", row.fd, row.events),
            Row::Task(_, row) => row.name.clone(),
        };
        name.to_lowercase().contains(&self.filter.to_lowercase())
    }

    pub(super) fn order(&self, rows: &mut [Row]) {
        rows.sort_by(|one, other| self.compare(one, other));
    }

    fn compare(&self, one: &Row, other: &Row) -> std::cmp::Ordering {
        let by_name = name_of(one).cmp(name_of(other)).then_with(|| number_of(one).cmp(&number_of(other)));
        let order = match self.sort {
            Sort::Name => by_name,
            sort => measure(other, sort).total_cmp(&measure(one, sort)).then(by_name),
        };
        if self.reversed { order.reverse() } else { order }
    }
}

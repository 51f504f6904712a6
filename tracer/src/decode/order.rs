//! Events of several CPUs in the order of their time.
//!
//! One ring buffer keeps the order of reservation, but a probe takes its time before it reserves: between the two an interrupt,
//! or another CPU, can come in. Events are held back for a window of time and sorted; what comes later still is counted.

use std::collections::{BTreeMap, VecDeque};

use tracer_common::Hook;

use crate::event::Event;

/// How long an event is held back, in nanoseconds. A probe runs for a few microseconds; an emulated CPU may be put aside for
/// tens of milliseconds in the middle of one.
pub const WINDOW_NS: u64 = 100_000_000;

/// Where an event was seen: hook and CPU, as far as it tells.
pub type Place = (Option<Hook>, Option<u32>);

/// Sorts events within a window of 100 ms.
#[derive(Debug, Default)]
pub struct Sequencer {
    /// In order.
    held: VecDeque<Event>,
    released_ts: u64,
    late: BTreeMap<Place, u64>,
}

impl Sequencer {
    /// Takes an event in. One that is older than the last released is dropped and counted. Events of equal time keep the order in
    /// which they came.
    pub fn push(&mut self, event: Event) {
        let ts = event.ts_ns();
        if ts < self.released_ts {
            let count = self.late.entry((event.hook(), event.header().map(|header| header.cpu))).or_default();
            *count = count.saturating_add(1);
            return;
        }
        // Nearly all come in order: the place is the end, or a few steps before it.
        let later = self.held.iter().rev().take_while(|held| held.ts_ns() > ts).count();
        self.held.push_back(event);
        let last = self.held.len() - 1;
        for step in 0..later {
            self.held.swap(last - step, last - step - 1);
        }
    }

    /// How many events are held back.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Appends to `out` the events that nothing can precede any more. `now_ns` is `CLOCK_MONOTONIC` from before the ring buffer
    /// was last found empty.
    pub fn release(&mut self, now_ns: u64, out: &mut Vec<Event>) {
        self.release_until(now_ns.saturating_sub(WINDOW_NS), out);
    }

    /// Appends to `out` what is older than the newest event by the window: for when events come faster than they are read.
    pub fn release_seen(&mut self, out: &mut Vec<Event>) {
        let newest = self.held.back().map_or(0, Event::ts_ns);
        self.release(newest, out);
    }

    /// Appends everything to `out`: nothing more will come.
    pub fn release_all(&mut self, out: &mut Vec<Event>) {
        self.release_until(u64::MAX, out);
    }

    /// How many events were dropped since the last call because they came too late, by place.
    pub fn take_late(&mut self) -> BTreeMap<Place, u64> {
        std::mem::take(&mut self.late)
    }

    fn release_until(&mut self, limit: u64, out: &mut Vec<Event>) {
        let ready = self.held.partition_point(|event| event.ts_ns() <= limit);
        out.extend(self.held.drain(..ready));
        if let Some(last) = out.last().filter(|_| ready > 0) {
            self.released_ts = last.ts_ns();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Sequencer, WINDOW_NS};
    use crate::event::{Event, FileGone, Header, Mark, MarkKind};
    use tracer_common::Hook;

    fn at(ts_ns: u64) -> Event {
        Event::Mark(Mark { ts_ns, what: MarkKind::Started })
    }

    #[test]
    fn events_come_out_in_the_order_of_their_time() {
        let mut sequencer = Sequencer::default();
        for ts in [5, 3, 4] {
            sequencer.push(at(ts));
        }
        let mut out = Vec::new();
        sequencer.release(4 + WINDOW_NS, &mut out);
        assert_eq!(out, [at(3), at(4)]);
        sequencer.release_all(&mut out);
        assert_eq!(out, [at(3), at(4), at(5)]);
    }

    #[test]
    fn an_event_older_than_the_last_released_is_dropped_and_counted() {
        let mut sequencer = Sequencer::default();
        let mut out = Vec::new();
        sequencer.push(at(10));
        sequencer.release_all(&mut out);
        sequencer.push(at(9));
        sequencer.push(at(10));
        sequencer.release_all(&mut out);
        assert_eq!(out, [at(10), at(10)]);
        assert_eq!(sequencer.take_late().into_values().sum::<u64>(), 1);
        assert!(sequencer.take_late().is_empty());
    }

    #[test]
    fn a_late_event_is_counted_by_its_hook_and_cpu() {
        let header = Header { cpu: 3, ts_ns: 9, ..Header::default() };
        let mut sequencer = Sequencer::default();
        sequencer.push(at(10));
        sequencer.release_all(&mut Vec::new());
        for _ in 0..2 {
            sequencer.push(Event::FileGone(FileGone { header, file: 1 }));
        }
        assert_eq!(sequencer.take_late(), [((Some(Hook::Release), Some(3)), 2)].into());
    }

    #[test]
    fn nothing_is_released_within_the_window() {
        let mut sequencer = Sequencer::default();
        let mut out = Vec::new();
        sequencer.push(at(WINDOW_NS));
        sequencer.release(WINDOW_NS + 1, &mut out);
        assert!(out.is_empty());
    }
}

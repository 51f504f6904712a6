//! Deliveries of an item one after another, without a callback between them: the kernel puts a level-triggered item back after each
//! delivery and looks again at the next wait, so such a run says that the item was still ready, and nothing new had come.

use super::step::Row;

/// A run that goes on.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Run {
    pub(super) times: u64,
    pub(super) first_row: Row,
    first_ns: u64,
    last_ns: u64,
}

impl Run {
    /// Goes on with one more; how many there are now.
    pub(super) const fn goes_on(&mut self, row: Row, at_ns: u64) -> u64 {
        if self.times == 0 {
            self.first_row = row;
            self.first_ns = at_ns;
        }
        self.last_ns = at_ns;
        self.times = self.times.saturating_add(1);
        self.times
    }

    /// Is broken off.
    pub(super) const fn breaks(&mut self) {
        self.times = 0;
    }

    /// How long it has gone on, nanoseconds.
    pub(super) const fn ns(&self) -> u64 {
        self.last_ns.saturating_sub(self.first_ns)
    }
}

/// Nanoseconds as milliseconds, for sentences.
pub(super) fn ms(ns: u64) -> String {
    format!("{}.{:03} ms", ns / 1_000_000, ns / 1_000 % 1_000)
}

//! How long something took: a histogram whose cells grow with the value, eight to each doubling, so that a percentile is at most an
//! eighth too large.

use serde::Serialize;

/// Cells to a doubling, as a power of two.
const FINE: u32 = 3;

/// Durations in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Latency {
    counts: Vec<u64>,
    samples: u64,
    max: Option<Slowest>,
}

/// The longest of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Slowest {
    /// How long it took.
    pub took_ns: u64,
    /// When it began, nanoseconds of `CLOCK_MONOTONIC`.
    pub since_ns: u64,
}

impl Latency {
    /// Adds something that took this long and began then.
    pub(crate) fn add(&mut self, took_ns: u64, since_ns: u64) {
        let index = cell_of(took_ns);
        if self.counts.len() <= index {
            self.counts.resize(index + 1, 0);
        }
        self.counts[index] = self.counts[index].saturating_add(1);
        self.samples = self.samples.saturating_add(1);
        if self.max.is_none_or(|max| took_ns > max.took_ns) {
            self.max = Some(Slowest { took_ns, since_ns });
        }
    }

    /// How many there were.
    #[must_use]
    pub const fn samples(&self) -> u64 {
        self.samples
    }

    /// The longest.
    #[must_use]
    pub const fn slowest(&self) -> Option<Slowest> {
        self.max
    }

    /// So many of a thousand took no longer than this; `None` of nothing.
    #[must_use]
    pub fn per_mille(&self, share: u64) -> Option<u64> {
        let max = self.max?;
        let wanted = self.samples.saturating_mul(share).div_ceil(1_000).max(1);
        let mut seen = 0_u64;
        let index = self.counts.iter().position(|count| {
            seen = seen.saturating_add(*count);
            seen >= wanted
        })?;
        Some(last_of(index).min(max.took_ns))
    }

    /// How many there were in each doubling: its end, nanoseconds, and the number; from the first that is not empty to the last.
    #[must_use]
    pub fn doublings(&self) -> Vec<(u64, u64)> {
        let per = 1 << FINE;
        let mut rows: Vec<(u64, u64)> = self
            .counts
            .chunks(per)
            .enumerate()
            .map(|(row, counts)| {
                (last_of(row * per + per - 1), counts.iter().fold(0, |sum: u64, n| sum.saturating_add(*n)))
            })
            .collect();
        let first = rows.iter().position(|(_, count)| *count > 0).unwrap_or(rows.len());
        rows.drain(..first);
        rows
    }
}

/// The cell of a value: values below eight have their own, then eight cells for each doubling.
fn cell_of(value: u64) -> usize {
    let top = 63_u32.saturating_sub(value.leading_zeros());
    if top <= FINE {
        return usize::try_from(value).unwrap_or(0).min((2 << FINE) - 1);
    }
    let rest = usize::try_from(value >> (top - FINE)).unwrap_or(0) & ((1 << FINE) - 1);
    (((top - FINE + 1) as usize) << FINE) + rest
}

/// The greatest value of a cell.
fn last_of(index: usize) -> u64 {
    let (row, rest) = (index >> FINE, (index & ((1 << FINE) - 1)) as u64);
    if row == 0 {
        return rest;
    }
    let shift = u32::try_from(row - 1).unwrap_or(0);
    let first = ((1 << FINE) + rest).checked_shl(shift).unwrap_or(u64::MAX);
    first.saturating_add(1_u64.checked_shl(shift).unwrap_or(u64::MAX).saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::{Latency, cell_of, last_of};

    proptest! {
        #[test]
        fn a_cell_ends_at_most_an_eighth_above_its_values(value in any::<u64>()) {
            let last = last_of(cell_of(value));
            assert!(last >= value, "{value} in a cell that ends at {last}");
            assert!(u128::from(last) <= u128::from(value) + u128::from(value) / 8, "{value} in a cell that ends at {last}");
        }

        #[test]
        fn cells_follow_each_other(value in 0_u64..u64::MAX) {
            let (this, next) = (cell_of(value), cell_of(value + 1));
            assert!(next == this || next == this + 1);
        }
    }

    #[test]
    fn percentiles_are_those_of_the_values() {
        let mut latency = Latency::default();
        for value in 1..=1_000 {
            latency.add(value, value);
        }
        assert_eq!(latency.samples(), 1_000);
        let median = latency.per_mille(500).unwrap();
        assert!((500..=562).contains(&median), "{median}");
        assert_eq!(latency.per_mille(1_000), Some(1_000));
        assert_eq!(latency.slowest().map(|slowest| slowest.took_ns), Some(1_000));
        assert_eq!(latency.doublings().iter().map(|(_, count)| count).sum::<u64>(), 1_000);
        assert_eq!(Latency::default().per_mille(500), None);
    }
}

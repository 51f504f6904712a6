//! How long something took, as it is reported.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::model::Latency;

/// Durations in nanoseconds: percentiles, at most an eighth too large, and how many fell into each doubling.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LatencyRow {
    /// How many there were.
    pub times: u64,
    /// Half of them took no longer than this; `None` of nothing.
    pub p50_ns: Option<u64>,
    /// Nine of ten took no longer.
    pub p90_ns: Option<u64>,
    /// 99 of a hundred took no longer.
    pub p99_ns: Option<u64>,
    /// The longest, exactly.
    pub longest_ns: Option<u64>,
    /// The end of a doubling → how many took no longer than that, and longer than the doubling before.
    pub histogram: BTreeMap<u64, u64>,
}

impl From<&Latency> for LatencyRow {
    fn from(latency: &Latency) -> Self {
        Self {
            times: latency.samples(),
            p50_ns: latency.per_mille(500),
            p90_ns: latency.per_mille(900),
            p99_ns: latency.per_mille(990),
            longest_ns: latency.slowest().map(|slowest| slowest.took_ns),
            histogram: latency.doublings().into_iter().filter(|(_, times)| *times > 0).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::LatencyRow;
    use crate::model::Latency;

    #[test]
    fn a_row_has_percentiles_and_the_doublings_that_are_not_empty() {
        let mut latency = Latency::default();
        for took_ns in [1_000, 1_001, 1_002, 9_000] {
            latency.add(took_ns, 0);
        }
        let row = LatencyRow::from(&latency);
        assert_eq!((row.times, row.p50_ns, row.p99_ns, row.longest_ns), (4, Some(1_023), Some(9_000), Some(9_000)));
        assert_eq!(row.histogram, [(1_023, 3), (16_383, 1)].into());
    }

    #[test]
    fn of_nothing_nothing_is_said() {
        assert_eq!(LatencyRow::from(&Latency::default()), LatencyRow::default());
    }
}

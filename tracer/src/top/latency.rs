//! How long things took, in buckets: eight for each power of two, so that a percentile is at most an eighth too large.

/// Buckets for a power of two.
const PARTS: u64 = 8;
/// All of them.
const BUCKETS: usize = 62 * 8;

/// A distribution of times, nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Latencies {
    /// Empty until there is a sample.
    counts: Vec<u64>,
    samples: u64,
}

impl Latencies {
    /// Adds a time.
    pub fn add(&mut self, ns: u64) {
        self.counts.resize(BUCKETS, 0);
        if let Some(count) = self.counts.get_mut(bucket(ns)) {
            *count = count.saturating_add(1);
            self.samples = self.samples.saturating_add(1);
        }
    }

    /// Adds all times of another.
    pub fn merge(&mut self, other: &Self) {
        if other.samples == 0 {
            return;
        }
        self.counts.resize(BUCKETS, 0);
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine = mine.saturating_add(*theirs);
        }
        self.samples = self.samples.saturating_add(other.samples);
    }

    /// The time that so many percent did not exceed; `None` of nothing.
    #[must_use]
    pub fn percentile(&self, percent: u64) -> Option<u64> {
        let rank = u128::from(self.samples) * u128::from(percent.min(100));
        let rank = u64::try_from(rank.div_ceil(100)).unwrap_or(u64::MAX).max(1);
        let mut seen = 0_u64;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen = seen.saturating_add(*count);
            if seen >= rank {
                return Some(greatest(bucket));
            }
        }
        None
    }
}

fn bucket(ns: u64) -> usize {
    let place = match ns.checked_ilog2() {
        Some(log @ 3..) => u64::from(log - 2) * PARTS + (ns >> (log - 3) & (PARTS - 1)),
        _ => ns,
    };
    usize::try_from(place).unwrap_or(usize::MAX)
}

/// The greatest time of a bucket.
fn greatest(bucket: usize) -> u64 {
    let place = u64::try_from(bucket).unwrap_or(u64::MAX);
    if place < PARTS {
        return place;
    }
    let shift = place / PARTS - 1;
    let next = u128::from(PARTS + place % PARTS + 1) << shift;
    u64::try_from(next - 1).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, proptest};

    use super::{Latencies, bucket, greatest};

    #[test]
    fn a_percentile_is_the_least_bucket_that_holds_so_many() {
        let mut times = Latencies::default();
        assert_eq!(times.percentile(50), None);
        for ns in 1..=100 {
            times.add(ns * 1_000);
        }
        let near = |percent: u64, ns: u64| {
            let found = times.percentile(percent).unwrap();
            assert!(found >= ns && found <= ns + ns / 8, "{percent} %: {found}");
        };
        near(50, 50_000);
        near(99, 99_000);
        near(100, 100_000);
        let mut both = times.clone();
        both.merge(&Latencies::default());
        assert_eq!(both, times);
    }

    proptest! {
        #[test]
        fn every_time_has_a_bucket_that_is_at_most_an_eighth_too_large(ns in any::<u64>()) {
            let most = greatest(bucket(ns));
            prop_assert!(most >= ns && u128::from(most) <= u128::from(ns) + u128::from(ns) / 8);
            prop_assert!(bucket(ns) < super::BUCKETS);
        }
    }
}

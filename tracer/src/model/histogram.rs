//! How often each value occurred.

/// The most distinct values that are told apart; what comes later counts into the total only.
const MAX_VALUES: usize = 4_096;

/// A distribution of whole numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram {
    /// Each value and how often it occurred, the lowest value first. Most have few values.
    pub counts: Vec<(u64, u64)>,
    /// The sum of all values.
    pub total: u64,
    /// How many values there were.
    pub samples: u64,
    /// The greatest value.
    pub max: u64,
}

impl Histogram {
    /// Adds one value.
    pub fn add(&mut self, value: u64) {
        self.add_times(value, 1, value);
        self.samples = self.samples.saturating_add(1);
        self.max = self.max.max(value);
    }

    /// Adds all values of another.
    pub fn merge(&mut self, other: &Self) {
        for &(value, times) in &other.counts {
            self.add_times(value, times, 0);
        }
        self.total = self.total.saturating_add(other.total);
        self.samples = self.samples.saturating_add(other.samples);
        self.max = self.max.max(other.max);
    }

    /// The mean, rounded to four decimals; 0 of nothing.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a mean is shown with a few digits")]
    pub fn mean(&self) -> f64 {
        if self.samples == 0 {
            return 0.0;
        }
        (self.total as f64 / self.samples as f64 * 10_000.0).round() / 10_000.0
    }

    fn add_times(&mut self, value: u64, times: u64, sum: u64) {
        match self.counts.binary_search_by_key(&value, |&(known, _)| known) {
            Ok(place) => {
                if let Some((_, count)) = self.counts.get_mut(place) {
                    *count = count.saturating_add(times);
                }
            }
            Err(place) if self.counts.len() < MAX_VALUES => self.counts.insert(place, (value, times)),
            Err(_) => {}
        }
        self.total = self.total.saturating_add(sum);
    }
}

#[cfg(test)]
mod tests {
    use super::{Histogram, MAX_VALUES};

    #[test]
    fn values_beyond_the_limit_still_count_into_total_and_maximum() {
        let mut histogram = Histogram::default();
        for value in 0..2 * MAX_VALUES as u64 {
            histogram.add(value);
        }
        assert_eq!(histogram.counts.len(), MAX_VALUES);
        assert_eq!(histogram.samples, 2 * MAX_VALUES as u64);
        assert_eq!(histogram.max, 2 * MAX_VALUES as u64 - 1);
    }

    #[test]
    fn merging_is_adding_the_values() {
        let mut both = Histogram::default();
        let mut left = Histogram::default();
        let mut right = Histogram::default();
        for value in [4, 4, 1] {
            both.add(value);
            left.add(value);
        }
        both.add(9);
        right.add(9);
        left.merge(&right);
        assert_eq!(left, both);
        assert!((left.mean() - 4.5).abs() < f64::EPSILON);
    }
}

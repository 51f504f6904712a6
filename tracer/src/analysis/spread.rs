//! A distribution as it is reported.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::model::Histogram;

/// Numbers per source wakeup: their sum, their mean and how often each occurred.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Spread {
    /// The sum.
    pub total: u64,
    /// The mean, rounded to four decimals.
    pub mean: f64,
    /// The greatest.
    pub max: u64,
    /// Value → in how many source wakeups.
    pub histogram: BTreeMap<u64, u64>,
}

impl From<&Histogram> for Spread {
    fn from(histogram: &Histogram) -> Self {
        let counts = histogram.counts.iter().copied().collect();
        Self { total: histogram.total, mean: histogram.mean(), max: histogram.max, histogram: counts }
    }
}

//! What is missing from the trace.

use std::collections::BTreeMap;

use tracer_common::Hook;

use crate::event::{Loss, LossReason};

/// Where and why: the hook and the CPU are `None` when they cannot be said.
pub type LossKey = (Option<Hook>, Option<u32>, LossReason);

/// Losses by hook, CPU and reason.
#[derive(Debug, Clone, Default)]
pub struct Losses {
    by: BTreeMap<LossKey, u64>,
}

impl Losses {
    /// Adds one row of the trace. Beyond `cap` the CPU is no longer told apart.
    pub(crate) fn add(&mut self, loss: &Loss, cap: usize) {
        let mut key = (loss.hook, loss.cpu, loss.reason);
        if self.by.len() >= cap && !self.by.contains_key(&key) {
            key.1 = None;
        }
        let count = self.by.entry(key).or_default();
        *count = count.saturating_add(loss.count);
    }

    /// Every place and reason with its number.
    pub fn iter(&self) -> impl Iterator<Item = (LossKey, u64)> + '_ {
        self.by.iter().map(|(&key, &count)| (key, count)).filter(|&(_, count)| count > 0)
    }

    /// Events that are missing; details of events are not counted.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.iter()
            .filter(|((hook, _, reason), _)| reason.loses_events(*hook))
            .fold(0, |sum, (_, n)| sum.saturating_add(n))
    }

    /// Everything that is missing, details included.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.iter().fold(0, |sum, (_, n)| sum.saturating_add(n))
    }
}

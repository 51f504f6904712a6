//! The probes' own loss counters, from sums to news.

use std::collections::BTreeMap;

use tracer_common::{Hook, Miss};

/// Where, on which CPU, why, and how often.
pub(super) type Count = (Hook, u32, Miss, u64);

/// What the loss counters said last.
#[derive(Debug, Default)]
pub(super) struct Told(BTreeMap<(Hook, u32, Miss), u64>);

impl Told {
    /// What was lost since the last call, from what was lost so far.
    pub(super) fn news(&mut self, counted: impl Iterator<Item = Count>) -> Vec<Count> {
        let new = |(hook, cpu, miss, count): Count| {
            let told = self.0.entry((hook, cpu, miss)).or_default();
            let more = count.saturating_sub(*told);
            *told = count.max(*told);
            (more > 0).then_some((hook, cpu, miss, more))
        };
        counted.filter_map(new).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Told;
    use tracer_common::{Hook, Miss};

    #[test]
    fn each_loss_is_told_once() {
        let mut told = Told::default();
        let sums = |callbacks| [(Hook::Callback, 1, Miss::RingFull, callbacks), (Hook::Scan, 1, Miss::RingFull, 2)];
        assert_eq!(told.news(sums(5).into_iter()), sums(5));
        assert_eq!(told.news(sums(5).into_iter()), []);
        assert_eq!(told.news(sums(8).into_iter()), [(Hook::Callback, 1, Miss::RingFull, 3)]);
    }
}

//! The probes' own loss counters, one per hook, reason and CPU.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use aya::maps::{MapData, PerCpuArray};
use tracer_common::{Hook, LOSS_SLOTS, Miss};

/// What the per-CPU loss counters said last.
#[derive(Debug, Default)]
pub(super) struct LossCounters {
    told: BTreeMap<(u32, u32), u64>,
}

impl LossCounters {
    /// What was lost since the last call.
    pub(super) fn news(&mut self, counters: &PerCpuArray<&MapData, u64>) -> Result<Vec<(Hook, u32, Miss, u64)>> {
        let mut news = Vec::new();
        for hook in Hook::ALL {
            for miss in Miss::ALL {
                let slot = miss.slot(hook);
                debug_assert!(slot < LOSS_SLOTS, "the slots are numbered from 0");
                let values = counters.get(&slot, 0).context("cannot read the loss counters")?;
                for (cpu, value) in (0_u32..).zip(values.iter()) {
                    let told = self.told.entry((slot, cpu)).or_default();
                    if *value > *told {
                        news.push((hook, cpu, miss, *value - *told));
                        *told = *value;
                    }
                }
            }
        }
        Ok(news)
    }
}

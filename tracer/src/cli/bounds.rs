//! How much is remembered at once.

use clap::Args;

use crate::model::{Limits, Model};

/// Bounds of what is kept in memory.
#[derive(Debug, Clone, Args)]
pub(super) struct BoundsArgs {
    /// Live items, files, eventpolls, tasks and open wakeups (each) that are remembered at once; what does not fit is counted
    #[arg(long, default_value_t = Limits::DEFAULT_LIVE, value_name = "N", value_parser = clap::value_parser!(u32).range(64..=16_777_216))]
    max_live: u32,
}

impl BoundsArgs {
    /// An empty model with these bounds.
    pub(super) fn model(&self) -> Model {
        Model::with_limits(Limits::live(self.max_live))
    }
}

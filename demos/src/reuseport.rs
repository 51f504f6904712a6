//! `demos reuseport`: a listening socket for each worker, all on one port (`SO_REUSEPORT`).
//!
//! In: workers and connections. Out: the story: one callback and one wakeup for each connection, and how uneven a hash shares.

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use crate::crew::Way;
use crate::sharing::{Load, scenes};
use crate::story::Story;

/// `SO_REUSEPORT`: a listening socket for each worker, and a hash that chooses among them
#[derive(Debug, Args, Serialize)]
#[command(after_help = "Examples:
  demos reuseport
  demos reuseport --workers 8 --connections 100 --json")]
pub(crate) struct Options {
    #[command(flatten)]
    #[serde(flatten)]
    load: Load,
}

/// Runs the demo and returns what it prints.
pub(crate) fn run(options: &Options) -> Result<String> {
    let mut story = Story::begin("reuseport", options)?;
    scenes(&mut story, Way::Reuseport, &options.load)?;
    story.end(options.load.json)
}

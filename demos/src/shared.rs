//! `demos shared`: one eventpoll for all workers, level-triggered and edge-triggered.
//!
//! In: workers and connections. Out: the story: the wake chain of level-triggered items, and who is woken first.

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use crate::crew::Way;
use crate::sharing::{Load, scenes};
use crate::story::Story;

/// One eventpoll for all workers: the wake chain (LT), and one worker for each event (ET)
#[derive(Debug, Args, Serialize)]
#[command(after_help = "Examples:
  demos shared
  demos shared --workers 30 --json")]
pub(crate) struct Options {
    #[command(flatten)]
    #[serde(flatten)]
    load: Load,
}

/// Runs the demo and returns what it prints.
pub(crate) fn run(options: &Options) -> Result<String> {
    let mut story = Story::begin("shared", options)?;
    scenes(&mut story, Way::Shared, &options.load)?;
    scenes(&mut story, Way::SharedEt, &options.load)?;
    story.end(options.load.json)
}

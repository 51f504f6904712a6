//! `eptrace trace`: one line per event as it happens.

use std::io::Write;

use anyhow::Result;
use clap::Args;

use super::follow::{Sink, follow};
use super::held::Output;
use super::target::TargetArgs;
use crate::event::{Event, TraceInfo};

/// Arguments of `eptrace trace`.
#[derive(Debug, Args)]
pub(super) struct TraceArgs {
    /// One JSON object per line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: TargetArgs,
}

struct Lines<W: Write> {
    out: W,
    json: bool,
    info: TraceInfo,
}

impl<W: Write> Sink for Lines<W> {
    fn start(&mut self, info: &TraceInfo) -> Result<()> {
        self.info = info.clone();
        Ok(())
    }

    fn take(&mut self, events: &[Event]) -> Result<()> {
        for event in events {
            writeln!(self.out, "{event:?}")?;
        }
        Ok(self.out.flush()?)
    }
}

pub(super) fn run(args: &TraceArgs, full_log: bool) -> Result<()> {
    let mut lines =
        Lines { out: std::io::BufWriter::new(std::io::stdout().lock()), json: args.json, info: TraceInfo::default() };
    follow(&args.target, Output::Stderr, full_log, &mut lines)
}

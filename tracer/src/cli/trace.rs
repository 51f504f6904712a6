//! `eptrace trace`: one line per event as it happens.

use std::io::Write;

use anyhow::Result;
use clap::Args;

use super::bounds::BoundsArgs;
use super::follow::{Sink, follow};
use super::format::written;
use super::held::Output;
use super::say::say;
use super::target::TargetArgs;
use crate::event::{Event, TraceInfo};
use crate::model::Model;
use crate::output::lines;

/// Arguments of `eptrace trace`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  eptrace trace -p 1234
  eptrace trace --json -- ./server | jq 'select(.event == \"wake\")'
  eptrace trace                                  every process, until Ctrl-C

The command's own standard output goes to standard error, so that standard output carries the events alone.")]
pub(super) struct TraceArgs {
    /// One JSON object per line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    bounds: BoundsArgs,
    #[command(flatten)]
    target: TargetArgs,
}

struct Lines<W: Write> {
    out: W,
    json: bool,
    info: TraceInfo,
    model: Model,
}

impl<W: Write> Sink for Lines<W> {
    fn start(&mut self, info: &TraceInfo) -> Result<()> {
        self.info = info.clone();
        for limit in &info.limits {
            say(&format!("note: {limit}"));
        }
        Ok(())
    }

    fn take(&mut self, events: &[Event]) -> Result<()> {
        for event in events {
            self.model.apply(event);
            let line = if self.json {
                lines::json_line(event, &self.info, &self.model)
            } else {
                lines::line(event, &self.info, &self.model)
            };
            written(writeln!(self.out, "{}", line.trim_end()))?;
        }
        written(self.out.flush())
    }
}

pub(super) fn run(args: &TraceArgs, verbose: u8) -> Result<()> {
    let mut lines = Lines {
        out: std::io::BufWriter::new(std::io::stdout().lock()),
        json: args.json,
        info: TraceInfo::default(),
        model: args.bounds.model(),
    };
    follow(&args.target, Output::Stderr, verbose, &mut lines)
}

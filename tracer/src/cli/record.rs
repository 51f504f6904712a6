//! `eptrace record`: events into a trace file.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use super::follow::{Sink, follow};
use super::held::Output;
use super::say::say;
use super::target::TargetArgs;
use crate::event::{Event, TraceInfo};
use crate::trace_file::{Target, Writer};

/// Arguments of `eptrace record`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  eptrace record -o before.eptrace -p 1234 --duration 10
  eptrace record -o run.eptrace -- ./server --port 8080
  eptrace report before.eptrace

The command's own output goes where eptrace's goes. Ctrl-C ends the recording; the file is complete.")]
pub(super) struct RecordArgs {
    /// The trace file to write; an existing one is replaced once the probes are on
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    target: TargetArgs,
}

/// How often a recording is made to survive whatever comes.
const FLUSH_EVERY: std::time::Duration = std::time::Duration::from_secs(1);

struct Recording {
    target: Option<Target>,
    writer: Option<Writer<std::fs::File>>,
    flushed: std::time::Instant,
    lost: u64,
}

impl Sink for Recording {
    fn start(&mut self, info: &TraceInfo) -> Result<()> {
        let target = self.target.take().context("the recording was begun twice")?;
        self.writer = Some(target.begin(info)?);
        Ok(())
    }

    fn take(&mut self, events: &[Event]) -> Result<()> {
        let writer = self.writer.as_mut().context("the recording has not begun")?;
        for event in events {
            if let Event::Loss(loss) = event
                && loss.reason.loses_events(loss.hook)
            {
                self.lost = self.lost.saturating_add(loss.count);
            }
            writer.push(event)?;
        }
        if self.flushed.elapsed() >= FLUSH_EVERY {
            self.flushed = std::time::Instant::now();
            writer.flush()?;
        }
        Ok(())
    }
}

pub(super) fn run(args: &RecordArgs, verbose: u8) -> Result<()> {
    let target = Target::open(&args.output)?;
    let mut recording = Recording { target: Some(target), writer: None, flushed: std::time::Instant::now(), lost: 0 };
    let followed = follow(&args.target, Output::Inherit, verbose, &mut recording);
    let Some(writer) = recording.writer else { return followed };
    let finished = writer.finish();
    // What ended the trace says more than what then became of the file.
    followed?;
    let totals = finished?;
    say(&format!("{} rows, {} bytes in {}", totals.rows, totals.bytes, args.output.display()));
    if recording.lost > 0 {
        say(&format!("{} events were LOST; the report says where. A larger --buffer may help.", recording.lost));
    }
    Ok(())
}

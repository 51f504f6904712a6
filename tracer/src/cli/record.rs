//! `eptrace record`: events into a trace file.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;

use super::bounds::BoundsArgs;
use super::follow::{Beside, Sink, follow};
use super::held::Output;
use super::reading;
use super::say::say;
use super::target::TargetArgs;
use super::whole_file::WholeFile;
use crate::event::{Event, TraceInfo};
use crate::trace_file::{Target, Totals, Writer};

/// Arguments of `eptrace record`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  eptrace record -o before.eptrace -p 1234 --duration 10
  eptrace record -o run.eptrace -- ./server --port 8080
  eptrace record -o run.eptrace --report run.html -p 1234 --duration 10
  eptrace report before.eptrace

The command's own output goes where eptrace's goes. Ctrl-C ends the recording; the file is complete.")]
pub(super) struct RecordArgs {
    /// The trace file to write; an existing one is replaced once the probes are on
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Write the report as a page (HTML) to this file, too, when the recording has ended
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    #[command(flatten)]
    bounds: BoundsArgs,
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

    fn beside(&self) -> Beside {
        Beside::Progress
    }

    fn written(&self) -> Option<u64> {
        self.writer.as_ref().map(|writer| writer.totals().bytes)
    }
}

pub(super) fn run(args: &RecordArgs, verbose: u8) -> Result<()> {
    let page = args.report.as_deref().map(WholeFile::create).transpose()?;
    let totals = record(&args.output, &args.target, Output::Inherit, verbose)?;
    say(&format!("{} rows, {} bytes in {}", totals.rows, totals.bytes, args.output.display()));
    if let Some(page) = page {
        page.write(&reading::page(&args.output, &args.bounds)?.0)?;
    }
    Ok(())
}

/// Records until the end; says what was lost.
pub(super) fn record(path: &Path, target_args: &TargetArgs, output: Output, verbose: u8) -> Result<Totals> {
    let target = Target::open(path)?;
    let mut recording = Recording { target: Some(target), writer: None, flushed: std::time::Instant::now(), lost: 0 };
    let followed = follow(target_args, output, verbose, &mut recording);
    let Some(writer) = recording.writer else {
        followed?;
        bail!("the recording has not begun");
    };
    let finished = writer.finish();
    // What ended the trace says more than what then became of the file.
    followed?;
    let totals = finished?;
    if recording.lost > 0 {
        say(&format!("{} events were LOST; the report says where. A larger --buffer may help.", recording.lost));
    }
    Ok(totals)
}

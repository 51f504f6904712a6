//! `eptrace herd`: is there a thundering herd, and did the fix work?

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;

use super::bounds::BoundsArgs;
use super::follow::{Beside, Sink, follow};
use super::format::{Destination, FormatArgs};
use super::held::Output;
use super::reading;
use super::record::record;
use super::say::say;
use super::target::TargetArgs;
use crate::analysis::{HERD_MEAN_WASTED, HERD_MIN_WORKERS, Report, Verdict};
use crate::event::{Event, TraceInfo};
use crate::model::Model;

/// Arguments of `eptrace herd`.
#[derive(Debug, Args)]
#[command(after_help = herd_help())]
pub(super) struct HerdArgs {
    /// Exit with 1 when there is a herd, or when it cannot be excluded: events were lost, a hook is missing, no listening
    /// socket or no accept was seen
    #[arg(long)]
    fail_on_herd: bool,
    #[command(flatten)]
    format: FormatArgs,
    #[command(flatten)]
    bounds: BoundsArgs,
    #[command(flatten)]
    target: TargetArgs,
}

fn herd_help() -> String {
    format!(
        "\
Examples:
  eptrace herd -p 1234 --duration 10
  eptrace herd --fail-on-herd -- ./server --workers 4
  eptrace herd --format html -o herd.html -p 1234 --duration 10
  eptrace herd --json -p 1234 -p 1235 --duration 30

The report comes at the end: after --duration, on Ctrl-C, or when what is traced has ended. The command's own standard
output goes to standard error, so that standard output carries the report alone. For --format html the events are recorded into
$TMPDIR until the page is written.

It is a herd when a socket has at least {HERD_MIN_WORKERS} workers and each wakeup wastes {HERD_MEAN_WASTED} tasks or more in the mean."
    )
}

/// The model is all that is kept: its size is bounded, however long the trace.
struct Watching {
    model: Model,
    info: TraceInfo,
}

impl Sink for Watching {
    fn start(&mut self, info: &TraceInfo) -> Result<()> {
        self.info = info.clone();
        Ok(())
    }

    fn take(&mut self, events: &[Event]) -> Result<()> {
        for event in events {
            self.model.apply(event);
        }
        Ok(())
    }

    fn beside(&self) -> Beside {
        Beside::Progress
    }
}

pub(super) fn run(args: &HerdArgs, verbose: u8) -> Result<ExitCode> {
    let destination = args.format.open()?;
    let report =
        if args.format.is_html() { page(args, destination, verbose)? } else { plain(args, destination, verbose)? };
    let unseen = report.herd.is_empty();
    if args.fail_on_herd && unseen {
        say("no listening socket was seen in an eventpoll, so a herd cannot be excluded");
    }
    let found = report.has(Verdict::Herd) || report.has(Verdict::Incomplete) || unseen;
    Ok(if args.fail_on_herd && found { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

/// The model alone, however long it takes.
fn plain(args: &HerdArgs, destination: Destination, verbose: u8) -> Result<Report> {
    let mut watching = Watching { model: args.bounds.model(), info: TraceInfo::default() };
    follow(&args.target, Output::Stderr, verbose, &mut watching)?;
    watching.model.finish();
    let report = Report::new(&watching.model, &watching.info);
    destination.write(&args.format.output().report(&report))?;
    Ok(report)
}

/// A page shows single moments, and which ones is known at the end only: so everything is recorded, for as long as it takes.
fn page(args: &HerdArgs, destination: Destination, verbose: u8) -> Result<Report> {
    let folder = tempfile::tempdir().context("cannot make a folder for the recording")?;
    let trace = folder.path().join("herd.eptrace");
    record(&trace, &args.target, Output::Stderr, verbose)?;
    let (page, report) = reading::page(&trace, &args.bounds)?;
    destination.write(&page)?;
    Ok(report)
}

//! `eptrace herd`: is there a thundering herd, and did the fix work?

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use super::bounds::BoundsArgs;
use super::follow::{Sink, follow};
use super::format::{FormatArgs, print};
use super::held::Output;
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
  eptrace herd --json -p 1234 -p 1235 --duration 30

The report comes at the end: after --duration, on Ctrl-C, or when what is traced has ended. The command's own standard
output goes to standard error, so that standard output carries the report alone.

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
}

pub(super) fn run(args: &HerdArgs, verbose: u8) -> Result<ExitCode> {
    let mut watching = Watching { model: args.bounds.model(), info: TraceInfo::default() };
    follow(&args.target, Output::Stderr, verbose, &mut watching)?;
    watching.model.finish();
    let report = Report::new(&watching.model, &watching.info);
    print(&args.format.output().report(&report))?;
    let unseen = report.herd.is_empty();
    if args.fail_on_herd && unseen {
        say("no listening socket was seen in an eventpoll, so a herd cannot be excluded");
    }
    let found = report.has(Verdict::Herd) || report.has(Verdict::Incomplete) || unseen;
    Ok(if args.fail_on_herd && found { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

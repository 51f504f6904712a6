//! `eptrace report` and `eptrace compare`: trace files, read without privilege.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;

use super::bounds::BoundsArgs;
use super::format::{FormatArgs, print};
use super::say::say;
use crate::analysis::{Report, compare};
use crate::output::sanitize;
use crate::source::EventSource;
use crate::source::file::FileSource;

/// Arguments of `eptrace report`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  eptrace report run.eptrace
  eptrace report --format markdown run.eptrace > report.md
  eptrace report --json run.eptrace | jq '.herd[] | {source, verdict, sentence}'

A recording that was cut short is read up to the tear, and said to be.")]
pub(super) struct ReportArgs {
    #[command(flatten)]
    format: FormatArgs,
    #[command(flatten)]
    bounds: BoundsArgs,
    /// The trace file
    file: PathBuf,
}

/// Arguments of `eptrace compare`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  eptrace compare before.eptrace after.eptrace
  eptrace compare --format markdown lt.eptrace exclusive.eptrace")]
pub(super) struct CompareArgs {
    #[command(flatten)]
    format: FormatArgs,
    #[command(flatten)]
    bounds: BoundsArgs,
    /// The recording before the change
    before: PathBuf,
    /// The recording after it
    after: PathBuf,
}

pub(super) fn run(args: &ReportArgs) -> Result<()> {
    let report = read(&args.file, &args.bounds)?;
    print(&args.format.output().report(&report))
}

pub(super) fn run_compare(args: &CompareArgs) -> Result<()> {
    let before = read(&args.before, &args.bounds)?;
    let after = read(&args.after, &args.bounds)?;
    print(&args.format.output().comparison(&compare(&before, &after)))
}

/// The report of a trace file; a torn tail is said on standard error.
fn read(path: &Path, bounds: &BoundsArgs) -> Result<Report> {
    let mut source = FileSource::open(path)?;
    let mut model = bounds.model();
    let mut events = Vec::new();
    loop {
        let more = source.next_events(&mut events)?;
        for event in events.drain(..) {
            model.apply(&event);
        }
        if !more {
            break;
        }
    }
    model.finish();
    let mut report = Report::new(&model, source.info());
    if let Some(torn) = source.torn() {
        let torn = sanitize::text(&torn.to_string());
        say(&format!("warning: {torn}"));
        report.complete = false;
        report.limits.insert(0, torn);
    }
    Ok(report)
}

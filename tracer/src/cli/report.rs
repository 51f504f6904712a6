//! `eptrace report` and `eptrace compare`: trace files, read without privilege.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::bounds::BoundsArgs;
use super::format::FormatArgs;
use super::reading;
use crate::analysis::compare;
use crate::output::html;

/// Arguments of `eptrace report`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  eptrace report run.eptrace
  eptrace report --format markdown run.eptrace > report.md
  eptrace report --format html -o report.html run.eptrace
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
  eptrace compare --format markdown lt.eptrace exclusive.eptrace
  eptrace compare --format html -o compare.html before.eptrace after.eptrace")]
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
    let destination = args.format.open()?;
    if args.format.is_html() {
        return destination.write(&reading::page(&args.file, &args.bounds)?.0);
    }
    let report = reading::report(&args.file, &args.bounds)?;
    destination.write(&args.format.output().report(&report))
}

pub(super) fn run_compare(args: &CompareArgs) -> Result<()> {
    let destination = args.format.open()?;
    if args.format.is_html() {
        let before = reading::pictures(&args.before, &args.bounds)?;
        let after = reading::pictures(&args.after, &args.bounds)?;
        let comparison = compare(&before.report, &after.report);
        return destination.write(&html::comparison(&comparison, before.pictured(), after.pictured()));
    }
    let before = reading::report(&args.before, &args.bounds)?;
    let after = reading::report(&args.after, &args.bounds)?;
    destination.write(&args.format.output().comparison(&compare(&before, &after)))
}

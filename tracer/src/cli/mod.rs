//! The command line: what was typed, validated, and run.

mod bounds;
mod check;
mod export;
mod follow;
mod format;
mod held;
mod herd;
mod lint;
mod privilege;
mod progress;
mod reading;
mod record;
mod report;
mod say;
mod snapshot;
mod target;
mod top;
mod trace;
mod whole_file;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::format::StdoutClosed;
use self::say::say;

/// Shows what epoll really does inside a live Linux kernel: ready lists, wakeups and their fan-out.
#[derive(Debug, Parser)]
#[command(
    name = "eptrace",
    version,
    max_term_width = 110,
    after_help = "\
Examples:
  eptrace check                                  can this kernel be traced, hook by hook
  eptrace top -p 1234                            what happens at its eventpolls, live
  eptrace herd -p 1234 --duration 10             is there a thundering herd
  eptrace lint -- ./server                       pitfalls, with evidence and what to do
  eptrace trace -- ./server                      every event as it happens
  eptrace record -o run.eptrace -p 1234          into a file, for later
  eptrace report --format html -o run.html run.eptrace   a page to look at
  eptrace compare before.eptrace after.eptrace   did the fix work
  eptrace export run.eptrace --format perfetto -o run.pftrace   a timeline
  eptrace snapshot -p 1234                       the kernel's structures as they stand

Exit codes: 0 done, 1 a finding (--fail-on-herd, --fail-on, --deny), 2 an error, 3 this kernel cannot be traced."
)]
struct Cli {
    /// Say more: the whole log of a verifier that refuses a probe (-v), what the probes log (-vv)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Can this kernel be traced? Tries every hook, and says what is missing and what to do
    Check(check::CheckArgs),
    /// Print every event as it happens, one line each
    Trace(trace::TraceArgs),
    /// Write events to a trace file
    Record(record::RecordArgs),
    /// Report on a trace file; needs no privilege
    Report(report::ReportArgs),
    /// Is there a thundering herd? The fan-out of every shared listening socket, and a verdict
    Herd(herd::HerdArgs),
    /// Find pitfalls of epoll in a running program, a command or a trace file: with evidence, and what to do
    Lint(Box<lint::LintArgs>),
    /// Put two recordings side by side: before a change, and after
    Compare(report::CompareArgs),
    /// Watch eventpolls live in the terminal: who is called back, who wakes, and what for
    Top(top::TopArgs),
    /// Write a trace file in the format of another tool: Perfetto, Parquet, JSON lines, CSV
    Export(export::ExportArgs),
    /// Show the eventpolls of a running process as they stand in the kernel: trees, lists, sleeping tasks
    Snapshot(snapshot::SnapshotArgs),
}

/// Has the allocator keep what is freed. The buffers of a batch are as large as what it would give back to the kernel each time,
/// and page faults would take a tenth of the time of a report.
fn keep_buffers() {
    #[cfg(target_env = "gnu")]
    for parameter in [libc::M_MMAP_THRESHOLD, libc::M_TRIM_THRESHOLD] {
        const KEPT: libc::c_int = 64 << 20;
        // SAFETY: changes the allocator's own settings; no other thread runs yet.
        unsafe { libc::mallopt(parameter, KEPT) };
    }
}

/// Runs the program and says how it went: 0 done, 1 a finding over a `--fail-on` option, 2 an error, 3 this kernel cannot be
/// traced.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    keep_buffers();
    let done = |()| ExitCode::SUCCESS;
    let result = match &cli.command {
        Command::Check(args) => check::run(args, cli.verbose),
        Command::Trace(args) => trace::run(args, cli.verbose).map(done),
        Command::Record(args) => record::run(args, cli.verbose).map(done),
        Command::Report(args) => report::run(args).map(done),
        Command::Herd(args) => herd::run(args, cli.verbose),
        Command::Lint(args) => lint::run(args, cli.verbose),
        Command::Compare(args) => report::run_compare(args).map(done),
        Command::Top(args) => top::run(args, cli.verbose).map(done),
        Command::Export(args) => export::run(args).map(done),
        Command::Snapshot(args) => snapshot::run(args, cli.verbose).map(done),
    };
    result.unwrap_or_else(|error| fail(&error))
}

/// One sentence on standard error, and the exit code. Whoever reads our output may stop reading: that is no error.
fn fail(error: &anyhow::Error) -> ExitCode {
    if error.downcast_ref::<StdoutClosed>().is_some() {
        return ExitCode::SUCCESS;
    }
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        // Some errors name their cause themselves.
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    say(&text);
    let untraceable = error.downcast_ref::<crate::source::live::Untraceable>().is_some();
    ExitCode::from(if untraceable { 3 } else { 2 })
}

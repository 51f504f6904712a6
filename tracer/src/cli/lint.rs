//! `eptrace lint`: pitfalls of epoll in a running program, in a command, or in a recording.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};

use super::bounds::BoundsArgs;
use super::follow::{Sink, follow};
use super::format::{FormatArgs, print, width};
use super::held::Output;
use super::say::say;
use super::target::TargetArgs;
use crate::analysis::lint::{Lint, LintReport, Severity, abouts};
use crate::event::{Event, TraceInfo};
use crate::output::{explain, rules, sanitize};
use crate::source::EventSource;
use crate::source::file::FileSource;

/// How much a finding must matter.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Least {
    /// Anything that was found
    Note,
    /// Work for nothing, or worse
    Warning,
    /// Something that waits for ever, or a processor busy for nothing
    Error,
}

impl From<Least> for Severity {
    fn from(least: Least) -> Self {
        match least {
            Least::Note => Self::Note,
            Least::Warning => Self::Warning,
            Least::Error => Self::Error,
        }
    }
}

/// Arguments of `eptrace lint`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  eptrace lint -p 1234 --duration 10
  eptrace lint --fail-on warning -- ./server --workers 4
  eptrace lint run.eptrace
  eptrace lint --allow exclusive-imbalance --deny thundering-herd run.eptrace
  eptrace lint --explain hangup-ignored
  eptrace lint --list

Each finding has the task, the descriptor and what it is, and rows of the trace; --explain has the thresholds of a rule. A rule \
that lacks a fact says that it cannot be judged, and never accuses.

A finding that rests on a call shows from where in its program it was made: the system call's function, who called that (from the \
unwind tables), and the functions above as far as frame pointers lead. Build with -Cforce-frame-pointers=yes (Rust) or \
-fno-omit-frame-pointer (C, C++) to see more, and do not strip. A recording has stacks if it was made with --io --stacks.

Exit codes: 0 done, 1 a finding over --fail-on or of a rule given to --deny (which must be judged, too), 2 an error, 3 this kernel \
cannot be traced.")]
pub(super) struct LintArgs {
    /// Print the rules
    #[arg(long)]
    list: bool,
    /// Print what a rule finds, why that is a pitfall, what to do, and its thresholds
    #[arg(long, value_name = "ID", conflicts_with = "list", value_parser = ids())]
    explain: Option<String>,
    /// Leave this rule out; can be given several times
    #[arg(long, value_name = "ID", value_parser = ids())]
    allow: Vec<String>,
    /// Exit with 1 when this rule finds something, or cannot be judged; can be given several times
    #[arg(long, value_name = "ID", value_parser = ids())]
    deny: Vec<String>,
    /// Exit with 1 when something is found that matters at least so much
    #[arg(long, value_name = "SEVERITY")]
    fail_on: Option<Least>,
    #[command(flatten)]
    format: FormatArgs,
    #[command(flatten)]
    bounds: BoundsArgs,
    // Before the command, which is the last of what has no name.
    /// Look at this trace file instead of tracing
    #[arg(value_name = "FILE", conflicts_with_all = ["pids", "command", "duration", "no_follow", "ready_file", "audit", "io", "path", "stacks"])]
    file: Option<PathBuf>,
    #[command(flatten)]
    target: TargetArgs,
}

fn ids() -> PossibleValuesParser {
    PossibleValuesParser::new(abouts().into_iter().map(|about| about.id))
}

/// The rules and what they remember: bounded, however long the trace.
struct Looking<'a> {
    args: &'a LintArgs,
    lint: Option<Lint>,
}

impl Looking<'_> {
    fn begin(&mut self, info: &TraceInfo) {
        self.lint = Some(Lint::new(self.args.bounds.model(), info.clone(), &self.args.allow));
    }

    fn finish(self) -> Result<LintReport> {
        let Some(lint) = self.lint else { bail!("the trace has not begun") };
        Ok(lint.finish())
    }
}

impl Sink for Looking<'_> {
    fn start(&mut self, info: &TraceInfo) -> Result<()> {
        self.begin(info);
        Ok(())
    }

    fn take(&mut self, events: &[Event]) -> Result<()> {
        if let Some(lint) = &mut self.lint {
            for event in events {
                lint.apply(event);
            }
        }
        Ok(())
    }
}

pub(super) fn run(args: &LintArgs, verbose: u8) -> Result<ExitCode> {
    if args.list {
        print(&rules(&abouts()))?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(id) = &args.explain {
        for about in abouts().into_iter().filter(|about| about.id == id) {
            print(&explain(about, usize::from(width())))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if args.format.is_html() {
        bail!("what lint finds is no page: --format text, json or markdown");
    }
    let destination = args.format.open()?;
    let mut looking = Looking { args, lint: None };
    let report = if let Some(path) = &args.file {
        read(path, looking)?
    } else {
        let target = TargetArgs { io: true, stacks: true, ..args.target.clone() };
        follow(&target, Output::Stderr, verbose, &mut looking)?;
        looking.finish()?
    };
    destination.write(&args.format.output().lint(&report))?;
    let failed = report.has(args.fail_on.map(Severity::from), &args.deny);
    Ok(if failed { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

/// Looks at a trace file; a torn tail is said on standard error.
fn read(path: &Path, mut looking: Looking<'_>) -> Result<LintReport> {
    let mut source = FileSource::open(path)?;
    looking.begin(source.info());
    let mut events = Vec::new();
    loop {
        let more = source.next_events(&mut events)?;
        looking.take(&events)?;
        events.clear();
        if !more {
            break;
        }
    }
    let mut report = looking.finish()?;
    if let Some(torn) = source.torn() {
        let torn = sanitize::text(&torn.to_string());
        say(&format!("warning: {torn}"));
        report.complete = false;
        report.limits.insert(0, torn);
    }
    Ok(report)
}

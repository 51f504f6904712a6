//! `cargo xtask claims`: what a chapter says of epoll, and what real kernels do.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::claims::document::markdown;
use crate::claims::record::Record;
use crate::claims::runs::{self, Kernel};
use crate::claims::{Claim, expected, judges};
use crate::commands::vm::MachineArgs;
use crate::progress;
use crate::setup::{busybox, guest_build, tools};
use crate::vm::initramfs::Contents;
use crate::vm::kernel::{self, Selector};
use crate::vm::place::Place;
use crate::vm::session::{self, Shape};

const EXAMPLES: &str = "\
Examples:
  cargo xtask claims                            all kernels: writes docs/claims.md and docs/claims.json
  cargo xtask claims --kernel 6.12              one kernel: prints the document
  cargo xtask claims C44 C80 --kernel newest    two statements
  cargo xtask claims --kernel 5.10 --json       the verdicts with every number behind them
  cargo xtask claims --kernel 6.1 --out /tmp    both documents in another folder
  cargo xtask claims --list                     the statements, without a run
  cargo xtask claims --again                    both documents from the numbers in docs/claims.json

A verdict is never written by hand: each statement is a table of predictions (xtask/src/claims/judges),
and the run decides. One boot for each kernel runs every demo that is told in steps under eptrace, and
bpftrace beside the demo `ready`: about two minutes a kernel.
Exit status: 0 every statement that has a run got its verdict, 1 some could not be measured, 2 an error.";

/// As often a kernel is asked when the trace lost records.
const TRIES: u32 = 3;

/// Judge a textbook's statements about epoll by what kernels do, with the numbers of the run
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ClaimsArgs {
    /// The kernels to ask: lines such as 6.1 or 7, `newest`, `previous`, `default`, or the path of a vmlinuz (may be repeated)
    #[arg(long, value_name = "SELECTOR", default_values = ["5.10", "6.1", "6.12", "previous", "newest"])]
    kernel: Vec<Selector>,
    /// Print one JSON object instead of Markdown
    #[arg(long, conflicts_with = "out")]
    json: bool,
    /// Write claims.md and claims.json into this folder
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// List the statements and how each is shown, and run nothing
    #[arg(long, conflicts_with_all = ["json", "out"])]
    list: bool,
    /// Judge the numbers of docs/claims.json again instead of asking kernels
    #[arg(long, conflicts_with_all = ["list", "ids", "kernel"])]
    again: bool,
    /// Only these statements, such as C44
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    #[command(flatten)]
    machine: MachineArgs,
}

/// Asks every kernel and says what became of the statements.
pub(crate) fn run(arguments: &ClaimsArgs) -> Result<ExitCode> {
    for id in &arguments.ids {
        if !judges::all().any(|claim| claim.id.eq_ignore_ascii_case(id)) {
            bail!("there is no statement {id}: `cargo xtask claims --list` has all of them");
        }
    }
    let chosen =
        |claim: &Claim| arguments.ids.is_empty() || arguments.ids.iter().any(|id| claim.id.eq_ignore_ascii_case(id));
    if arguments.list {
        for claim in judges::all().filter(|claim| chosen(claim)) {
            println!(
                "{:<5} {:<9} {}  [{}]",
                claim.id,
                claim.section,
                claim.says,
                claim.command().as_deref().unwrap_or("not run")
            );
        }
        return Ok(ExitCode::SUCCESS);
    }
    let record = if arguments.again {
        expected::record()?.again()
    } else {
        let started = now()?;
        let (kernels, releases) = ask(&arguments.machine.shape(), &arguments.kernel)?;
        Record::of(&kernels, &releases, started, &chosen)
    };
    let json = serde_json::to_string(&record).context("encode the verdicts")? + "\n";
    let whole = arguments.ids.is_empty() && record.kernels.len() > 1;
    match &arguments.out {
        Some(folder) => write(folder, &record, &json)?,
        None if arguments.json => print!("{json}"),
        None if whole => write(&guest_build::workspace().join("docs"), &record, &json)?,
        None => print!("{}", markdown(&record)),
    }
    let missing = unmeasured(&record);
    for line in &missing {
        progress::say(&format!("not measured: {line}"));
    }
    Ok(if missing.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Statements that have a run, and got no verdict from it.
fn unmeasured(record: &Record) -> Vec<String> {
    let mut lines = Vec::new();
    for claim in record.claims.iter().filter(|claim| claim.not_run.is_none()) {
        for (on, kernel) in claim.kernels.iter().zip(&record.kernels) {
            if let Some(why) = &on.not_run {
                lines.push(format!("{} on {}: {why}", claim.id, kernel.version));
            }
        }
    }
    lines
}

fn write(folder: &Path, record: &Record, json: &str) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (name, text) in [("claims.md", markdown(record).as_str()), ("claims.json", json)] {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        progress::say(&format!("wrote {}", path.display()));
    }
    Ok(())
}

/// What each kernel gives, and their releases.
fn ask(shape: &Shape, selectors: &[Selector]) -> Result<(Vec<Kernel>, Vec<String>)> {
    session::qemu(shape.qemu.as_ref())?;
    let bpftrace = tools::find_or_install(&tools::BPFTRACE, "")?;
    let kernels = selectors.iter().map(kernel::resolve).collect::<Result<Vec<_>>>()?;
    let programs = guest_build::programs()?;
    let contents = Contents {
        init: programs.join("xtask"),
        programs: vec![programs.join("eptrace"), programs.join("demos"), bpftrace],
        busybox: Some(busybox::busybox()?),
        ..Contents::default()
    };
    let mut all = Vec::new();
    for kernel in &kernels {
        let place = Place::Guest { shape, kernel, contents: &contents };
        all.push(one(&place, &kernel.name)?);
    }
    Ok((all, kernels.iter().map(|kernel| kernel.name.clone()).collect()))
}

fn one(place: &Place<'_>, release: &str) -> Result<Kernel> {
    let jobs = runs::jobs();
    for attempt in 1.. {
        progress::say(&format!("asking {release} (about two minutes)"));
        let results = place.run(&jobs, &mut |job| {
            if let Some(job) = jobs.get(job) {
                progress::say(&format!("{release}: done: {}", job.name));
            }
        })?;
        let kernel = runs::measured(&results, release).with_context(|| format!("on {release}"))?;
        for trouble in &kernel.troubles {
            progress::say(&format!("{release}: {trouble}"));
        }
        if kernel.lost == 0 || attempt == TRIES {
            return Ok(kernel);
        }
        progress::say(&format!("{release}: the trace lost {} records: once more", kernel.lost));
    }
    bail!("{release} was not asked")
}

/// UTC, to the minute, as `date` has it.
fn now() -> Result<String> {
    let mut date = std::process::Command::new("date");
    let done = crate::exec::captured(date.args(["-u", "+%Y-%m-%d %H:%M UTC"]))?;
    Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned())
}

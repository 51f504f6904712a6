//! `cargo xtask demo herd`: the herd demo, traced on real kernels, with the demo's own truth beside the trace.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;

use super::{PlaceArgs, TIMEOUT_S};
use crate::herd::outcome::{Outcome, succeeded};
use crate::herd::spec::{JOBS, Mode, Rhythm, Spec, word};
use crate::progress;
use crate::vm::place::Place;
use crate::vm::plan::Job;
use crate::vm::session::JobResult;

const EXAMPLES: &str = "\
Examples:
  cargo xtask demo herd                    four modes, on this Debian's own kernel
  cargo xtask demo herd --kernel 6.12 --backend kprobe
  cargo xtask demo herd --mode lt --mode et --workers 8 --json
  cargo xtask demo herd --host             without a virtual machine

With --json there is one object per run: {demo, mode, kernel, backend, truth, traced, lost,
equal}. Exit status: 0 all runs are equal, 1 one is not, 2 an error.";

/// Where `--keep` puts the traces.
const KEEP: &str = "eptrace-demo";
/// Workers that share a listening socket: which of them does a connection wake?
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct HerdArgs {
    /// Print one JSON object per run instead of the reports
    #[arg(long)]
    json: bool,
    /// Leave the trace files in ./eptrace-demo
    #[arg(long)]
    keep: bool,
    /// How the workers share the address (may be repeated)
    #[arg(long, value_enum, default_values = ["lt", "exclusive", "reuseport", "oneshot"])]
    mode: Vec<Mode>,
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    place: PlaceArgs,
}

impl HerdArgs {
    pub(super) fn place(&self) -> &PlaceArgs {
        &self.place
    }
}

/// What the workers are given to do.
#[derive(Debug, Args)]
struct LoadArgs {
    /// How many workers
    #[arg(long, value_name = "N", default_value_t = 4)]
    workers: u32,
    /// How many connections
    #[arg(long, value_name = "N", default_value_t = 200)]
    connections: u32,
    /// When the client makes the next connection
    #[arg(long, value_enum, default_value = "step")]
    rhythm: Rhythm,
    /// Make every worker a process instead of a thread
    #[arg(long)]
    processes: bool,
}

/// Runs all modes in one place and shows what came of them; the result is whether all counts are equal.
pub(super) fn run(arguments: &HerdArgs, place: &Place<'_>, name: &str) -> Result<bool> {
    let specs: Vec<Spec> = arguments
        .mode
        .iter()
        .map(|&mode| Spec {
            mode,
            backend: arguments.place.backend,
            rhythm: arguments.load.rhythm,
            workers: arguments.load.workers,
            connections: arguments.load.connections,
            processes: arguments.load.processes,
        })
        .collect();
    let mut jobs: Vec<Job> = specs.iter().flat_map(|spec| spec.jobs(TIMEOUT_S)).collect();
    jobs.extend(comparison(&specs));
    let results = place.run(&jobs, &mut |index| {
        if let Some(spec) = specs.get(index / JOBS).filter(|_| index % JOBS == 0) {
            progress::say(&format!("{name}: recorded herd {}", word(spec.mode)));
        }
    })?;
    let mut all_equal = true;
    for (spec, results) in specs.iter().zip(results.chunks(JOBS)) {
        let (outcome, _) =
            Outcome::of(&results[0], &results[2]).with_context(|| format!("herd {} on {name}", word(spec.mode)))?;
        show(arguments.json, &outcome, &results[1])?;
        all_equal &= outcome.equal;
        if arguments.keep {
            keep(&results[0], name)?;
        }
    }
    if !arguments.json && results.len() > specs.len() * JOBS {
        let last = &results[specs.len() * JOBS];
        succeeded(last, "eptrace compare")?;
        println!("\n===== before and after: lt and exclusive, {name} =====\n\n{}", last.out().trim_end());
    }
    Ok(all_equal)
}

/// What the fix changed, when both runs are there.
fn comparison(specs: &[Spec]) -> Option<Job> {
    let trace = |mode| specs.iter().find(|spec| spec.mode == mode).map(Spec::trace);
    let (before, after) = (trace(Mode::Lt)?, trace(Mode::Exclusive)?);
    Some(Job::new("the comparison", &["eptrace", "compare", &before, &after], TIMEOUT_S))
}

fn show(json: bool, outcome: &Outcome, report: &JobResult) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string(outcome).context("cannot encode an outcome")?);
        return Ok(());
    }
    succeeded(report, "eptrace report")?;
    println!("\n===== herd, mode {}, kernel {}, backend {} =====\n", outcome.mode, outcome.kernel, outcome.backend);
    println!("{}\n", report.out().trim_end());
    if outcome.equal {
        println!("Every count equals the demo's own; {} lost.", outcome.lost);
    } else {
        println!(
            "The counts are NOT the demo's own ({} lost):\n  {}",
            outcome.lost,
            outcome.differences().join("\n  ")
        );
    }
    Ok(())
}

fn keep(record: &JobResult, name: &str) -> Result<()> {
    let folder = PathBuf::from(KEEP).join(name);
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for (file, bytes) in &record.files {
        let path = folder.join(file);
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
        progress::say(&format!("kept {}", path.display()));
    }
    Ok(())
}

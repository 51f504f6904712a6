//! `cargo xtask demo herd`: the herd demo, traced on real kernels, with the demo's own truth beside the trace.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};

use crate::commands::vm::MachineArgs;
use crate::herd::outcome::{Outcome, succeeded};
use crate::herd::spec::{Backend, JOBS, Mode, Rhythm, Spec, word};
use crate::setup::guest_build;
use crate::vm::initramfs::Contents;
use crate::vm::kernel::{self, Selector};
use crate::vm::place::Place;
use crate::vm::plan::Job;
use crate::vm::session::{self, JobResult};
use crate::{exec, progress};

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
/// A run takes seconds; under emulation on a busy machine perhaps a minute.
const TIMEOUT_S: u64 = 300;

/// Run a demo under eptrace and compare the trace with the demo's own truth
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    #[command(subcommand)]
    demo: Demo,
}

#[derive(Debug, Subcommand)]
enum Demo {
    Herd(HerdArgs),
}

/// Workers that share a listening socket: which of them does a connection wake?
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
struct HerdArgs {
    /// Print one JSON object per run instead of the reports
    #[arg(long)]
    json: bool,
    /// Leave the trace files in ./eptrace-demo
    #[arg(long)]
    keep: bool,
    /// Run on this machine instead of in a virtual one
    #[arg(long, conflicts_with_all = ["kernel", "qemu"])]
    host: bool,
    /// The kernel: a line such as 6.1, 6.12 or 7, `newest`, `default`, or the path of a vmlinuz (may be repeated)
    #[arg(long, value_name = "SELECTOR", default_value = "default")]
    kernel: Vec<Selector>,
    /// How the probes are attached
    #[arg(long, value_enum, default_value = "auto")]
    backend: Backend,
    /// How the workers share the address (may be repeated)
    #[arg(long, value_enum, default_values = ["lt", "exclusive", "reuseport", "oneshot"])]
    mode: Vec<Mode>,
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    machine: MachineArgs,
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

/// Runs the demo everywhere it was asked for.
pub(crate) fn run(arguments: &DemoArgs) -> Result<ExitCode> {
    let Demo::Herd(arguments) = &arguments.demo;
    let mut all_equal = true;
    if arguments.host {
        let programs = guest_build::build(&["eptrace", "demos"])?;
        check_host(&programs)?;
        all_equal &= herd(arguments, &Place::Host { programs }, "host")?;
    } else {
        let kernels = arguments.kernel.iter().map(kernel::resolve).collect::<Result<Vec<_>>>()?;
        let shape = arguments.machine.shape();
        session::qemu(shape.qemu.as_ref())?;
        let programs = guest_build::build(&["xtask", "eptrace", "demos"])?;
        let contents = Contents {
            init: programs.join("xtask"),
            programs: vec![programs.join("eptrace"), programs.join("demos")],
            ..Contents::default()
        };
        for kernel in &kernels {
            progress::say(&format!("booting {} (the runs take about a minute under emulation)", kernel.name));
            let place = Place::Guest { shape: &shape, kernel, contents: &contents };
            all_equal &= herd(arguments, &place, &kernel.name)?;
        }
    }
    Ok(if all_equal { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `eptrace check` knows whether this kernel can be traced, and what to do if not.
fn check_host(programs: &Path) -> Result<()> {
    let done = exec::captured(Command::new(programs.join("eptrace")).arg("check"))?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
        bail!(
            "this machine cannot be traced, leave --host out to use a virtual one. eptrace check says:\n{}",
            said.trim()
        );
    }
    Ok(())
}

/// Runs all modes in one place and shows what came of them; the result is whether all counts are equal.
fn herd(arguments: &HerdArgs, place: &Place<'_>, name: &str) -> Result<bool> {
    let specs: Vec<Spec> = arguments
        .mode
        .iter()
        .map(|&mode| Spec {
            mode,
            backend: arguments.backend,
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

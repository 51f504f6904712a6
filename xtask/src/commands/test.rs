//! `cargo xtask test`: everything that must hold, in one command and with one last line.

mod data_tools;
mod native;
mod terminal;
mod virtual_machine;

use std::panic::resume_unwind;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::commands::ebpf::{self, Verdict};
use crate::commands::vm::MachineArgs;
use crate::progress;
use crate::setup::guest_build;
use crate::vm::kernel::Selector;
use crate::vmtest::matrix::{DOCUMENT, Matrix};

const EXAMPLES: &str = "\
Examples:
  cargo xtask test                      everything
  cargo xtask test --no-vm              what needs no virtual machine
  cargo xtask test herd                 only tests whose name contains `herd`
  cargo xtask test --kernel 7 exclusive
  cargo xtask test --write-docs         everything, and docs/kernels.md from it

Without a FILTER: formatting, clippy, native tests, exports opened by DuckDB, pandas and Perfetto's
own messages, top in a terminal, the check of the BPF object, and the tests on real kernels.
The last line is `N passed, N failed`, with `, N skipped` when there are any;
each step before the tests counts as one. Exit status: 0 nothing failed, 1 something did.";

/// The kernels of the matrix, as `--kernel` names them.
const KERNELS: [&str; 5] = ["5.10", "6.1", "6.12", "previous", "newest"];

/// Run all checks and tests, those on real kernels included
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct TestArgs {
    /// The kernels to test on: lines such as 6.1 or 7, `newest`, `previous` (the line before the newest), `default`, or the path
    /// of a vmlinuz (may be repeated)
    #[arg(long, value_name = "SELECTOR", default_values = KERNELS)]
    kernel: Vec<Selector>,
    /// Leave the tests out that need a virtual machine, or a browser
    #[arg(long)]
    no_vm: bool,
    /// Write what the run says of kernels and backends to docs/kernels.md
    #[arg(long, conflicts_with_all = ["no_vm", "filter"])]
    write_docs: bool,
    /// Run only tests whose name contains this
    filter: Option<String>,
    #[command(flatten)]
    machine: MachineArgs,
}

impl TestArgs {
    /// Whether every case ran on every kernel of the matrix.
    fn whole_matrix(&self) -> bool {
        let kernels: Result<Vec<Selector>, _> = KERNELS.iter().map(|name| name.parse()).collect();
        let whole = kernels.is_ok_and(|kernels| kernels.iter().all(|kernel| self.kernel.contains(kernel)));
        !self.no_vm && self.filter.is_none() && whole
    }
}

/// How many tests went how.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl Tally {
    const PASSED: Self = Self { passed: 1, failed: 0, skipped: 0 };
    const FAILED: Self = Self { passed: 0, failed: 1, skipped: 0 };
    const SKIPPED: Self = Self { passed: 0, failed: 0, skipped: 1 };

    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 {
            write!(f, ", {} skipped", self.skipped)?;
        }
        Ok(())
    }
}

/// One step's line in the summary.
struct Step {
    name: &'static str,
    tally: Tally,
    seconds: f64,
}

/// Runs every step, whatever became of the others. Guests run beside the native steps, of which none keeps every processor busy.
pub(crate) fn run(arguments: &TestArgs) -> ExitCode {
    let filter = arguments.filter.as_deref().unwrap_or_default();
    let mut matrix = Matrix::default();
    let mut steps = std::thread::scope(|scope| {
        let machines = (!arguments.no_vm).then(|| scope.spawn(|| machines(arguments, filter, &mut matrix)));
        let mut steps = native(arguments, filter);
        steps.extend(machines.map(|machines| machines.join().unwrap_or_else(|panic| resume_unwind(panic))));
        steps
    });
    if arguments.whole_matrix() {
        steps.push(step("audits of all kernels", || matrix.audited().map(|()| Tally::PASSED)));
    }
    if arguments.write_docs {
        steps.push(step("docs", || write_docs(&matrix)));
    }
    let mut total = Tally::default();
    println!();
    for step in &steps {
        println!("{:<24}{:>8.1} s   {}", step.name, step.seconds, step.tally);
        total.add(step.tally);
    }
    println!("{total}");
    if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The steps on this machine's own kernel, one after another.
fn native(arguments: &TestArgs, filter: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    if filter.is_empty() {
        steps.push(step("formatting", native::formatting));
        steps.push(step("clippy", native::clippy));
    }
    steps.push(step("native tests", || native::tests(filter)));
    if filter.is_empty() {
        steps.push(step("exports in data tools", data_tools::tests));
        steps.push(step("top in a terminal", terminal::tests));
        steps.push(step("BPF object", object));
    }
    if !arguments.no_vm {
        steps.push(step("pages in a browser", || native::browser(filter)));
    }
    steps
}

fn machines(arguments: &TestArgs, filter: &str, matrix: &mut Matrix) -> Step {
    let shape = arguments.machine.shape();
    step("tests on real kernels", || virtual_machine::tests(&shape, &arguments.kernel, filter, matrix))
}

/// Runs one step; an error is a failure with its reason, and the next step still runs.
fn step(name: &'static str, work: impl FnOnce() -> Result<Tally>) -> Step {
    progress::say(&format!("===== {name} ====="));
    let start = Instant::now();
    let tally = work().unwrap_or_else(|error| {
        println!("FAILED {name}: {error:#}");
        Tally::FAILED
    });
    let seconds = start.elapsed().as_secs_f64();
    progress::say(&format!("===== {name}: {tally} in {seconds:.1} s ====="));
    Step { name, tally, seconds }
}

fn write_docs(matrix: &Matrix) -> Result<Tally> {
    let path = guest_build::workspace().join(DOCUMENT);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    std::fs::write(&path, matrix.markdown()).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Tally::PASSED)
}

fn object() -> Result<Tally> {
    Ok(match ebpf::check()? {
        Verdict::Same => Tally::PASSED,
        Verdict::Skipped(why) => {
            println!("skipped: BPF object: {why}");
            Tally::SKIPPED
        }
        Verdict::Differs(what) => {
            println!("FAILED BPF object: {what}");
            Tally::FAILED
        }
    })
}

#[cfg(test)]
mod tests {
    use super::{Tally, TestArgs};
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        test: TestArgs,
    }

    #[test]
    fn only_a_run_that_nothing_narrows_is_of_the_whole_matrix() {
        let whole = |words: &[&str]| Line::parse_from(["test"].iter().chain(words)).test.whole_matrix();
        assert!(whole(&[]));
        assert!(whole(&["--write-docs"]));
        assert!(!whole(&["herd"]));
        assert!(!whole(&["--no-vm"]));
        assert!(!whole(&["--kernel", "6.1"]));
    }

    #[test]
    fn the_last_line_names_skips_only_when_there_are_any() {
        let mut tally = Tally { passed: 3, failed: 0, skipped: 0 };
        assert_eq!(tally.to_string(), "3 passed, 0 failed");
        tally.add(Tally::SKIPPED);
        tally.add(Tally::FAILED);
        assert_eq!(tally.to_string(), "3 passed, 1 failed, 1 skipped");
    }
}

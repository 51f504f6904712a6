//! `cargo xtask bench cost`: what a tracer adds to the program it watches, counted in instructions.
//!
//! The guest's clock ticks a nanosecond an instruction, so a time taken in it is a count: the same on any machine.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::Value;

use crate::exec;
use crate::herd::outcome::succeeded;
use crate::progress;
use crate::setup::{guest_build, tools};
use crate::vm::initramfs::Contents;
use crate::vm::kernel::{self, Kernel, Selector};
use crate::vm::place::Place;
use crate::vm::plan::Job;
use crate::vm::session::{JobResult, Shape};

const EXAMPLES: &str = "\
Examples:
  cargo xtask bench cost
  cargo xtask bench cost --kernel 6.12 --iterations 50000
  cargo xtask bench cost --json

One iteration writes a byte into a pipe, waits for it with epoll_wait and reads it. The numbers are instructions of the
one processor there is, those of the tracer's own process included, and repeat to about one percent.";

/// Emulation of one processor is slow, and strace makes it slower.
const TIMEOUT_S: u64 = 900;

/// The fields that eptrace records of the same moments, printed as text.
const BPFTRACE: &str = r#"
kprobe:ep_poll_callback { printf("%llu %d %d callback %lx %d %lx\n", nsecs, cpu, tid, arg0, arg1, arg3); }
kprobe:do_epoll_ctl { printf("%llu %d %d ctl %d %d %d\n", nsecs, cpu, tid, arg0, arg1, arg2); }
kretprobe:do_epoll_ctl { printf("%llu %d %d ctl returned %d\n", nsecs, cpu, tid, retval); }
tracepoint:syscalls:sys_enter_epoll_wait { printf("%llu %d %d wait %d %d %d\n", nsecs, cpu, tid, args->epfd, args->maxevents, args->timeout); }
tracepoint:syscalls:sys_exit_epoll_wait { printf("%llu %d %d wait returned %d\n", nsecs, cpu, tid, args->ret); }
tracepoint:syscalls:sys_enter_epoll_pwait { printf("%llu %d %d wait %d %d %d\n", nsecs, cpu, tid, args->epfd, args->maxevents, args->timeout); }
tracepoint:syscalls:sys_exit_epoll_pwait { printf("%llu %d %d wait returned %d\n", nsecs, cpu, tid, args->ret); }
"#;

/// Measure what tracing costs
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    Cost(CostArgs),
}

/// Instructions that each tracer adds to one write, epoll_wait and read
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
struct CostArgs {
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
    /// The kernel: a line such as 6.1, 6.12 or 7, `newest`, `default`, or the path of a vmlinuz (may be repeated)
    #[arg(long, value_name = "SELECTOR", default_value = "default")]
    kernel: Vec<Selector>,
    /// How many iterations each tracer watches
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    iterations: u32,
    /// The QEMU to use instead of the one on PATH
    #[arg(long, value_name = "PATH")]
    qemu: Option<std::path::PathBuf>,
}

/// What one tracer costs.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Row {
    tracer: &'static str,
    /// Instructions of one iteration.
    instructions: f64,
    /// Those above the run without a tracer.
    added: f64,
    /// `added` as a part of what bpftrace adds.
    of_bpftrace: Option<f64>,
}

/// Boots every kernel and prints its table.
pub(crate) fn run(arguments: &BenchArgs) -> Result<ExitCode> {
    let Bench::Cost(arguments) = &arguments.bench;
    let bpftrace = tools::find_or_install(&tools::BPFTRACE, "")?;
    let strace = tools::find_or_install(&tools::STRACE, "")?;
    let kernels = arguments.kernel.iter().map(kernel::resolve).collect::<Result<Vec<_>>>()?;
    let programs = guest_build::build(&["xtask", "eptrace", "demos"])?;
    let contents = Contents {
        init: programs.join("xtask"),
        programs: vec![programs.join("eptrace"), programs.join("demos"), bpftrace, strace],
        ..Contents::default()
    };
    let shape = Shape { qemu: arguments.qemu.clone(), memory_mb: 2048, processors: 1, counting: true };
    for kernel in &kernels {
        progress::say(&format!("counting instructions on {} (some minutes)", kernel.name));
        let rows = measure(&Place::Guest { shape: &shape, kernel, contents: &contents }, arguments.iterations)?;
        print(arguments, kernel, &rows)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The tracers in the order of the table; the first is none.
fn tracers(iterations: u32) -> Vec<(&'static str, Vec<String>)> {
    let cycle = ["demos".to_owned(), "cycle".into(), "--json".into(), "--iterations".into(), iterations.to_string()];
    let under = |words: &[&str]| -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).chain(cycle.iter().cloned()).collect()
    };
    let record = |backend| under(&["eptrace", "record", "-o", "/tmp/cost.arrow", "--backend", backend, "--"]);
    let around = ["bpftrace", "-q", "-o", "/tmp/cost.txt", "-e", BPFTRACE, "-c"];
    let bpftrace = around.iter().map(|&word| word.to_owned()).chain([cycle.join(" ")]).collect();
    vec![
        ("none", under(&[])),
        ("eptrace record, fentry", record("fentry")),
        ("eptrace record, kprobe", record("kprobe")),
        ("bpftrace, printf", bpftrace),
        ("strace", under(&["strace", "-f", "-o", "/tmp/cost.txt", "-e", "trace=epoll_wait,epoll_pwait,epoll_ctl"])),
    ]
}

fn measure(place: &Place<'_>, iterations: u32) -> Result<Vec<Row>> {
    let tracers = tracers(iterations);
    let jobs: Vec<Job> = tracers
        .iter()
        .map(|(name, argv)| Job {
            name: (*name).to_owned(),
            argv: argv.clone(),
            timeout_s: TIMEOUT_S,
            ..Job::default()
        })
        .collect();
    let results = place.run(&jobs, &mut |index| progress::say(&format!("measured: {}", jobs[index].name)))?;
    let counts = tracers
        .iter()
        .zip(&results)
        .map(|((name, _), result)| Ok((*name, instructions(result, name)?)))
        .collect::<Result<Vec<_>>>()?;
    Ok(rows(&counts))
}

/// One iteration's nanoseconds, which are instructions here, from the line of JSON among what was printed.
fn instructions(result: &JobResult, name: &str) -> Result<f64> {
    succeeded(result, name)?;
    result
        .out()
        .lines()
        .find_map(|line| serde_json::from_str::<Value>(line).ok()?.get("ns_per_iteration")?.as_f64())
        .with_context(|| {
            format!("the run under {name} printed no ns_per_iteration:\n{}", exec::last_lines(&result.out(), 5))
        })
}

fn rows(counts: &[(&'static str, f64)]) -> Vec<Row> {
    let none = counts.first().map_or(0.0, |(_, count)| *count);
    let bpftrace = counts.iter().find(|(name, _)| name.starts_with("bpftrace")).map(|(_, count)| count - none);
    counts
        .iter()
        .enumerate()
        .map(|(index, &(tracer, instructions))| {
            let added = instructions - none;
            let of_bpftrace = bpftrace.filter(|&theirs| index > 0 && theirs > 0.0).map(|theirs| added / theirs);
            Row { tracer, instructions, added, of_bpftrace }
        })
        .collect()
}

fn print(arguments: &CostArgs, kernel: &Kernel, rows: &[Row]) -> Result<()> {
    if arguments.json {
        let value = serde_json::json!({
            "bench": "cost", "kernel": kernel.name, "iterations": arguments.iterations, "rows": rows,
        });
        println!("{}", serde_json::to_string(&value).context("cannot encode the table")?);
        return Ok(());
    }
    println!("Instructions of one write + epoll_wait + read, kernel {}", kernel.name);
    println!("{:<24} {:>12} {:>12} {:>12}", "tracer", "an iteration", "added", "of bpftrace");
    for row in rows {
        let share = row.of_bpftrace.map_or_else(String::new, |share| format!("{:.1} %", share * 100.0));
        println!("{:<24} {:>12.0} {:>12.0} {:>12}", row.tracer, row.instructions, row.added, share);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{instructions, rows, tracers};
    use crate::vm::plan::Ending;
    use crate::vm::session::JobResult;

    #[test]
    fn what_a_tracer_adds_is_counted_above_none_and_beside_bpftrace() {
        let table = rows(&[("none", 100.0), ("eptrace record, fentry", 150.0), ("bpftrace, printf", 600.0)]);
        let added: Vec<f64> = table.iter().map(|row| row.added).collect();
        assert_eq!(added.iter().map(|count| count.to_string()).collect::<Vec<_>>(), ["0", "50", "500"]);
        assert_eq!(table[1].of_bpftrace.map(|share| share.to_string()).as_deref(), Some("0.1"));
        assert!(table[0].of_bpftrace.is_none());
    }

    #[test]
    fn the_count_is_found_among_other_lines() {
        let stdout = b"Attaching\n{\"iterations\":5,\"ns_per_iteration\":12.5}\n".to_vec();
        let result = JobResult { stdout, ending: Some(Ending::Exited(0)), ..JobResult::default() };
        assert_eq!(instructions(&result, "x").unwrap().to_string(), "12.5");
        assert!(instructions(&JobResult::default(), "x").is_err());
    }

    #[test]
    fn every_tracer_watches_the_same_program() {
        for (name, argv) in tracers(7) {
            assert!(argv.join(" ").ends_with("demos cycle --json --iterations 7"), "{name}");
        }
    }
}

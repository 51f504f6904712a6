//! `cargo xtask bench cost`: what a tracer adds to the program it watches, counted in instructions.
//!
//! The guest's clock ticks a nanosecond an instruction, so a time taken in it is a count: the same on any machine.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::Value;

use super::bench_callback::{self, CallbackArgs};
use super::bench_ready::{self, ReadyArgs};
use super::bench_replay::{self, ReplayArgs};
use crate::exec;
use crate::herd::outcome::succeeded;
use crate::progress;
use crate::setup::{busybox, guest_build, tools};
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

One iteration writes a byte into a pipe, waits for it with epoll_wait and reads it. The numbers
are instructions of the one processor there is: those that pass while the program runs its
iterations, and those with everything that the tracer does until it has ended (draining its
buffers, writing its file). They repeat to about one percent.";

/// Emulation of one processor is slow, and strace makes it slower.
const TIMEOUT_S: u64 = 900;

/// The fields that eptrace records of the same moments of the same program, printed as text: callback, wait, scan, end of wait.
///
/// Callbacks are told by the wait queues that the program's items were hung into, as in the tests' second opinion: a filter
/// by the task's name would let those through that bpftrace's own buffer causes in an interrupt of that task, and each
/// printed one would cause the next, without end. (`struct eppoll_entry`: `base` lies before `wait`, `whead` behind it.)
const BPFTRACE: &str = r#"
kprobe:ep_ptable_queue_proc /comm == "demos"/ { @head[arg1] = 1; }
kprobe:ep_poll_callback /@head[*(uint64 *)(arg0 + 40)] == 1/ {
  $epi = (struct epitem *)*(uint64 *)(arg0 - 8);
  $ep = $epi->ep;
  printf("%llu %d %d %d callback %lx %lx %lx %lx %lx %lx %lx %d %x %x %x %lx %lx %lx\n", nsecs, cpu, pid, tid,
    $ep, $epi, $epi->ffd.file, *(uint64 *)(arg0 + 40), arg0, *(uint64 *)(arg0 + 32), $epi->event.data,
    $epi->ffd.fd, $epi->event.events, arg3, *(uint32 *)arg0, $epi->rdllink.next,
    *(uint64 *)(*(uint64 *)(arg0 - 8) + 40), $ep->ovflist);
}
kprobe:do_epoll_wait /comm == "demos"/ {
  $files = ((struct task_struct *)curtask)->files->fdt->fd;
  @events[tid] = arg1;
  printf("%llu %d %d %d wait %lx %d %d %d\n", nsecs, cpu, pid, tid,
    (uint64)(*($files + arg0))->private_data, arg0, arg2, arg3);
}
kprobe:ep_done_scan /comm == "demos"/ {
  $ep = (struct eventpoll *)arg0;
  printf("%llu %d %d %d scan %lx %lx %lx %lx\n", nsecs, cpu, pid, tid,
    arg0, $ep->rdllist.next, *(uint64 *)arg1, $ep->ovflist);
}
tracepoint:syscalls:sys_exit_epoll_wait /@events[tid]/ {
  $event = (struct epoll_event *)uptr(@events[tid]);
  printf("%llu %d %d %d returned %d %x %lx\n", nsecs, cpu, pid, tid, args->ret, $event->events, $event->data);
}
END { clear(@head); clear(@events); }
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
    Callback(CallbackArgs),
    Collector(CollectorArgs),
    Replay(ReplayArgs),
    Ready(ReadyArgs),
}

/// Events a second that the collector takes, and bytes an event in the trace file, on this machine
///
/// Made-up records of a program that waits and is called back pass through decoding and ordering alone, then with the trace
/// file, then with the model: the ratios to the first are what the two others cost.
#[derive(Debug, Args)]
struct CollectorArgs {
    /// How many events
    #[arg(long, value_name = "N", default_value_t = 5_000_000, value_parser = clap::value_parser!(u32).range(1_000..))]
    events: u32,
}

/// Instructions that each tracer adds to one write, `epoll_wait` and read
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
struct CostArgs {
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
    /// The kernels: lines such as 6.1, 6.12 or 7, `newest`, `default`, or the path of a vmlinuz (may be repeated)
    #[arg(long, value_name = "SELECTOR", default_values = ["6.1", "6.12"])]
    kernel: Vec<Selector>,
    /// How many iterations each tracer watches: what starting and ending costs differs by some ten million instructions from run to run
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(100..))]
    iterations: u32,
    /// The QEMU to use instead of the one on PATH
    #[arg(long, value_name = "PATH")]
    qemu: Option<std::path::PathBuf>,
}

/// Jobs for each tracer: a short run, a long run, and what was lost in it.
const JOBS: usize = 3;

/// What one tracer costs.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Row {
    tracer: &'static str,
    /// Instructions of one iteration as the watched program sees them pass.
    program: f64,
    /// Those above the run without a tracer.
    program_added: f64,
    /// Instructions of one iteration with all that the tracer does before it ends: draining, writing out.
    whole: f64,
    /// Those above the run without a tracer.
    whole_added: f64,
    /// `whole_added` as a part of what bpftrace adds.
    of_bpftrace: Option<f64>,
}

/// What was measured of one tracer.
#[derive(Debug, Clone, Copy)]
struct Measured {
    tracer: &'static str,
    program: f64,
    whole: f64,
}

/// Boots every kernel and prints its table.
pub(crate) fn run(arguments: &BenchArgs) -> Result<ExitCode> {
    let arguments = match &arguments.bench {
        Bench::Cost(arguments) => arguments,
        Bench::Callback(arguments) => return bench_callback::run(arguments).map(|()| ExitCode::SUCCESS),
        Bench::Collector(arguments) => return collector(arguments),
        Bench::Ready(arguments) => return bench_ready::run(arguments).map(|()| ExitCode::SUCCESS),
        Bench::Replay(arguments) => return bench_replay::run(arguments).map(|()| ExitCode::SUCCESS),
    };
    let bpftrace = tools::find_or_install(&tools::BPFTRACE, "")?;
    let strace = tools::find_or_install(&tools::STRACE, "")?;
    let kernels = arguments.kernel.iter().map(kernel::resolve).collect::<Result<Vec<_>>>()?;
    let programs = guest_build::programs()?;
    let contents = Contents {
        init: programs.join("xtask"),
        programs: vec![programs.join("eptrace"), programs.join("demos"), bpftrace, strace],
        busybox: Some(busybox::busybox()?),
        ..Contents::default()
    };
    let shape =
        Shape { qemu: arguments.qemu.clone(), memory_mb: 2048, processors: 1, counting: true, ..Shape::default() };
    for kernel in &kernels {
        progress::say(&format!("counting instructions on {} (some minutes)", kernel.name));
        let measured = measure(&Place::Guest { shape: &shape, kernel, contents: &contents }, arguments.iterations)?;
        print(arguments, kernel, &rows(&measured))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs the collector's example, optimised, once for each thing it can do.
fn collector(arguments: &CollectorArgs) -> Result<ExitCode> {
    for what in ["order", "record", "model"] {
        let mut command = guest_build::cargo();
        command.args([
            "run",
            "--quiet",
            "--release",
            "--locked",
            "--package",
            "eptrace",
            "--example",
            "collector",
            "--",
        ]);
        command.arg(what).arg(arguments.events.to_string());
        exec::run(&mut command)?;
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

/// Every tracer watches a short run and a long one: what the second took longer is free of starting and attaching.
///
/// The whole is taken as processor time, so that no waiting counts as work.
fn measure(place: &Place<'_>, iterations: u32) -> Result<Vec<Measured>> {
    let short = iterations / 10;
    let (long_runs, short_runs) = (tracers(iterations), tracers(short));
    let jobs: Vec<Job> =
        short_runs.iter().zip(&long_runs).flat_map(|(short, long)| [job(short), job(long), lost_job()]).collect();
    let results = place.run(&jobs, &mut |index| {
        if index % JOBS == 1 {
            progress::say(&format!("measured: {}", jobs[index].name));
        }
    })?;
    long_runs
        .iter()
        .zip(results.chunks(JOBS))
        .map(|((tracer, _), pair)| {
            succeeded(&pair[0], tracer)?;
            let program = instructions(&pair[1], tracer)?;
            let lost = pair[2].out();
            ensure!(
                lost.trim() == "0",
                "{tracer} lost {} events and did not print them: measure fewer --iterations",
                lost.trim()
            );
            let longer = Duration::from_nanos(pair[1].cpu_ns.saturating_sub(pair[0].cpu_ns));
            let whole = longer.as_secs_f64() * 1e9 / f64::from(iterations - short);
            Ok(Measured { tracer, program, whole })
        })
        .collect()
}

/// Prints how many events bpftrace says it has lost, and makes room.
fn lost_job() -> Job {
    let script = "touch /tmp/cost.txt; awk '/^Lost/ { n += $2 } END { print n + 0 }' /tmp/cost.txt; rm -f /tmp/cost.*";
    Job::new("losses", &["sh", "-c", script], 60)
}

fn job((name, argv): &(&'static str, Vec<String>)) -> Job {
    Job {
        name: (*name).to_owned(),
        argv: argv.clone(),
        // Room for all events of a long run: what bpftrace loses, it need not print, and looks too cheap.
        env: vec![("BPFTRACE_PERF_RB_PAGES".to_owned(), "32768".to_owned())],
        timeout_s: TIMEOUT_S,
        ..Job::default()
    }
}

/// One iteration's nanoseconds, which are instructions here, from the line of JSON among what was printed.
pub(super) fn instructions(result: &JobResult, name: &str) -> Result<f64> {
    succeeded(result, name)?;
    result
        .out()
        .lines()
        .find_map(|line| serde_json::from_str::<Value>(line).ok()?.get("ns_per_iteration")?.as_f64())
        .with_context(|| {
            format!("the run under {name} printed no ns_per_iteration:\n{}", exec::last_lines(&result.out(), 5))
        })
}

fn rows(measured: &[Measured]) -> Vec<Row> {
    let none = measured.first().map_or((0.0, 0.0), |row| (row.program, row.whole));
    let bpftrace = measured.iter().find(|row| row.tracer.starts_with("bpftrace")).map(|row| row.whole - none.1);
    measured
        .iter()
        .enumerate()
        .map(|(index, row)| {
            let whole_added = row.whole - none.1;
            Row {
                tracer: row.tracer,
                program: row.program,
                program_added: row.program - none.0,
                whole: row.whole,
                whole_added,
                of_bpftrace: bpftrace.filter(|&theirs| index > 0 && theirs > 0.0).map(|theirs| whole_added / theirs),
            }
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
    println!("{:<24} {:>21} {:>21}", "", "seen by the program", "with the tracer's work");
    println!("{:<24} {:>10} {:>10} {:>10} {:>10} {:>12}", "tracer", "all", "added", "all", "added", "of bpftrace");
    for row in rows {
        let share = row.of_bpftrace.map_or_else(String::new, |share| format!("{:.1} %", share * 100.0));
        println!(
            "{:<24} {:>10.0} {:>10.0} {:>10.0} {:>10.0} {share:>12}",
            row.tracer, row.program, row.program_added, row.whole, row.whole_added
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Measured, instructions, rows, tracers};
    use crate::vm::plan::Ending;
    use crate::vm::session::JobResult;

    #[test]
    fn what_a_tracer_adds_is_counted_above_none_and_beside_bpftrace() {
        let measured = |tracer, program, whole| Measured { tracer, program, whole };
        let table = rows(&[
            measured("none", 100.0, 110.0),
            measured("eptrace record, fentry", 150.0, 160.0),
            measured("bpftrace, printf", 600.0, 610.0),
        ]);
        let added: Vec<String> = table.iter().map(|row| format!("{} {}", row.program_added, row.whole_added)).collect();
        assert_eq!(added, ["0 0", "50 50", "500 500"]);
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

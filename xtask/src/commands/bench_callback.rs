//! `cargo xtask bench callback`: what the hooks of `ep_poll_callback` cost a program, beside the least that any could cost there.
//!
//! The guest's clock ticks a nanosecond an instruction, so a time taken in it is a count: the same on any machine.

use anyhow::{Context as _, Result};
use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::bench::instructions;
use crate::progress;
use crate::setup::{busybox, guest_build};
use crate::vm::initramfs::Contents;
use crate::vm::kernel::{self, Selector};
use crate::vm::place::Place;
use crate::vm::plan::Job;
use crate::vm::session::Shape;

const EXAMPLES: &str = "\
Examples:
  cargo xtask bench callback
  cargo xtask bench callback --kernel 5.10 --kernel 7 --json

The program is `demos cycle`; how often it is called back is counted in the same run. The least is
an empty program at both ends of ep_poll_callback and one submission of a record of the same size.
Bare is a program that reads and writes all of the record, and knows of no filter and no nesting.
Nobody reads the ring buffer meanwhile.";

/// Instructions that the hooks of one callback add, beside the least that any could add
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct CallbackArgs {
    /// Print one JSON object a kernel instead of a table
    #[arg(long)]
    json: bool,
    /// The kernels: lines such as 6.1, 6.12 or 7, `newest`, `default`, or the path of a vmlinuz (may be repeated)
    #[arg(long, value_name = "SELECTOR", default_values = ["6.1", "6.12"])]
    kernel: Vec<Selector>,
    /// How many iterations are watched
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(100..=400_000))]
    iterations: u32,
    /// The QEMU to use instead of the one on PATH
    #[arg(long, value_name = "PATH")]
    qemu: Option<std::path::PathBuf>,
}

/// One backend, measured; instructions of one callback.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Row {
    backend: &'static str,
    /// What an empty pair of programs and one submission add.
    least: f64,
    /// What a pair adds that fills the record of every callback, and does nothing else.
    bare: f64,
    /// What eptrace's pair adds.
    eptrace: f64,
    /// `eptrace` as a multiple of `least`.
    times: f64,
}

/// Boots every kernel and prints its table.
pub(super) fn run(arguments: &CallbackArgs) -> Result<()> {
    let kernels = arguments.kernel.iter().map(kernel::resolve).collect::<Result<Vec<_>>>()?;
    let programs = guest_build::programs()?;
    let contents = Contents {
        init: programs.join("xtask"),
        programs: vec![programs.join("demos"), guest_build::build_example("eptrace", "callback_cost")?],
        busybox: Some(busybox::busybox()?),
        ..Contents::default()
    };
    let shape =
        Shape { qemu: arguments.qemu.clone(), memory_mb: 2048, processors: 1, counting: true, ..Shape::default() };
    for kernel in &kernels {
        progress::say(&format!("counting instructions on {}", kernel.name));
        let place = Place::Guest { shape: &shape, kernel, contents: &contents };
        let rows = ["fentry", "kprobe"]
            .into_iter()
            .map(|backend| measure(&place, backend, arguments.iterations))
            .collect::<Result<Vec<_>>>()?;
        if arguments.json {
            let value = serde_json::json!({
                "bench": "callback", "kernel": kernel.name, "iterations": arguments.iterations, "rows": rows,
            });
            println!("{value}");
        } else {
            println!("Instructions that the hooks of one callback add, kernel {}", kernel.name);
            println!("{:<10} {:>10} {:>10} {:>10} {:>10}", "backend", "the least", "bare", "eptrace", "times");
            for Row { backend, least, bare, eptrace, times } in rows {
                println!("{backend:<10} {least:>10.0} {bare:>10.0} {eptrace:>10.0} {times:>10.2}");
            }
        }
    }
    Ok(())
}

fn measure(place: &Place<'_>, backend: &'static str, iterations: u32) -> Result<Row> {
    let iterations = iterations.to_string();
    let round = KINDS.map(|what| {
        let argv = ["callback_cost", what, backend, "demos", "cycle", "--json", "--iterations", &iterations];
        Job::new(&format!("{what}, {backend}"), &argv, 300)
    });
    let jobs: Vec<Job> = std::iter::repeat_n(round, ROUNDS).flatten().collect();
    let results = place.run(&jobs, &mut |_| {})?;
    let counts =
        results.iter().zip(&jobs).map(|(result, job)| instructions(result, &job.name)).collect::<Result<Vec<_>>>()?;
    let [none, least, bare, eptrace] = fewest(&counts);
    let traced = results.get(KINDS.len() - 1).context("not every run was measured")?;
    let callbacks = callbacks(&traced.out()).context("callbacks were not counted")?;
    row(backend, callbacks, none, [least, bare, eptrace])
        .context("the least that hooks cost is nothing: nothing was measured")
}

/// What is measured in each round, in this order.
const KINDS: [&str; 4] = ["none", "baseline", "bare", "eptrace"];
/// What else runs on the guest's one processor can only add instructions, so the fewest of some rounds are the program's own.
const ROUNDS: usize = 3;

/// The fewest instructions of each kind over all rounds.
fn fewest(counts: &[f64]) -> [f64; KINDS.len()] {
    let mut fewest = [f64::INFINITY; KINDS.len()];
    for round in counts.chunks(KINDS.len()) {
        for (least, count) in fewest.iter_mut().zip(round) {
            *least = least.min(*count);
        }
    }
    fewest
}

/// Callbacks of one iteration, from what the demo and the tracer printed: a line of JSON each.
fn callbacks(out: &str) -> Option<f64> {
    let lines: Vec<Value> = out.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let callbacks = lines.iter().find_map(|line| line["callbacks"].as_f64())?;
    let iterations = lines.iter().find_map(|line| line["truth"]["waits"].as_f64())?;
    (callbacks > 0.0 && iterations > 0.0).then(|| callbacks / iterations)
}

/// From instructions an iteration to instructions a callback.
fn row(backend: &'static str, callbacks: f64, none: f64, traced: [f64; 3]) -> Option<Row> {
    let [least, bare, eptrace] = traced.map(|all| (all - none) / callbacks);
    (least > 0.0).then(|| Row { backend, least, bare, eptrace, times: eptrace / least })
}

#[cfg(test)]
mod tests {
    use super::{Row, callbacks, fewest, row};

    #[test]
    fn what_is_added_is_counted_for_one_callback() {
        let measured = row("fentry", 2.0, 1000.0, [1400.0, 1600.0, 1700.0]);
        let row_of = Row { backend: "fentry", least: 200.0, bare: 300.0, eptrace: 350.0, times: 1.75 };
        assert_eq!(measured, Some(row_of));
        assert_eq!(row("fentry", 1.0, 1000.0, [1000.0, 1600.0, 1700.0]), None);
    }

    #[test]
    fn what_else_ran_in_a_round_does_not_count() {
        let close = |found: [f64; 4], expected: [f64; 4]| found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9);
        assert!(close(fewest(&[900.0, 200.0, 250.0, 300.0, 100.0, 800.0, 240.0, 310.0]), [100.0, 200.0, 240.0, 300.0]));
    }

    #[test]
    fn callbacks_are_counted_over_the_warm_up_too() {
        let demo = r#"{"demo":"cycle","iterations":100,"truth":{"waits":120}}"#;
        assert_eq!(callbacks(&format!("{demo}\n{{\"callbacks\":60}}\n")), Some(0.5));
        assert_eq!(callbacks(demo), None);
        assert_eq!(callbacks(&format!("{demo}\n{{\"callbacks\":0}}\n")), None);
    }
}

//! `cargo xtask bench replay`: how fast a recording becomes a report, how large it is, and how much memory that takes.
//!
//! A real recording of `demos churn`, made in a virtual machine and repeated in time until it is long enough, is read, reconstructed
//! and reported by the released program on this machine.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use serde::Serialize;
use serde_json::Value;

use crate::herd::outcome::succeeded;
use crate::setup::guest_build;
use crate::vm::initramfs::Contents;
use crate::vm::kernel::{self, Selector};
use crate::vm::place::Place;
use crate::vm::plan::Job;
use crate::vm::session::Shape;
use crate::{exec, progress};

const EXAMPLES: &str = "\
Examples:
  cargo xtask bench replay
  cargo xtask bench replay --events 10000000 --json

The first row has at least --events events, the others four and sixteen times as many: memory should
follow what lives at once and what was found, not the number of events. Seconds are processor time of
one core; the last column is that time as a multiple of what Arrow's own reader takes to unpack the
same file in the same run, which does not depend on the machine.";

const TRACE: &str = "/tmp/churn.eptrace";
/// Operations of each of the four threads of `demos churn`.
const OPERATIONS: &str = "20000";
/// How often the first row's trace is repeated.
const TIMES: [u64; 3] = [1, 4, 16];

/// Events a second, bytes an event and memory of a report, at one, four and sixteen times the events
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ReplayArgs {
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
    /// How many events the smallest trace has at least
    #[arg(long, value_name = "N", default_value_t = 5_000_000, value_parser = clap::value_parser!(u64).range(100_000..=100_000_000))]
    events: u64,
    /// The kernel to record on: a line such as 6.1, 6.12 or 7, `newest`, `default`, or the path of a vmlinuz
    #[arg(long, value_name = "SELECTOR", default_value = "default")]
    kernel: Selector,
    /// The QEMU to use instead of the one on PATH
    #[arg(long, value_name = "PATH")]
    qemu: Option<std::path::PathBuf>,
}

/// One trace, reported.
#[derive(Debug, Serialize)]
struct Row {
    times: u64,
    events: u64,
    bytes: u64,
    cpu_ns: u64,
    peak_bytes: u64,
    /// What Arrow's own reader takes to unpack the trace.
    unpack_cpu_ns: u64,
}

impl Row {
    fn events_per_second(&self) -> u64 {
        u64::try_from(u128::from(self.events) * 1_000_000_000 / u128::from(self.cpu_ns.max(1))).unwrap_or(u64::MAX)
    }

    /// The report's time in tenths of the time that it takes to unpack the trace.
    fn of_unpacking_tenths(&self) -> u64 {
        self.cpu_ns * 10 / self.unpack_cpu_ns.max(1)
    }

    /// Tenths of a byte.
    fn bytes_per_event_tenths(&self) -> u64 {
        self.bytes * 10 / self.events.max(1)
    }
}

pub(super) fn run(arguments: &ReplayArgs) -> Result<()> {
    let work = tempfile::tempdir().context("cannot create a temporary directory")?;
    let recording = work.path().join("recording.eptrace");
    fs::write(&recording, record(arguments)?).with_context(|| format!("cannot write {}", recording.display()))?;
    let mut build = guest_build::cargo();
    build.args(["build", "--quiet", "--release", "--locked", "--package", "eptrace", "--bins", "--example", "replay"]);
    progress::timed("building eptrace", || exec::run(&mut build))?;
    let release = guest_build::target().join("release");
    let replay = release.join("examples/replay");

    let long = work.path().join("long.eptrace");
    let once = said(Command::new(&replay).arg("repeat").args([&recording, &long]).arg("1"))?;
    let repeats = arguments.events.div_ceil(number(&once, "events")?.max(1));
    let mut rows = Vec::new();
    for times in TIMES {
        progress::say(&format!("measuring at {times}x"));
        let made =
            said(Command::new(&replay).arg("repeat").args([&recording, &long]).arg((repeats * times).to_string()))?;
        rows.push(measured(&replay, &release.join("eptrace"), &long, times, &made)?);
    }
    print(arguments, &rows)
}

/// The recording of a churn, from a virtual machine.
fn record(arguments: &ReplayArgs) -> Result<Vec<u8>> {
    let kernel = kernel::resolve(&arguments.kernel)?;
    let programs = guest_build::programs()?;
    let contents = Contents {
        init: programs.join("xtask"),
        programs: vec![programs.join("eptrace"), programs.join("demos")],
        ..Contents::default()
    };
    let shape = Shape { qemu: arguments.qemu.clone(), memory_mb: 2048, ..Shape::default() };
    let churn = ["demos", "churn", "--json", "--threads", "4", "--operations", OPERATIONS, "--seed", "1"];
    let argv: Vec<&str> = ["eptrace", "record", "--buffer", "64", "-o", TRACE, "--"].into_iter().chain(churn).collect();
    let job = Job::new("the recording of churn", &argv, 300).returning(&[TRACE]);
    let place = Place::Guest { shape: &shape, kernel: &kernel, contents: &contents };
    let results = progress::timed("recording churn in a virtual machine", || place.run(&[job], &mut |_| {}))?;
    let result = results.into_iter().next().context("the recording did not run")?;
    succeeded(&result, "the recording of churn")?;
    result.files.get(TRACE).cloned().context("the guest sent no recording")
}

fn measured(replay: &Path, eptrace: &Path, trace: &Path, times: u64, made: &Value) -> Result<Row> {
    let used = said(Command::new(replay).arg("measure").arg(eptrace).args(["report", "--json"]).arg(trace))?;
    let unpacked = said(Command::new(replay).arg("measure").arg(replay).arg("unpack").arg(trace))?;
    Ok(Row {
        times,
        events: number(made, "events")?,
        bytes: number(made, "bytes")?,
        cpu_ns: number(&used, "cpu_ns")?,
        peak_bytes: number(&used, "peak_bytes")?,
        unpack_cpu_ns: number(&unpacked, "cpu_ns")?,
    })
}

fn said(command: &mut Command) -> Result<Value> {
    let done = exec::captured(command)?;
    ensure!(done.status.success(), "{command:?} failed: {}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&done.stdout).with_context(|| format!("{command:?} printed no JSON"))
}

fn number(value: &Value, key: &str) -> Result<u64> {
    value.get(key).and_then(Value::as_u64).with_context(|| format!("no number {key} in {value}"))
}

fn print(arguments: &ReplayArgs, rows: &[Row]) -> Result<()> {
    if arguments.json {
        let value = serde_json::json!({"bench": "replay", "rows": rows});
        println!("{}", serde_json::to_string(&value).context("cannot encode the table")?);
        return Ok(());
    }
    println!("A recording of demos churn, read, reconstructed and reported by eptrace report --json");
    println!(
        "{:>6} {:>12} {:>14} {:>14} {:>12} {:>16}",
        "times", "events", "events/s", "bytes/event", "peak MiB", "times unpacking"
    );
    let with_tenths = |tenths: u64| format!("{}.{}", tenths / 10, tenths % 10);
    for row in rows {
        println!(
            "{:>6} {:>12} {:>14} {:>14} {:>12} {:>16}",
            row.times,
            row.events,
            row.events_per_second(),
            with_tenths(row.bytes_per_event_tenths()),
            row.peak_bytes >> 20,
            with_tenths(row.of_unpacking_tenths())
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Row;

    #[test]
    fn rates_are_events_of_one_core_and_bytes_on_disk() {
        let row =
            Row { times: 1, events: 3_000, bytes: 30_600, cpu_ns: 1_500_000, peak_bytes: 1, unpack_cpu_ns: 500_000 };
        assert_eq!(row.events_per_second(), 2_000_000);
        assert_eq!(row.bytes_per_event_tenths(), 102);
        assert_eq!(row.of_unpacking_tenths(), 30);
    }
}

//! `cargo xtask bench ready`: what one call costs that finds a few of many descriptors ready, and what one request costs an echo
//! server, in instructions.
//!
//! Nothing is traced: these are the costs of epoll, poll, select and io_uring themselves.

use anyhow::{Context as _, Result};
use clap::Args;
use serde_json::{Value, json};

use crate::commands::vm::MachineArgs;
use crate::demos::plot;
use crate::demos::story::Table;
use crate::demos::tell::grid;
use crate::herd::outcome;
use crate::progress;
use crate::setup::guest_build;
use crate::vm::initramfs::Contents;
use crate::vm::kernel::{self, Selector};
use crate::vm::place::Place;
use crate::vm::plan::Job;
use crate::vm::session::Shape;

const EXAMPLES: &str = "\
Examples:
  cargo xtask bench ready
  cargo xtask bench ready --kernel 5.10 --kernel newest
  cargo xtask bench ready --json

The guest's clock ticks a nanosecond an instruction, and there is one processor: the times of the
demos `ready` and `echo` are instructions. They repeat to about one percent.";

const TIMEOUT_S: u64 = 600;
/// Without the server that needs a processor for the kernel's thread.
const SERVERS: [&str; 6] = ["blocking", "select", "poll", "epoll-lt", "epoll-et", "io-uring"];

/// Instructions of epoll, poll and select over 10 to 10 000 descriptors, and of one request to each echo server
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ReadyArgs {
    /// Print one JSON object per kernel instead of tables
    #[arg(long)]
    json: bool,
    /// The kernel: a line such as 6.1, 6.12 or 7, `newest`, `default`, or the path of a vmlinuz (may be repeated)
    #[arg(long, value_name = "SELECTOR", default_value = "default")]
    kernel: Vec<Selector>,
    #[command(flatten)]
    machine: MachineArgs,
}

/// Boots every kernel and prints its tables.
pub(crate) fn run(arguments: &ReadyArgs) -> Result<()> {
    let kernels = arguments.kernel.iter().map(kernel::resolve).collect::<Result<Vec<_>>>()?;
    let programs = guest_build::programs()?;
    let contents =
        Contents { init: programs.join("xtask"), programs: vec![programs.join("demos")], ..Contents::default() };
    let shape = Shape { counting: true, processors: 1, ..arguments.machine.shape() };
    let mut echo = vec!["demos", "echo", "--json", "--in-flight", "1,20"];
    echo.extend(SERVERS.iter().flat_map(|server| ["--server", server]));
    let jobs = [
        Job::new("ready", &["demos", "ready", "--json", "--calls", "100"], TIMEOUT_S),
        Job::new("echo", &echo, TIMEOUT_S),
    ];
    for kernel in &kernels {
        progress::say(&format!("counting instructions on {} (some minutes)", kernel.name));
        let place = Place::Guest { shape: &shape, kernel, contents: &contents };
        let results = place.run(&jobs, &mut |_| {})?;
        let mut all = Vec::new();
        for (job, result) in jobs.iter().zip(&results) {
            all.extend(tables(&outcome::json(result, &job.name)?)?);
        }
        if arguments.json {
            let value = json!({"bench": "ready", "kernel": kernel.name, "tables": all});
            println!("{}", serde_json::to_string(&value).context("cannot encode the tables")?);
            continue;
        }
        println!("Instructions, where a table says nanoseconds (ns), kernel {}", kernel.name);
        for table in &all {
            println!("\n{}", grid(table));
            if let Some(drawn) = plot::log_log(table) {
                println!("\n{drawn}");
            }
        }
    }
    Ok(())
}

/// The tables that a demo printed.
fn tables(demo: &Value) -> Result<Vec<Table>> {
    let tables = demo.get("tables").context("the demo printed no tables")?;
    serde_json::from_value(tables.clone()).context("understand the demo's tables")
}

#[cfg(test)]
mod tests {
    use super::tables;
    use serde_json::json;

    #[test]
    fn a_demo_without_tables_is_an_error() {
        let table = json!({"title": "t", "columns": ["a"], "rows": [["1"]]});
        assert_eq!(tables(&json!({"tables": [table]})).unwrap()[0].rows, [["1"]]);
        assert!(tables(&json!({})).is_err());
    }
}

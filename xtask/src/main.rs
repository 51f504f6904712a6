//! `cargo xtask`: everything about eptrace that is not eptrace itself. It sets up kernels and virtual machines, builds
//! the BPF object, runs the demos and the tests, and measures the cost.
//!
//! Progress goes to stderr, data to stdout. Exit status: 0 done, 1 a check failed, 2 an error.

mod cache;
mod claims;
mod commands;
mod demos;
mod exec;
mod guest;
mod herd;
mod progress;
mod setup;
mod vm;
mod vmtest;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Set up, demonstrate, test and measure eptrace
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    Bench(commands::bench::BenchArgs),
    Claims(commands::claims::ClaimsArgs),
    Demo(commands::demo::DemoArgs),
    Test(commands::test::TestArgs),
    Vm(commands::vm::VmArgs),
    Pictures(commands::pictures::PicturesArgs),
    Ebpf(commands::ebpf::EbpfArgs),
    /// Print the ids of all BPF programs, maps and links (used by the tests, inside the guest)
    #[command(hide = true)]
    BpfIds,
}

fn main() -> ExitCode {
    if guest::is_init() {
        guest::init();
        return ExitCode::FAILURE;
    }
    match run(&Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(task: &Task) -> Result<ExitCode> {
    match task {
        Task::Vm(arguments) => commands::vm::run(arguments),
        Task::Pictures(arguments) => commands::pictures::run(arguments),
        Task::Demo(arguments) => commands::demo::run(arguments),
        Task::Test(arguments) => Ok(commands::test::run(arguments)),
        Task::Claims(arguments) => commands::claims::run(arguments),
        Task::Bench(arguments) => commands::bench::run(arguments),
        Task::Ebpf(arguments) => commands::ebpf::run(arguments),
        Task::BpfIds => guest::print_ids().map(|()| ExitCode::SUCCESS),
    }
}

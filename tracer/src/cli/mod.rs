//! The command line: what was typed, validated, and run.

mod follow;
mod held;
mod privilege;
mod target;
mod trace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Shows what epoll really does inside a live Linux kernel.
#[derive(Debug, Parser)]
#[command(name = "eptrace", version, max_term_width = 110)]
struct Cli {
    /// Say more: the whole log of a verifier that refuses a probe
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print every event as it happens, one line each
    Trace(trace::TraceArgs),
}

/// Runs the program and says how it went: 0 done, 1 a finding over a `--fail-on` option, 2 an error, 3 this kernel cannot be
/// traced.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let full_log = cli.verbose > 0;
    let result = match &cli.command {
        Command::Trace(args) => trace::run(args, full_log).map(|()| ExitCode::SUCCESS),
    };
    match result {
        Ok(code) => code,
        Err(error) => fail(&error),
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    let broken_pipe = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe);
    if broken_pipe {
        return ExitCode::SUCCESS;
    }
    eprintln!("eptrace: {error:#}");
    if error.downcast_ref::<crate::source::live::Untraceable>().is_some() {
        ExitCode::from(3)
    } else {
        ExitCode::from(2)
    }
}

//! `demos`: small programs that use epoll in known ways and count what they do.
//!
//! In: a demo's name and options. Out: one table, or one line of JSON, with the ground truth: every `epoll_ctl`,
//! `epoll_wait` and `accept` call the demo's processes made, counted by the very code that made it. A tracer that
//! watches the demo must arrive at the same numbers.

mod churn;
mod counted;
mod cycle;
mod fds;
mod herd;
mod life;
mod many;
mod pitfalls;
mod registered;
mod truth;

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

/// Programs that use epoll in known ways and print what they did, counted by themselves.
///
/// Exit codes: 0 done, 2 an error.
#[derive(Debug, Parser)]
#[command(name = "demos", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    demo: Demo,
}

#[derive(Debug, Subcommand)]
enum Demo {
    Herd(herd::Options),
    /// The connecting side of `herd`, which starts it by itself
    #[command(hide = true)]
    HerdClient(herd::client::Options),
    Cycle(cycle::Options),
    Churn(churn::Options),
    Registered(registered::Options),
    Many(many::Options),
    Pitfalls(pitfalls::Options),
    Life(life::Options),
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demos: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    let text = match &cli.demo {
        Demo::Herd(options) => herd::run(options)?,
        Demo::HerdClient(options) => herd::client::run(options)?,
        Demo::Cycle(options) => cycle::run(options)?,
        Demo::Churn(options) => churn::run(options)?,
        Demo::Registered(options) => registered::run(options)?,
        Demo::Many(options) => many::run(options)?,
        Demo::Pitfalls(options) => pitfalls::run(options)?,
        Demo::Life(options) => life::run(options)?,
    };
    match io::stdout().write_all(text.as_bytes()) {
        // The reader has seen enough: that is its right.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("write the result to stdout"),
    }
}

//! `cargo xtask demo NAME`: a demo, traced on real kernels, with the demo's own truth beside the trace.
//!
//! The table of the demos is `crate::demos::ALL`: every one of them is a subcommand.

mod counts;
mod herd;
mod steps;

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};
use clap::{ArgMatches, Args, FromArgMatches, Subcommand};

use crate::commands::vm::MachineArgs;
use crate::demos::{ALL, Demo, Kind, named};
use crate::herd::spec::Backend;
use crate::setup::guest_build;
use crate::vm::initramfs::Contents;
use crate::vm::kernel::{self, Selector};
use crate::vm::place::Place;
use crate::vm::session;
use crate::{exec, progress};

const EXAMPLES: &str = "\
Examples:
  cargo xtask demo trigger
  cargo xtask demo drain --kernel 6.12 --backend kprobe -- --bursts 1000,1 --read 512
  cargo xtask demo nested --kernel 5.10 --kernel newest --json
  cargo xtask demo closed --host           without a virtual machine

What stands after -- are options of the demo itself (`cargo run -p demos -- NAME --help`).
Exit status: 0 all counts are the demo's own, 1 some are not, 2 an error.";

/// A run takes seconds; under emulation on a busy machine perhaps a minute, and as many with ten thousand connections to poll.
const TIMEOUT_S: u64 = 1_800;

/// Run a demo under eptrace and compare the trace with the demo's own truth
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    #[command(subcommand)]
    demo: Chosen,
}

/// A demo of the table, and its arguments.
#[derive(Debug)]
enum Chosen {
    Herd(herd::HerdArgs),
    Other(&'static Demo, OtherArgs),
}

/// Where a demo runs, and how it is traced.
#[derive(Debug, Args)]
struct PlaceArgs {
    /// Run on this machine instead of in a virtual one
    #[arg(long, conflicts_with_all = ["kernel", "qemu"])]
    host: bool,
    /// The kernel: a line such as 6.1, 6.12 or 7, `newest`, `default`, or the path of a vmlinuz (may be repeated)
    #[arg(long, value_name = "SELECTOR", default_value = "default")]
    kernel: Vec<Selector>,
    /// How the probes are attached
    #[arg(long, value_enum, default_value = "auto")]
    backend: Backend,
    #[command(flatten)]
    machine: MachineArgs,
}

/// Arguments of every demo but `herd`.
#[derive(Debug, Args)]
struct OtherArgs {
    /// Print one JSON object per kernel instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
    /// Options of the demo, after `--`
    #[arg(last = true, value_name = "OPTIONS")]
    options: Vec<String>,
}

impl Subcommand for Chosen {
    fn augment_subcommands(mut command: clap::Command) -> clap::Command {
        for demo in ALL {
            let one = clap::Command::new(demo.name);
            // The long help of an `Args` type would stand for the demo's own.
            command = command.subcommand(match demo.kind {
                Kind::Herd => herd::HerdArgs::augment_args(one).about(demo.about),
                Kind::Counts { .. } | Kind::Steps => {
                    OtherArgs::augment_args(one).about(demo.about).long_about(demo.about).after_help(EXAMPLES)
                }
            });
        }
        command.subcommand_required(true).arg_required_else_help(true)
    }

    fn augment_subcommands_for_update(command: clap::Command) -> clap::Command {
        Self::augment_subcommands(command)
    }

    fn has_subcommand(name: &str) -> bool {
        named(name).is_some()
    }
}

impl FromArgMatches for Chosen {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let chosen = matches.subcommand().and_then(|(name, matches)| Some((named(name)?, matches)));
        let Some((demo, matches)) = chosen else {
            return Err(clap::Error::raw(clap::error::ErrorKind::MissingSubcommand, "which demo?\n"));
        };
        match demo.kind {
            Kind::Herd => herd::HerdArgs::from_arg_matches(matches).map(Self::Herd),
            Kind::Counts { .. } | Kind::Steps => {
                OtherArgs::from_arg_matches(matches).map(|arguments| Self::Other(demo, arguments))
            }
        }
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Runs the demo everywhere it was asked for.
pub(crate) fn run(arguments: &DemoArgs) -> Result<ExitCode> {
    match &arguments.demo {
        Chosen::Herd(arguments) => everywhere(arguments.place(), &mut |place, name| herd::run(arguments, place, name)),
        Chosen::Other(demo, arguments) => everywhere(&arguments.place, &mut |place, name| match demo.kind {
            Kind::Counts { audit } => counts::run(demo, audit, arguments, place, name),
            Kind::Herd | Kind::Steps => steps::run(demo, arguments, place, name),
        }),
    }
}

/// Runs something in each place; the exit status says whether it was well with all of them.
fn everywhere(arguments: &PlaceArgs, one: &mut dyn FnMut(&Place<'_>, &str) -> Result<bool>) -> Result<ExitCode> {
    let mut all_well = true;
    if arguments.host {
        let programs = guest_build::programs()?;
        check_host(&programs)?;
        all_well &= one(&Place::Host { programs }, "host")?;
    } else {
        let kernels = arguments.kernel.iter().map(kernel::resolve).collect::<Result<Vec<_>>>()?;
        let shape = arguments.machine.shape();
        session::qemu(shape.qemu.as_ref())?;
        let programs = guest_build::programs()?;
        let contents = Contents {
            init: programs.join("xtask"),
            programs: vec![programs.join("eptrace"), programs.join("demos")],
            ..Contents::default()
        };
        for kernel in &kernels {
            progress::say(&format!("booting {} (the runs take about a minute under emulation)", kernel.name));
            let place = Place::Guest { shape: &shape, kernel, contents: &contents };
            all_well &= one(&place, &kernel.name)?;
        }
    }
    Ok(if all_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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

/// Prints a value as one line.
fn print_json(value: &serde_json::Value) -> Result<()> {
    println!("{}", serde_json::to_string(value).context("cannot encode an outcome")?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Chosen;
    use crate::demos::ALL;
    use clap::{FromArgMatches as _, Subcommand as _};

    #[test]
    fn every_demo_of_the_table_is_a_subcommand() {
        for demo in ALL {
            let command = Chosen::augment_subcommands(clap::Command::new("demo"));
            let matches = command.try_get_matches_from(["demo", demo.name, "--kernel", "6.12"]).unwrap();
            let chosen = Chosen::from_arg_matches(&matches).unwrap();
            assert_eq!(matches!(chosen, Chosen::Herd(_)), demo.name == "herd", "{}", demo.name);
        }
        let command = Chosen::augment_subcommands(clap::Command::new("demo"));
        assert!(command.try_get_matches_from(["demo", "no-such-demo"]).is_err());
    }
}

//! `eptrace snapshot`: the eventpolls of a running process as they stand.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, ValueEnum};

use super::format::{colour, print};
use super::privilege;
use crate::output::snapshot::View;
use crate::source::live::Detail;
use crate::source::live::snapshot::{Asked, take};

/// Columns of a snapshot that does not go to a terminal.
const WIDTH_ELSEWHERE: u16 = 80;

/// Formats of a snapshot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people, as wide as the terminal
    #[default]
    Text,
    /// One object with `schema_version`
    Json,
    /// A graph for Graphviz: dot -Tsvg
    Dot,
    /// A picture for any browser
    Svg,
}

/// Arguments of `eptrace snapshot`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  eptrace snapshot -p 1234
  eptrace snapshot -p 1234 --epfd 5 --format svg > eventpoll.svg
  eptrace snapshot -p 1234 --format json | jq '.eventpolls[] | {eventpoll, tree, ready}'

The tree is read under the eventpoll's own mutex, as when someone reads /proc/PID/fdinfo/FD, and so is the ready list: both are of one
moment. The process goes on meanwhile: where tasks come and go, the snapshot is taken again, and says if it may be torn.")]
pub(super) struct SnapshotArgs {
    /// The process
    #[arg(short, long, value_name = "PID")]
    pid: u32,
    /// Only the eventpoll behind this descriptor, and what is nested in it
    #[arg(long, value_name = "N")]
    epfd: Option<i32>,
    /// Format
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: Format,
    /// Items of one eventpoll that are shown, those nearest to the root of its tree; all are read and checked
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    max_items: u32,
    /// How long to wait for an eventpoll whose mutex is held, as while a scan is stuck
    #[arg(long, default_value_t = 5, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    patience: u64,
    /// BTF of the running kernel, for kernels that do not offer it in /sys/kernel/btf/vmlinux
    #[arg(long, value_name = "FILE")]
    btf: Option<PathBuf>,
    /// Other probes than the built-in ones
    #[arg(long, value_name = "FILE", hide = true)]
    object: Option<PathBuf>,
}

pub(super) fn run(args: &SnapshotArgs, verbose: u8) -> Result<()> {
    privilege::demand()?;
    let asked = Asked {
        pid: args.pid,
        epfd: args.epfd,
        patience: Duration::from_secs(args.patience),
        btf: args.btf.clone(),
        object: args.object.clone(),
        detail: if verbose > 0 { Detail::VerifierLog } else { Detail::Plain },
    };
    let (snapshot, file_kinds) = take(&asked)?;
    let max_items = usize::try_from(args.max_items).unwrap_or(usize::MAX);
    let view = View { snapshot: &snapshot, file_kinds: &file_kinds, max_items };
    print(&match args.format {
        Format::Text => {
            let stdout = std::io::stdout();
            let width = terminal_size::terminal_size_of(&stdout).map(|(width, _)| width.0);
            let terminal = std::io::IsTerminal::is_terminal(&stdout);
            view.text(width.unwrap_or(WIDTH_ELSEWHERE), colour(terminal))
        }
        Format::Json => view.json(),
        Format::Dot => view.dot(),
        Format::Svg => view.svg(),
    })
}

//! `eptrace export`: a trace file in the format of another tool.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use super::bounds::BoundsArgs;
use super::format::StdoutClosed;
use super::progress::Reading;
use super::say::say;
use super::whole_file::WholeFile;
use crate::output::export::csv::Csv;
use crate::output::export::jsonl::Jsonl;
use crate::output::export::parquet::Parquet;
use crate::output::export::perfetto::Perfetto;
use crate::output::export::{EventExport, TableExport};
use crate::output::sanitize;
use crate::source::EventSource;
use crate::source::file::FileSource;

/// Formats of other tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A timeline for <https://ui.perfetto.dev>: waits, callbacks, ready lists, and arrows between them
    Perfetto,
    /// The table of SCHEMA.md for SQL and data frames
    Parquet,
    /// One JSON object per event, as `eptrace trace --json` prints them
    Jsonl,
    /// The table of SCHEMA.md for everything else
    Csv,
}

impl Format {
    const fn is_binary(self) -> bool {
        matches!(self, Self::Perfetto | Self::Parquet)
    }
}

/// Arguments of `eptrace export`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  eptrace export run.eptrace --format perfetto -o run.pftrace     then open it in ui.perfetto.dev
  eptrace export run.eptrace --format parquet -o run.parquet
  duckdb -c \"SELECT kind, count(*) FROM 'run.parquet' GROUP BY kind\"
  eptrace export run.eptrace --format jsonl | jq 'select(.event == \"wake\")'

The file appears under its name when it is whole. A recording that was cut short is exported up to the tear, and said to be.")]
pub(super) struct ExportArgs {
    /// Format of the output
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Format,
    /// Write to this file; without it to standard output, but binary formats not to a terminal
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,
    #[command(flatten)]
    bounds: BoundsArgs,
    /// The trace file
    file: PathBuf,
}

pub(super) fn run(args: &ExportArgs) -> Result<()> {
    if args.output.is_none() && args.format.is_binary() && io::stdout().is_terminal() {
        bail!("this format is binary and standard output is a terminal: give a file with -o");
    }
    let mut source = FileSource::open(&args.file)?;
    let Some(path) = &args.output else {
        return match export(args, &mut source, BufWriter::new(io::stdout())) {
            Err(Failed::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Err(StdoutClosed.into()),
            Err(Failed::Output(error)) => Err(error).context("cannot write to standard output"),
            Err(Failed::Input(error)) => Err(error),
            Ok(()) => Ok(()),
        };
    };
    let file = WholeFile::create(path)?;
    match export(args, &mut source, BufWriter::new(file.writer()?)) {
        Ok(()) => file.finish(),
        Err(Failed::Output(error)) => Err(error).with_context(|| format!("cannot write {}", path.display())),
        Err(Failed::Input(error)) => Err(error),
    }
}

/// Which side an export failed on.
enum Failed {
    Input(anyhow::Error),
    Output(io::Error),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

fn export(args: &ExportArgs, source: &mut FileSource, out: impl Write + Send) -> Result<(), Failed> {
    let model = args.bounds.model();
    match args.format {
        Format::Perfetto => {
            let mut perfetto = Perfetto::new(out, source.info(), model)?;
            events(source, &mut perfetto)
        }
        Format::Jsonl => events(source, &mut Jsonl::new(out, source.info().clone(), model)),
        Format::Parquet => rows(source, &mut Parquet::new(out, source.schema())?),
        Format::Csv => rows(source, &mut Csv::new(out, &source.schema())?),
    }
}

fn events(source: &mut FileSource, export: &mut impl EventExport) -> Result<(), Failed> {
    let mut events = Vec::new();
    let mut progress = Reading::new(source.bytes());
    loop {
        let more = source.next_events(&mut events).map_err(|error| Failed::Input(error.into()))?;
        progress.at(source.bytes_read());
        for event in events.drain(..) {
            export.event(&event)?;
        }
        if !more {
            break;
        }
    }
    drop(progress);
    Ok(export.finish(torn(source).as_deref())?)
}

fn rows(source: &mut FileSource, export: &mut impl TableExport) -> Result<(), Failed> {
    let mut progress = Reading::new(source.bytes());
    while let Some(rows) = source.next_rows().map_err(|error| Failed::Input(error.into()))? {
        export.rows(&rows)?;
        progress.at(source.bytes_read());
    }
    drop(progress);
    Ok(export.finish(torn(source).as_deref())?)
}

/// How the recording ended, if it ended without its end; said on standard error.
fn torn(source: &FileSource) -> Option<String> {
    let torn = sanitize::text(&source.torn()?.to_string());
    say(&format!("warning: {torn}"));
    Some(torn)
}

//! How reports are printed: the options, and what the terminal allows.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use super::whole_file::WholeFile;
use crate::output::{Json, Markdown, Output, Text};

/// Columns of a report that does not go to a terminal.
const WIDTH_ELSEWHERE: u16 = 100;

/// Report formats.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people, as wide as the terminal
    #[default]
    Text,
    /// One object with `schema_version`
    Json,
    /// For a colleague or an issue
    Markdown,
    /// One page to look at, with charts and a player: give -o FILE
    Html,
}

/// The format of a report.
#[derive(Debug, Clone, Args)]
pub(super) struct FormatArgs {
    /// Format of the report
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT", conflicts_with = "json")]
    format: Format,
    /// The same as --format json
    #[arg(long)]
    json: bool,
    /// Write the report to this file rather than to standard output; an existing one is replaced
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl FormatArgs {
    /// A page is made of more than the report: whoever asks for one reads the trace for it.
    pub(super) const fn is_html(&self) -> bool {
        matches!(self.format, Format::Html)
    }

    /// Where the report will go: refuses what cannot be written before any work is done.
    pub(super) fn open(&self) -> Result<Destination> {
        if self.is_html() && self.output.is_none() && std::io::stdout().is_terminal() {
            bail!("a page does not belong on a terminal: give -o FILE, or pipe it");
        }
        Ok(Destination(self.output.as_deref().map(WholeFile::create).transpose()?))
    }

    /// The format asked for, fitted to where standard output goes.
    pub(super) fn output(&self) -> Box<dyn Output> {
        match if self.json { Format::Json } else { self.format } {
            Format::Json => Box::new(Json),
            Format::Markdown => Box::new(Markdown),
            Format::Text | Format::Html => {
                let terminal = std::io::stdout().is_terminal() && self.output.is_none();
                Box::new(Text { width: width(), colour: colour(terminal) })
            }
        }
    }
}

/// Standard output, or a file.
pub(super) struct Destination(Option<WholeFile>);

impl Destination {
    /// Writes a report there.
    pub(super) fn write(self, text: &str) -> Result<()> {
        match self.0 {
            Some(file) => file.write(text),
            None => print(text),
        }
    }
}

/// Columns of standard output.
pub(super) fn width() -> u16 {
    terminal_size::terminal_size_of(std::io::stdout()).map_or(WIDTH_ELSEWHERE, |(width, _)| width.0)
}

/// Colours only on a terminal, and not where `NO_COLOR` is set to anything (no-color.org).
pub(super) fn colour(terminal: bool) -> bool {
    terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Nobody reads standard output any more.
#[derive(Debug, thiserror::Error)]
#[error("standard output is closed")]
pub(super) struct StdoutClosed;

/// What became of writing to standard output: that nobody reads it any more is [`StdoutClosed`].
pub(super) fn written(result: std::io::Result<()>) -> Result<()> {
    match result {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(StdoutClosed.into()),
        other => other.context("cannot write to standard output"),
    }
}

/// Prints a report to standard output; whoever reads it may stop.
pub(super) fn print(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    let result = written(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()));
    result.or_else(|error| if error.is::<StdoutClosed>() { Ok(()) } else { Err(error) })
}

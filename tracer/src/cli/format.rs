//! How reports are printed: the options, and what the terminal allows.

use std::io::{IsTerminal, Write};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

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
}

impl FormatArgs {
    /// The format asked for, fitted to where standard output goes.
    pub(super) fn output(&self) -> Box<dyn Output> {
        match if self.json { Format::Json } else { self.format } {
            Format::Json => Box::new(Json),
            Format::Markdown => Box::new(Markdown),
            Format::Text => {
                let stdout = std::io::stdout();
                let width = terminal_size::terminal_size_of(&stdout).map(|(width, _)| width.0);
                Box::new(Text { width: width.unwrap_or(WIDTH_ELSEWHERE), colour: colour(stdout.is_terminal()) })
            }
        }
    }
}

/// Colours only on a terminal, and not where `NO_COLOR` is set to anything (no-color.org).
fn colour(terminal: bool) -> bool {
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

//! A whole trace in the format of another tool.
//!
//! In: the events of a trace in their order ([`EventExport`]), or its rows as they stand in the file ([`TableExport`]). Out: bytes,
//! written as they come, so that memory does not grow with the trace. Texts pass [`sanitize`](super::sanitize) on the way.

pub mod csv;
pub mod jsonl;
pub mod parquet;
pub mod perfetto;
mod rows;
#[cfg(test)]
mod tests;

use std::io;

use arrow_array::RecordBatch;

use crate::event::Event;

/// A format that is made of what events mean.
pub trait EventExport {
    /// Writes what the next event means.
    ///
    /// # Errors
    /// The output cannot be written.
    fn event(&mut self, event: &Event) -> io::Result<()>;

    /// Writes what comes last. `torn` says how the recording ended, if it ended without its end.
    ///
    /// # Errors
    /// As [`EventExport::event`].
    fn finish(&mut self, torn: Option<&str>) -> io::Result<()>;
}

/// A format that is the table of SCHEMA.md.
pub trait TableExport {
    /// Writes some rows.
    ///
    /// # Errors
    /// The output cannot be written.
    fn rows(&mut self, rows: &RecordBatch) -> io::Result<()>;

    /// Writes what comes last. `torn` says how the recording ended, if it ended without its end.
    ///
    /// # Errors
    /// As [`TableExport::rows`].
    fn finish(&mut self, torn: Option<&str>) -> io::Result<()>;
}

//! The trace file: an Arrow IPC stream, compressed with zstd, of one wide table with one row per [`Event`](crate::event::Event).
//!
//! In: events and the [`TraceInfo`](crate::event::TraceInfo) of their trace. Out: a file that data tools read as it is, and the
//! same events again. SCHEMA.md documents every column.
//!
//! The file only ever grows, and every batch of rows stands for itself, so that what a killed tracer leaves behind can be read up
//! to the tear. A recording is whole when it has Arrow's end-of-stream marker and a `stopped` row; the [`Reader`] says so when it
//! is not.
//!
//! Where what is:
//! - `columns`: the table of columns, and their types;
//! - `rows`: which field of which event stands in which column;
//! - `names`, `text`: enums and bytes as text;
//! - `writer`, `reader`: from events to bytes and back;
//! - `frame`, `guard`: what must hold of foreign bytes before Arrow's decoder sees them.

mod columns;
mod error;
mod frame;
mod guard;
mod head;
mod names;
mod reader;
mod rows;
mod storage;
#[cfg(test)]
mod tests;
mod text;
mod writer;

pub use error::{ReadError, Tear, Torn, WriteError};
pub use head::Format;
pub use reader::Reader;
pub use writer::{Target, Totals, Writer};

/// The format that [`Writer`] writes, and the newest that [`Reader`] knows all of.
pub const FORMAT: Format = Format { major: 1, minor: 5 };

/// Key of the schema's metadata: the [`Format`].
pub const FORMAT_KEY: &str = "eptrace.format";

/// Key of the schema's metadata: the [`TraceInfo`](crate::event::TraceInfo) as JSON.
pub const INFO_KEY: &str = "eptrace.info";

/// The most rows of one record batch. A [`Writer`] that holds as many writes them out.
pub const BATCH_ROWS: usize = 16_384;

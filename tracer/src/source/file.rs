//! Events from a trace file.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

use super::EventSource;
use crate::event::{Event, TraceInfo};
use crate::trace_file::{ReadError, Reader, Torn};

/// A trace file as a source of events.
pub struct FileSource {
    reader: Reader<BufReader<File>>,
    bytes: u64,
}

impl FileSource {
    /// Opens a trace file and reads its head.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, ReadError> {
        let path = path.into();
        // Whatever is wrong with the file, the reader says it better.
        let bytes = path.metadata().map_or(0, |data| if data.is_file() { data.len() } else { 0 });
        Ok(Self { reader: Reader::open(path)?, bytes })
    }

    /// Bytes of the file; 0 when that is not known, as of a pipe.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes that were read so far.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.reader.bytes_read()
    }

    /// The columns of [`FileSource::next_rows`], and the file's metadata.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        self.reader.schema()
    }

    /// The next rows as they stand in the file, instead of as events.
    ///
    /// # Errors
    /// As [`Reader::next_rows`].
    pub fn next_rows(&mut self) -> Result<Option<RecordBatch>, ReadError> {
        self.reader.next_rows()
    }

    /// How the recording ended, if it ended without its end: a warning for the user. Known once
    /// [`next_events`](EventSource::next_events) has returned `false`.
    #[must_use]
    pub fn torn(&self) -> Option<&Torn> {
        self.reader.torn()
    }
}

impl EventSource for FileSource {
    type Error = ReadError;

    fn info(&self) -> &TraceInfo {
        self.reader.info()
    }

    fn next_events(&mut self, events: &mut Vec<Event>) -> Result<bool, Self::Error> {
        self.reader.next_batch(events)
    }
}

//! Events from a trace file.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use super::EventSource;
use crate::event::{Event, TraceInfo};
use crate::trace_file::{ReadError, Reader, Torn};

/// A trace file as a source of events.
pub struct FileSource {
    reader: Reader<BufReader<File>>,
}

impl FileSource {
    /// Opens a trace file and reads its head.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, ReadError> {
        Ok(Self { reader: Reader::open(path)? })
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

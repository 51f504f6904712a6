//! From events to a trace file.

use std::fs::{File, OpenOptions, remove_file};
use std::io::{self, Write};
use std::path::PathBuf;

use arrow_array::{Array as _, ArrayRef, RecordBatch};
use arrow_ipc::writer::{IpcWriteOptions, StreamWriter};
use arrow_ipc::{CompressionType, MetadataVersion};
use arrow_schema::{ArrowError, SchemaRef};

use super::columns::{Columns, fields};
use super::head::schema;
use super::{BATCH_ROWS, WriteError, rows};
use crate::event::{Event, TraceInfo};

/// Buffers begin at multiples of this many bytes: the least that Arrow allows, since small batches are mostly padding.
const ALIGNMENT: usize = 8;

/// A file that can be written, opened before there is anything to write.
///
/// An existing file keeps its contents until [`Target::begin`]; a new one vanishes when the target is dropped before.
#[derive(Debug)]
pub struct Target {
    file: File,
    path: PathBuf,
    created: RemoveUnlessKept,
}

impl Target {
    /// Opens `path` for writing.
    ///
    /// # Errors
    /// [`WriteError::Open`]: it cannot be written.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, WriteError> {
        let path = path.into();
        let opened = match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => Ok((file, true)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                OpenOptions::new().write(true).open(&path).map(|file| (file, false))
            }
            Err(error) => Err(error),
        };
        match opened {
            Ok((file, created)) => {
                let created = RemoveUnlessKept(created.then(|| path.clone()));
                Ok(Self { file, path, created })
            }
            Err(source) => Err(WriteError::Open { path, source }),
        }
    }

    /// Empties the file and writes the head of a trace into it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn begin(mut self, info: &TraceInfo) -> Result<Writer<File>, WriteError> {
        // A pipe or a device cannot be emptied, and need not be.
        let emptied = self.file.metadata().and_then(|data| if data.is_file() { self.file.set_len(0) } else { Ok(()) });
        if let Err(source) = emptied {
            return Err(WriteError::Open { path: self.path, source });
        }
        let writer = Writer::new(self.file, self.path, info)?;
        self.created.keep();
        Ok(writer)
    }
}

/// Removes a file when it is dropped.
#[derive(Debug)]
struct RemoveUnlessKept(Option<PathBuf>);

impl RemoveUnlessKept {
    fn keep(&mut self) {
        self.0 = None;
    }
}

impl Drop for RemoveUnlessKept {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // Whoever drops it has a more important error to tell.
            let _ = remove_file(path);
        }
    }
}

/// What a finished trace holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    /// Rows: events, losses and marks.
    pub rows: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Writes a trace.
///
/// Holds at most [`BATCH_ROWS`] rows. A writer that is dropped before [`Writer::finish`] leaves a torn recording, without the rows
/// since the last [`Writer::flush`].
pub struct Writer<W: Write> {
    out: W,
    path: PathBuf,
    /// Encodes into memory, so that an error of `out` is not mistaken for one of the encoder.
    encoder: StreamWriter<Vec<u8>>,
    schema: SchemaRef,
    /// Which of all columns, in their order, `schema` has.
    present: Vec<bool>,
    columns: Columns,
    /// Rows in `columns`.
    waiting: usize,
    totals: Totals,
    given_up: bool,
}

impl Writer<File> {
    /// Opens `path`, empties it and writes the head of a trace: [`Target::open`] and [`Target::begin`] in one.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn create(path: impl Into<PathBuf>, info: &TraceInfo) -> Result<Self, WriteError> {
        Target::open(path)?.begin(info)
    }
}

impl<W: Write> Writer<W> {
    /// Writes the head of a trace to `out`, which the sentences of errors call `path`.
    ///
    /// `out` should not buffer: it is written to once a batch.
    ///
    /// # Errors
    /// `out` cannot be written, or `info` is not to be had as JSON.
    pub fn new(out: W, path: impl Into<PathBuf>, info: &TraceInfo) -> Result<Self, WriteError> {
        let path = path.into();
        let schema = match schema(info) {
            Ok(schema) => SchemaRef::new(schema),
            Err(source) => return Err(WriteError::Info { path, source }),
        };
        let encoder = match encoder(&schema) {
            Ok(encoder) => encoder,
            Err(source) => return Err(WriteError::Encode { path, source }),
        };
        let mut writer = Self {
            out,
            path,
            encoder,
            present: fields().iter().map(|field| schema.column_with_name(field.name()).is_some()).collect(),
            schema,
            columns: Columns::default(),
            waiting: 0,
            totals: Totals { rows: 0, bytes: 0 },
            given_up: false,
        };
        writer.write_out()?;
        Ok(writer)
    }

    /// Adds a row; writes a batch when there are [`BATCH_ROWS`].
    ///
    /// The header's `kind` and `len`, and padding, are not stored: they read back as the kind's own.
    ///
    /// # Errors
    /// As [`Writer::flush`].
    pub fn push(&mut self, event: &Event) -> Result<(), WriteError> {
        if self.given_up {
            return Err(WriteError::GivenUp { path: self.path.clone() });
        }
        rows::write(event, &mut self.columns, self.waiting);
        self.waiting += 1;
        if self.waiting >= BATCH_ROWS { self.flush() } else { Ok(()) }
    }

    /// Hands every row to the system, so that they are in the file even if the process is killed. Without rows it does nothing.
    ///
    /// # Errors
    /// [`WriteError::Write`], for example when the disk is full. The rows before are in the file; every later call returns
    /// [`WriteError::GivenUp`].
    pub fn flush(&mut self) -> Result<(), WriteError> {
        if self.given_up {
            return Err(WriteError::GivenUp { path: self.path.clone() });
        }
        if self.waiting == 0 {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.waiting);
        let encoded = self
            .columns
            .take(rows)
            .and_then(|columns| self.of_this_trace(columns))
            .and_then(|columns| RecordBatch::try_new(SchemaRef::clone(&self.schema), columns))
            .and_then(|batch| self.encoder.write(&batch));
        self.encoded(encoded)?;
        self.totals.rows += u64::try_from(rows).unwrap_or_default();
        Ok(())
    }

    /// What was written so far.
    #[must_use]
    pub const fn totals(&self) -> Totals {
        self.totals
    }

    /// Writes the rows that wait and the mark of the end; returns what the whole trace holds.
    ///
    /// A trace is whole when a `stopped` row was pushed before.
    ///
    /// # Errors
    /// As [`Writer::flush`].
    pub fn finish(mut self) -> Result<Totals, WriteError> {
        self.flush()?;
        let encoded = self.encoder.finish();
        self.encoded(encoded)?;
        Ok(self.totals)
    }

    /// The columns that the schema has. The others must be empty.
    fn of_this_trace(&self, columns: Vec<ArrayRef>) -> Result<Vec<ArrayRef>, ArrowError> {
        let mut kept = Vec::with_capacity(self.present.len());
        for (column, present) in columns.into_iter().zip(&self.present) {
            if *present {
                kept.push(column);
            } else if column.null_count() < column.len() {
                return Err(ArrowError::SchemaError("a row of a hook that is not attached".to_owned()));
            }
        }
        Ok(kept)
    }

    fn encoded(&mut self, result: Result<(), ArrowError>) -> Result<(), WriteError> {
        if let Err(source) = result {
            self.given_up = true;
            return Err(WriteError::Encode { path: self.path.clone(), source });
        }
        self.write_out()
    }

    /// Moves what the encoder made to `out`.
    fn write_out(&mut self) -> Result<(), WriteError> {
        let bytes = self.encoder.get_mut();
        if let Err(source) = self.out.write_all(bytes).and_then(|()| self.out.flush()) {
            self.given_up = true;
            return Err(WriteError::Write { path: self.path.clone(), source });
        }
        self.totals.bytes += u64::try_from(bytes.len()).unwrap_or_default();
        bytes.clear();
        Ok(())
    }
}

fn encoder(schema: &SchemaRef) -> Result<StreamWriter<Vec<u8>>, ArrowError> {
    let options = IpcWriteOptions::try_new(ALIGNMENT, false, MetadataVersion::V5)?
        .try_with_compression(Some(CompressionType::ZSTD))?;
    StreamWriter::try_new_with_options(Vec::new(), schema, options)
}

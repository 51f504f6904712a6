//! From a trace file back to its events. Trusts nothing in the file.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch as Rows, new_null_array};
use arrow_buffer::Buffer;
use arrow_ipc::reader::{RecordBatchDecoder, read_dictionary};
use arrow_ipc::{DictionaryBatch, MessageHeader, MetadataVersion, RecordBatch, root_as_message};
use arrow_schema::{DataType, SchemaRef};

use super::columns::Table;
use super::frame::{Frame, Frames, Stop};
use super::guard::{MAX_HEAD_BYTES, MAX_METADATA_BYTES, check_dictionary, check_rows};
use super::head::Head;
use super::storage::Word;
use super::{BATCH_ROWS, Format, ReadError, Tear, Torn, rows};
use crate::event::{Event, Loss, MarkKind, TraceInfo};

/// Reads the events of a trace file, batch by batch.
///
/// Needs no privilege, no seeking (a pipe will do), and a bounded amount of memory whatever the file holds.
pub struct Reader<R> {
    path: PathBuf,
    frames: Frames<R>,
    head: Head,
    dictionaries: HashMap<i64, ArrayRef>,
    /// As many nulls as a batch can have rows, of each type that our columns have.
    nulls: HashMap<DataType, ArrayRef>,
    rows_read: u64,
    /// A `stopped` row was read.
    stopped: bool,
    /// Nothing more will be read.
    done: bool,
    torn: Option<Torn>,
}

/// The next thing that a trace file has.
enum Step {
    /// A batch, in the order and with the types of our columns.
    Rows(Rows),
    /// A dictionary.
    Nothing,
    /// The end, or a tear.
    End,
}

impl Reader<BufReader<File>> {
    /// Opens a trace file and reads its head.
    ///
    /// # Errors
    /// The file cannot be opened, is a directory, is empty, is not an eptrace trace, is of a newer major format, lacks a column,
    /// or ends before its first row.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, ReadError> {
        let path = path.into();
        match open(&path) {
            Ok(Some(file)) => Self::new(BufReader::new(file), path),
            Ok(None) => Err(ReadError::Directory { path }),
            Err(source) => Err(ReadError::Open { path, source }),
        }
    }
}

/// `None` for a directory, which can be opened, but not be read.
fn open(path: &Path) -> std::io::Result<Option<File>> {
    let file = File::open(path)?;
    Ok((!file.metadata()?.is_dir()).then_some(file))
}

impl<R: Read> Reader<R> {
    /// Reads the head of a trace from `source`, which the sentences of errors and warnings call `path`.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub fn new(source: R, path: impl Into<PathBuf>) -> Result<Self, ReadError> {
        let path = path.into();
        let mut frames = Frames::new(source);
        let head = match frames.next(MAX_HEAD_BYTES) {
            Ok(Frame::Message { metadata, .. }) => {
                let message = root_as_message(&metadata).ok();
                match message.and_then(|message| message.header_as_schema()) {
                    Some(schema) => Head::parse(&path, schema)?,
                    None => return Err(ReadError::Foreign { path, why: "it begins without a schema".to_owned() }),
                }
            }
            Ok(Frame::End) => return Err(ReadError::Foreign { path, why: "it begins with an end".to_owned() }),
            Err(Stop::Missing) => return Err(ReadError::Empty { path }),
            Err(Stop::Torn) => return Err(ReadError::HeadTorn { path, bytes: frames.bytes_read() }),
            Err(Stop::Damaged(why)) => return Err(ReadError::Foreign { path, why }),
            Err(Stop::Io(source)) => return Err(ReadError::Open { path, source }),
        };
        let types = head.projected.fields().iter().map(|field| field.data_type());
        let nulls = types.map(|of| (of.clone(), new_null_array(of, BATCH_ROWS))).collect();
        Ok(Self {
            path,
            frames,
            head,
            dictionaries: HashMap::new(),
            nulls,
            rows_read: 0,
            stopped: false,
            done: false,
            torn: None,
        })
    }

    /// The facts that hold for the whole trace.
    #[must_use]
    pub fn info(&self) -> &TraceInfo {
        &self.head.info
    }

    /// The file's format. Its minor version may be newer than [`FORMAT`](super::FORMAT).
    #[must_use]
    pub fn format(&self) -> Format {
        self.head.format
    }

    /// Rows that were read so far.
    #[must_use]
    pub fn rows_read(&self) -> u64 {
        self.rows_read
    }

    /// Bytes that were read so far.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.frames.bytes_read()
    }

    /// How the recording ended, if it ended without its end. Known once [`Reader::next_batch`] has returned `false`.
    #[must_use]
    pub fn torn(&self) -> Option<&Torn> {
        self.torn.as_ref()
    }

    /// Appends the events of the next batch to `events`: at most [`BATCH_ROWS`].
    ///
    /// Rows that this version does not know become a [`Loss`] of `UnknownKind`, rows whose fields make no sense one of
    /// `Malformed`.
    ///
    /// Returns `false` at the end, also at that of a torn recording ([`Reader::torn`]); `true` may come with no event.
    ///
    /// # Errors
    /// The file is damaged, or the system cannot read on. What was appended before is valid; the next call returns `false`.
    pub fn next_batch(&mut self, events: &mut Vec<Event>) -> Result<bool, ReadError> {
        if self.done {
            return Ok(false);
        }
        match self.step()? {
            Step::Rows(batch) => {
                let table = self.table(&batch)?;
                events.reserve(batch.num_rows().min(BATCH_ROWS));
                self.stopped |= append(&table, batch.num_rows(), events);
                Ok(true)
            }
            Step::Nothing => Ok(true),
            Step::End => Ok(false),
        }
    }

    /// The next batch as it stands in the file: the columns that this version knows, with the file's metadata in the schema
    /// ([`Reader::schema`]). `None` at the end, also at that of a torn recording.
    ///
    /// Rows are given as they are, also those that [`Reader::next_batch`] would count as lost. Texts are not to be trusted.
    ///
    /// # Errors
    /// As [`Reader::next_batch`].
    pub fn next_rows(&mut self) -> Result<Option<Rows>, ReadError> {
        while !self.done {
            match self.step()? {
                Step::Rows(batch) => {
                    self.stopped |= has_stop(&self.table(&batch)?, batch.num_rows());
                    return Ok(Some(batch));
                }
                Step::Nothing | Step::End => {}
            }
        }
        Ok(None)
    }

    /// The columns of [`Reader::next_rows`], and the file's metadata.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.head.projected)
    }

    fn table(&mut self, batch: &Rows) -> Result<Table, ReadError> {
        Table::of(batch).ok_or_else(|| {
            self.done = true;
            self.damaged("a batch whose columns are not those of the head".to_owned())
        })
    }

    /// The next message; after an error, or the end, there is none.
    fn step(&mut self) -> Result<Step, ReadError> {
        let result = self.message_or_end();
        self.done = !matches!(result, Ok(Step::Rows(_) | Step::Nothing));
        result
    }

    fn message_or_end(&mut self) -> Result<Step, ReadError> {
        let tear = match self.frames.next(MAX_METADATA_BYTES) {
            Ok(Frame::Message { metadata, body }) => {
                return self.message(&metadata, &body).map_err(|why| self.damaged(why));
            }
            Ok(Frame::End) if self.stopped => return Ok(Step::End),
            Ok(Frame::End) => Tear::NoStop,
            Err(Stop::Missing) => Tear::NoEnd,
            Err(Stop::Torn) => Tear::InBatch,
            Err(Stop::Damaged(why)) => return Err(self.damaged(why)),
            Err(Stop::Io(source)) => {
                return Err(ReadError::Io { path: self.path.clone(), rows_read: self.rows_read, source });
            }
        };
        let (path, rows_read, bytes_read) = (self.path.clone(), self.rows_read, self.frames.start());
        self.torn = Some(Torn { path, rows_read, bytes_read, tear });
        Ok(Step::End)
    }

    fn damaged(&self, why: String) -> ReadError {
        let (path, offset, rows_read) = (self.path.clone(), self.frames.start(), self.rows_read);
        ReadError::Damaged { path, offset, rows_read, why }
    }

    fn message(&mut self, metadata: &[u8], body: &Buffer) -> Result<Step, String> {
        let message = root_as_message(metadata).map_err(|error| error.to_string())?;
        let version = message.version();
        match message.header_type() {
            MessageHeader::RecordBatch => {
                let batch = message.header_as_record_batch().ok_or("a batch without its head")?;
                self.rows(batch, version, body).map(Step::Rows)
            }
            MessageHeader::DictionaryBatch => {
                let dictionary = message.header_as_dictionary_batch().ok_or("a dictionary without its head")?;
                self.dictionary(dictionary, version, body).map(|()| Step::Nothing)
            }
            other => Err(format!("a message that is neither rows nor a dictionary: {other:?}")),
        }
    }

    fn dictionary(&mut self, from: DictionaryBatch, version: MetadataVersion, body: &Buffer) -> Result<(), String> {
        if !self.head.dictionaries.contains(&from.id()) {
            // Of a column that a later version added.
            return Ok(());
        }
        check_dictionary(&from, body)?;
        read_dictionary(body, from, &self.head.projected, &mut self.dictionaries, &version)
            .map_err(|error| error.to_string())
    }

    /// A batch of our columns. Those that the file lacks are null, and so are those of nothing but nulls, which are not unpacked: the
    /// most in most batches.
    fn rows(&mut self, from: RecordBatch, version: MetadataVersion, body: &Buffer) -> Result<Rows, String> {
        let rows = check_rows(&from, &self.head.schema, body)?;
        let nodes = from.nodes().ok_or("a batch without columns")?;
        let has_values =
            |place: &usize| *place < nodes.len() && nodes.get(*place).null_count() < nodes.get(*place).length();
        let columns: Vec<Option<usize>> = self.head.columns.iter().map(|place| place.filter(has_values)).collect();
        let projection: Vec<usize> = columns.iter().copied().flatten().collect();
        let schema = Arc::clone(&self.head.schema);
        let batch = RecordBatchDecoder::try_new(body, from, schema, &self.dictionaries, &version)
            .and_then(|decoder| decoder.with_projection(Some(&projection)).read_record_batch())
            .map_err(|error| error.to_string())?;
        let mut unpacked = batch.columns().iter().map(Arc::clone);
        let arrays = columns.iter().zip(self.head.projected.fields()).map(|(place, field)| match place {
            Some(_) => unpacked.next(),
            None => self.nulls.get(field.data_type()).map(|nulls| nulls.slice(0, rows)),
        });
        let arrays = arrays.collect::<Option<Vec<ArrayRef>>>().ok_or("a batch with too few columns")?;
        let batch = Rows::try_new(Arc::clone(&self.head.projected), arrays).map_err(|error| error.to_string())?;
        self.rows_read += u64::try_from(rows).unwrap_or_default();
        Ok(batch)
    }
}

/// Appends the events of a batch; returns whether one of them says that tracing was stopped.
fn append(table: &Table, rows: usize, events: &mut Vec<Event>) -> bool {
    let mut stopped = false;
    let mut skipped: Option<Loss> = None;
    for row in 0..rows {
        match rows::read(table, row) {
            Ok(event) => {
                events.extend(skipped.take().map(Event::Loss));
                stopped |= matches!(event, Event::Mark(mark) if mark.what == MarkKind::Stopped);
                events.push(event);
            }
            Err(reason) => {
                let loss = rows::skipped(table, row, reason);
                match &mut skipped {
                    Some(before) if (before.reason, before.cpu) == (loss.reason, loss.cpu) => {
                        *before = Loss { count: before.count + 1, ..loss };
                    }
                    _ => events.extend(skipped.replace(loss).map(Event::Loss)),
                }
            }
        }
    }
    events.extend(skipped.map(Event::Loss));
    stopped
}

/// Whether one of the rows says that tracing was stopped.
fn has_stop(table: &Table, rows: usize) -> bool {
    (0..rows).any(|row| table.mark.word(row) == Word::Known(MarkKind::Stopped))
}

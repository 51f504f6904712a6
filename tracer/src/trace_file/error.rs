//! Why a trace file could not be written or read, as sentences that say what to do.

use std::fmt;
use std::io;
use std::path::PathBuf;

use arrow_schema::ArrowError;

use super::{FORMAT, Format};

/// Why a trace could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The file could not be opened for writing.
    #[error("cannot write the trace to {}: {source}; give a path that can be written", .path.display())]
    Open {
        /// The path as it was given.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Bytes could not be written: the disk is full, the pipe was closed. What was written before can be read.
    #[error("the trace {} ends here, it could not be written any further: {source}", .path.display())]
    Write {
        /// The path as it was given.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An earlier error left the file torn; nothing more is written to it.
    #[error("the trace {} was given up after an earlier error", .path.display())]
    GivenUp {
        /// The path as it was given.
        path: PathBuf,
    },
    /// The facts about the trace could not be turned into JSON.
    #[error("the facts about the trace {} cannot be written as JSON: {source}", .path.display())]
    Info {
        /// The path as it was given.
        path: PathBuf,
        /// What the JSON writer said.
        source: serde_json::Error,
    },
    /// The rows could not be encoded; a defect of eptrace.
    #[error("the rows of the trace {} cannot be encoded, please report this: {source}", .path.display())]
    Encode {
        /// The path as it was given.
        path: PathBuf,
        /// What the encoder said.
        source: ArrowError,
    },
}

/// Why a trace could not be read, or not be read any further.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file could not be opened.
    #[error("cannot read the trace {}: {source}; give a file that `eptrace record -o FILE` wrote", .path.display())]
    Open {
        /// The path as it was given.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The path is a directory.
    #[error("{} is a directory, not a trace; give a file that `eptrace record -o FILE` wrote", .path.display())]
    Directory {
        /// The path as it was given.
        path: PathBuf,
    },
    /// The file has no bytes.
    #[error("{} is empty: nothing was recorded into it; record again", .path.display())]
    Empty {
        /// The path as it was given.
        path: PathBuf,
    },
    /// It does not begin as a trace does.
    #[error("{} is not an eptrace trace file ({why}); give a file that `eptrace record -o FILE` wrote", .path.display())]
    Foreign {
        /// The path as it was given.
        path: PathBuf,
        /// What was seen instead.
        why: String,
    },
    /// It ends within the head, before the first row.
    #[error("{} ends within its first {bytes} bytes, before the first row: nothing of it can be read; record again", .path.display())]
    HeadTorn {
        /// The path as it was given.
        path: PathBuf,
        /// Bytes of the file.
        bytes: u64,
    },
    /// A later eptrace wrote it, in a format that this one does not know.
    #[error(
        "{} has the trace format {found}, this eptrace reads up to {}.x; read it with a newer eptrace",
        .path.display(), FORMAT.major
    )]
    NewerFormat {
        /// The path as it was given.
        path: PathBuf,
        /// The file's format.
        found: Format,
    },
    /// A column is not as SCHEMA.md says.
    #[error("the column `{column}` of {} {problem}; give the file as `eptrace record` wrote it", .path.display())]
    Column {
        /// The path as it was given.
        path: PathBuf,
        /// The column's name.
        column: String,
        /// `is missing`, or which type it has.
        problem: String,
    },
    /// The facts about the trace are not as they should be.
    #[error("the facts about the trace {} (metadata key `eptrace.info`) cannot be read: {why}", .path.display())]
    Info {
        /// The path as it was given.
        path: PathBuf,
        /// What is wrong with them.
        why: String,
    },
    /// The system could not read on.
    #[error("cannot read on in {} after {rows_read} rows: {source}", .path.display())]
    Io {
        /// The path as it was given.
        path: PathBuf,
        /// Rows that were read before.
        rows_read: u64,
        /// What the system said.
        source: io::Error,
    },
    /// Bytes in the middle make no sense. Rows before them were read; those after them cannot be.
    #[error(
        "{} is damaged at byte {offset}: {why}; {rows_read} rows before it were read, what follows is lost",
        .path.display()
    )]
    Damaged {
        /// The path as it was given.
        path: PathBuf,
        /// Where the message that makes no sense begins, in bytes from the start of the file.
        offset: u64,
        /// Rows that were read before.
        rows_read: u64,
        /// What makes no sense.
        why: String,
    },
}

/// A recording that ended without its end. Everything up to the tear was read; it is a warning, not an error.
///
/// Its text is one whole sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// The path as it was given.
    pub path: PathBuf,
    /// Rows that were read.
    pub rows_read: u64,
    /// Bytes of the file up to the tear: what follows them could not be read.
    pub bytes_read: u64,
    /// How it ends.
    pub tear: Tear,
}

/// How a torn recording ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tear {
    /// Within a batch of rows, or within its head.
    InBatch,
    /// After a whole batch, without the mark of the end.
    NoEnd,
    /// With the mark of the end, but without a row that says that tracing was stopped: an error ended the recording.
    NoStop,
}

impl fmt::Display for Torn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match self.tear {
            Tear::InBatch => "it is cut off in the middle of a batch; what came later is missing",
            Tear::NoEnd => "what came later, if anything, is missing",
            Tear::NoStop => "an error ended it before tracing was stopped",
        };
        write!(
            f,
            "the recording {} ended without its end (eptrace was killed or still records, or the copy is incomplete): {how}; {} \
             rows were read, up to byte {}",
            self.path.display(),
            self.rows_read,
            self.bytes_read
        )
    }
}

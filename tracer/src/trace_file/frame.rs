//! The messages of an Arrow IPC stream, cut out of bytes that are not trusted.
//!
//! A message is `FF FF FF FF`, the length of its metadata, the metadata (a flatbuffer that says how long the body is), the body.
//! (Arrow columnar format, "Encapsulated message format".) Lengths are checked before anything is allocated for them.

use std::io::{self, Read};

use arrow_buffer::Buffer;
use arrow_ipc::root_as_message;

use super::guard::MAX_BODY_BYTES;

/// What every message begins with.
const MARKER: [u8; 4] = [0xff; 4];

/// The most bytes that are set aside on a length's word alone.
const FIRST_BYTES: u64 = 1 << 20;

/// The next thing in a stream.
pub(super) enum Frame {
    /// A message. The metadata is a valid `arrow_ipc::Message`.
    Message {
        /// The flatbuffer.
        metadata: Vec<u8>,
        /// What follows it.
        body: Buffer,
    },
    /// The end-of-stream marker, with nothing behind it.
    End,
}

/// Why there is no next thing.
pub(super) enum Stop {
    /// The stream ended before a message, without the end-of-stream marker.
    Missing,
    /// The stream ended within a message.
    Torn,
    /// Bytes that make no sense.
    Damaged(String),
    /// The system's error.
    Io(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Cuts a stream into its messages.
pub(super) struct Frames<R> {
    source: R,
    start: u64,
    read: u64,
}

impl<R: Read> Frames<R> {
    pub(super) fn new(source: R) -> Self {
        Self { source, start: 0, read: 0 }
    }

    /// Where the message begins that was asked for last, in bytes from the start of the stream.
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// Bytes that were read.
    pub(super) fn bytes_read(&self) -> u64 {
        self.read
    }

    /// The next message, whose metadata has at most `max_metadata` bytes.
    pub(super) fn next(&mut self, max_metadata: u32) -> Result<Frame, Stop> {
        self.start = self.read;
        let Some(length) = self.length()? else {
            return Ok(Frame::End);
        };
        if length > max_metadata {
            return Err(Stop::Damaged(format!("a message head of {length} bytes, the limit is {max_metadata}")));
        }
        let metadata = self.bytes(u64::from(length))?;
        let message = root_as_message(&metadata).map_err(|error| Stop::Damaged(error.to_string()))?;
        let body = match u64::try_from(message.bodyLength()) {
            Ok(length) if length <= MAX_BODY_BYTES => self.bytes(length)?,
            _ => {
                let length = message.bodyLength();
                return Err(Stop::Damaged(format!("a message of {length} bytes, the limit is {MAX_BODY_BYTES}")));
            }
        };
        Ok(Frame::Message { metadata, body: Buffer::from_vec(body) })
    }

    /// The length of the next message's metadata; `None` at the end of the stream.
    fn length(&mut self) -> Result<Option<u32>, Stop> {
        let marker = self.some_bytes(4)?;
        if marker.is_empty() {
            return Err(Stop::Missing);
        }
        if !MARKER.starts_with(&marker) {
            return Err(Stop::Damaged("no message begins here".to_owned()));
        }
        if marker.len() < MARKER.len() {
            return Err(Stop::Torn);
        }
        let length = self.some_bytes(4)?;
        let length = <[u8; 4]>::try_from(length).map_err(|_| Stop::Torn)?;
        match u32::from_le_bytes(length) {
            0 if self.some_bytes(1)?.is_empty() => Ok(None),
            0 => Err(Stop::Damaged("the end of the recording, with more bytes behind it".to_owned())),
            length => Ok(Some(length)),
        }
    }

    /// Exactly `count` bytes.
    fn bytes(&mut self, count: u64) -> Result<Vec<u8>, Stop> {
        let bytes = self.some_bytes(count)?;
        if u64::try_from(bytes.len()).is_ok_and(|len| len == count) { Ok(bytes) } else { Err(Stop::Torn) }
    }

    /// `count` bytes, or fewer at the end of the stream.
    fn some_bytes(&mut self, count: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(usize::try_from(count.min(FIRST_BYTES)).unwrap_or_default());
        let read = self.source.by_ref().take(count).read_to_end(&mut bytes)?;
        self.read += u64::try_from(read).unwrap_or_default();
        Ok(bytes)
    }
}

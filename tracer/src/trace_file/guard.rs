//! What must hold of a message before Arrow's decoder sees it.
//!
//! The decoder slices a body as the message tells it to, which panics outside of the body, and makes room for as many bytes as a
//! compressed buffer claims to hold; and a buffer of offsets that ends within an offset panics. (arrow-ipc 60.1: `read_buffer` in
//! reader.rs, `decompress_to_buffer` in compression.rs; arrow-buffer 60.1: `typed_data` in immutable.rs.) So these are checked here.
//! What is inside of the arrays the decoder validates by itself; a column that is said to be nothing but nulls never comes to it.

use arrow_buffer::Buffer;
use arrow_ipc::{DictionaryBatch, RecordBatch};
use arrow_schema::{DataType, Schema};

use super::BATCH_ROWS;

/// The most bytes of the file's first message, which holds the facts about the trace.
pub(super) const MAX_HEAD_BYTES: u32 = 16 << 20;

/// The most bytes of the metadata of a batch: 50 columns need less than 4 KiB.
pub(super) const MAX_METADATA_BYTES: u32 = 1 << 20;

/// The most bytes of a message's body, as it stands in the file.
pub(super) const MAX_BODY_BYTES: u64 = 64 << 20;

/// The most bytes of one unpacked buffer: [`BATCH_ROWS`] task names, each byte escaped, are 4 MiB.
const MAX_BUFFER_BYTES: usize = 8 << 20;

/// The most bytes of all unpacked buffers of a batch; a full batch of eptrace's has a quarter of it.
const MAX_BATCH_BYTES: usize = 128 << 20;

/// The most words of a dictionary: its numbers are `Int8`.
const MAX_WORDS: usize = 128;

/// The length that stands before a buffer that is not compressed although its batch is.
const NOT_COMPRESSED: i64 = -1;

/// Checks a batch of rows with the columns of `schema`; returns how many rows it has.
pub(super) fn check_rows(batch: &RecordBatch, schema: &Schema, body: &Buffer) -> Result<usize, String> {
    let types: Vec<&DataType> = schema.fields().iter().map(|field| field.data_type()).collect();
    check(batch, &types, body, BATCH_ROWS)
}

/// Checks a dictionary.
pub(super) fn check_dictionary(dictionary: &DictionaryBatch, body: &Buffer) -> Result<(), String> {
    if dictionary.isDelta() {
        return Err("a dictionary that adds to another".to_owned());
    }
    let data = dictionary.data().ok_or("a dictionary without data")?;
    check(&data, &[&DataType::Utf8], body, MAX_WORDS).map(|_| ())
}

fn check(batch: &RecordBatch, types: &[&DataType], body: &Buffer, max_rows: usize) -> Result<usize, String> {
    let rows = usize::try_from(batch.length()).ok().filter(|rows| *rows <= max_rows);
    let rows = rows.ok_or_else(|| format!("a batch of {} rows, the limit is {max_rows}", batch.length()))?;

    let nodes = batch.nodes().ok_or("a batch without columns")?;
    if nodes.len() != types.len() {
        return Err(format!("a batch of {} columns instead of {}", nodes.len(), types.len()));
    }
    for node in nodes {
        if node.length() != batch.length() || !(0..=node.length()).contains(&node.null_count()) {
            let (length, nulls) = (node.length(), node.null_count());
            return Err(format!("a column of {length} rows, {nulls} of them null, in a batch of {rows}"));
        }
    }

    let mut room = MAX_BATCH_BYTES;
    let mut buffers = batch.buffers().ok_or("a batch without buffers")?.iter();
    for data_type in types {
        for multiple in buffer_multiples(data_type)? {
            let buffer = buffers.next().ok_or("a batch with too few buffers")?;
            let unpacked = unpacked_bytes(buffer, batch.compression().is_some(), body)?;
            room = room.checked_sub(unpacked).ok_or("a batch that unpacks to too much")?;
            if unpacked > MAX_BUFFER_BYTES || unpacked % multiple != 0 {
                return Err(format!("a buffer that unpacks to {unpacked} bytes"));
            }
        }
    }
    if buffers.len() == 0 { Ok(rows) } else { Err("a batch with too many buffers".to_owned()) }
}

/// The buffers of a column of this type: of how many bytes each must have a multiple.
fn buffer_multiples(data_type: &DataType) -> Result<&'static [usize], String> {
    match data_type {
        DataType::Null => Ok(&[]),
        DataType::Utf8 | DataType::Binary => Ok(&[1, size_of::<i32>(), 1]),
        DataType::LargeUtf8 | DataType::LargeBinary => Ok(&[1, size_of::<i64>(), 1]),
        DataType::Boolean | DataType::FixedSizeBinary(_) | DataType::Dictionary(..) => Ok(&[1, 1]),
        number if number.is_primitive() => Ok(&[1, 1]),
        other => Err(format!("a column of the type {other}, which no trace format 1 has")),
    }
}

/// How many bytes the decoder makes room for when it reads `buffer` from `body`.
fn unpacked_bytes(buffer: &arrow_ipc::Buffer, compressed: bool, body: &Buffer) -> Result<usize, String> {
    let bytes = usize::try_from(buffer.offset())
        .ok()
        .zip(usize::try_from(buffer.length()).ok())
        .and_then(|(offset, length)| body.get(offset..offset.checked_add(length)?))
        .ok_or("a buffer outside of its message")?;
    if !compressed || bytes.is_empty() {
        return Ok(bytes.len());
    }
    let (claim, rest) = bytes.split_first_chunk::<8>().ok_or("a compressed buffer without a length")?;
    match i64::from_le_bytes(*claim) {
        NOT_COMPRESSED => Ok(rest.len()),
        claim => usize::try_from(claim).map_err(|_| format!("a buffer that unpacks to {claim} bytes")),
    }
}

//! The table of SCHEMA.md as Parquet, with the trace's metadata as keys and values of the file.

use std::io::{self, Write};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;

use super::{TableExport, rows};

/// Rows that are held in memory until they are written: a row group.
const GROUP_ROWS: usize = 1 << 18;

/// Key of the file's metadata that says how a recording ended that ended without its end.
pub const TORN_KEY: &str = "eptrace.torn";

/// Writes Parquet.
pub struct Parquet<W: Write + Send> {
    writer: ArrowWriter<W>,
}

impl<W: Write + Send> Parquet<W> {
    /// A file with these columns and their metadata.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn new(out: W, schema: SchemaRef) -> io::Result<Self> {
        // Readers other than Arrow's find the metadata only as the file's own.
        let facts = schema.metadata().iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(GROUP_ROWS))
            .set_created_by(format!("eptrace {}", env!("CARGO_PKG_VERSION")))
            .set_key_value_metadata(Some(facts.collect()))
            .build();
        Ok(Self { writer: ArrowWriter::try_new(out, schema, Some(properties)).map_err(failed)? })
    }
}

impl<W: Write + Send> TableExport for Parquet<W> {
    fn rows(&mut self, rows: &RecordBatch) -> io::Result<()> {
        let rows = rows::clean(rows).map_err(io::Error::other)?;
        self.writer.write(&rows).map_err(failed)
    }

    fn finish(&mut self, torn: Option<&str>) -> io::Result<()> {
        if let Some(torn) = torn {
            self.writer.append_key_value_metadata(KeyValue::new(TORN_KEY.to_owned(), torn.to_owned()));
        }
        self.writer.finish().map_err(failed)?;
        self.writer.inner_mut().flush()
    }
}

/// The system's error where there is one: a full disk, or a reader that has gone.
fn failed(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(cause) => match cause.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(cause) => io::Error::other(cause),
        },
        other => io::Error::other(other),
    }
}

//! The table of SCHEMA.md as comma-separated values: a line of names, then a line per row; null is an empty cell.

use std::io::{self, Write};

use arrow_array::types::{
    ArrowPrimitiveType, Int8Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, DictionaryArray, PrimitiveArray, RecordBatch, StringArray};
use arrow_schema::Schema;

use super::{TableExport, rows};

/// Writes CSV.
pub struct Csv<W: Write> {
    writer: csv::Writer<W>,
}

impl<W: Write> Csv<W> {
    /// A table with these columns.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn new(out: W, schema: &Schema) -> io::Result<Self> {
        let mut writer = csv::Writer::from_writer(out);
        writer.write_record(schema.fields().iter().map(|field| field.name())).map_err(failed)?;
        Ok(Self { writer })
    }
}

impl<W: Write> TableExport for Csv<W> {
    fn rows(&mut self, rows: &RecordBatch) -> io::Result<()> {
        let rows = rows::clean(rows).map_err(io::Error::other)?;
        let columns: Vec<Column> = rows.columns().iter().map(Column::of).collect::<io::Result<_>>()?;
        let mut cell = String::new();
        for row in 0..rows.num_rows() {
            for column in &columns {
                cell.clear();
                column.write(row, &mut cell);
                self.writer.write_field(&cell).map_err(failed)?;
            }
            self.writer.write_record(None::<&[u8]>).map_err(failed)?;
        }
        Ok(())
    }

    fn finish(&mut self, _torn: Option<&str>) -> io::Result<()> {
        self.writer.flush()
    }
}

/// The system's error where there is one: a full disk, or a reader that has gone.
fn failed(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}

/// One column of a batch.
enum Column<'a> {
    I32(&'a PrimitiveArray<Int32Type>),
    I64(&'a PrimitiveArray<Int64Type>),
    U8(&'a PrimitiveArray<UInt8Type>),
    U16(&'a PrimitiveArray<UInt16Type>),
    U32(&'a PrimitiveArray<UInt32Type>),
    U64(&'a PrimitiveArray<UInt64Type>),
    Text(&'a StringArray),
    Words(&'a PrimitiveArray<Int8Type>, &'a StringArray),
}

impl<'a> Column<'a> {
    fn of(array: &'a ArrayRef) -> io::Result<Self> {
        fn as_a<T: 'static>(array: &ArrayRef) -> Option<&T> {
            array.as_any().downcast_ref()
        }
        let words = |array: &'a DictionaryArray<Int8Type>| {
            Some(Self::Words(array.keys(), array.values().as_any().downcast_ref()?))
        };
        let column = as_a(array).map(Self::I32);
        let column = column.or_else(|| as_a(array).map(Self::I64));
        let column = column.or_else(|| as_a(array).map(Self::U8));
        let column = column.or_else(|| as_a(array).map(Self::U16));
        let column = column.or_else(|| as_a(array).map(Self::U32));
        let column = column.or_else(|| as_a(array).map(Self::U64));
        let column = column.or_else(|| as_a(array).map(Self::Text));
        let column = column.or_else(|| as_a(array).and_then(words));
        column.ok_or_else(|| io::Error::other(format!("a column of the type {}", array.data_type())))
    }

    /// Appends the cell of `row`; nothing where it is null.
    fn write(&self, row: usize, cell: &mut String) {
        fn number<T: ArrowPrimitiveType>(array: &PrimitiveArray<T>, row: usize, cell: &mut String)
        where
            T::Native: std::fmt::Display,
        {
            use std::fmt::Write as _;
            if array.is_valid(row) {
                let _ = write!(cell, "{}", array.value(row));
            }
        }
        match self {
            Self::I32(array) => number(array, row, cell),
            Self::I64(array) => number(array, row, cell),
            Self::U8(array) => number(array, row, cell),
            Self::U16(array) => number(array, row, cell),
            Self::U32(array) => number(array, row, cell),
            Self::U64(array) => number(array, row, cell),
            Self::Text(array) if array.is_valid(row) => text(array.value(row), cell),
            Self::Words(keys, words) if keys.is_valid(row) => {
                let word = usize::try_from(keys.value(row)).ok().filter(|key| *key < words.len());
                if let Some(word) = word.filter(|word| words.is_valid(*word)) {
                    text(words.value(word), cell);
                }
            }
            Self::Text(_) | Self::Words(..) => {}
        }
    }
}

/// A spreadsheet takes a text that begins like a formula for one, and runs it: an apostrophe before it makes it a text.
fn text(text: &str, cell: &mut String) {
    if text.starts_with(['=', '+', '-', '@']) {
        cell.push('\'');
    }
    cell.push_str(text);
}

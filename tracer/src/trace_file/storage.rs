//! How the cells of one column are collected into an Arrow array, and read from one.
//!
//! A column that is filled pads itself with nulls up to the row that is set, so that an event pays only for the columns it has.

use std::marker::PhantomData;
use std::sync::{Arc, OnceLock};

use arrow_array::builder::{ArrayBuilder, StringBuilder};
use arrow_array::types::Int8Type;
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType, DictionaryArray, PrimitiveArray, StringArray};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType};
use tracer_common::COMM_LEN;

use super::BATCH_ROWS;
use super::names::Name;
use super::text::{comm_from_text, comm_to_text};

/// The type of a column, in memory and in the file.
pub(super) trait Storage {
    /// Collects the cells of a batch.
    type Filling: Filling;
    /// Reads the cells of a batch.
    type Filled: Filled;

    /// The type in the file.
    fn data_type() -> DataType;
}

/// A column that is being filled, row by row.
pub(super) trait Filling: Default {
    /// The first `rows` cells as an array, null where no cell was set; nothing is left.
    fn take(&mut self, rows: usize) -> Result<ArrayRef, ArrowError>;
}

/// A column of a batch that was read.
pub(super) trait Filled: Sized {
    /// The cells of `array`; `None` when it is of another type.
    fn of(array: &ArrayRef) -> Option<Self>;
}

/// A column of numbers.
pub(super) struct Number<T>(PhantomData<T>);

impl<T: ArrowPrimitiveType> Storage for Number<T> {
    type Filling = Numbers<T>;
    type Filled = PrimitiveArray<T>;

    fn data_type() -> DataType {
        T::DATA_TYPE
    }
}

/// Numbers that are being collected.
///
/// Arrow's own builder takes some fifty instructions a cell; this one keeps plain bytes and bits, and makes the array at the end.
pub(super) struct Numbers<T: ArrowPrimitiveType> {
    values: Vec<T::Native>,
    /// A bit per row, the lowest first: set where there is a value.
    present: Vec<u8>,
}

impl<T: ArrowPrimitiveType> Default for Numbers<T> {
    fn default() -> Self {
        Self { values: Vec::new(), present: Vec::new() }
    }
}

impl<T: ArrowPrimitiveType> Numbers<T> {
    /// Sets the cell of a row after all rows that were set before.
    #[inline]
    pub(super) fn set(&mut self, row: usize, value: T::Native) {
        self.pad(row);
        self.values.push(value);
        let bit = 1 << (row % 8);
        if let Some(bits) = self.present.get_mut(row / 8) {
            *bits |= bit;
        } else {
            self.present.resize(row / 8, 0);
            self.present.push(bit);
        }
    }

    /// What lies below a null is nobody's business, and the last value again is what compresses best.
    #[inline]
    fn pad(&mut self, rows: usize) {
        if self.values.len() < rows {
            let last = self.values.last().copied().unwrap_or(T::default_value());
            self.values.resize(rows, last);
        }
    }

    /// The first `rows` cells; nothing is left but the room for as many.
    fn array(&mut self, rows: usize) -> PrimitiveArray<T> {
        if self.values.is_empty() && rows <= BATCH_ROWS {
            return PrimitiveArray::new(zeros::<T>(rows), Some(NullBuffer::new_null(rows)));
        }
        self.pad(rows);
        self.present.resize(rows.div_ceil(8), 0);
        let room = (self.values.capacity(), self.present.capacity());
        let values = std::mem::replace(&mut self.values, Vec::with_capacity(room.0));
        let present = std::mem::replace(&mut self.present, Vec::with_capacity(room.1));
        let nulls = NullBuffer::new(BooleanBuffer::new(Buffer::from_vec(present), 0, rows));
        // A column of nothing but values has no bits in the file.
        PrimitiveArray::new(values.into(), (nulls.null_count() > 0).then_some(nulls))
    }
}

/// The values of a column without any: most columns of most batches, and the same bytes for all of them.
fn zeros<T: ArrowPrimitiveType>(rows: usize) -> ScalarBuffer<T::Native> {
    static ZEROS: OnceLock<Buffer> = OnceLock::new();
    // No number of a trace has more than eight bytes.
    let zeros = ZEROS.get_or_init(|| Buffer::from_vec(vec![0_u64; BATCH_ROWS]));
    ScalarBuffer::new(zeros.clone(), 0, rows)
}

impl<T: ArrowPrimitiveType> Filling for Numbers<T> {
    fn take(&mut self, rows: usize) -> Result<ArrayRef, ArrowError> {
        Ok(Arc::new(self.array(rows)))
    }
}

impl<T: ArrowPrimitiveType> Filled for PrimitiveArray<T> {
    fn of(array: &ArrayRef) -> Option<Self> {
        array.as_any().downcast_ref::<Self>().cloned()
    }
}

/// The cell of `row`, if there is one.
pub(super) trait Cell<V> {
    /// `None` for null.
    fn cell(&self, row: usize) -> Option<V>;
}

impl<T: ArrowPrimitiveType> Cell<T::Native> for PrimitiveArray<T> {
    fn cell(&self, row: usize) -> Option<T::Native> {
        (row < self.len() && self.is_valid(row)).then(|| self.value(row))
    }
}

/// A column of text.
pub(super) struct Text;

impl Storage for Text {
    type Filling = Texts;
    type Filled = StringArray;

    fn data_type() -> DataType {
        DataType::Utf8
    }
}

/// Texts that are being collected.
pub(super) struct Texts(StringBuilder);

impl Default for Texts {
    fn default() -> Self {
        Self(StringBuilder::with_capacity(0, 0))
    }
}

impl Texts {
    pub(super) fn set(&mut self, row: usize, value: &str) {
        self.pad(row);
        self.0.append_value(value);
    }

    fn pad(&mut self, rows: usize) {
        let missing = rows.saturating_sub(self.0.len());
        if missing > 0 {
            self.0.append_nulls(missing);
        }
    }
}

impl Filling for Texts {
    fn take(&mut self, rows: usize) -> Result<ArrayRef, ArrowError> {
        self.pad(rows);
        Ok(Arc::new(self.0.finish()))
    }
}

impl Filled for StringArray {
    fn of(array: &ArrayRef) -> Option<Self> {
        array.as_any().downcast_ref::<Self>().cloned()
    }
}

/// The text of `row`, if there is one.
pub(super) fn text_cell(array: &StringArray, row: usize) -> Option<&str> {
    (row < array.len() && array.is_valid(row)).then(|| array.value(row))
}

/// A column of task names: text, with escapes.
pub(super) struct Comm;

impl Storage for Comm {
    type Filling = Comms;
    type Filled = FilledComms;

    fn data_type() -> DataType {
        DataType::Utf8
    }
}

/// Task names that are being collected.
#[derive(Default)]
pub(super) struct Comms(Texts);

impl Comms {
    pub(super) fn set(&mut self, row: usize, comm: [u8; COMM_LEN]) {
        self.0.set(row, &comm_to_text(comm));
    }
}

impl Filling for Comms {
    fn take(&mut self, rows: usize) -> Result<ArrayRef, ArrowError> {
        self.0.take(rows)
    }
}

/// Task names that were read.
pub(super) struct FilledComms(StringArray);

impl Filled for FilledComms {
    fn of(array: &ArrayRef) -> Option<Self> {
        StringArray::of(array).map(Self)
    }
}

impl Cell<[u8; COMM_LEN]> for FilledComms {
    fn cell(&self, row: usize) -> Option<[u8; COMM_LEN]> {
        text_cell(&self.0, row).and_then(comm_from_text)
    }
}

/// A column of words from a closed set: a dictionary that is the same in every batch, and so stands in the file once.
pub(super) struct Named<N>(PhantomData<N>);

impl<N: Name> Storage for Named<N> {
    type Filling = Words<N>;
    type Filled = FilledWords<N>;

    fn data_type() -> DataType {
        DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8))
    }
}

/// Words that are being collected.
pub(super) struct Words<N> {
    codes: Numbers<Int8Type>,
    dictionary: ArrayRef,
    set: PhantomData<N>,
}

impl<N: Name> Default for Words<N> {
    fn default() -> Self {
        let dictionary = StringArray::from_iter_values(N::ALL.iter().map(|name| name.name()));
        Self { codes: Numbers::default(), dictionary: Arc::new(dictionary), set: PhantomData }
    }
}

impl<N: Name> Words<N> {
    pub(super) fn set(&mut self, row: usize, value: N) {
        self.codes.set(row, value.code());
    }
}

impl<N: Name> Filling for Words<N> {
    fn take(&mut self, rows: usize) -> Result<ArrayRef, ArrowError> {
        let array = DictionaryArray::try_new(self.codes.array(rows), Arc::clone(&self.dictionary))?;
        Ok(Arc::new(array))
    }
}

/// A word that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word<N> {
    /// One of the set.
    Known(N),
    /// One that a later version added.
    Unknown,
    /// None.
    Null,
}

/// Words that were read.
pub(super) struct FilledWords<N> {
    codes: PrimitiveArray<Int8Type>,
    words: Vec<Option<N>>,
}

impl<N: Name> Filled for FilledWords<N> {
    fn of(array: &ArrayRef) -> Option<Self> {
        let array = array.as_any().downcast_ref::<DictionaryArray<Int8Type>>()?;
        let dictionary = StringArray::of(array.values())?;
        let words = dictionary.iter().map(|word| word.and_then(N::from_name)).collect();
        Some(Self { codes: array.keys().clone(), words })
    }
}

impl<N: Name> FilledWords<N> {
    pub(super) fn word(&self, row: usize) -> Word<N> {
        let Some(code) = self.codes.cell(row) else { return Word::Null };
        let word = usize::try_from(code).ok().and_then(|code| self.words.get(code).copied().flatten());
        word.map_or(Word::Unknown, Word::Known)
    }
}

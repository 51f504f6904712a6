//! How the cells of one column are collected into an Arrow array, and read from one.
//!
//! An event pays only for the columns it has.

use std::marker::PhantomData;
use std::sync::{Arc, OnceLock};

use arrow_array::builder::{ArrayBuilder, StringBuilder};
use arrow_array::types::Int8Type;
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType, DictionaryArray, PrimitiveArray, StringArray};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType};

use super::BATCH_ROWS;
use super::names::Name;
use super::text::{padded_from_text, padded_to_text};

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
/// Most columns have values in few rows: what is set is kept densely, and spread over its rows when the batch is whole.
pub(super) struct Numbers<T: ArrowPrimitiveType> {
    /// What was set, in the order of its rows.
    values: Vec<T::Native>,
    /// A bit per row, the lowest first: set where there is a value.
    present: Box<[u64; BATCH_WORDS]>,
}

impl<T: ArrowPrimitiveType> Default for Numbers<T> {
    fn default() -> Self {
        Self { values: Vec::new(), present: Box::new([0; BATCH_WORDS]) }
    }
}

const ROWS_PER_WORD: usize = u64::BITS as usize;
const BATCH_WORDS: usize = BATCH_ROWS / ROWS_PER_WORD;

impl<T: ArrowPrimitiveType> Numbers<T> {
    /// Sets the cell of a row of the batch, once, after all rows that were set before.
    #[inline]
    pub(super) fn set(&mut self, row: usize, value: T::Native) {
        // A batch has no other rows.
        if let Some(bits) = self.present.get_mut(row / ROWS_PER_WORD) {
            *bits |= 1 << (row % ROWS_PER_WORD);
            self.values.push(value);
        }
    }

    /// The first `rows` cells, at most a batch; nothing is left but the room for as many.
    fn array(&mut self, rows: usize) -> PrimitiveArray<T> {
        let Some(&first) = self.values.first() else {
            return PrimitiveArray::new(zeros::<T>(rows), Some(NullBuffer::new_null(rows)));
        };
        let room = self.values.capacity();
        let values = std::mem::replace(&mut self.values, Vec::with_capacity(room));
        let present = std::mem::replace(&mut *self.present, [0; BATCH_WORDS]);
        if values.len() == rows {
            // A column of nothing but values has no bits in the file.
            return PrimitiveArray::new(values.into(), None);
        }
        let present = &present[..rows.div_ceil(ROWS_PER_WORD)];
        let one_value = values.iter().all(|value| *value == first);
        let cells = if one_value { vec![first; rows] } else { spread(&values, present, rows, first) };
        let bits = present.iter().map(|word| word.to_le()).collect();
        let nulls = NullBuffer::new(BooleanBuffer::new(Buffer::from_vec::<u64>(bits), 0, rows));
        PrimitiveArray::new(cells.into(), Some(nulls))
    }
}

/// Values at the rows whose bits are set. What lies below a null is nobody's business, and the last value again (`first` where there was
/// none) is what compresses best.
fn spread<N: Copy>(values: &[N], present: &[u64], rows: usize, first: N) -> Vec<N> {
    /// More than a word's values and the one before them, and a power of two: no index that is masked to it is beyond it.
    const WINDOW: usize = 2 * ROWS_PER_WORD;
    let mut cells = Vec::with_capacity(rows.next_multiple_of(ROWS_PER_WORD));
    let (mut rest, mut last) = (values, first);
    let mut window = [first; WINDOW];
    for &word in present {
        let (these, others) = rest.split_at(rest.len().min(word.count_ones() as usize));
        rest = others;
        if these.len() == ROWS_PER_WORD {
            cells.extend_from_slice(these);
        } else if these.is_empty() {
            cells.resize(cells.len() + ROWS_PER_WORD, last);
        } else {
            window[0] = last;
            window[1..=these.len()].copy_from_slice(these);
            if these.len() < word.count_ones() as usize {
                window[these.len() + 1..].fill(these.last().copied().unwrap_or(last));
            }
            // Without a branch: where values come and go, none could be foretold.
            let mut place = 0;
            cells.extend_from_slice(&std::array::from_fn::<N, ROWS_PER_WORD, _>(|row| {
                place += (word >> row & 1) as usize;
                window[place % WINDOW]
            }));
        }
        last = these.last().copied().unwrap_or(last);
    }
    cells.truncate(rows);
    cells
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

/// A column of names of at most `N` bytes: text, with escapes.
pub(super) struct Padded<const N: usize>;

impl<const N: usize> Storage for Padded<N> {
    type Filling = PaddedTexts<N>;
    type Filled = FilledPadded<N>;

    fn data_type() -> DataType {
        DataType::Utf8
    }
}

/// Names that are being collected.
#[derive(Default)]
pub(super) struct PaddedTexts<const N: usize>(Texts);

impl<const N: usize> PaddedTexts<N> {
    pub(super) fn set(&mut self, row: usize, name: [u8; N]) {
        self.0.set(row, &padded_to_text(name));
    }
}

impl<const N: usize> Filling for PaddedTexts<N> {
    fn take(&mut self, rows: usize) -> Result<ArrayRef, ArrowError> {
        self.0.take(rows)
    }
}

/// Names that were read.
pub(super) struct FilledPadded<const N: usize>(StringArray);

impl<const N: usize> Filled for FilledPadded<N> {
    fn of(array: &ArrayRef) -> Option<Self> {
        StringArray::of(array).map(Self)
    }
}

impl<const N: usize> Cell<[u8; N]> for FilledPadded<N> {
    fn cell(&self, row: usize) -> Option<[u8; N]> {
        text_cell(&self.0, row).and_then(padded_from_text)
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
    #[inline]
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

#[cfg(test)]
mod tests {
    use super::{Numbers, spread};
    use arrow_array::Array as _;
    use arrow_array::types::UInt32Type;

    #[test]
    fn values_stand_at_their_rows_and_nulls_repeat_the_last() {
        assert_eq!(spread(&[7, 8], &[0b10010], 6, 0), [0, 7, 7, 7, 8, 8]);
        let all: Vec<u32> = (0..64).collect();
        assert_eq!(spread(&all, &[u64::MAX, 0], 66, 0)[62..], [62, 63, 63, 63]);
        // Fewer values than bits: nothing is made up.
        assert_eq!(spread(&[1], &[u64::MAX], 64, 0), [1; 64]);
    }

    #[test]
    fn a_column_has_as_many_rows_as_it_is_asked_for() {
        for (set, rows, nulls) in [(vec![], 5, 5), (vec![0, 1, 2], 3, 0), (vec![1, 70], 100, 98)] {
            let mut numbers = Numbers::<UInt32Type>::default();
            for row in &set {
                numbers.set(*row, 9);
            }
            let array = numbers.array(rows);
            assert_eq!((array.len(), array.null_count()), (rows, nulls));
            assert!(set.iter().all(|row| array.is_valid(*row) && array.value(*row) == 9));
            assert_eq!(numbers.array(rows).null_count(), rows, "something was left");
        }
    }
}

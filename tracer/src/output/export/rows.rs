//! Rows of a trace file with texts that can be shown.

use std::sync::Arc;

use arrow_array::types::Int8Type;
use arrow_array::{Array, ArrayRef, DictionaryArray, RecordBatch, StringArray};
use arrow_schema::ArrowError;

use crate::output::sanitize;

/// The same rows; what a terminal would obey in a text is written as `\u{1b}`.
pub(super) fn clean(rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let columns = rows.columns().iter().map(column).collect::<Result<Vec<_>, _>>()?;
    RecordBatch::try_new(rows.schema(), columns)
}

fn column(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let any = array.as_any();
    if let Some(texts) = any.downcast_ref::<StringArray>() {
        return Ok(texts_of(texts).map_or_else(|| Arc::clone(array), |clean| Arc::new(clean)));
    }
    if let Some(words) = any.downcast_ref::<DictionaryArray<Int8Type>>()
        && let Some(clean) = words.values().as_any().downcast_ref::<StringArray>().and_then(texts_of)
    {
        return Ok(Arc::new(DictionaryArray::try_new(words.keys().clone(), Arc::new(clean))?));
    }
    Ok(Arc::clone(array))
}

/// `None` when all of them can be shown as they are.
fn texts_of(texts: &StringArray) -> Option<StringArray> {
    let all_clean = texts.iter().flatten().all(|text| sanitize::text(text) == text);
    (!all_clean).then(|| texts.iter().map(|text| text.map(sanitize::text)).collect())
}

//! The head of a trace file: the format's version, the facts about the trace, the columns.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use arrow_ipc::convert::try_fb_to_schema;
use arrow_schema::{Field, FieldRef, Schema, SchemaRef};

use super::columns::{ADDED, fields, has};
use super::{FORMAT, FORMAT_KEY, INFO_KEY, ReadError};
use crate::event::TraceInfo;

/// The version of a trace file's format.
///
/// A minor version adds columns, kinds of rows and words; whoever reads an older one reads a newer one too, without what was
/// added. A major version changes what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Format {
    /// What a reader must know.
    pub major: u16,
    /// What a reader may ignore.
    pub minor: u16,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for Format {
    type Err = std::num::ParseIntError;

    /// Reads `1.0`, or `1` for the same.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
        Ok(Self { major: major.parse()?, minor: minor.parse()? })
    }
}

/// The schema of a new trace file.
pub(super) fn schema(info: &TraceInfo) -> Result<Schema, serde_json::Error> {
    let metadata = HashMap::from([
        (FORMAT_KEY.to_owned(), FORMAT.to_string()),
        (INFO_KEY.to_owned(), serde_json::to_string(info)?),
    ]);
    let columns: Vec<Field> = fields().into_iter().filter(|field| has(field.name(), info)).collect();
    Ok(Schema::new_with_metadata(columns, metadata))
}

/// What the head of a trace file says.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) format: Format,
    pub(super) info: TraceInfo,
    /// The file's schema.
    pub(super) schema: SchemaRef,
    /// Where each of our columns stands in it. Those that it lacks were added after it was written, or no hook filled them.
    pub(super) columns: Vec<Option<usize>>,
    /// Our columns alone, in our order.
    pub(super) projected: SchemaRef,
    /// The dictionaries that our columns refer to.
    pub(super) dictionaries: Vec<i64>,
}

impl Head {
    /// Checks the file's schema; `path` is for the sentences.
    pub(super) fn parse(path: &Path, message: arrow_ipc::Schema) -> Result<Self, ReadError> {
        let foreign = |why: String| ReadError::Foreign { path: path.to_owned(), why };
        if !message.endianness().equals_to_target_endianness() {
            return Err(foreign("its numbers have another byte order than this machine's".to_owned()));
        }
        let schema = try_fb_to_schema(message).map_err(|error| foreign(error.to_string()))?;
        let format = schema
            .metadata()
            .get(FORMAT_KEY)
            .ok_or_else(|| foreign(format!("an Arrow stream without the metadata key `{FORMAT_KEY}`")))?
            .parse::<Format>()
            .map_err(|error| foreign(format!("its `{FORMAT_KEY}` is not a version: {error}")))?;
        if format.major > FORMAT.major {
            return Err(ReadError::NewerFormat { path: path.to_owned(), found: format });
        }
        if format.major < FORMAT.major {
            return Err(foreign(format!("there never was a trace format {format}")));
        }
        let info = parse_info(path, &schema)?;
        let columns = find_columns(path, &schema)?;
        let projected = SchemaRef::new(projected(&schema, &columns));
        let dictionaries = dictionaries(&message, &columns);
        Ok(Self { format, info, schema: SchemaRef::new(schema), columns, projected, dictionaries })
    }
}

fn parse_info(path: &Path, schema: &Schema) -> Result<TraceInfo, ReadError> {
    let wrong = |why: String| ReadError::Info { path: path.to_owned(), why };
    let json = schema.metadata().get(INFO_KEY).ok_or_else(|| wrong("the key is missing".to_owned()))?;
    serde_json::from_str(json).map_err(|error| wrong(error.to_string()))
}

/// Where each of our columns stands in the file's schema.
fn find_columns(path: &Path, schema: &Schema) -> Result<Vec<Option<usize>>, ReadError> {
    let place = |field: &Field| {
        let wrong = |problem| ReadError::Column { path: path.to_owned(), column: field.name().clone(), problem };
        match schema.column_with_name(field.name()) {
            Some((place, found)) if found.data_type() == field.data_type() => Ok(Some(place)),
            Some((_, found)) => {
                Err(wrong(format!("has the type {} instead of {}", found.data_type(), field.data_type())))
            }
            None if ADDED.contains(&field.name().as_str()) => Ok(None),
            None => Err(wrong("is missing".to_owned())),
        }
    };
    fields().iter().map(place).collect()
}

/// Our columns, as the file has them where it does.
fn projected(schema: &Schema, columns: &[Option<usize>]) -> Schema {
    let column = |(place, ours): (&Option<usize>, Field)| {
        let found = place.and_then(|place| schema.fields().get(place));
        found.map_or_else(|| FieldRef::new(ours), Arc::clone)
    };
    let columns: Vec<FieldRef> = columns.iter().zip(fields()).map(column).collect();
    Schema::new_with_metadata(columns, schema.metadata().clone())
}

fn dictionaries(message: &arrow_ipc::Schema, columns: &[Option<usize>]) -> Vec<i64> {
    let Some(fields) = message.fields() else { return Vec::new() };
    let ours = columns.iter().flatten().filter(|place| **place < fields.len());
    ours.filter_map(|place| fields.get(*place).dictionary()).map(|dictionary| dictionary.id()).collect()
}

//! SCHEMA.md says what the file holds: its table of columns is compared with the code.

use super::super::columns::fields;
use super::super::names::Name;
use super::super::rows::{RowKind, columns_by_kind};
use super::super::{BATCH_ROWS, FORMAT, FORMAT_KEY, INFO_KEY};
use crate::event::{LossReason, MarkKind};
use arrow_schema::{DataType, Field};
use tracer_common::Hook;

const SCHEMA_MD: &str = include_str!("../../../../SCHEMA.md");

fn type_name(field: &Field) -> String {
    match field.data_type() {
        DataType::Dictionary(..) => "Dictionary(Int8, Utf8)".to_owned(),
        other => other.to_string(),
    }
}

/// The kinds that have this column, as the table writes them.
fn kinds_of(column: &str) -> String {
    let all = columns_by_kind();
    let having = |wanted: bool| {
        let kinds = all.iter().filter(|(_, columns)| columns.contains(&column) == wanted);
        kinds.map(|(kind, _)| *kind).collect::<Vec<_>>().join(", ")
    };
    match having(false).as_str() {
        "" => "all".to_owned(),
        "mark" => "all but mark".to_owned(),
        "loss, mark" => "all but loss, mark".to_owned(),
        _ => having(true),
    }
}

#[test]
fn the_table_of_columns_is_that_of_the_code() {
    let table: Vec<Vec<String>> = SCHEMA_MD
        .lines()
        .skip_while(|line| !line.starts_with("| column |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect())
        .collect();
    let code: Vec<[String; 3]> =
        fields().iter().map(|field| [field.name().clone(), type_name(field), kinds_of(field.name())]).collect();
    let documented: Vec<[String; 3]> =
        table.iter().map(|row| [row[0].clone(), row[1].clone(), row[4].clone()]).collect();
    assert_eq!(documented, code);
    assert!(table.iter().flatten().all(|cell| !cell.is_empty()), "an empty cell");
}

#[test]
fn every_word_and_key_is_documented() {
    let kinds = RowKind::ALL.iter().map(|name| name.name());
    let hooks = Hook::ALL.iter().map(|name| name.name());
    let reasons = LossReason::ALL.iter().map(|name| name.name());
    let marks = MarkKind::ALL.iter().map(|name| name.name());
    for word in kinds.chain(hooks).chain(reasons).chain(marks).chain([FORMAT_KEY, INFO_KEY]) {
        assert!(SCHEMA_MD.contains(&format!("`{word}`")), "`{word}` is not in SCHEMA.md");
    }
    assert!(SCHEMA_MD.contains(&format!("format {FORMAT}")));
    assert!(SCHEMA_MD.contains(&BATCH_ROWS.to_string()));
}

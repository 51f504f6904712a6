//! `eptrace export`: every format holds what the trace file holds, appears whole or not at all, and says when the recording was torn.
//! The recording is a real one: `demos herd --mode lt --workers 4 --connections 60` on Linux 6.1.

use std::fs::{self, File};
use std::io::{BufRead as _, Read as _};
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use arrow_array::{Array as _, RecordBatch};
use eptrace::model::Model;
use eptrace::output::lines;
use eptrace::trace_file::{INFO_KEY, Reader};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

fn recording() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/herd-lt.eptrace")
}

fn export(file: &Path, format: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_eptrace"));
    command.arg("export").arg(file).args(["--format", format]).stdin(Stdio::null());
    command
}

fn into_file(file: &Path, format: &str, out: &Path) -> Output {
    export(file, format).arg("-o").arg(out).output().expect("eptrace starts")
}

fn exported(format: &str) -> Vec<u8> {
    let output = export(&recording(), format).output().expect("eptrace starts");
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn batches() -> Vec<RecordBatch> {
    let mut reader = Reader::open(recording()).expect("a recording");
    let mut batches = Vec::new();
    while let Some(batch) = reader.next_rows().expect("a whole recording") {
        batches.push(batch);
    }
    assert!(reader.torn().is_none());
    batches
}

fn rows(batches: &[RecordBatch]) -> usize {
    batches.iter().map(RecordBatch::num_rows).sum()
}

/// A recording that ends in the middle of a batch.
fn torn(folder: &Path) -> PathBuf {
    let path = folder.join("torn.eptrace");
    let whole = fs::read(recording()).expect("the recording");
    fs::write(&path, &whole[..whole.len() - 40]).expect("a file");
    path
}

#[test]
fn parquet_holds_every_row_and_column_and_the_metadata() {
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(exported("parquet"))).expect("parquet");
    let schema = builder.schema().clone();
    let facts = builder.metadata().file_metadata().key_value_metadata().cloned().unwrap_or_default();
    let read: Vec<RecordBatch> = builder.build().expect("rows").map(|batch| batch.expect("rows")).collect();
    let written = batches();
    assert_eq!(rows(&read), rows(&written));
    assert_eq!(schema.fields(), written[0].schema().fields());
    let value = |key: &str| facts.iter().find(|fact| fact.key == key).and_then(|fact| fact.value.clone());
    assert_eq!(value(INFO_KEY), written[0].schema().metadata().get(INFO_KEY).cloned());
    assert_eq!(value("eptrace.torn"), None);
    // Words are compared by DuckDB (`cargo xtask test`): their numbers need not be the same.
    for name in ["ts_ns", "ep", "woken_tid", "comm", "ret"] {
        let cells = |batches: &[RecordBatch]| -> Vec<String> {
            let columns = batches.iter().map(|batch| batch.column_by_name(name).expect("a column").clone());
            columns.flat_map(|column| (0..column.len()).map(move |row| cell(&column, row))).collect()
        };
        assert_eq!(cells(&read), cells(&written), "{name}");
    }
}

/// One cell as text, by Arrow's own means.
fn cell(column: &arrow_array::ArrayRef, row: usize) -> String {
    format!("{:?}", column.slice(row, 1))
}

#[test]
fn csv_has_a_line_of_names_and_a_line_per_row() {
    let bytes = exported("csv");
    let mut reader = csv::Reader::from_reader(bytes.as_slice());
    let written = batches();
    let names: Vec<String> = written[0].schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(reader.headers().expect("names").iter().collect::<Vec<_>>(), names);
    let kind = names.iter().position(|name| name == "kind").expect("kind");
    let comm = names.iter().position(|name| name == "comm").expect("comm");
    let read: Vec<csv::StringRecord> = reader.records().map(|row| row.expect("a row")).collect();
    assert_eq!(read.len(), rows(&written));
    assert_eq!(&read[read.len() - 1][kind], "mark");
    assert!(read.iter().any(|row| &row[kind] == "task-name" && row[comm].starts_with("herd-w")));
}

#[test]
fn json_lines_are_those_of_a_live_trace() {
    let mut reader = Reader::open(recording()).expect("a recording");
    let info = reader.info().clone();
    let (mut model, mut events, mut expected) = (Model::new(), Vec::new(), String::new());
    while reader.next_batch(&mut events).expect("a whole recording") {}
    for event in &events {
        model.apply(event);
        expected.push_str(&lines::json_line(event, &info, &model));
    }
    assert_eq!(String::from_utf8(exported("jsonl")).expect("text"), expected);
    for line in exported("jsonl").lines() {
        let line: serde_json::Value = serde_json::from_str(&line.expect("text")).expect("one object");
        assert_eq!(line["kind"], "event");
    }
}

#[test]
fn a_file_and_standard_output_get_the_same_bytes() {
    let folder = tempfile::tempdir().expect("a folder");
    for format in ["perfetto", "parquet", "jsonl", "csv"] {
        let path = folder.path().join(format);
        let output = into_file(&recording(), format, &path);
        assert!(
            output.status.success() && output.stdout.is_empty() && output.stderr.is_empty(),
            "{format}: {output:?}"
        );
        assert_eq!(fs::read(&path).expect("the file"), exported(format), "{format}");
    }
    let names = fs::read_dir(folder.path()).expect("the folder").count();
    assert_eq!(names, 4, "something was left beside the files");
}

#[test]
fn an_export_that_fails_leaves_what_was_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let damaged = folder.path().join("damaged.eptrace");
    let mut bytes = fs::read(recording()).expect("the recording");
    let middle = bytes.len() / 2;
    bytes.splice(middle..middle, [0x55; 64]);
    fs::write(&damaged, bytes).expect("a file");
    let out = folder.path().join("out");
    fs::write(&out, "before").expect("a file");
    for format in ["perfetto", "parquet", "jsonl", "csv"] {
        let output = into_file(&damaged, format, &out);
        assert_eq!(output.status.code(), Some(2), "{format}: {output:?}");
        assert_eq!(fs::read(&out).expect("the file"), b"before", "{format}");
    }
    assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), 2, "something was left beside the file");
}

#[test]
fn a_torn_recording_is_exported_up_to_the_tear_and_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let (torn, out) = (torn(folder.path()), folder.path().join("out"));
    for format in ["perfetto", "parquet", "jsonl", "csv"] {
        let output = into_file(&torn, format, &out);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{format}: {said}");
        assert!(said.contains("ended without its end"), "{format}: {said}");
        assert!(fs::metadata(&out).expect("the file").len() > 0, "{format}");
    }
    into_file(&torn, "parquet", &out);
    let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(&out).expect("the file")).expect("parquet");
    let facts = builder.metadata().file_metadata().key_value_metadata().cloned().unwrap_or_default();
    assert!(facts.iter().any(|fact| fact.key == "eptrace.torn"));
}

#[test]
fn binary_formats_are_not_written_to_a_terminal() {
    for (format, refused) in [("perfetto", true), ("parquet", true), ("csv", false)] {
        let (mut ours, mut theirs) = (-1, -1);
        let null = std::ptr::null_mut();
        // SAFETY: two places for descriptors; no name, no settings, no size.
        let made = unsafe { libc::openpty(&raw mut ours, &raw mut theirs, null, null.cast(), null.cast()) };
        assert_eq!(made, 0, "no pseudo-terminal");
        // SAFETY: openpty has just made both for us.
        let (ours, theirs) = unsafe { (OwnedFd::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs)) };
        let child = export(&recording(), format).stdout(theirs).stderr(Stdio::piped()).spawn().expect("eptrace starts");
        // The other end fails when nobody holds the terminal any more.
        let reader = std::thread::spawn(move || {
            let mut seen = Vec::new();
            let _ = File::from(ours).read_to_end(&mut seen);
            seen
        });
        let output = child.wait_with_output().expect("it ends");
        let seen = reader.join().expect("it ends");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(if refused { 2 } else { 0 }), "{format}: {said}");
        assert_eq!(seen.is_empty(), refused, "{format}");
        assert_eq!(said.contains("give a file with -o"), refused, "{format}: {said}");
    }
}

#[test]
fn whoever_stops_reading_causes_no_error() {
    for format in ["perfetto", "parquet", "jsonl", "csv"] {
        let mut child =
            export(&recording(), format).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{format}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stderr.is_empty(), "{format}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

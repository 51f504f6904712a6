//! A story told: what was done, what the kernel did of it, event by event, and the numbers.
//!
//! In: a story, its events. Out: text.

use std::fmt::Write as _;

use serde_json::Value;

use crate::demos::steps::{kernel, within};
use crate::demos::story::{Run, Story, Table};

/// As many events of a step are told one by one.
const LINES: usize = 12;

/// The story as text, with tables at its end.
pub(crate) fn tell(run: &Run, story: &Story, tables: &[&Table]) -> String {
    let mut text = String::new();
    let mut scene = None;
    // Writing to a String does not fail.
    for (number, step) in (1..).zip(&story.steps) {
        if scene != Some(&step.scene) {
            let _ = writeln!(text, "\n{}", step.scene);
            scene = Some(&step.scene);
        }
        let _ = writeln!(text, "{number:>4}. {}", step.did);
        let lines: Vec<String> = within(step, &run.events).filter_map(|event| line(event, step.from_ns)).collect();
        for line in lines.iter().take(LINES) {
            let _ = writeln!(text, "        {line}");
        }
        if lines.len() > LINES {
            let _ = writeln!(text, "        ... {} more", lines.len() - LINES);
        }
        let saw: Vec<String> =
            step.saw.iter().filter(|(key, _)| *key != "delivered").map(|(k, v)| pair(k, v)).collect();
        let _ = writeln!(text, "      the program: {}", list(&saw, "nothing"));
        let did: Vec<String> = kernel(within(step, &run.events))
            .iter()
            .filter(|(_, number)| **number != 0)
            .map(|(key, number)| pair(key, number))
            .collect();
        let _ = writeln!(text, "      the kernel:  {}", list(&did, "nothing"));
    }
    for missing in &story.missing {
        let _ = writeln!(text, "\nnot here: {missing}");
    }
    for table in tables {
        let _ = writeln!(text, "\n{}", grid(table));
    }
    text
}

/// A table with its columns one under another: the first and the last to the left, the others to the right.
pub(crate) fn grid(table: &Table) -> String {
    let lines = || std::iter::once(&table.columns).chain(&table.rows);
    let width = |column: usize| lines().filter_map(|line| Some(line.get(column)?.chars().count())).max().unwrap_or(0);
    let widths: Vec<usize> = (0..table.columns.len()).map(width).collect();
    let row = |line: &Vec<String>| -> String {
        let cells = line.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| match column {
            0 => format!("{cell:<width$}"),
            last if last + 1 == widths.len() => cell.clone(),
            _ => format!("{cell:>width$}"),
        });
        cells.collect::<Vec<_>>().join("  ")
    };
    std::iter::once(table.title.clone())
        .chain(lines().map(|line| format!("  {}", row(line))))
        .collect::<Vec<_>>()
        .join("\n")
}

fn pair(key: &str, value: &Value) -> String {
    format!("{} {value}", key.replace('_', " "))
}

fn list(words: &[String], none: &str) -> String {
    if words.is_empty() { none.to_owned() } else { words.join(", ") }
}

/// One event in a line; None for those that a story does without. Microseconds are since the step began.
fn line(event: &Value, from_ns: u64) -> Option<String> {
    let text = |key: &str| event[key].as_str().unwrap_or("?").to_owned();
    let ret = || event["errno"].as_str().map_or_else(|| event["ret"].to_string(), |errno| format!("-1 {errno}"));
    let what = match event["event"].as_str()? {
        "ctl" => {
            let mask = event["events"].as_str().map(|mask| format!(", {mask}")).unwrap_or_default();
            format!("epoll_ctl({}, fd {}{mask}) = {}", text("op"), event["fd"], ret())
        }
        "hooked" => format!("an item for fd {} hangs in wait queue {}", event["fd"], text("whead")),
        "callback" => {
            let key = if event["key"] == "0" { "anything".to_owned() } else { text("key") };
            let nested = if event["parent_ts_ns"].is_null() { "" } else { ", nested in the one before" };
            format!("callback fd {}: {key} announced: {}{nested}", event["fd"], text("outcome"))
        }
        "wake" => format!("wakes task {}, by {}", event["woken_tid"], text("cause")),
        "path" => format!("is on CPU {}", event["cpu"]),
        "scan" => {
            let notes: Vec<&str> = event["notes"].as_array()?.iter().filter_map(Value::as_str).collect();
            format!(
                "scan of the ready list: {}",
                if notes.is_empty() { "no item is left".to_owned() } else { notes.join(", ") }
            )
        }
        "wait-exit" => {
            let events = event["events"].as_str().map(|events| format!(": {events}")).unwrap_or_default();
            format!("epoll_wait() = {}{events}", ret())
        }
        "accept" => format!("accept() = {}", ret()),
        _ => return None,
    };
    let us = event["ts_ns"].as_u64()?.saturating_sub(from_ns) / 1000;
    let task = event["tid"].as_u64()?;
    Some(format!("{us:>6} µs  task {task}: {what}"))
}

#[cfg(test)]
mod tests {
    use super::{grid, line};
    use crate::demos::story::Table;
    use serde_json::json;

    #[test]
    fn the_columns_of_a_table_stand_one_under_another() {
        let words = |line: [&str; 3]| line.map(str::to_owned).to_vec();
        let table = Table {
            title: "t".into(),
            columns: words(["a", "number", "why"]),
            rows: vec![words(["long", "1", "x"]), words(["b", "23", "y"])],
        };
        assert_eq!(grid(&table), "t\n  a     number  why\n  long       1  x\n  b         23  y");
    }

    #[test]
    fn events_are_told_in_words_and_what_a_story_does_without_is_not() {
        let callback = json!({"event": "callback", "ts_ns": 5000, "tid": 3, "fd": 6, "key": "EPOLLIN", "outcome": "linked",
            "parent_ts_ns": null});
        assert_eq!(line(&callback, 2000).unwrap(), "     3 µs  task 3: callback fd 6: EPOLLIN announced: linked");
        let refused = json!({"event": "ctl", "ts_ns": 0, "tid": 3, "op": "EPOLL_CTL_ADD", "fd": 4, "events": "EPOLLIN",
            "ret": -40, "errno": "ELOOP"});
        assert!(line(&refused, 0).unwrap().ends_with("epoll_ctl(EPOLL_CTL_ADD, fd 4, EPOLLIN) = -1 ELOOP"));
        assert!(line(&json!({"event": "file-info"}), 0).is_none());
    }
}

//! The documents are those of these judges, and every prediction can come out otherwise.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::document::markdown;
use super::expected::record;
use super::facts::Facts;
use super::judge::Verdict;
use super::{How, judges};
use crate::setup::guest_build;

#[test]
fn the_document_has_every_statement_and_no_other() {
    let record = record().unwrap();
    let written: Vec<(&str, &str)> =
        record.claims.iter().map(|claim| (claim.id.as_str(), claim.statement.as_str())).collect();
    let all: Vec<(&str, &str)> = judges::all().map(|claim| (claim.id, claim.says)).collect();
    assert_eq!(written, all, "run `cargo xtask claims` again");
}

#[test]
fn the_page_is_what_the_numbers_give() {
    let page = std::fs::read_to_string(guest_build::workspace().join("docs/claims.md")).unwrap();
    assert_eq!(page, markdown(&record().unwrap()), "docs/claims.md was changed by hand, or is older than its program");
}

#[test]
fn every_verdict_follows_from_the_numbers_beside_it() {
    let record = record().unwrap();
    let again = record.again();
    for (again, written) in again.claims.iter().zip(&record.claims) {
        assert_eq!(again, written);
    }
    assert_eq!(again.interview, record.interview);
}

/// Other answers that a kernel might have given.
fn others(value: &Value) -> Vec<Value> {
    match value {
        Value::Number(number) => {
            let number = number.as_u64().unwrap_or(0);
            // Beside numbers near it those that statements speak of.
            let said = [0, 1, 2, 3, 10, 20, 50, 100, 256, 400, 944];
            let near = [number + 1, number.saturating_sub(1), number / 2, 10 * number + 1000];
            near.into_iter().chain(said).map(Value::from).collect()
        }
        Value::Bool(yes) => vec![json!(!yes)],
        Value::String(_) => {
            ["x", "1", "40000018", "40000019", "EPERM", "spinlock_t", "struct rw_semaphore", "no such member"]
                .map(Value::from)
                .into()
        }
        Value::Array(items) => {
            let mut all = vec![
                json!([]),
                json!(["x"]),
                json!([0]),
                json!([1]),
                json!([10, 10]),
                json!([5, 5, 5, 5]),
                json!([20, 0, 0, 0]),
            ];
            for (index, item) in items.iter().enumerate() {
                all.extend(others(item).into_iter().map(|other| {
                    let mut changed = items.clone();
                    changed[index] = other;
                    json!(changed)
                }));
            }
            all
        }
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(key, field)| {
                others(field).into_iter().map(move |other| {
                    let mut changed = fields.clone();
                    changed.insert(key.clone(), other);
                    Value::Object(changed)
                })
            })
            .chain([json!({}), json!({"other": 100_000})])
            .collect(),
        Value::Null => Vec::new(),
    }
}

/// All sets of answers that differ from these in one.
fn changed(numbers: &BTreeMap<String, Value>) -> Vec<BTreeMap<String, Value>> {
    let one = |(name, value): (&String, &Value)| {
        let change = |other: Value| {
            let mut changed = numbers.clone();
            changed.insert(name.clone(), other);
            changed
        };
        others(value).into_iter().map(change).collect::<Vec<_>>()
    };
    numbers.iter().flat_map(one).collect()
}

/// A prediction that agrees, or does not, whatever the kernel does would decide nothing.
#[test]
fn every_prediction_could_have_come_out_otherwise() {
    let record = record().unwrap();
    for (claim, written) in judges::all().zip(&record.claims) {
        let How::Run { judge, .. } = claim.how else { continue };
        let on = written.kernels.iter().find(|on| on.not_run.is_none());
        let on = on.unwrap_or_else(|| panic!("{} was not run on any kernel", claim.id));
        let mut turned = vec![false; on.points.len()];
        for numbers in changed(&on.numbers) {
            let Ok(points) = judge(&Facts::again(numbers)) else { continue };
            for ((turned, now), then) in turned.iter_mut().zip(&points).zip(&on.points) {
                *turned |= now.agrees != then.agrees;
            }
        }
        for (turned, point) in turned.iter().zip(&on.points) {
            assert!(*turned, "{}: no other number changes `{}`", claim.id, point.what);
        }
    }
}

#[test]
fn statements_that_the_chapter_gets_wrong_are_not_all_there_is() {
    let record = record().unwrap();
    for verdict in [Verdict::Holds, Verdict::Imprecise, Verdict::Wrong] {
        assert!(record.claims.iter().any(|claim| claim.verdict == verdict.to_string()), "nothing is {verdict}");
    }
}

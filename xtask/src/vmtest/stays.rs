//! The demo `stays`: every way to a ready list and from it, each a known number of times. A report's reasons must be the demo's own.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::recorded::{Said, equal, jobs, said};
use super::skipped;
use crate::vmtest::Case;

/// In how many stays one record that the kernel skipped can show: those of one wait, by why they came and why they went.
const SHOWS: u64 = 16;

pub(super) fn cases() -> Vec<Case> {
    ["fentry", "kprobe"].map(case).into()
}

fn case(backend: &'static str) -> Case {
    Case {
        name: format!("every reason of a stay on the ready list is the demo's own with {backend}"),
        jobs: jobs(backend, &[], &["demos", "stays", "--json"], []),
        check: Box::new(move |results| {
            let Said { demo, report, outcome } = said(results, backend)?;
            let lost = skipped::lost(&report)?;
            if lost == 0 {
                equal(&outcome)?;
            }
            judge(&demo, &report["ready_list"], lost * SHOWS)
        }),
    }
}

/// Each reason as often as the demo says, but for so many stays.
fn judge(demo: &Value, ready_list: &Value, allowed: u64) -> Result<()> {
    ensure!(demo["missing"].as_array().is_some_and(Vec::is_empty), "not every way was gone: {}", demo["missing"]);
    let mut differ = number(&ready_list["ambiguous"])? + number(&ready_list["unmatched"])?;
    for what in ["came", "went"] {
        let (truth, traced) = (&demo[what], &ready_list[what]);
        let reasons = truth.as_object().with_context(|| format!("the demo does not say what {what}"))?;
        let told = traced.as_object().map_or(0, serde_json::Map::len);
        ensure!(told == reasons.len(), "{what}: the demo names {truth}, the report {traced}");
        for (why, times) in reasons {
            differ += number(times)?.abs_diff(number(&traced[why])?);
        }
    }
    differ += number(&demo["faults"])?.abs_diff(number(&ready_list["faults"])?);
    ensure!(
        differ <= allowed,
        "{differ} stays differ, of {allowed} that may: the demo says {demo}, the report {ready_list}"
    );
    Ok(())
}

fn number(value: &Value) -> Result<u64> {
    value.as_u64().with_context(|| format!("{value} is no count"))
}

#[cfg(test)]
mod tests {
    use super::judge;
    use serde_json::{Value, json};

    #[test]
    fn a_reason_that_is_not_the_demos_or_a_way_that_was_not_gone_is_a_failure() {
        let demo = json!({"missing": [], "came": {"callback": 2}, "went": {"delivered": 2}, "faults": 1});
        let ready =
            json!({"came": {"callback": 2}, "went": {"delivered": 2}, "faults": 1, "ambiguous": 0, "unmatched": 0});
        assert!(judge(&demo, &ready, 0).is_ok());
        for (key, value) in [
            ("came", json!({"callback": 1})),
            ("went", json!({"delivered": 1})),
            ("faults", json!(0)),
            ("unmatched", json!(1)),
            ("came", json!({"callback": 2, "unknown": 0})),
            ("came", Value::Null),
        ] {
            let mut other = ready.clone();
            other[key] = value;
            assert!(judge(&demo, &other, 0).is_err(), "{key}");
        }
        let mut few = ready.clone();
        few["came"]["callback"] = json!(1);
        assert!(judge(&demo, &few, 1).is_ok());
        let mut other = demo.clone();
        other["missing"] = json!(["a scan that is held up"]);
        assert!(judge(&other, &ready, 100).is_err());
        assert!(judge(&json!({"missing": []}), &json!({"ambiguous": 0, "unmatched": 0}), 100).is_err());
    }
}

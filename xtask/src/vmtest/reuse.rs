//! The scene `reuse` of the demo `life`: eventpolls whose numbers come back, and whose addresses the kernel uses again. Each is one of its
//! own.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::recorded::{self, Said, audited};
use crate::vmtest::Case;

const DEMO: &[&str] = &["demos", "life", "--only", "reuse", "--json"];

pub(super) fn cases() -> Vec<Case> {
    let what = "eventpolls at the same address, one after another, are told apart";
    let ends = Some("\"eventpoll-gone\"");
    recorded::cases(what, (&["--audit"], DEMO), ends, |Said { demo, report, .. }, ends| {
        audited(report)?;
        judge(demo, report, ends)
    })
}

/// An item each, an end each, and fewer addresses than eventpolls. The demo makes one eventpoll for each ADD.
fn judge(demo: &Value, report: &Value, ends: &[Value]) -> Result<()> {
    let made = demo.pointer("/truth/ctl_add").and_then(Value::as_u64).context("the demo counts no ADD")?;
    let made = usize::try_from(made)?;
    ensure!(ends.len() == made, "{} eventpolls ended, not {made}", ends.len());
    let addresses: BTreeSet<&str> = ends.iter().filter_map(|end| end["ep"].as_str()).collect();
    let again = !addresses.is_empty() && addresses.len() < made;
    ensure!(again, "{} addresses of {made} eventpolls: none was used again", addresses.len());
    let told = report["eventpolls"].as_array().map_or(&[][..], Vec::as_slice);
    ensure!(told.len() == made, "the report tells of {} eventpolls, not of {made}", told.len());
    for eventpoll in told {
        let one = eventpoll["items_ever"] == 1 && eventpoll["items"] == 0 && eventpoll["alive"] == false;
        ensure!(one, "an eventpoll had one item and ended, and the report says {eventpoll}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::judge;
    use serde_json::{Value, json};

    #[test]
    fn eventpolls_that_are_taken_for_one_and_addresses_that_never_come_back_are_failures() {
        let judged = |told: usize, items_ever: u64, ended: usize, addresses: usize| {
            let one = json!({"items": 0, "items_ever": items_ever, "alive": false});
            let ends: Vec<Value> = (0..ended).map(|n| json!({"ep": format!("{:#x}", n % addresses)})).collect();
            judge(&json!({"truth": {"ctl_add": 9}}), &json!({"eventpolls": vec![one; told]}), &ends).is_ok()
        };
        assert!(judged(9, 1, 9, 3));
        assert!(!judged(9, 1, 9, 9));
        assert!(!judged(9, 1, 8, 3));
        assert!(!judged(3, 1, 9, 3));
        assert!(!judged(9, 2, 9, 3));
    }
}

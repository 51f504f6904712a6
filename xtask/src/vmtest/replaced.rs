//! The demo `replaced`: descriptors that stand for another file from one moment to the next. A probe may have found another file than the kernel
//! did: no eventpoll may come to life by that, and no item be another eventpoll's.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::recorded::{self, Said, audited};
use crate::vmtest::Case;

const DEMO: &[&str] = &["demos", "replaced", "--json"];

pub(super) fn cases() -> Vec<Case> {
    let what = "descriptors that other files get while they are used mean what the kernel finds behind them";
    recorded::cases(what, (&["--audit"], DEMO), Some("\"eventpoll-gone\""), |Said { demo, report, .. }, ends| {
        audited(report)?;
        judge(demo, report, ends)
    })
}

/// As many eventpolls as there were, all ended, with as many items as were added.
fn judge(demo: &Value, report: &Value, ends: &[Value]) -> Result<()> {
    let number = |key: &str| demo[key].as_u64().with_context(|| format!("the demo does not say {key}"));
    let (made, added) = (number("epolls")?, number("added")?);
    ensure!(ends.len() as u64 == made, "{} eventpolls ended, not {made}", ends.len());
    let told = report["eventpolls"].as_array().map_or(&[][..], Vec::as_slice);
    ensure!(told.len() as u64 == made, "the report tells of {} eventpolls, not of {made}", told.len());
    for eventpoll in told {
        let over = eventpoll["items"] == 0 && eventpoll["alive"] == false;
        ensure!(over, "every eventpoll has ended, and the report says {eventpoll}");
    }
    let items: u64 = told.iter().filter_map(|eventpoll| eventpoll["items_ever"].as_u64()).sum();
    ensure!(items == added, "the report tells of {items} items, and {added} were added");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::judge;
    use serde_json::{Value, json};

    #[test]
    fn eventpolls_that_never_were_and_items_of_none_are_failures() {
        let judged = |told: usize, items_ever: u64, ended: usize, alive: bool| {
            let one = json!({"items": 0, "items_ever": items_ever, "alive": alive});
            let ends = vec![Value::Null; ended];
            judge(&json!({"epolls": 9, "added": 18}), &json!({"eventpolls": vec![one; told]}), &ends).is_ok()
        };
        assert!(judged(9, 2, 9, false));
        assert!(!judged(10, 2, 9, false));
        assert!(!judged(9, 1, 9, false));
        assert!(!judged(9, 2, 8, false));
        assert!(!judged(9, 2, 9, true));
    }
}

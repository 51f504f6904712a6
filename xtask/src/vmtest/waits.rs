//! The scene `waits` of the demo `life`: every wait has the descriptor, the time and the room that the program gave it, and the end that
//! it had.

use anyhow::{Context as _, Result, ensure};
use nix::errno::Errno;
use serde_json::Value;

use super::calls::{Call, traced};
use super::recorded::{self, Said};
use crate::vmtest::Case;

const DEMO: &[&str] = &["demos", "life", "--only", "waits", "--json"];

pub(super) fn cases() -> Vec<Case> {
    let what = "every wait has the time that the program gave it and ends as it did";
    recorded::cases(what, (&[], DEMO), None, |Said { demo, .. }, events| judge(demo, events))
}

/// The waits of the demo's one task, with descriptor, time, room and end.
fn judge(demo: &Value, events: &[Value]) -> Result<()> {
    let made = demo["waits"].as_array().filter(|waits| !waits.is_empty()).context("the demo says nothing of waits")?;
    let pid = demo["pid"].as_u64().context("the demo does not say who it is")?;
    let calls = traced(events)?.remove(&pid).unwrap_or_default();
    let found: Vec<Wait> = calls.iter().filter_map(wait).collect();
    ensure!(found.len() == made.len(), "{} waits were traced, {} were made", found.len(), made.len());
    for (found, made) in found.iter().zip(made) {
        let number = |key: &str| made[key].as_i64().with_context(|| format!("no {key} in {made}"));
        let end = match i32::try_from(number("ret")?)? {
            ret if ret < 0 => Err(format!("{:?}", Errno::from_raw(-ret))),
            ret => Ok(ret.into()),
        };
        let made = ([number("epfd")?, number("timeout_ns")?, number("maxevents")?], end);
        ensure!(*found == made, "a wait (epfd, timeout_ns, maxevents; end) {made:?} was traced as {found:?}");
    }
    Ok(())
}

/// Descriptor, time and room, and the end.
type Wait = ([i64; 3], Result<i64, String>);

fn wait(call: &Call) -> Option<Wait> {
    let Call::Wait { epfd, timeout_ns, maxevents, end, .. } = call else { return None };
    Some(([*epfd, *timeout_ns, *maxevents], end.clone()))
}

#[cfg(test)]
mod tests {
    use super::judge;
    use serde_json::json;

    #[test]
    fn a_wait_with_another_time_or_another_end_is_a_failure() {
        let demo = json!({"pid": 5, "waits": [
            {"epfd": 3, "timeout_ns": 700_001, "maxevents": 1, "ret": -4},
            {"epfd": 3, "timeout_ns": -1, "maxevents": 1, "ret": 1}]});
        let enter =
            |timeout: i64| json!({"event": "wait-enter", "epfd": 3, "timeout_ns": timeout, "maxevents": 1, "tid": 5});
        let exit =
            |ret: i64| json!({"event": "wait-exit", "ret": ret, "errno": (ret < 0).then_some("EINTR"), "tid": 5});
        assert!(judge(&demo, &[enter(700_001), exit(-4), enter(-1), exit(1)]).is_ok());
        assert!(judge(&demo, &[enter(700_000), exit(-4), enter(-1), exit(1)]).is_err());
        assert!(judge(&demo, &[enter(700_001), exit(0), enter(-1), exit(1)]).is_err());
        assert!(judge(&demo, &[enter(700_001), exit(-4), enter(-1)]).is_err());
        assert!(judge(&demo, &[enter(700_001), exit(-4)]).is_err());
        assert!(judge(&json!({"pid": 5, "waits": []}), &[]).is_err());
    }
}

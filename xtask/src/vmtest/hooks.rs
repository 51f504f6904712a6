//! Every hook of the catalogue attaches on every kernel of the matrix, with either backend: a hook that a kernel should support
//! and that was skipped is a failure.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::herd::outcome::json;
use crate::vm::plan::Job;
use crate::vmtest::Case;

const TIMEOUT_S: u64 = 120;
/// Hooks of eptrace's catalogue, the audit's included.
const HOOKS: usize = 12;
/// What serves a hook whatever the backend.
const NEUTRAL: [&str; 2] = ["raw-tracepoint", "iter"];

pub(super) fn cases() -> Vec<Case> {
    ["fentry", "kprobe"].map(case).into()
}

fn case(backend: &'static str) -> Case {
    Case {
        name: format!("every hook attaches with {backend}"),
        jobs: vec![Job::new("the check", &["eptrace", "check", "--json", "--backend", backend], TIMEOUT_S)],
        check: Box::new(move |results| all_attached(&json(&results[0], "eptrace check")?, backend)),
    }
}

fn all_attached(check: &Value, backend: &str) -> Result<()> {
    let hooks = check.get("hooks").and_then(Value::as_array).context("the check has no hooks")?;
    ensure!(hooks.len() == HOOKS, "{} hooks were tried, not {HOOKS}: {}", hooks.len(), check["sentence"]);
    for hook in hooks {
        let text = |key: &str| hook.get(key).and_then(Value::as_str).with_context(|| format!("no {key} in {hook}"));
        let (name, held) = (text("hook")?, text("backend")?);
        ensure!(held == backend || NEUTRAL.contains(&held), "{name} should be served by {backend} and is not: {hook}");
    }
    ensure!(check["traceable"] == true, "{}", check["sentence"]);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::all_attached;
    use serde_json::json;

    #[test]
    fn a_hook_that_is_not_served_by_the_backend_is_a_failure() {
        let check = |backend: &str| {
            let mut hooks = vec![json!({"hook": "scan", "backend": "fentry"}); super::HOOKS - 2];
            hooks.push(json!({"hook": "lifecycle", "backend": "raw-tracepoint"}));
            hooks.push(json!({"hook": "audit", "backend": backend}));
            json!({"traceable": true, "sentence": "s", "hooks": hooks})
        };
        assert!(all_attached(&check("fentry"), "fentry").is_ok());
        assert!(all_attached(&check("kprobe"), "fentry").is_err());
        assert!(all_attached(&check(""), "fentry").is_err());
        assert!(all_attached(&json!({"traceable": false, "sentence": "s", "hooks": []}), "fentry").is_err());
    }
}

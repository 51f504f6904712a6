//! Every hook of the catalogue attaches on every kernel of the matrix, with either backend: a hook that a kernel should support
//! and that was skipped is a failure. So is a function that the kernel's BTF describes otherwise than the probes know it.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::herd::outcome::json;
use crate::vm::plan::Job;
use crate::vmtest::Case;

const TIMEOUT_S: u64 = 120;
/// Hooks of eptrace's catalogue, those of options included.
const HOOKS: usize = 14;
/// Functions that each kernel has of those whose prototypes the probes know.
const PROTOTYPES: usize = 9;
/// What serves a hook whatever the backend.
const NEUTRAL: [&str; 3] = ["raw-tracepoint", "tracepoint", "iter"];

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
        let changed = |why: &Value| why.as_str().is_some_and(|why| why.contains("otherwise than the probes know it"));
        ensure!(!hook["refused"].as_array().is_some_and(|all| all.iter().any(changed)), "a prototype changed: {hook}");
        ensure!(held == backend || NEUTRAL.contains(&held), "{name} should be served by {backend} and is not: {hook}");
    }
    let prototypes = check["prototypes"].as_array().map_or(0, Vec::len);
    ensure!(prototypes >= PROTOTYPES, "{prototypes} prototypes were compared, not {PROTOTYPES}");
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
            json!({"traceable": true, "sentence": "s", "hooks": hooks, "prototypes": vec!["int f(void)"; super::PROTOTYPES]})
        };
        let mut changed = check("fentry");
        changed["hooks"][0]["refused"] = json!(["f is otherwise than the probes know it: int f(int a)"]);
        assert!(all_attached(&changed, "fentry").is_err());
        let mut fewer = check("fentry");
        fewer["prototypes"] = json!([]);
        assert!(all_attached(&fewer, "fentry").is_err());
        assert!(all_attached(&check("fentry"), "fentry").is_ok());
        assert!(all_attached(&check("kprobe"), "fentry").is_err());
        assert!(all_attached(&check(""), "fentry").is_err());
        assert!(all_attached(&json!({"traceable": false, "sentence": "s", "hooks": []}), "fentry").is_err());
    }
}

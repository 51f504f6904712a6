//! Every hook of the catalogue attaches on every kernel of the matrix, with either backend, and with every place that the kernel has:
//! a hook that a kernel should support and that was skipped is a failure. So is a function that the kernel's BTF describes otherwise
//! than the probes know it, and a hook that says of itself that it sees less than it should there, or more.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::version;
use crate::herd::outcome::{json, succeeded};
use crate::vm::plan::Job;
use crate::vmtest::Case;

const TIMEOUT_S: u64 = 120;
/// Hooks of eptrace's catalogue, those of options included.
const HOOKS: usize = 14;
/// What each kernel has at least of the functions, tracepoints and structures that the probes know.
const PROTOTYPES: usize = 14;
/// What serves a hook whatever the backend.
const NEUTRAL: [&str; 3] = ["raw-tracepoint", "tracepoint", "iter"];
/// The first kernel that shows how often it skipped a kprobe.
const SHOWS_SKIPS: (u32, u32) = (6, 7);

/// The kernel's own functions of epoll, and its system calls.
const HAS: &str = r"
sed -nE 's/^[0-9a-f]+ [tTwW] ((do_|io_)?e(p|poll|ventpoll)_[^ ]*)$/\1/p' /proc/kallsyms
ls /sys/kernel/tracing/events/syscalls";

pub(super) fn cases() -> Vec<Case> {
    ["fentry", "kprobe"].map(case).into()
}

fn case(backend: &'static str) -> Case {
    Case {
        name: format!("every hook attaches with {backend}"),
        jobs: vec![
            Job::new("the check", &["eptrace", "check", "--json", "--backend", backend], TIMEOUT_S),
            Job::new("what the kernel has", &["sh", "-c", HAS], TIMEOUT_S),
        ],
        check: Box::new(move |results| {
            succeeded(&results[1], "reading what the kernel has")?;
            let out = results[1].out();
            let has: BTreeSet<&str> = out.lines().collect();
            for name in ["ep_poll_callback", "sys_exit_epoll_wait"] {
                ensure!(has.contains(name), "the kernel should have {name}, and shows only {has:?}");
            }
            all_attached(&json(&results[0], "eptrace check")?, &has, backend)
        }),
    }
}

fn all_attached(check: &Value, has: &BTreeSet<&str>, backend: &str) -> Result<()> {
    let hooks = check.get("hooks").and_then(Value::as_array).context("the check has no hooks")?;
    ensure!(hooks.len() == HOOKS, "{} hooks were tried, not {HOOKS}: {}", hooks.len(), check["sentence"]);
    let kernel = version(check["kernel"].as_str().context("the check names no kernel")?)?;
    for hook in hooks {
        let text = |key: &str| hook.get(key).and_then(Value::as_str).with_context(|| format!("no {key} in {hook}"));
        let (name, held) = (text("hook")?, text("backend")?);
        ensure!(held == backend || NEUTRAL.contains(&held), "{name} should be served by {backend} and is not: {hook}");
        for why in hook["refused"].as_array().with_context(|| format!("nothing is said of refusals in {hook}"))? {
            let absent = why.as_str().and_then(|why| why.split_once(" is not in ")).map(|(function, _)| function);
            ensure!(absent.is_some_and(|function| !has.contains(function)), "{name} was refused {why}: {hook}");
        }
        for left in hook["left_out"].as_array().with_context(|| format!("nothing is said of left out in {hook}"))? {
            let target = left["target"].as_str().with_context(|| format!("no target in {hook}"))?;
            ensure!(!has.contains(target), "{name} leaves {target} out, which the kernel has: {left}");
        }
        let (sees, expected) = (text("cannot_see")?, cannot_see(name, backend, kernel));
        ensure!(sees == expected, "{name} says that it cannot see `{sees}`, not `{expected}`");
    }
    let prototypes = check["prototypes"].as_array().map_or(0, Vec::len);
    ensure!(prototypes >= PROTOTYPES, "{prototypes} prototypes were compared, not {PROTOTYPES}");
    ensure!(check["traceable"] == true, "{}", check["sentence"]);
    Ok(())
}

/// What a hook must say that it cannot see: where a kretprobe serves it, calls beyond its instances.
fn cannot_see(hook: &str, backend: &str, kernel: (u32, u32)) -> String {
    const COUNTED: &str = "the report counts them as `no-exit`";
    let old = kernel < (5, 11);
    let (whose, counted) = match (hook, backend) {
        ("release", "kprobe") => ("ends of files", COUNTED),
        ("ctl", "kprobe") => ("io_uring's calls", COUNTED),
        ("wait-exit", "kprobe") if kernel >= (6, 15) => ("io_uring's calls", COUNTED),
        ("scan", "kprobe") if old => ("scans", COUNTED),
        ("path", "kprobe") if kernel >= SHOWS_SKIPS => ("calls", "the report counts them"),
        ("path", "kprobe") => ("calls", "this kernel does not show how many"),
        ("callback", "kprobe") => {
            return "the end of callbacks beyond the kretprobe's instances: until the next call on that processor a wake can \
                    be laid to one of them"
                .to_owned();
        }
        ("audit", "kprobe") => return "the lists after scans beyond the kretprobe's instances".to_owned(),
        ("audit", "fentry") if old => return "the lists after scans beyond the kretprobe's instances".to_owned(),
        _ => return String::new(),
    };
    format!("{whose} beyond the kretprobe's instances ({counted})")
}

#[cfg(test)]
mod tests {
    use super::{HOOKS, PROTOTYPES, all_attached};
    use serde_json::{Value, json};
    use std::collections::BTreeSet;

    fn check(backend: &str) -> Value {
        let hook = |hook: &str, backend: &str| {
            let cannot_see = super::cannot_see(hook, backend, (6, 1));
            json!({"hook": hook, "backend": backend, "refused": [], "left_out": [], "cannot_see": cannot_see})
        };
        let mut hooks = vec![hook("scan", "fentry"); HOOKS - 2];
        hooks.push(hook("lifecycle", "raw-tracepoint"));
        hooks.push(hook("audit", backend));
        json!({"kernel": "6.1.0-56", "traceable": true, "sentence": "s", "hooks": hooks, "prototypes": vec!["int f(void)"; PROTOTYPES]})
    }

    fn judged(check: &Value) -> bool {
        all_attached(check, &BTreeSet::from(["ep_done_scan", "epoll_sendevents"]), "fentry").is_ok()
    }

    fn with(key: &str, value: &Value) -> Value {
        let mut check = check("fentry");
        check["hooks"][0][key] = value.clone();
        check
    }

    #[test]
    fn a_hook_that_is_not_served_by_the_backend_is_a_failure() {
        assert!(judged(&check("fentry")));
        assert!(!judged(&check("kprobe")));
        assert!(!judged(&check("")));
        let mut fewer = check("fentry");
        fewer["prototypes"] = json!([]);
        assert!(!judged(&fewer));
        assert!(!judged(&json!({"kernel": "6.1.0", "traceable": false, "sentence": "s", "hooks": []})));
    }

    #[test]
    fn what_was_refused_or_left_out_may_only_be_what_the_kernel_does_not_have() {
        let left = |target: &str| with("left_out", &json!([{"target": target, "why": "so"}]));
        let refused = |why: &str| with("refused", &json!([why]));
        assert!(judged(&left("io_epoll_ctl")));
        assert!(!judged(&left("epoll_sendevents")));
        assert!(judged(&refused("ep_send_events_proc is not in kallsyms (inlined or renamed)")));
        assert!(!judged(&refused("ep_done_scan is not in the kernel's BTF (inlined)")));
        assert!(!judged(&refused("f is otherwise than the probes know it: int f(int a)")));
        assert!(!judged(&refused("fentry f: the kernel refused to load the program")));
        assert!(!judged(&with("left_out", &Value::Null)));
    }

    #[test]
    fn a_hook_that_says_it_sees_less_than_it_should_is_a_failure() {
        assert!(!judged(&with("cannot_see", &json!("calls"))));
        let scan = |kernel| super::cannot_see("scan", "kprobe", kernel);
        assert_eq!(scan((5, 10)), "scans beyond the kretprobe's instances (the report counts them as `no-exit`)");
        assert_eq!(scan((6, 1)), "");
        let path = |kernel| super::cannot_see("path", "kprobe", kernel);
        assert!(path((6, 6)).contains("does not show") && path((6, 7)).contains("the report counts"));
    }
}

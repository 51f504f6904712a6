//! A second opinion: bpftrace counts the same kernel functions for the same demo at the same time.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::herd::outcome::{Outcome, json, succeeded};
use crate::herd::spec::{Backend, Mode, Rhythm, Spec, word};
use crate::vm::plan::Job;
use crate::vm::session::JobResult;
use crate::vmtest::again::{self, Run};
use crate::vmtest::{Case, herd};

/// Counts by the tasks' names, for the demo names its workers herd-wN.
///
/// Callbacks may run on behalf of anyone, so they are told by the wait queue that the demo's items were hung into
/// (`ep_ptable_queue_proc(file, whead, pt)`); `whead` lies behind the 40 bytes of `wait` in `struct eppoll_entry`. The
/// woken task is `private` of the wait queue entry, 8 bytes in.
const SCRIPT: &str = r#"
kprobe:ep_ptable_queue_proc /strncmp(comm, "herd-w", 6) == 0 || comm == "demos"/ { @head[arg1] = 1; }
kprobe:ep_poll_callback /@head[*(uint64 *)(arg0 + 40)] == 1/ { @callbacks = count(); }
kprobe:ep_autoremove_wake_function {
    $task = (struct task_struct *)(*(uint64 *)(arg0 + 8));
    if (strncmp($task->comm, "herd-w", 6) == 0) { @wakes = count(); }
}
kprobe:do_epoll_ctl /(strncmp(comm, "herd-w", 6) == 0 || comm == "demos") && arg1 == 1/ { @ctl_add = count(); }
kprobe:do_epoll_ctl /(strncmp(comm, "herd-w", 6) == 0 || comm == "demos") && arg1 == 2/ { @ctl_del = count(); }
kprobe:do_epoll_ctl /(strncmp(comm, "herd-w", 6) == 0 || comm == "demos") && arg1 == 3/ { @ctl_mod = count(); }
kprobe:do_epoll_wait /strncmp(comm, "herd-w", 6) == 0/ { @waits = count(); }
END { clear(@head); }
"#;

pub(super) fn cases() -> Vec<Case> {
    [(Mode::Lt, Backend::Kprobe), (Mode::Exclusive, Backend::Fentry), (Mode::Oneshot, Backend::Kprobe)]
        .map(|(mode, backend)| case(mode, backend))
        .into()
}

fn case(mode: Mode, backend: Backend) -> Case {
    let spec = Spec { mode, backend, rhythm: Rhythm::Step, workers: 4, connections: 200, processes: false };
    let [_, _, report] = spec.jobs(120);
    let record = spec.record(&spec.trace()).join(" ");
    // bpftrace attaches, runs the command, and ends with it. The demo's own line is printed between bpftrace's.
    let script = ["bpftrace", "-f", "json", "-o", "counts", "-c", &record, "-e", SCRIPT];
    let mut bpftrace = Job::new("bpftrace around the recording", &script, 120).returning(&["counts"]);
    // Else it looks for headers on 5.10.
    bpftrace.env.push(("BPFTRACE_BTF".to_owned(), "/sys/kernel/btf/vmlinux".to_owned()));
    Case {
        name: format!("herd {}: bpftrace counts what eptrace counts with {}", word(mode), word(backend)),
        jobs: again::jobs(1, 1, |_| vec![bpftrace.clone(), report.clone()]),
        check: Box::new(move |results| again::judge(results, |run| agree(&spec, &run[0], &run[1]))),
    }
}

fn agree(spec: &Spec, traced: &JobResult, report: &JobResult) -> Result<Run> {
    succeeded(traced, "bpftrace around eptrace record")?;
    let demo = traced
        .out()
        .lines()
        .find_map(|line| serde_json::from_str::<Value>(line).ok().filter(|value| value.get("truth").is_some()))
        .with_context(|| format!("the demo printed no truth: {}", traced.out()))?;
    let report = json(report, "eptrace report --json")?;
    let outcome = Outcome::compare(&demo, &report)?;
    let counts = traced.files.get("counts").context("bpftrace wrote no counts")?;
    let counts = String::from_utf8_lossy(counts);
    Run::of(&report, || {
        herd::counts_are_exact(&outcome)?;
        herd::fan_out_is_exact(spec, &report)?;
        same(&counts, &report)
    })
}

fn same(counts: &str, report: &Value) -> Result<()> {
    let total = |key: &str| report.pointer(&format!("/totals/{key}")).and_then(Value::as_u64);
    let woken = total("woken").zip(total("already_running")).map(|(woken, running)| woken + running);
    for (name, ours) in [
        ("callbacks", total("callbacks")),
        ("wakes", woken),
        ("waits", total("waits")),
        ("ctl_add", total("ctl_add")),
        ("ctl_mod", total("ctl_mod")),
        ("ctl_del", total("ctl_del")),
    ] {
        let theirs = counted(counts, name);
        ensure!(ours == Some(theirs), "{name}: bpftrace counts {theirs}, eptrace {ours:?}");
    }
    Ok(())
}

/// A map's value in bpftrace's JSON lines. A map that was never written to is not printed: zero.
fn counted(lines: &str, name: &str) -> u64 {
    lines
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find_map(|value| value.get("data")?.get(format!("@{name}"))?.as_u64())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::counted;

    #[test]
    fn counts_are_read_from_the_lines_that_carry_maps() {
        let lines = "{\"type\": \"attached_probes\", \"data\": {\"probes\": 2}}\n\n{\"type\": \"map\", \"data\": {\"@waits\": 12}}\n";
        assert_eq!(counted(lines, "waits"), 12);
        assert_eq!(counted(lines, "ctl_mod"), 0);
    }
}

//! Programs that already run when the tracer comes, and the ways in which a trace ends.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::herd::outcome::succeeded;
use crate::herd::spec::{Backend, word};
use crate::vm::plan::{Ending, Job};
use crate::vm::session::JobResult;
use crate::vmtest::{Case, skipped};

/// Starts a herd of four with connections without end, and leaves its pid in `$demo` once its last worker has its name. It leaves the
/// emulated processors time to attach.
pub(super) const DEMO: &str = r"
demos herd --mode lt --workers 4 --connections 1000000 --pause 10 > /dev/null 2>&1 &
demo=$!
until grep -qx herd-w3 /proc/$demo/task/*/comm 2> /dev/null; do kill -0 $demo || exit 1; usleep 20000; done
";

/// Wakeups that the moments of switching on and off may have cut in two.
const CUT: u64 = 2;

pub(super) fn cases() -> Vec<Case> {
    vec![running(Backend::Kprobe), running(Backend::Fentry), no_btf()]
}

/// How a trace ends, and one of everything.
pub(super) fn endings() -> Vec<Case> {
    vec![signalled("INT", Backend::Fentry), signalled("TERM", Backend::Kprobe), every_process(), gone_meanwhile()]
}

/// Workers that sleep in `epoll_wait` when the probes are attached are seen from the first connection on.
fn running(backend: Backend) -> Case {
    let script = format!(
        "{DEMO}\neptrace herd --json --backend {} --pid $demo --duration 2 || exit 1\nkill $demo; wait $demo; true",
        word(backend)
    );
    Case {
        name: format!("workers that already sleep are seen by their pid with {}", word(backend)),
        jobs: vec![Job::new("attaching", &["sh", "-c", &script], 60)],
        check: Box::new(|results| {
            succeeded(&results[0], "attaching")?;
            fan_out_of_four(&report(&results[0])?)
        }),
    }
}

/// A signal ends the recording of a running process with a whole file.
fn signalled(signal: &'static str, backend: Backend) -> Case {
    let backend = word(backend);
    let script = format!(
        "{DEMO}\nrm -f ready\neptrace record -o whole.eptrace --backend {backend} --ready-file ready --pid $demo 2> said &\ntracer=$!\n\
         until [ -e ready ]; do kill -0 $tracer || exit 1; usleep 20000; done\n\
         kill -{signal} $tracer; wait $tracer || exit 1\nkill $demo; wait $demo\n\
         eptrace report --json whole.eptrace 2> said; code=$?\n[ -s said ] && cat said && exit 1\n\
         rm -f whole.eptrace ready said; exit $code"
    );
    Case {
        name: format!("SIG{signal} ends a recording with a whole file"),
        jobs: vec![Job::new("recording", &["sh", "-c", &script], 60)],
        check: Box::new(|results| {
            succeeded(&results[0], "recording")?;
            let report = report(&results[0])?;
            if report["complete"] == true { Ok(()) } else { skipped::lost_little(&report) }
        }),
    }
}

/// With every process under trace the tracer leaves itself out, though it waits in `epoll_wait` all the time.
fn every_process() -> Case {
    let script = format!(
        "{DEMO}\neptrace trace --json --duration 2 > lines || exit 1\nkill $demo; wait $demo\n\
         grep -c herd-w lines\ngrep -c '\"comm\":\"eptrace\"' lines; rm -f lines"
    );
    Case {
        name: "a trace of every process sees the demo and not the tracer".to_owned(),
        jobs: vec![Job::new("tracing", &["sh", "-c", &script], 60)],
        check: Box::new(|results| {
            succeeded(&results[0], "tracing")?;
            let out = results[0].out();
            let counts: Vec<u64> = out.lines().filter_map(|line| line.trim().parse().ok()).collect();
            ensure!(matches!(counts[..], [seen, 0] if seen > 0), "lines of the demo and of the tracer: {out}");
            Ok(())
        }),
    }
}

/// A target that ends when the first probes are on, and before the last ones are.
fn gone_meanwhile() -> Case {
    let script = r"
sh -c 'until grep -q ep_eventpoll_release /sys/kernel/tracing/enabled_functions; do :; done' &
eptrace herd --backend fentry --pid $! > out 2> said
code=$?; cat said; [ -s out ] && echo 'there is a report'; rm -f out said; exit $code";
    Case {
        name: "a target that ends while eptrace attaches is named, and there is no report".to_owned(),
        jobs: vec![Job::new("attaching", &["sh", "-c", script], 60)],
        check: Box::new(|results| refused(&results[0], 2, "ended while eptrace was attaching")),
    }
}

/// A kernel that does not offer its BTF.
fn no_btf() -> Case {
    let script = r"
mount -t tmpfs none /sys/kernel/btf || exit 1
eptrace herd -- true 2>&1; code=$?
umount /sys/kernel/btf
exit $code";
    Case {
        name: "a kernel without BTF cannot be traced, and eptrace says so".to_owned(),
        jobs: vec![Job::new("tracing", &["sh", "-c", script], 60)],
        check: Box::new(|results| refused(&results[0], 3, "BTF")),
    }
}

/// One sentence that holds these words, and the exit code.
fn refused(result: &JobResult, code: i32, words: &str) -> Result<()> {
    let out = result.out();
    ensure!(result.ending == Some(Ending::Exited(code)), "it ended as {:?}: {out}", result.ending);
    ensure!(out.trim().lines().count() == 1 && out.contains(words), "it said: {out}");
    Ok(())
}

/// The object that the job printed.
fn report(result: &JobResult) -> Result<Value> {
    let out = result.out();
    let line = out.lines().find(|line| line.starts_with('{')).context("no report was printed")?;
    serde_json::from_str(line).context("the report is not JSON")
}

/// Each wakeup of the shared socket called and woke all four, but for those that the ends of the trace cut.
fn fan_out_of_four(report: &Value) -> Result<()> {
    let herd = &report["herd"][0];
    ensure!(herd["verdict"] == "herd", "the verdict is {}", herd["verdict"]);
    for number in ["called", "woken"] {
        let histogram = herd[number]["histogram"].as_object().with_context(|| format!("no histogram of {number}"))?;
        let times = |value: &Value| value.as_u64().unwrap_or(0);
        let whole = histogram.get("4").map_or(0, times);
        let all: u64 = histogram.values().map(times).sum();
        ensure!(whole > 10 && all - whole <= CUT, "{number}: {histogram:?}");
    }
    if report["lost"]["events"] == 0 { Ok(()) } else { skipped::lost_little(report) }
}

#[cfg(test)]
mod tests {
    use super::fan_out_of_four;
    use serde_json::json;

    fn report(called: &serde_json::Value, woken: &serde_json::Value) -> serde_json::Value {
        json!({"lost": {"events": 0}, "herd": [{
            "verdict": "herd", "called": {"histogram": called}, "woken": {"histogram": woken}}]})
    }

    #[test]
    fn wakeups_that_were_cut_are_forgiven_and_others_are_not() {
        let whole = json!({"4": 100});
        assert!(fan_out_of_four(&report(&whole, &whole)).is_ok());
        assert!(fan_out_of_four(&report(&json!({"2": 1, "3": 1, "4": 100}), &whole)).is_ok());
        assert!(fan_out_of_four(&report(&whole, &json!({"3": 3, "4": 100}))).is_err());
        assert!(fan_out_of_four(&report(&json!({"1": 100}), &whole)).is_err());
        assert!(fan_out_of_four(&json!({})).is_err());
    }
}

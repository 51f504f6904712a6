//! What a whole test run says of kernels and backends: `docs/kernels.md`.
//!
//! In: the results of all cases of each kernel. Out: Markdown. Nothing in it is known beforehand: the hooks are those that `eptrace
//! check` attached, the counts those that demos and traces gave.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::{Result, ensure};
use serde_json::Value;

use super::{Case, loss, skipped, steps};
use crate::demos::story::Run;
use crate::herd::outcome::Outcome;
use crate::vm::session::JobResult;

/// The document, in the project's root.
pub(crate) const DOCUMENT: &str = "docs/kernels.md";

const BEGINNING: &str = "\
# Kernels

`cargo xtask test --write-docs` wrote this from its own run. All kernels are Debian's cloud kernels.

## Hooks

What each hook sat on, as `eptrace check --backend fentry` and `--backend kprobe` attached it. A tracepoint stands for a kretprobe
of a call that sleeps.
";

/// Kernel, then backend.
type Place = (usize, String);

/// What a whole run must have compared of the kernels' own lists, all kernels and both backends together.
const LEAST_COMPARISONS: u64 = 100_000;
/// All demos that are told in steps: one trace serves them all.
const IN_STEPS: &str = "in steps";
const REGISTERED: &str = "registered";
/// What is told of each registered item: mask, data, readiness, kind of file, address.
const TOLD_OF_ITEM: u64 = 5;

/// Counts of one demo on one kernel with one backend.
#[derive(Debug, Default)]
struct Counts {
    runs: u64,
    equal: u64,
    compared: u64,
    lost: u64,
    comparisons: u64,
    differences: u64,
    /// Comparisons of runs of which it is known that the kernel skipped no probe, and the differences of these where one task alone acts.
    judged: u64,
    alone: u64,
}

/// Collects while kernels are tested.
#[derive(Debug, Default)]
pub(crate) struct Matrix {
    kernels: Vec<String>,
    /// Hook by hook in the catalogue's order: where it sat.
    hooks: Vec<(String, BTreeMap<Place, String>)>,
    /// What could not be seen, and where.
    blind: BTreeMap<(String, String), BTreeSet<Place>>,
    /// What BTF says of the probed functions, and on which kernels.
    prototypes: BTreeMap<String, BTreeSet<usize>>,
    counts: BTreeMap<(usize, String, String), Counts>,
    /// The demos that were told in steps.
    in_steps: BTreeSet<String>,
}

impl Matrix {
    /// A kernel whose results will come: its number.
    pub(crate) fn kernel(&mut self, release: &str) -> usize {
        self.kernels.push(release.to_owned());
        self.kernels.len() - 1
    }

    /// The results of one case on a kernel, and whether they passed. What is neither a check nor a demo and its trace, once or more, says
    /// nothing here, and neither does a run that loses on purpose.
    pub(crate) fn add(&mut self, kernel: usize, case: &Case, results: &[JobResult], passed: bool) {
        if case.jobs.first().is_some_and(|job| job.name == loss::ON_PURPOSE) {
            return;
        }
        if case.name.starts_with(steps::NAME) {
            results.iter().filter_map(|result| Run::of(result).ok()).for_each(|run| self.steps(kernel, &run));
            return;
        }
        for result in results {
            match serde_json::from_slice::<Value>(&result.stdout) {
                Ok(check) if check["kind"] == "check" => self.check(kernel, &check),
                Ok(_) => {}
                Err(_) => self.registered(kernel, result, passed),
            }
        }
        for pair in results.windows(2) {
            if let Ok((outcome, report)) = Outcome::of(&pair[0], &pair[1]) {
                self.outcome(kernel, &outcome, &report);
            }
        }
    }

    /// Every story of a run: its calls, and what the kernel must have done in each step.
    fn steps(&mut self, kernel: usize, run: &Run) {
        let counts = self.counts.entry((kernel, run.backend.clone(), IN_STEPS.to_owned())).or_default();
        counts.lost += run.losses()["lost"]["total"].as_u64().unwrap_or(0);
        for story in &run.stories {
            let kernel = story.steps.iter().flat_map(|step| step.kernel.values()).map(numbers).sum::<u64>();
            counts.runs += 1;
            counts.equal += u64::from(run.differences(story).is_empty());
            counts.compared += kernel + story.truth.values().map(numbers).sum::<u64>();
            self.in_steps.insert(story.demo.clone());
        }
    }

    /// What the demo `registered` says of its items, with the lines of its trace behind it.
    fn registered(&mut self, kernel: usize, result: &JobResult, passed: bool) {
        let out = result.out();
        let mut lines = out.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let Some(said) = lines.next().filter(|said| said["demo"] == REGISTERED) else { return };
        let Some(started) = lines.find(|line| line["event"] == "started") else { return };
        let backend = started["backend"].as_str().unwrap_or_default().to_owned();
        let counts = self.counts.entry((kernel, backend, REGISTERED.to_owned())).or_default();
        counts.runs += 1;
        counts.equal += u64::from(passed);
        counts.compared += TOLD_OF_ITEM * said["items"].as_array().map_or(0, |items| items.len() as u64);
    }

    /// Whether enough lists were compared with the kernels' own, and none was otherwise where one task alone acts.
    pub(crate) fn audited(&self) -> Result<()> {
        let (comparisons, alone) = (self.sum(|counts| counts.judged), self.sum(|counts| counts.alone));
        ensure!(
            comparisons >= LEAST_COMPARISONS,
            "the audits of all kernels made {comparisons} comparisons together in runs without skips, not {LEAST_COMPARISONS}"
        );
        ensure!(alone == 0, "{alone} of {comparisons} comparisons differ where one task alone acts on the eventpoll");
        Ok(())
    }

    fn sum(&self, of: fn(&Counts) -> u64) -> u64 {
        self.counts.values().map(of).sum()
    }

    fn check(&mut self, kernel: usize, check: &Value) {
        let hooks = check.get("hooks").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let text = |hook: &Value, key: &str| hook[key].as_str().unwrap_or_default().to_owned();
        let backend = hooks.iter().map(|hook| text(hook, "backend")).find(|name| name == "fentry" || name == "kprobe");
        let backend = backend.unwrap_or_default();
        let facts = check["facts"].as_array().into_iter().flatten();
        for fact in facts.filter(|fact| fact["name"] == "skipped kprobes" && fact["standing"] != "good") {
            if backend == "kprobe" {
                let what = (text(fact, "name"), format!("are {}", text(fact, "value")));
                self.blind.entry(what).or_default().insert((kernel, backend.clone()));
            }
        }
        for prototype in check["prototypes"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            self.prototypes.entry(prototype.to_owned()).or_default().insert(kernel);
        }
        for hook in hooks {
            let name = text(hook, "hook");
            let targets: Vec<&str> =
                hook["targets"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let index = self.hooks.iter().position(|(known, _)| *known == name).unwrap_or_else(|| {
                self.hooks.push((name.clone(), BTreeMap::new()));
                self.hooks.len() - 1
            });
            self.hooks[index].1.insert((kernel, backend.clone()), targets.join(", "));
            for (what, why) in [("cannot see", text(hook, "cannot_see")), ("is missing", text(hook, "missing"))] {
                if !why.is_empty() {
                    let places = self.blind.entry((name.clone(), format!("{what}: {why}"))).or_default();
                    places.insert((kernel, backend.clone()));
                }
            }
        }
    }

    fn outcome(&mut self, kernel: usize, outcome: &Outcome, report: &Value) {
        let audit = |key: &str| report.pointer(&format!("/audit/{key}")).and_then(Value::as_u64).unwrap_or(0);
        let counts = self.counts.entry((kernel, outcome.backend.clone(), outcome.demo.clone())).or_default();
        counts.runs += 1;
        counts.equal += u64::from(outcome.equal);
        counts.compared += numbers(&outcome.truth);
        counts.lost += outcome.lost;
        counts.comparisons += audit("comparisons");
        counts.differences += audit("differences");
        // What a skipped probe did not tell, the reconstruction cannot know.
        if !skipped::may_have_skipped(report) {
            counts.judged += audit("comparisons");
            counts.alone += audit("differences").saturating_sub(audit("contended"));
        }
    }

    /// The whole document.
    pub(crate) fn markdown(&self) -> String {
        let mut out = BEGINNING.to_owned();
        for (hook, places) in &self.hooks {
            let _ = write!(out, "\n### {hook}\n\n| kernel | fentry | kprobe |\n|---|---|---|\n");
            for (kernel, release) in self.kernels.iter().enumerate() {
                let at = |backend: &str| match places.get(&(kernel, backend.to_owned())).map(String::as_str) {
                    Some("") => "could not be attached".to_owned(),
                    Some(targets) => format!("`{}`", targets.replace(", ", "`, `")),
                    None => "not tried".to_owned(),
                };
                let _ = writeln!(out, "| {release} | {} | {} |", at("fentry"), at("kprobe"));
            }
        }
        out.push_str("\n## What a fallback cannot see\n\n");
        if self.blind.is_empty() {
            out.push_str("Nothing: the best way held everywhere.\n");
        }
        for ((hook, what), places) in &self.blind {
            let places: Vec<String> = places
                .iter()
                .map(|(kernel, backend)| format!("{} with {backend}", line(&self.kernels[*kernel])))
                .collect();
            let _ = writeln!(out, "- **{hook}** {what}. On {}.", places.join(", "));
        }
        out.push_str(PROTOTYPES);
        for (prototype, kernels) in &self.prototypes {
            let kernels: Vec<String> = kernels.iter().map(|&kernel| line(&self.kernels[kernel])).collect();
            let _ = writeln!(out, "- `{prototype}` on {}", kernels.join(", "));
        }
        out.push_str(COUNTS_BEGIN);
        let in_steps: Vec<String> = self.in_steps.iter().map(|demo| format!("`{demo}`")).collect();
        let _ = writeln!(out, "*{IN_STEPS}* are the demos {}.", in_steps.join(", "));
        out.push_str(COUNTS);
        for ((kernel, backend, demo), counts) in &self.counts {
            let Counts { runs, equal, compared, lost, comparisons, differences, judged, alone } = counts;
            let _ = writeln!(
                out,
                "| {} | {backend} | {demo} | {runs} | {equal} | {compared} | {lost} | {comparisons} | {differences} | {judged} | {alone} |",
                self.kernels[*kernel]
            );
        }
        let _ = writeln!(
            out,
            "\nTogether: {} of {} runs equal, {} counts compared, {} audit comparisons, {} differences; of {} judged comparisons {} differ where one task alone acts.",
            self.sum(|counts| counts.equal),
            self.sum(|counts| counts.runs),
            self.sum(|counts| counts.compared),
            self.sum(|counts| counts.comparisons),
            self.sum(|counts| counts.differences),
            self.sum(|counts| counts.judged),
            self.sum(|counts| counts.alone),
        );
        out
    }
}

const PROTOTYPES: &str = "
## Prototypes

What each kernel's BTF says of the functions, raw tracepoints and structures that the probes read arguments, results or fixed offsets
of. eptrace compares it with what the probes know before it attaches them, and leaves alone what is otherwise.

";

const COUNTS_BEGIN: &str = "
## Counts

Each demo counts its own calls. *equal* are the runs in which every one of these counts is the trace's, task by task; *lost* are
events that the trace says it lost: where the kernel skips probes a run can be unequal, and is made again. *comparisons* and
*differences* are the audit's: the reconstructed ready list beside the kernel's own. *judged* are the comparisons of runs of which it is known that the kernel skipped no
probe, and *alone* the differences among these where one task alone acts on the eventpoll: not one may be. What several do at the same
time can be told in another order than the kernel did it. Runs that are made to lose events are not here: in them what is seen and what
is counted as lost must together be the demo's counts.

Of a demo told in steps the callbacks, wakes, scans and events of each step are compared too; one trace serves them all, and each demo
is a run. Of `registered` every item is compared with what the kernel's list showed of it when tracing began.
";

const COUNTS: &str = "
| kernel | backend | demo | runs | equal | counts compared | lost | comparisons | differences | judged | alone |
|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|
";

/// `6.1` of `6.1.0-56-cloud-amd64`.
fn line(release: &str) -> String {
    release.split('.').take(2).collect::<Vec<_>>().join(".")
}

/// How many numbers a truth holds.
fn numbers(truth: &Value) -> u64 {
    match truth {
        Value::Number(_) => 1,
        Value::Array(values) => values.iter().map(numbers).sum(),
        Value::Object(values) => values.values().map(numbers).sum(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::{LEAST_COMPARISONS, Matrix};
    use crate::vm::plan::{Ending, Job};
    use crate::vm::session::JobResult;
    use crate::vmtest::{Case, loss, steps};
    use serde_json::{Value, json};

    fn printed(value: &Value) -> JobResult {
        JobResult { ending: Some(Ending::Exited(0)), stdout: value.to_string().into_bytes(), ..JobResult::default() }
    }

    fn case(name: &str, job: &str) -> Case {
        Case { name: name.to_owned(), jobs: vec![Job::new(job, &["true"], 1)], check: Box::new(|_| Ok(())) }
    }

    /// A demo and its report, with this many waits, comparisons and differences that no other task can have caused.
    fn run(waits: u64, comparisons: u64, alone: u64) -> [JobResult; 2] {
        run_that_lost(0, waits, comparisons, alone)
    }

    fn run_that_lost(events: u64, waits: u64, comparisons: u64, alone: u64) -> [JobResult; 2] {
        let demo = json!({"demo": "churn", "truth": {"waits": 3, "workers": []}});
        let report = json!({"backend": "kprobe", "lost": {"total": 2, "events": events}, "totals": {"waits": waits}, "tasks": [],
            "audit": {"comparisons": comparisons, "differences": 1 + alone, "contended": 1}});
        [printed(&demo), printed(&report)]
    }

    #[test]
    fn the_document_holds_what_checks_and_demos_gave_and_nothing_else() {
        let mut matrix = Matrix::default();
        let kernel = matrix.kernel("6.1.0-56-cloud-amd64");
        let check = printed(&json!({"kind": "check", "prototypes": ["int f(int a)"],
            "facts": [{"name": "skipped kprobes", "standing": "doubt", "value": "not counted"}], "hooks": [
            {"hook": "callback", "backend": "kprobe", "targets": ["a", "b"], "cannot_see": "much", "missing": ""},
            {"hook": "scan", "backend": "", "targets": [], "cannot_see": "", "missing": "gone"}]}));
        matrix.add(kernel, &case("hooks", "the check"), &[check, JobResult::default()], true);
        let [[demo, report], [again, other]] = [run(3, 7, 1), run(4, 7, 1)];
        let nothing = JobResult::default;
        let twice = [demo, report, nothing(), again, other, nothing(), nothing(), nothing(), nothing()];
        matrix.add(kernel, &case("churn", "the recorded churn"), &twice, true);
        matrix.add(kernel, &case("nothing", "x"), &[JobResult::default()], true);
        matrix.add(kernel, &case("loss", loss::ON_PURPOSE), &run(1, 0, 0), true);
        let text = matrix.markdown();
        for expected in [
            "### callback\n\n| kernel | fentry | kprobe |\n|---|---|---|\n| 6.1.0-56-cloud-amd64 | not tried | `a`, `b` |",
            "| 6.1.0-56-cloud-amd64 | not tried | could not be attached |",
            "- **callback** cannot see: much. On 6.1 with kprobe.",
            "- **scan** is missing: gone. On 6.1 with kprobe.",
            "- **skipped kprobes** are not counted. On 6.1 with kprobe.",
            "- `int f(int a)` on 6.1\n",
            "| 6.1.0-56-cloud-amd64 | kprobe | churn | 2 | 1 | 2 | 4 | 14 | 4 | 14 | 2 |",
            "\nTogether: 1 of 2 runs equal, 2 counts compared, 14 audit comparisons, 4 differences; of 14 judged comparisons 2 differ where one task alone acts.\n",
        ] {
            assert!(text.contains(expected), "no {expected:?} in\n{text}");
        }
    }

    #[test]
    fn demos_in_steps_and_registered_items_are_rows_too() {
        let mut matrix = Matrix::default();
        let kernel = matrix.kernel("6.1.0-56-cloud-amd64");
        let story = |demo: &str, waits: u64| {
            let truth = json!({"waits": waits});
            json!({"demo": demo, "pid": 1, "tid": 1, "options": {}, "missing": [], "steps": [], "truth": truth})
        };
        let started = json!({"event": "started", "kernel": "6.1.0", "backend": "fentry"});
        let told = JobResult {
            stderr: format!("{}\n{}\n", story("drain", 0), story("ready", 5)).into_bytes(),
            ..printed(&started)
        };
        matrix.add(kernel, &case(&format!("{}: so", steps::NAME), "the traced demos"), &[told], true);
        let registered = json!({"demo": "registered", "items": [{"fd": 1}, {"fd": 2}]});
        let lines = JobResult { stdout: format!("{registered}\n{{}}\n{started}\n").into_bytes(), ..printed(&json!(0)) };
        matrix.add(kernel, &case("registered", "x"), std::slice::from_ref(&lines), true);
        matrix.add(kernel, &case("registered", "x"), &[lines], false);
        let text = matrix.markdown();
        for expected in [
            "| 6.1.0-56-cloud-amd64 | fentry | in steps | 2 | 1 | 2 | 0 | 0 | 0 | 0 | 0 |",
            "| 6.1.0-56-cloud-amd64 | fentry | registered | 2 | 1 | 20 | 0 | 0 | 0 | 0 | 0 |",
            "*in steps* are the demos `drain`, `ready`.",
        ] {
            assert!(text.contains(expected), "no {expected:?} in\n{text}");
        }
    }

    #[test]
    fn a_whole_run_has_compared_enough_and_found_no_mistake() {
        let with = |comparisons: u64, alone: u64| {
            let mut matrix = Matrix::default();
            let kernel = matrix.kernel("6.1.0-56-cloud-amd64");
            matrix.add(kernel, &case("churn", "the recorded churn"), &run(3, comparisons, alone), true);
            matrix.audited()
        };
        assert!(with(LEAST_COMPARISONS, 0).is_ok());
        assert!(with(LEAST_COMPARISONS - 1, 0).unwrap_err().to_string().contains("99999 comparisons"));
        assert!(with(LEAST_COMPARISONS, 1).is_err());
    }

    #[test]
    fn a_difference_where_the_kernel_skipped_a_probe_is_no_mistake() {
        let mut matrix = Matrix::default();
        let kernel = matrix.kernel("7.3.4+deb13-cloud-amd64");
        matrix.add(kernel, &case("churn", "the recorded churn"), &run_that_lost(1, 3, LEAST_COMPARISONS, 1), true);
        // And nothing was judged either.
        assert!(matrix.audited().is_err());
        matrix.add(kernel, &case("churn", "the recorded churn"), &run(3, LEAST_COMPARISONS, 0), true);
        assert!(matrix.audited().is_ok());
        assert!(
            matrix
                .markdown()
                .contains(" 3 differences; of 100000 judged comparisons 0 differ where one task alone acts.")
        );
    }
}

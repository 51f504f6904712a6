//! What a whole test run says of kernels and backends: `docs/kernels.md`.
//!
//! In: the results of all cases of each kernel. Out: Markdown. Nothing in it is known beforehand: the hooks are those that `eptrace
//! check` attached, the counts those that demos and traces gave.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::Value;

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

/// Counts of one demo on one kernel with one backend.
#[derive(Debug, Default)]
struct Counts {
    runs: u64,
    equal: u64,
    compared: u64,
    lost: u64,
    comparisons: u64,
    differences: u64,
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
}

impl Matrix {
    /// A kernel whose results will come: its number.
    pub(crate) fn kernel(&mut self, release: &str) -> usize {
        self.kernels.push(release.to_owned());
        self.kernels.len() - 1
    }

    /// The results of one case on a kernel. Cases that are neither a check nor a demo and its report, once or more, say nothing here.
    pub(crate) fn add(&mut self, kernel: usize, results: &[JobResult]) {
        if let [check] = results
            && let Ok(check) = serde_json::from_slice::<Value>(&check.stdout)
        {
            self.check(kernel, &check);
        }
        for pair in results.windows(2) {
            if let Ok((outcome, report)) = Outcome::of(&pair[0], &pair[1]) {
                self.outcome(kernel, &outcome, &report);
            }
        }
    }

    fn check(&mut self, kernel: usize, check: &Value) {
        let hooks = check.get("hooks").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let text = |hook: &Value, key: &str| hook[key].as_str().unwrap_or_default().to_owned();
        let backend = hooks.iter().map(|hook| text(hook, "backend")).find(|name| name == "fentry" || name == "kprobe");
        let backend = backend.unwrap_or_default();
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
        counts.alone += audit("differences").saturating_sub(audit("contended"));
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
        out.push_str(COUNTS);
        for ((kernel, backend, demo), counts) in &self.counts {
            let Counts { runs, equal, compared, lost, comparisons, differences, alone } = counts;
            let _ = writeln!(
                out,
                "| {} | {backend} | {demo} | {runs} | {equal} | {compared} | {lost} | {comparisons} | {differences} | {alone} |",
                self.kernels[*kernel]
            );
        }
        let sum = |of: fn(&Counts) -> u64| self.counts.values().map(of).sum::<u64>();
        let _ = writeln!(
            out,
            "\nTogether: {} of {} runs equal, {} counts compared, {} audit comparisons, {} differences, {} where one task alone acts.",
            sum(|counts| counts.equal),
            sum(|counts| counts.runs),
            sum(|counts| counts.compared),
            sum(|counts| counts.comparisons),
            sum(|counts| counts.differences),
            sum(|counts| counts.alone),
        );
        out
    }
}

const PROTOTYPES: &str = "
## Prototypes

What each kernel's BTF says of the functions whose arguments or results the probes read. eptrace compares it with what the probes
know before it attaches them, and leaves a function alone that is otherwise.

";

const COUNTS: &str = "
## Counts

Each demo counts its own calls. *equal* are the runs in which every one of these counts is the trace's, task by task; *lost* are
events that the trace says it lost. *comparisons* and *differences* are the audit's: the reconstructed ready list beside the
kernel's own; *alone* are the differences where one task alone acts on the eventpoll. What several do at the same time can be
told in another order than the kernel did it.

| kernel | backend | demo | runs | equal | counts compared | lost | comparisons | differences | alone |
|---|---|---|---:|---:|---:|---:|---:|---:|---:|
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
    use super::Matrix;
    use crate::vm::plan::Ending;
    use crate::vm::session::JobResult;
    use serde_json::{Value, json};

    fn printed(value: &Value) -> JobResult {
        JobResult { ending: Some(Ending::Exited(0)), stdout: value.to_string().into_bytes(), ..JobResult::default() }
    }

    #[test]
    fn the_document_holds_what_checks_and_demos_gave_and_nothing_else() {
        let mut matrix = Matrix::default();
        let kernel = matrix.kernel("6.1.0-56-cloud-amd64");
        matrix.add(
            kernel,
            &[printed(&json!({"prototypes": ["int f(int a)"], "hooks": [
            {"hook": "callback", "backend": "kprobe", "targets": ["a", "b"], "cannot_see": "much", "missing": ""},
            {"hook": "scan", "backend": "", "targets": [], "cannot_see": "", "missing": "gone"}]}))],
        );
        let demo = json!({"demo": "churn", "truth": {"waits": 3, "workers": []}});
        let report = |waits: u64| {
            json!({"backend": "kprobe", "lost": {"total": 2}, "totals": {"waits": waits}, "tasks": [],
                "audit": {"comparisons": 7, "differences": 2, "contended": 1}})
        };
        let nothing = JobResult::default;
        let twice = [printed(&demo), printed(&report(3)), nothing(), printed(&demo), printed(&report(4)), nothing()];
        matrix.add(kernel, &twice);
        matrix.add(kernel, &[JobResult::default()]);
        let text = matrix.markdown();
        for expected in [
            "### callback\n\n| kernel | fentry | kprobe |\n|---|---|---|\n| 6.1.0-56-cloud-amd64 | not tried | `a`, `b` |",
            "| 6.1.0-56-cloud-amd64 | not tried | could not be attached |",
            "- **callback** cannot see: much. On 6.1 with kprobe.",
            "- **scan** is missing: gone. On 6.1 with kprobe.",
            "- `int f(int a)` on 6.1\n",
            "| 6.1.0-56-cloud-amd64 | kprobe | churn | 2 | 1 | 2 | 4 | 14 | 4 | 2 |",
            "\nTogether: 1 of 2 runs equal, 2 counts compared, 14 audit comparisons, 4 differences, 2 where one task alone acts.\n",
        ] {
            assert!(text.contains(expected), "no {expected:?} in\n{text}");
        }
    }
}

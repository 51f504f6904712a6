//! A demo's story and its trace.
//!
//! In: what `eptrace trace --json -- demos ...` printed. Out: [`Run`], the demos' truths and the events, in order.

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::demos::steps::{self, Difference};
use crate::herd::outcome::succeeded;
use crate::vm::plan::Job;
use crate::vm::session::JobResult;

/// One step as the demo tells it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Step {
    pub(crate) scene: String,
    pub(crate) did: String,
    pub(crate) from_ns: u64,
    pub(crate) to_ns: u64,
    pub(crate) saw: Map<String, Value>,
    pub(crate) kernel: Map<String, Value>,
}

/// One demo as it tells itself.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Story {
    pub(crate) demo: String,
    pub(crate) pid: u32,
    pub(crate) tid: u32,
    pub(crate) options: Value,
    pub(crate) missing: Vec<String>,
    pub(crate) steps: Vec<Step>,
    #[serde(default)]
    pub(crate) tables: Vec<Table>,
    pub(crate) truth: Map<String, Value>,
}

/// Numbers of several steps side by side.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub(crate) struct Table {
    pub(crate) title: String,
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

/// Demos that ran under one trace.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) stories: Vec<Story>,
    /// Events of the trace, in the order of time.
    pub(crate) events: Vec<Value>,
    pub(crate) kernel: String,
    pub(crate) backend: String,
}

/// The job that traces demos, with further options of the tracer: one as it is, several one after another by a shell.
pub(crate) fn job(backend: &str, tracing: &[&str], demos: &[Vec<String>], timeout_s: u64) -> Job {
    let mut argv: Vec<String> = ["eptrace", "trace", "--json", "--backend", backend].map(str::to_owned).to_vec();
    argv.extend(tracing.iter().chain(&["--"]).map(|&word| word.to_owned()));
    match demos {
        [one] => argv.extend_from_slice(one),
        several => {
            let script = several.iter().map(|argv| argv.join(" ")).collect::<Vec<_>>().join(" && ");
            argv.extend(["sh".to_owned(), "-c".to_owned(), script]);
        }
    }
    Job { name: "the traced demos".to_owned(), argv, timeout_s, ..Job::default() }
}

impl Run {
    /// The tracer's standard output has the events; its standard error has what the demos printed, among other talk.
    pub(crate) fn of(result: &JobResult) -> Result<Self> {
        succeeded(result, "the traced demos")?;
        let mut events: Vec<Value> = json_lines(&result.out())?;
        events.sort_by_key(steps::time);
        let err = result.err();
        let said = err.lines().filter(|line| line.starts_with("{\"demo\":"));
        let stories = said
            .map(|line| serde_json::from_str(line).with_context(|| format!("understand a demo's truth: {line}")))
            .collect::<Result<Vec<Story>>>()?;
        ensure!(!stories.is_empty(), "no demo told its truth:\n{err}");
        let started = events.iter().find(|event| event["event"] == "started").context("the trace has no beginning")?;
        let text = |key: &str| started[key].as_str().unwrap_or_default().to_owned();
        Ok(Self { kernel: text("kernel"), backend: text("backend"), stories, events })
    }

    /// What the trace says it lost, in the form of a report.
    pub(crate) fn losses(&self) -> Value {
        let by: Vec<&Value> = self.events.iter().filter(|event| event["event"] == "loss").collect();
        let number = |row: &Value| row["count"].as_u64().unwrap_or(0);
        let events: u64 = by.iter().filter(|row| row["loses_events"] == true).map(|row| number(row)).sum();
        let total: u64 = by.iter().map(|row| number(row)).sum();
        json!({"kernel": self.kernel, "backend": self.backend, "events": self.events.len(), "lost": {"total": total, "events": events, "by": by}})
    }

    /// The steps, each with what was traced of it beside what it says.
    pub(crate) fn traced(&self, story: &Story) -> Vec<Value> {
        let traced = |step: &Step| {
            json!({"scene": step.scene, "did": step.did, "saw": step.saw, "kernel_must": step.kernel,
                "kernel_did": steps::kernel(steps::within(step, &self.events))})
        };
        story.steps.iter().map(traced).collect()
    }

    /// Everything in which a story and the trace differ.
    pub(crate) fn differences(&self, story: &Story) -> Vec<Difference> {
        steps::differences(story, &self.events)
    }
}

fn json_lines(text: &str) -> Result<Vec<Value>> {
    text.lines().map(|line| serde_json::from_str(line).with_context(|| format!("not a line of JSON: {line}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::{Run, job};
    use crate::vm::plan::Ending;
    use crate::vm::session::JobResult;

    #[test]
    fn truths_are_found_among_other_talk_and_losses_are_summed() {
        let out = "{\"event\":\"started\",\"kernel\":\"6.1.0\",\"backend\":\"fentry\"}\n\
                   {\"event\":\"loss\",\"count\":3,\"loses_events\":true,\"reason\":\"ring-full\"}\n";
        let err = "note: something\n{\"demo\":\"d\",\"pid\":1,\"tid\":1,\"options\":{},\"missing\":[],\"steps\":[],\"truth\":{}}\n";
        let result = JobResult {
            stdout: out.into(),
            stderr: err.into(),
            ending: Some(Ending::Exited(0)),
            ..JobResult::default()
        };
        let run = Run::of(&result).unwrap();
        assert_eq!((run.kernel.as_str(), run.backend.as_str(), run.stories.len()), ("6.1.0", "fentry", 1));
        assert_eq!(run.losses()["lost"]["events"], 3);
        let silent = JobResult { stderr: Vec::new(), ..result };
        assert!(Run::of(&silent).is_err());
    }

    #[test]
    fn the_next_demo_runs_only_when_the_one_before_did_well() {
        let demo = |name: &str| vec!["demos".to_owned(), name.to_owned()];
        let two = job("kprobe", &[], &[demo("a"), demo("b")], 9);
        assert_eq!(two.argv.join(" "), "eptrace trace --json --backend kprobe -- sh -c demos a && demos b");
        assert_eq!(
            job("auto", &["--path"], &[demo("a")], 9).argv.join(" "),
            "eptrace trace --json --backend auto --path -- demos a"
        );
    }
}

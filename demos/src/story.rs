//! A demo told in steps: what was done, what the program saw of it, and what the kernel must have done meanwhile.
//!
//! In: closures that do one thing each, and the [`Reaction`] that each must bring about. Out: [`Story::end`], the demo's truth as
//! one line of JSON or as text. Every step has the times between which it happened, on the clock that the kernel's tracers use, so
//! that whoever traces the demo can say of each event which step it belongs to.
//!
//! A story runs on one CPU. Then a callback, a scan and an `epoll_ctl` never run side by side, and what a send causes in a
//! softirq is over when the data is there: every step has one outcome.

pub(crate) mod act;
pub(crate) mod reaction;

use std::fmt::{self, Write as _};
use std::os::fd::RawFd;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{Pid, gettid};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::counted::Counted;
use crate::truth::{Counts, Truth};

use self::act::Act;
use self::reaction::Reaction;

/// One thing that was done.
#[derive(Debug, Serialize)]
struct Step {
    /// Steps of one scene belong together: they share their descriptors.
    scene: String,
    did: String,
    /// `CLOCK_MONOTONIC`
    from_ns: u64,
    to_ns: u64,
    /// The calls of the demo's own task that are not zero, and what they brought.
    saw: Map<String, Value>,
    /// What the kernel must have done.
    kernel: Reaction,
    /// The structures as they stand after it, in the words of `eptrace snapshot`.
    #[serde(skip_serializing_if = "Option::is_none")]
    structures: Option<String>,
}

/// All that a demo did.
#[derive(Debug, Serialize)]
struct Outcome {
    demo: &'static str,
    options: Value,
    pid: u32,
    /// The task whose calls the steps show.
    tid: i32,
    /// What this kernel does not have, or this machine cannot show.
    missing: Vec<String>,
    steps: Vec<Step>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tables: Vec<Table>,
    truth: Truth,
}

/// Numbers of several steps side by side.
#[derive(Debug, Serialize)]
pub(crate) struct Table {
    pub(crate) title: String,
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

/// A demo on its way.
#[derive(Debug)]
pub(crate) struct Story {
    outcome: Outcome,
    scene: String,
    calls: Counted,
    others: Vec<(i32, Counts)>,
    /// What shows the structures after each step: a command line.
    shown_by: Option<Vec<String>>,
}

impl Story {
    pub(crate) fn begin(demo: &'static str, options: &impl Serialize) -> Result<Self> {
        stay_on_one_cpu()?;
        Self::begin_on_all_cpus(demo, options)
    }

    /// For what needs more than one, and whose steps leave more to the kernel.
    pub(crate) fn begin_on_all_cpus(demo: &'static str, options: &impl Serialize) -> Result<Self> {
        let outcome = Outcome {
            demo,
            options: serde_json::to_value(options).context("write the options as JSON")?,
            pid: std::process::id(),
            tid: gettid().as_raw(),
            missing: Vec::new(),
            steps: Vec::new(),
            tables: Vec::new(),
            truth: Truth::new(Counts::default(), []),
        };
        Ok(Self { outcome, scene: String::new(), calls: Counted::default(), others: Vec::new(), shown_by: None })
    }

    /// After each step from here on, this program shows the structures of an eventpoll of this process; with `None` no longer.
    pub(crate) fn show_structures(&mut self, program: Option<(&str, RawFd)>) {
        self.shown_by = program.map(|(program, epfd)| {
            let (pid, epfd) = (std::process::id().to_string(), epfd.to_string());
            [program, "snapshot", "-p", &pid, "--epfd", &epfd].map(str::to_owned).into()
        });
    }

    /// What follows is another scene.
    pub(crate) fn scene(&mut self, name: impl Into<String>) {
        self.scene = name.into();
    }

    /// Does one thing. Its result is that of the closure.
    pub(crate) fn step<T>(
        &mut self,
        did: impl Into<String>,
        kernel: Reaction,
        work: impl FnOnce(&mut Act<'_>) -> Result<T>,
    ) -> Result<T> {
        let did = did.into();
        let before = self.calls.counts();
        let from_ns = now_ns()?;
        let mut act = Act::new(&mut self.calls);
        let result = work(&mut act).with_context(|| format!("{}: {did}", self.scene))?;
        let told = act.told();
        let to_ns = now_ns()?;
        let mut saw = not_zero(self.calls.counts().since(&before))?;
        saw.extend(told);
        let structures = self.shown_by.as_deref().map(output).transpose()?;
        self.outcome.steps.push(Step { scene: self.scene.clone(), did, from_ns, to_ns, saw, kernel, structures });
        Ok(result)
    }

    /// Something that this kernel does not have, or this machine cannot show.
    pub(crate) fn missing(&mut self, what: impl Into<String>) {
        let what = what.into();
        if !self.outcome.missing.contains(&what) {
            self.outcome.missing.push(what);
        }
    }

    /// What another task of the demo counted, now that it has ended.
    pub(crate) fn joined(&mut self, tid: i32, counts: Counts) {
        self.others.push((tid, counts));
    }

    /// A table for the end.
    pub(crate) fn table(&mut self, table: Table) {
        self.outcome.tables.push(table);
    }

    /// What the demo prints.
    pub(crate) fn end(mut self, json: bool) -> Result<String> {
        let own = (self.outcome.tid, self.calls.counts());
        // Who never waited is no worker.
        let (master, workers): (Counts, Vec<_>) = if own.1.waits == 0 {
            (own.1, self.others)
        } else {
            (Counts::default(), std::iter::once(own).chain(self.others).collect())
        };
        self.outcome.truth = Truth::new(master, workers);
        if json {
            return serde_json::to_string(&self.outcome).map(|line| line + "\n").context("write the result as JSON");
        }
        Ok(self.outcome.text())
    }
}

impl Outcome {
    fn text(&self) -> String {
        let mut text = String::new();
        let mut scene = None;
        // Writing to a String does not fail.
        for step in &self.steps {
            if scene != Some(&step.scene) {
                let gap = if scene.is_some() { "\n" } else { "" };
                let _ = writeln!(text, "{gap}{}", step.scene);
                scene = Some(&step.scene);
            }
            let _ = writeln!(text, "  {}", step.did);
            let saw: Vec<String> = step.saw.iter().map(|(key, value)| format!("{key} {value}")).collect();
            if !saw.is_empty() {
                let _ = writeln!(text, "      saw: {}", saw.join(", "));
            }
            let _ = writeln!(text, "      the kernel must: {}", step.kernel);
            for line in step.structures.iter().flat_map(|structures| structures.lines()) {
                let _ = writeln!(text, "      | {line}");
            }
        }
        for missing in &self.missing {
            let _ = writeln!(text, "\nnot here: {missing}");
        }
        for table in &self.tables {
            let _ = write!(text, "\n{table}");
        }
        let _ = write!(text, "\n{}", self.truth);
        text
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.title)?;
        let lines = || std::iter::once(&self.columns).chain(&self.rows);
        let width = |column: usize| lines().filter_map(|line| Some(line.get(column)?.len())).max().unwrap_or(0);
        for line in lines() {
            for (column, cell) in line.iter().enumerate() {
                match column {
                    0 => write!(f, "  {cell:<width$}", width = width(0))?,
                    last if last + 1 == self.columns.len() => write!(f, "  {cell}")?,
                    column => write!(f, "  {cell:>width$}", width = width(column))?,
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// What a command prints.
fn output(command: &[String]) -> Result<String> {
    let (program, words) = command.split_first().context("an empty command")?;
    let ran = Command::new(program).args(words).output().with_context(|| format!("run {program}"))?;
    ensure!(
        ran.status.success(),
        "{} ended with {}: {}",
        command.join(" "),
        ran.status,
        String::from_utf8_lossy(&ran.stderr)
    );
    String::from_utf8(ran.stdout).with_context(|| format!("{program} printed no text"))
}

fn not_zero(counts: Counts) -> Result<Map<String, Value>> {
    match serde_json::to_value(counts).context("write counts as JSON")? {
        Value::Object(mut counts) => {
            counts.retain(|_, value| value != 0);
            Ok(counts)
        }
        other => anyhow::bail!("counts are {other}"),
    }
}

/// The clock of `bpf_ktime_get_ns`.
fn now_ns() -> Result<u64> {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).context("clock_gettime(CLOCK_MONOTONIC)")?;
    u64::try_from(std::time::Duration::from(now).as_nanos()).context("the clock is too large")
}

/// Threads that are made later stay there as well.
fn stay_on_one_cpu() -> Result<()> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).context("sched_getaffinity")?;
    let first = (0..CpuSet::count()).find(|&cpu| allowed.is_set(cpu).unwrap_or(false)).context("no CPU is allowed")?;
    let mut one = CpuSet::new();
    one.set(first).context("a set with one CPU")?;
    sched_setaffinity(Pid::from_raw(0), &one).context("sched_setaffinity; may this process choose its CPU?")
}

#[cfg(test)]
mod tests {
    use super::Story;
    use super::reaction::Reaction;
    use crate::fds::{epoll, eventfd};
    use serde_json::{Value, json};

    #[test]
    fn a_step_has_the_calls_that_it_made_and_what_they_brought() {
        let (epoll, file) = (epoll().unwrap(), eventfd(1).unwrap());
        let mut story = Story::begin("test", &json!({"n": 3})).unwrap();
        story.scene("a scene");
        story
            .step("add", Reaction::none().hooked(1), |act| act.add(&epoll, &file, libc::EPOLLIN.cast_unsigned(), 7))
            .unwrap();
        let events = story.step("wait", Reaction::none().events(1).scans(1), |act| act.wait(&epoll, 4)).unwrap();
        assert_eq!(events.len(), 1);
        let value: Value = serde_json::from_str(&story.end(true).unwrap()).unwrap();
        let steps = value["steps"].as_array().unwrap();
        assert_eq!(steps[0]["saw"], json!({"ctl_add": 1}));
        assert_eq!(steps[1]["saw"]["events"], 1);
        assert_eq!(steps[1]["saw"]["delivered"], json!([{"data": 7, "events": "EPOLLIN"}]));
        assert_eq!(steps[1]["kernel"]["scans"], 1);
        assert!(steps[0]["to_ns"].as_u64() <= steps[1]["from_ns"].as_u64());
        assert_eq!((&value["truth"]["waits"], &value["options"]["n"]), (&json!(1), &json!(3)));
    }
}

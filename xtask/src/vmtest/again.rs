//! A case that is played again where the kernel skipped probes. What the kernel skips says nothing of eptrace, and a case of which
//! nothing could be judged has tested nothing: of the runs of a case one at least must be exact.
//!
//! All jobs of a guest are planned before it boots. So the guest itself decides: a further run is made only when the report of the run
//! before says that the kernel skipped a probe, and costs nothing otherwise.

use anyhow::{Error, Result, bail, ensure};
use serde_json::Value;

use super::skipped;
use crate::vm::plan::Job;
use crate::vm::session::JobResult;

/// How often a case is played at most.
pub(super) const RUNS: usize = 3;

/// Where the guest keeps what the last run said.
const SAID: &str = "/tmp/said";
/// Is there when the run under way is to be made.
const AGAIN: &str = "/tmp/again";

/// What one run says.
#[derive(Debug)]
pub(super) enum Run {
    /// Nothing, for the kernel skipped probes: how it was not exact, and what was lost.
    Skipped(String),
    Exact,
    /// How it was not exact.
    Differs(Error),
    /// How it was not exact on a kernel that may have skipped probes and does not count them.
    Unclear(Error),
}

impl Run {
    /// A run that is as `judge` will have it is exact, also when the kernel skipped something that does not show. An error when more was
    /// lost than the kernel skips.
    pub(super) fn of(report: &Value, judge: impl FnOnce() -> Result<()>) -> Result<Self> {
        let lost = skipped::lost(report)?;
        Ok(match judge() {
            Ok(()) => Self::Exact,
            Err(error) if lost > 0 => Self::Skipped(format!("{error:#} ({})", report["lost"])),
            Err(error) if skipped::uncounted(report) => Self::Unclear(error),
            Err(error) => Self::Differs(error),
        })
    }
}

/// The jobs of [`RUNS`] runs, each as `run` makes it of its number. The job at `report` prints what the run lost. The first `sure` runs
/// are made whatever happens.
pub(super) fn jobs(sure: usize, report: usize, run: impl Fn(usize) -> Vec<Job>) -> Vec<Job> {
    let numbered = (0..RUNS).flat_map(|number| {
        let jobs = run(number).into_iter().enumerate();
        jobs.map(move |(at, job)| {
            let job = if at == report { kept(job) } else { job };
            match (number < sure, at) {
                (true, _) => job,
                (false, 0) => within(job, &first()),
                (false, _) => within(job, &format!("[ -e {AGAIN} ] || exit 0; exec \"$@\"")),
            }
        })
    });
    numbered.collect()
}

/// A job whose output the guest keeps.
fn kept(job: Job) -> Job {
    within(job, &format!("\"$@\" > {SAID}; code=$?; cat {SAID}; exit $code"))
}

/// Begins a run if the one before skipped anything.
fn first() -> String {
    let reasons = skipped::REASONS.map(|reason| format!("-e '\"reason\":\"{reason}\"'")).join(" ");
    format!("rm -f {AGAIN}; grep -qF {reasons} {SAID} || exit 0; > {AGAIN}; exec \"$@\"")
}

/// The job with its command as the arguments of a script.
fn within(job: Job, script: &str) -> Job {
    let mut argv = ["sh", "-c", script, "sh"].map(str::to_owned).to_vec();
    argv.extend(job.argv);
    Job { argv, ..job }
}

/// Judges each run that was made, and all of them.
pub(super) fn judge(results: &[JobResult], judge: impl Fn(&[JobResult]) -> Result<Run>) -> Result<()> {
    ensure!(!results.is_empty() && results.len().is_multiple_of(RUNS), "{} results are not {RUNS} runs", results.len());
    let runs = results.chunks(results.len() / RUNS).enumerate();
    let made = runs.filter(|(number, run)| *number == 0 || made(run));
    together(made.map(|(_, run)| judge(run)).collect::<Result<_>>()?)
}

/// Whether the guest made a run.
fn made(run: &[JobResult]) -> bool {
    run.iter().any(|job| !job.stdout.is_empty() || !job.stderr.is_empty())
}

/// One run at least must be exact, and none may differ, unless the kernel may have skipped probes in it without counting them.
fn together(runs: Vec<Run>) -> Result<()> {
    let (mut exact, mut unclear, mut skipped) = (false, None, Vec::new());
    for run in runs {
        match run {
            Run::Exact => exact = true,
            Run::Skipped(lost) => skipped.push(lost),
            Run::Differs(error) => return Err(error),
            Run::Unclear(error) => unclear = Some(error),
        }
    }
    match unclear {
        _ if exact => Ok(()),
        Some(error) => Err(error),
        None => bail!("the kernel skipped probes in every run, so nothing could be judged: {}", skipped.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::{AGAIN, RUNS, Run, SAID, jobs, judge, together};
    use crate::vm::plan::{Ending, Job};
    use crate::vm::session::JobResult;
    use anyhow::anyhow;
    use serde_json::json;
    use std::process::Command;

    #[test]
    fn a_case_of_which_nothing_was_judged_has_failed() {
        let differs = || Run::Differs(anyhow!("so"));
        let unclear = || Run::Unclear(anyhow!("so"));
        let skipped = || Run::Skipped("so".into());
        assert!(together(vec![Run::Exact]).is_ok());
        assert!(together(vec![skipped(), Run::Exact]).is_ok());
        assert!(together(vec![skipped()]).is_err());
        assert!(together(vec![skipped(), skipped(), skipped()]).is_err());
        assert!(together(vec![]).is_err());
        assert!(together(vec![Run::Exact, differs()]).is_err());
        assert!(together(vec![Run::Exact, unclear()]).is_ok());
        assert!(together(vec![unclear(), skipped()]).is_err());
        assert!(together(vec![unclear(), unclear()]).is_err());
    }

    #[test]
    fn a_run_differs_where_the_kernel_counts_what_it_skips() {
        let report = |kernel: &str, lost: u64, limit: &str| {
            json!({"kernel": kernel, "backend": "kprobe", "events": 10_000, "limits": [limit], "lost": {"events": lost, "by": [
                {"reason": "skipped", "count": lost, "loses_events": lost > 0}]}})
        };
        let wrong = || Err(anyhow!("so"));
        let uncounted = "Linux 6.1 cannot count the kprobes that it skips";
        assert!(matches!(Run::of(&report("7.2.1", 0, ""), || Ok(())).unwrap(), Run::Exact));
        assert!(matches!(Run::of(&report("7.2.1", 0, ""), wrong).unwrap(), Run::Differs(_)));
        assert!(matches!(Run::of(&report("6.1.0", 0, uncounted), wrong).unwrap(), Run::Unclear(_)));
        assert!(matches!(Run::of(&report("7.2.1", 1, ""), wrong).unwrap(), Run::Skipped(_)));
        assert!(Run::of(&report("7.2.1", 1_000, ""), || Ok(())).is_err());
    }

    fn said(words: &str) -> JobResult {
        JobResult { stdout: words.into(), ending: Some(Ending::Exited(0)), ..JobResult::default() }
    }

    #[test]
    fn runs_that_were_not_made_are_not_judged_but_the_first_is() {
        let run = |results: &[JobResult]| match results[0].out().as_str() {
            "exact" => Ok(Run::Exact),
            "skipped" => Ok(Run::Skipped("so".into())),
            other => Err(anyhow!("nothing to judge in {other:?}")),
        };
        let of = |words: [&str; RUNS]| judge(&words.map(said), run);
        assert!(of(["exact", "", ""]).is_ok());
        assert!(of(["skipped", "exact", ""]).is_ok());
        assert!(of(["skipped", "", ""]).is_err());
        assert!(of(["", "", ""]).is_err());
        assert!(judge(&[said("exact"), said("exact")], run).is_err());
    }

    /// What the jobs print when each run's report is the next of these, in a folder of their own.
    fn played(name: &str, sure: usize, reports: [&'static str; RUNS]) -> Vec<String> {
        let folder = std::env::temp_dir().join(format!("again-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let run = |number: usize| {
            vec![
                Job::new("record", &["echo", &format!("record {number}")], 1),
                Job::new("report", &["echo", reports[number]], 1),
                Job::new("removal", &["echo", "gone"], 1),
            ]
        };
        let here = |word: &String| word.replace(SAID, "said").replace(AGAIN, "again");
        let printed = jobs(sure, 1, run).into_iter().map(|job| {
            let argv: Vec<String> = job.argv.iter().map(here).collect();
            let done = Command::new(&argv[0]).args(&argv[1..]).current_dir(&folder).output().unwrap();
            assert!(done.status.success(), "{job:?}: {done:?}");
            String::from_utf8(done.stdout).unwrap().trim().to_owned()
        });
        let printed = printed.collect();
        std::fs::remove_dir_all(&folder).unwrap();
        printed
    }

    #[test]
    fn a_run_is_made_again_only_when_the_one_before_skipped_something() {
        let (none, some) = ("{\"by\":[]}", "{\"by\":[{\"reason\":\"recursion\",\"count\":1}]}");
        assert_eq!(played("none", 1, [none, none, none]), ["record 0", none, "gone", "", "", "", "", "", ""]);
        assert_eq!(
            played("one", 1, [some, none, none]),
            ["record 0", some, "gone", "record 1", none, "gone", "", "", ""]
        );
        assert_eq!(
            played("all", 1, [some, some, none]),
            ["record 0", some, "gone", "record 1", some, "gone", "record 2", none, "gone"]
        );
        assert_eq!(
            played("sure", 2, [none, none, none]),
            ["record 0", none, "gone", "record 1", none, "gone", "", "", ""]
        );
    }
}

//! The step that boots kernels: two machines per kernel, half of the cases in each.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Result, bail};

use super::Tally;
use crate::progress;
use crate::setup::{busybox, guest_build, tools};
use crate::vm::initramfs::Contents;
use crate::vm::kernel::{self, Kernel, Selector};
use crate::vm::plan::{Job, Plan};
use crate::vm::protocol::Frame;
use crate::vm::session::{self, JobResult, Shape};
use crate::vmtest::matrix::Matrix;
use crate::vmtest::{Case, Suite, foreign, terminal};

/// How many guests run at a time.
const GUESTS: usize = 2;
/// A job's deadline is for what hangs. It is that of a guest that has the machine to itself; side by side they take longer.
const PATIENCE: u64 = 4;
/// Into how many guests a kernel's cases go: the fewer cases a guest has, the less of the time is one guest the last and alone.
const PARTS: usize = 2;

/// Runs all cases on all kernels; `matrix` takes what they say of kernels and backends.
pub(super) fn tests(shape: &Shape, kernels: &[Selector], filter: &str, matrix: &mut Matrix) -> Result<Tally> {
    let suite = Suite::new(filter);
    let all = suite.all();
    if all.is_empty() {
        return Ok(Tally::default());
    }
    let otherwise = ", or leave the virtual machine out with --no-vm";
    let network = session::has_user_network(&session::qemu(shape.qemu.as_ref())?)?;
    if !network {
        progress::say("this QEMU has no `-netdev user`: the cases that poll a network card will fail");
    }
    let shape = &Shape { network, ..shape.clone() };
    let bpftrace = tools::find_or_install(&tools::BPFTRACE, otherwise)?;
    let kernels = kernels.iter().map(kernel::resolve).collect::<Result<Vec<_>>>()?;
    let programs = guest_build::programs()?;
    let mut packed = vec![programs.join("eptrace"), programs.join("demos"), bpftrace];
    packed.extend(foreign::programs(&all)?);
    packed.extend(terminal::programs(&all)?);
    let mut files = foreign::files(&all, &programs)?;
    files.extend(terminal::files(&all));
    let contents =
        Contents { init: programs.join("xtask"), programs: packed, files, busybox: Some(busybox::busybox()?) };
    let numbered: Vec<(usize, &Kernel)> = kernels.iter().map(|kernel| (matrix.kernel(&kernel.name), kernel)).collect();
    let matrix = Mutex::new(matrix);
    let test = |number: usize, kernel: &Kernel, cases: &[Case]| {
        let start = Instant::now();
        let tally = on_kernel(shape, kernel, &contents, cases, &|case, results, passed| {
            matrix.lock().unwrap_or_else(PoisonError::into_inner).add(number, case, results, passed);
        });
        progress::say(&format!("{}: {tally} in {:.1} s", kernel.name, start.elapsed().as_secs_f64()));
        tally
    };
    // A guest often waits for one of its processors only: a second one makes use of the other. What takes longest comes first, so that
    // neither is left alone for long: the last cases, and the newest kernels.
    let parts = suite.each.chunks(suite.each.len().div_ceil(PARTS).max(1)).rev();
    let numbered = &numbered;
    let queued = parts.flat_map(|part| numbered.iter().rev().map(move |(number, kernel)| (*number, *kernel, part)));
    let mut ends: Vec<&(usize, &Kernel)> = numbered.first().into_iter().chain(numbered.last()).collect();
    ends.dedup_by_key(|(number, _)| *number);
    let ends = ends.into_iter().map(|(number, kernel)| (*number, *kernel, suite.ends.as_slice()));
    let last = numbered.last().map(|(number, kernel)| (*number, *kernel, suite.last.as_slice()));
    let once = numbered.first().map(|(number, kernel)| (*number, *kernel, suite.once.as_slice()));
    let queued = ends.chain(last).chain(queued).chain(once).filter(|(_, _, cases)| !cases.is_empty());
    let next = Mutex::new(queued);
    let queue = || {
        let mut total = Tally::default();
        while let Some((number, kernel, part)) = { next.lock().unwrap_or_else(PoisonError::into_inner).next() } {
            total.add(test(number, kernel, part));
        }
        total
    };
    Ok(std::thread::scope(|scope| {
        let mut total = Tally::default();
        for running in [(); GUESTS].map(|()| scope.spawn(queue)) {
            total.add(running.join().unwrap_or(Tally::FAILED));
        }
        total
    }))
}

fn on_kernel(
    shape: &Shape,
    kernel: &Kernel,
    contents: &Contents,
    cases: &[Case],
    keep: &dyn Fn(&Case, &[JobResult], bool),
) -> Tally {
    progress::say(&format!("booting {} for {} cases", kernel.name, cases.len()));
    let patient = |job: &Job| Job { timeout_s: job.timeout_s.saturating_mul(PATIENCE), ..job.clone() };
    let plan = Plan { jobs: cases.iter().flat_map(|case| &case.jobs).map(patient).collect() };
    let mut clock = CaseClock::new(cases, &kernel.name);
    let session = session::run(shape, kernel, contents, &plan, &mut |frame| {
        if matches!(frame, Frame::End(..)) {
            clock.job_ended();
        }
    });
    if let Some(error) = &session.failure {
        println!("FAILED {}: {error:#}", kernel.name);
    }
    let mut tally = Tally::default();
    let mut results = session.results.as_slice();
    for case in cases {
        let (mine, others) = results.split_at(case.jobs.len().min(results.len()));
        results = others;
        let verdict = verdict(case, mine, &kernel.name);
        keep(case, mine, verdict == Tally::PASSED);
        tally.add(verdict);
    }
    tally
}

fn verdict(case: &Case, results: &[JobResult], kernel: &str) -> Tally {
    match judge(case, results) {
        Ok(()) => {
            println!("ok {} on {kernel}", case.name);
            Tally::PASSED
        }
        Err(error) => {
            println!("FAILED {} on {kernel}: {error:#}", case.name);
            Tally::FAILED
        }
    }
}

/// A case whose jobs did not all run has failed, whatever the others said.
fn judge(case: &Case, results: &[JobResult]) -> Result<()> {
    if results.len() < case.jobs.len() || results.iter().any(|result| result.ending.is_none()) {
        bail!("the virtual machine ended before this case was done");
    }
    (case.check)(results)
}

/// Says which cases are over while the machine runs, and how long each took.
struct CaseClock<'a> {
    cases: std::slice::Iter<'a, Case>,
    current: Option<(&'a Case, usize)>,
    kernel: &'a str,
    since: Instant,
}

impl<'a> CaseClock<'a> {
    fn new(cases: &'a [Case], kernel: &'a str) -> Self {
        let mut cases = cases.iter();
        let current = cases.next().map(|case| (case, case.jobs.len()));
        Self { cases, current, kernel, since: Instant::now() }
    }

    fn job_ended(&mut self) {
        let Some((case, left)) = self.current.take() else { return };
        if left > 1 {
            self.current = Some((case, left - 1));
            return;
        }
        let seconds = self.since.elapsed().as_secs_f64();
        progress::say(&format!("ran in {seconds:.1} s on {}: {}", self.kernel, case.name));
        self.since = Instant::now();
        self.current = self.cases.next().map(|case| (case, case.jobs.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::judge;
    use crate::vm::plan::{Ending, Job};
    use crate::vm::session::JobResult;
    use crate::vmtest::Case;

    fn case() -> Case {
        Case {
            name: "c".into(),
            jobs: vec![Job::new("a", &["a"], 1), Job::new("b", &["b"], 1)],
            check: Box::new(|_| Ok(())),
        }
    }

    fn ended() -> JobResult {
        JobResult { ending: Some(Ending::Exited(0)), ..JobResult::default() }
    }

    #[test]
    fn a_case_whose_jobs_did_not_all_end_has_failed() {
        let case = case();
        let ended = ended();
        assert!(judge(&case, &[ended.clone(), ended.clone()]).is_ok());
        assert!(judge(&case, &[ended.clone(), JobResult::default()]).is_err());
        assert!(judge(&case, &[ended]).is_err());
    }
}

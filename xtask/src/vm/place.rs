//! Where jobs run: in a guest, or on this machine.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;

use crate::exec;
use crate::vm::initramfs::Contents;
use crate::vm::kernel::Kernel;
use crate::vm::plan::{Ending, Job, Plan};
use crate::vm::protocol::Frame;
use crate::vm::session::{self, JobResult, Shape};

/// A place to run jobs.
pub(crate) enum Place<'a> {
    /// A virtual machine.
    Guest { shape: &'a Shape, kernel: &'a Kernel, contents: &'a Contents },
    /// This machine, with programs of this folder.
    Host { programs: PathBuf },
}

impl Place<'_> {
    /// Runs the jobs in order; `ended` hears of each that is over.
    pub(crate) fn run(&self, jobs: &[Job], ended: &mut dyn FnMut(usize)) -> Result<Vec<JobResult>> {
        match self {
            Self::Guest { shape, kernel, contents } => {
                let plan = Plan { jobs: jobs.to_vec() };
                session::run(shape, kernel, contents, &plan, &mut |frame| {
                    if let Frame::End(job, ..) = frame {
                        ended(usize::try_from(*job).unwrap_or(usize::MAX));
                    }
                })
                .into_whole()
            }
            Self::Host { programs } => {
                let work = tempfile::tempdir().context("cannot create a temporary directory")?;
                let mut results = Vec::new();
                for (index, job) in jobs.iter().enumerate() {
                    results.push(run_here(job, programs, work.path())?);
                    ended(index);
                }
                Ok(results)
            }
        }
    }
}

/// The processor time of all children that have ended and were waited for, theirs included.
pub(crate) fn children_cpu_ns() -> Result<u64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("getrusage failed")?;
    let ns = usage.user_time().num_nanoseconds() + usage.system_time().num_nanoseconds();
    u64::try_from(ns).context("a negative processor time")
}

fn run_here(job: &Job, programs: &std::path::Path, work: &std::path::Path) -> Result<JobResult> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(programs.to_path_buf()).chain(std::env::split_paths(&path)))
        .with_context(|| format!("cannot put {} on PATH", programs.display()))?;
    let mut command = Command::new("timeout");
    command.args(["--signal=KILL", &job.timeout_s.to_string()]).args(&job.argv).current_dir(work);
    command.env("PATH", path).envs(job.env.iter().map(|(name, value)| (name, value)));
    let before = children_cpu_ns()?;
    let done = exec::captured(&mut command)?;
    let cpu_ns = children_cpu_ns()?.saturating_sub(before);
    let ending =
        done.status.code().map_or_else(|| Ending::Signalled(done.status.signal().unwrap_or(0)), Ending::Exited);
    let files = job.returns.iter().filter_map(|name| Some((name.clone(), std::fs::read(work.join(name)).ok()?)));
    let files: BTreeMap<String, Vec<u8>> = files.collect();
    Ok(JobResult { stdout: done.stdout, stderr: done.stderr, files, ending: Some(ending), cpu_ns })
}

#[cfg(test)]
mod tests {
    use super::Place;
    use crate::vm::plan::{Ending, Job};

    #[test]
    fn jobs_on_this_machine_share_a_folder_and_return_files() {
        let place = Place::Host { programs: "/bin".into() };
        let jobs = [
            Job::new("write", &["sh", "-c", "echo hi > f; echo out; exit 3"], 10).returning(&["f", "g"]),
            Job::new("read", &["cat", "f"], 10),
        ];
        let mut ended = Vec::new();
        let results = place.run(&jobs, &mut |index| ended.push(index)).unwrap();
        assert_eq!(ended, [0, 1]);
        assert_eq!((results[0].ending, results[0].out().as_str()), (Some(Ending::Exited(3)), "out\n"));
        assert_eq!(results[0].files.get("f").map(Vec::as_slice), Some(b"hi\n".as_slice()));
        assert!(!results[0].files.contains_key("g"));
        assert_eq!(results[1].out(), "hi\n");
    }
}

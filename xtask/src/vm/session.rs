//! One boot from a list of jobs to their results.
//!
//! In: kernel, contents, plan. Out: for every job what it printed, the files it returned and how it ended; while it
//! runs, each frame is also shown to an observer.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::setup::{guest_build, tools};
use crate::vm::accel;
use crate::vm::initramfs::Contents;
use crate::vm::kernel::Kernel;
use crate::vm::plan::{Ending, Plan};
use crate::vm::protocol::Frame;
use crate::vm::qemu::{Accel, Machine};
use crate::{exec, progress};

/// What a guest did with one job.
#[derive(Debug, Default, Clone)]
pub(crate) struct JobResult {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    pub(crate) ending: Option<Ending>,
    /// The processor time that it and its children took.
    pub(crate) cpu_ns: u64,
}

impl JobResult {
    /// stdout as text.
    pub(crate) fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// stderr as text.
    pub(crate) fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

/// The shape of the virtual machine.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) qemu: Option<PathBuf>,
    pub(crate) memory_mb: u32,
    pub(crate) processors: u32,
    pub(crate) counting: bool,
    /// Whether it has a network card, with [`ECHO_SERVER`](crate::vm::qemu::ECHO_SERVER) behind it.
    pub(crate) network: bool,
}

impl Default for Shape {
    fn default() -> Self {
        Self { qemu: None, memory_mb: 1024, processors: 2, counting: false, network: false }
    }
}

/// Finds or installs QEMU.
pub(crate) fn qemu(given: Option<&PathBuf>) -> Result<PathBuf> {
    match given {
        Some(path) if path.is_file() => Ok(path.clone()),
        Some(path) => bail!("there is no QEMU at {}: --qemu takes the path of a qemu-system-x86_64", path.display()),
        None => tools::find_or_install(&tools::QEMU, ", or give a QEMU with --qemu PATH"),
    }
}

/// Whether a QEMU can make a network for a guest by itself (`-netdev user`), as Debian's can.
pub(crate) fn has_user_network(qemu: &Path) -> Result<bool> {
    Ok(exec::output(Command::new(qemu).args(["-netdev", "help"]))?.lines().any(|line| line.trim() == "user"))
}

/// Builds the guest's init.
pub(crate) fn init() -> Result<PathBuf> {
    Ok(guest_build::programs()?.join("xtask"))
}

/// What came of a boot: the results so far, and why it ended early if it did.
pub(crate) struct Session {
    pub(crate) results: Vec<JobResult>,
    pub(crate) failure: Option<anyhow::Error>,
}

impl Session {
    /// All results, or why there are not all.
    pub(crate) fn into_whole(self) -> Result<Vec<JobResult>> {
        match self.failure {
            Some(error) => Err(error),
            None => Ok(self.results),
        }
    }
}

/// Boots the kernel, runs the plan, and gathers the results in the plan's order.
pub(crate) fn run(
    shape: &Shape,
    kernel: &Kernel,
    contents: &Contents,
    plan: &Plan,
    observe: &mut dyn FnMut(&Frame),
) -> Session {
    let mut gather = Gather { results: vec![JobResult::default(); plan.jobs.len()], open: BTreeMap::new() };
    let failure = boot(shape, kernel, contents, plan, &mut |frame| {
        observe(&frame);
        gather.take(frame)
    });
    Session { results: gather.results, failure: failure.err() }
}

fn boot(
    shape: &Shape,
    kernel: &Kernel,
    contents: &Contents,
    plan: &Plan,
    on_frame: &mut dyn FnMut(Frame) -> Result<()>,
) -> Result<()> {
    let qemu = qemu(shape.qemu.as_ref())?;
    let accel = if shape.counting { Accel::Counting } else { accel::choose(&qemu, kernel, &contents.init)? };
    let machine =
        Machine { qemu, accel, memory_mb: shape.memory_mb, processors: shape.processors, network: shape.network };
    // Sixty seconds to boot, and what the jobs themselves may take.
    let limit = Duration::from_secs(60 + plan.jobs.iter().map(|job| job.timeout_s + 10).sum::<u64>());
    let initramfs = contents.write(kernel, plan)?;
    let ended = machine.run(&kernel.image, &initramfs, limit, on_frame);
    ended.with_context(|| format!("the guest with kernel {} failed", kernel.name))
}

/// Collects frames by job.
struct Gather {
    results: Vec<JobResult>,
    /// The file that each job is sending.
    open: BTreeMap<u32, String>,
}

impl Gather {
    fn take(&mut self, frame: Frame) -> Result<()> {
        match frame {
            Frame::Hello(_) | Frame::Start(_) | Frame::Done => {}
            Frame::Note(text) => progress::say(&format!("guest: {text}")),
            Frame::Stdout(job, bytes) => self.job(job)?.stdout.extend(bytes),
            Frame::Stderr(job, bytes) => self.job(job)?.stderr.extend(bytes),
            Frame::FileBegin(job, path) => {
                self.job(job)?.files.insert(path.clone(), Vec::new());
                self.open.insert(job, path);
            }
            Frame::FileBytes(job, bytes) => {
                let path = self.open.get(&job).context("the guest sent bytes of no file")?.clone();
                self.job(job)?.files.entry(path).or_default().extend(bytes);
            }
            Frame::FileMissing(job, why) => {
                let line = format!("guest: cannot return {why}\n");
                self.job(job)?.stderr.extend(line.into_bytes());
            }
            Frame::End(job, ending, ns) => {
                let result = self.job(job)?;
                result.ending = Some(ending);
                result.cpu_ns = ns;
            }
        }
        Ok(())
    }

    fn job(&mut self, job: u32) -> Result<&mut JobResult> {
        let index = usize::try_from(job).unwrap_or(usize::MAX);
        self.results.get_mut(index).with_context(|| format!("the guest speaks of job {job}, which the plan has not"))
    }
}

#[cfg(test)]
mod tests {
    use super::{Gather, JobResult};
    use crate::vm::plan::Ending;
    use crate::vm::protocol::Frame;
    use std::collections::BTreeMap;

    #[test]
    fn frames_are_gathered_by_job() {
        let mut gather = Gather { results: vec![JobResult::default(); 2], open: BTreeMap::new() };
        for frame in [
            Frame::Stdout(0, b"a".to_vec()),
            Frame::Stdout(1, b"b".to_vec()),
            Frame::Stdout(0, b"c".to_vec()),
            Frame::FileBegin(1, "f".into()),
            Frame::FileBytes(1, b"12".to_vec()),
            Frame::FileBytes(1, b"3".to_vec()),
            Frame::FileMissing(0, "g: no such file".into()),
            Frame::End(1, Ending::Exited(0), 5),
        ] {
            gather.take(frame).unwrap();
        }
        assert_eq!(gather.results[0].out(), "ac");
        assert!(gather.results[0].err().contains("g: no such file"));
        assert_eq!(gather.results[1].files["f"], b"123");
        assert_eq!((gather.results[1].ending, gather.results[1].cpu_ns), (Some(Ending::Exited(0)), 5));
        assert!(gather.take(Frame::Start(0)).is_ok());
        assert!(gather.take(Frame::Stdout(9, vec![])).is_err());
    }
}

//! The guest's init: process 1 of the virtual machine, built from this same program without shared libraries.
//!
//! In: the plan in the initramfs. Out: frames on the virtio serial port. When all jobs are done it powers off.

mod bpf;
mod jobs;
mod mounts;
mod port;

pub(crate) use bpf::print_ids;

use anyhow::{Context as _, Result};
use nix::sys::reboot::{RebootMode, reboot};

use crate::vm::plan::{PLAN_PATH, Plan};
use crate::vm::protocol::Frame;

/// Whether this process is the init of a guest of ours, and not of a container that happens to run us first.
pub(crate) fn is_init() -> bool {
    std::process::id() == 1 && std::path::Path::new(PLAN_PATH).exists()
}

/// Runs the guest from boot to power off.
pub(crate) fn init() {
    if let Err(error) = work() {
        // The console is all that is left to speak through; the host shows its end.
        eprintln!("the guest's init failed: {error:#}");
    }
    nix::unistd::sync();
    // Returning would make the kernel panic, which ends QEMU as well.
    let _ = reboot(RebootMode::RB_POWER_OFF);
}

fn work() -> Result<()> {
    let notes = mounts::prepare()?;
    let port = port::Port::open().with_context(|| format!("notes: {notes:?}"))?;
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").context("cannot read the kernel's release")?;
    port.send(&Frame::Hello(release.trim().to_owned()))?;
    for note in notes {
        port.send(&Frame::Note(note))?;
    }
    let bytes = std::fs::read(PLAN_PATH).with_context(|| format!("cannot read {PLAN_PATH}"))?;
    let plan: Plan = serde_json::from_slice(&bytes).with_context(|| format!("{PLAN_PATH} is no plan"))?;
    jobs::run_all(&plan, &port)?;
    port.send(&Frame::Done)
}

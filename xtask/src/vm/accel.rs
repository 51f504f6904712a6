//! Whether KVM really runs a guest here: tried with a short deadline, never assumed, and remembered.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::vm::initramfs::Contents;
use crate::vm::kernel::Kernel;
use crate::vm::plan::Plan;
use crate::vm::qemu::{Accel, Machine};
use crate::{cache, exec, progress};

/// A guest with KVM says hello within two seconds; one that hangs is not waited for.
const DEADLINE: Duration = Duration::from_secs(10);

/// The fastest way to run a guest that works here.
pub(crate) fn choose(qemu: &Path, kernel: &Kernel, init: &Path) -> Result<Accel> {
    if fs::OpenOptions::new().read(true).write(true).open("/dev/kvm").is_err() {
        return Ok(Accel::Tcg);
    }
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let version = exec::output(Command::new(qemu).arg("--version"))?;
    let machine = format!("{} {}", boot.trim(), version.lines().next().unwrap_or_default());
    if let Some(((known, works), _)) = cache::recall::<(String, bool)>("kvm")
        && known == machine
    {
        return Ok(if works { Accel::Kvm } else { Accel::Tcg });
    }
    progress::say("trying whether KVM works here ...");
    let works = boots(qemu, kernel, init)?;
    progress::say(if works { "KVM works" } else { "KVM does not run a guest here: emulating instead" });
    cache::remember("kvm", &(machine, works))?;
    Ok(if works { Accel::Kvm } else { Accel::Tcg })
}

fn boots(qemu: &Path, kernel: &Kernel, init: &Path) -> Result<bool> {
    let contents = Contents { init: init.to_path_buf(), ..Contents::default() };
    let initramfs = contents.write(kernel, &Plan::default())?;
    let machine =
        Machine { qemu: qemu.to_path_buf(), accel: Accel::Kvm, memory_mb: 512, processors: 2, network: false };
    Ok(machine.run(&kernel.image, &initramfs, DEADLINE, &mut |_| Ok(())).is_ok())
}

//! What the kernel would refuse later in many sentences is refused early in one.

use anyhow::{Result, bail};

use crate::kernel::capabilities::System;

/// Refuses a process that may not load probes, and one that does not see the kernel's own pids.
pub(super) fn demand() -> Result<()> {
    let system = System::read();
    let in_name_only = system.initial_user_namespace == Ok(false);
    if in_name_only || system.privileges.is_ok_and(|privileges| !privileges.may_trace()) {
        bail!(
            "eptrace must load probes into the kernel: run it as root (sudo eptrace ...), or give it CAP_BPF and CAP_PERFMON"
        );
    }
    if system.initial_pid_namespace == Ok(false) {
        bail!(
            "eptrace runs in a container's pid namespace, where processes have other numbers than in the kernel: run it on the host"
        );
    }
    Ok(())
}

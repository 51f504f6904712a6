//! Who may load probes: root, or `CAP_BPF` with `CAP_PERFMON` (kernel/bpf/syscall.c, 5.8 on).

use anyhow::{Context, Result, bail};

const CAP_SYS_ADMIN: u64 = 1 << 21;
const CAP_PERFMON: u64 = 1 << 38;
const CAP_BPF: u64 = 1 << 39;

/// Refuses early, in one sentence, what the kernel would refuse later in many.
pub(super) fn demand() -> Result<()> {
    let status = std::fs::read_to_string("/proc/self/status").context("cannot read /proc/self/status")?;
    if enough(effective(&status).context("/proc/self/status has no CapEff")?) {
        return Ok(());
    }
    bail!("eptrace must load probes into the kernel: run it as root (sudo eptrace ...), or give it CAP_BPF and CAP_PERFMON")
}

fn effective(status: &str) -> Option<u64> {
    let hex = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(hex.trim(), 16).ok()
}

const fn enough(capabilities: u64) -> bool {
    capabilities & CAP_SYS_ADMIN != 0 || capabilities & (CAP_BPF | CAP_PERFMON) == CAP_BPF | CAP_PERFMON
}

#[cfg(test)]
mod tests {
    use super::{CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN, effective, enough};

    #[test]
    fn root_or_both_bpf_capabilities_are_enough_and_one_is_not() {
        assert!(enough(CAP_SYS_ADMIN));
        assert!(enough(CAP_BPF | CAP_PERFMON));
        assert!(!enough(CAP_BPF));
        assert!(!enough(0));
    }

    #[test]
    fn the_effective_set_is_read_from_status() {
        assert_eq!(effective("Name:\tx\nCapEff:\t000001ffffffffff\n"), Some(0x1ff_ffff_ffff));
        assert_eq!(effective("Name:\tx\n"), None);
    }
}

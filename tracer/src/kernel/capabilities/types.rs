//! The facts' own types.

use std::fmt;
use std::path::PathBuf;

/// A fact, or why it could not be found out. Unknown is never the same as "no".
pub type Fact<T> = Result<T, Unknown>;

/// Why a fact is unknown: a sentence that names the file and what the system said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unknown(String);

impl Unknown {
    pub(super) fn because(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

/// A set of CPUs as the kernel writes it: `0-3,8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuList {
    /// How many.
    pub count: u32,
    /// The highest number.
    pub highest: u32,
}

/// Who this process is for the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Privileges {
    /// The effective uid.
    pub euid: u32,
    /// The effective capabilities, bit by number.
    pub effective: u64,
}

impl Privileges {
    /// Whether this process has a capability, or `CAP_SYS_ADMIN`, which stood for the others before they existed and still does
    /// (`bpf_capable()`, `perfmon_capable()` in include/linux/capability.h); it does not stand for `CAP_SYS_RESOURCE` and
    /// `CAP_SYSLOG`.
    #[must_use]
    pub fn has(self, capability: Capability) -> bool {
        let stands_for = match capability {
            Capability::Bpf | Capability::Perfmon | Capability::SysAdmin => 1 << Capability::SysAdmin as u32,
            Capability::SysResource | Capability::Syslog => 0,
        };
        self.effective & (1 << capability as u32 | stands_for) != 0
    }

    /// Whether tracing programs may be loaded, lockdown and namespaces aside.
    #[must_use]
    pub fn may_trace(self) -> bool {
        self.has(Capability::Bpf) && self.has(Capability::Perfmon)
    }
}

/// The capabilities that matter here, by their numbers (include/uapi/linux/capability.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Capability {
    /// `CAP_SYS_ADMIN`: everything, and before 5.8 the only one that allowed tracing.
    SysAdmin = 21,
    /// `CAP_SYS_RESOURCE`: raise `RLIMIT_MEMLOCK`.
    SysResource = 24,
    /// `CAP_SYSLOG`: see the addresses in kallsyms.
    Syslog = 34,
    /// `CAP_PERFMON`: attach probes, read kernel memory.
    Perfmon = 38,
    /// `CAP_BPF`: load programs and maps.
    Bpf = 39,
}

impl Capability {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::SysAdmin, Self::SysResource, Self::Syslog, Self::Perfmon, Self::Bpf];
}

/// `CAP_BPF`
impl fmt::Display for Capability {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::SysAdmin => "CAP_SYS_ADMIN",
            Self::SysResource => "CAP_SYS_RESOURCE",
            Self::Syslog => "CAP_SYSLOG",
            Self::Perfmon => "CAP_PERFMON",
            Self::Bpf => "CAP_BPF",
        })
    }
}

/// How far the lockdown LSM goes (security/lockdown/lockdown.c).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lockdown {
    /// Nothing is forbidden.
    None,
    /// The kernel cannot be changed; tracing may read it.
    Integrity,
    /// Nor read: programs with `bpf_probe_read_kernel` do not load.
    Confidentiality,
}

/// `none`, `integrity`, `confidentiality`, as in `/sys/kernel/security/lockdown`.
impl fmt::Display for Lockdown {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::None => "none",
            Self::Integrity => "integrity",
            Self::Confidentiality => "confidentiality",
        })
    }
}

/// Whether there are kprobes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kprobes {
    /// Whether the kernel was built with them.
    pub available: bool,
    /// The file or folder that shows it.
    pub seen: PathBuf,
}

/// A resource limit in bytes; `None`: unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryLimit {
    /// What holds.
    pub soft: Option<u64>,
    /// How far it can be raised without `CAP_SYS_RESOURCE`.
    pub hard: Option<u64>,
}

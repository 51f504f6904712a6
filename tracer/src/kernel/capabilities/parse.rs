//! What the kernel's files say. All pure: text in, value out, `None` for text of another form.

use std::path::PathBuf;

use super::types::{CpuList, Lockdown, MemoryLimit, Privileges};

/// `0-3,8`
pub(super) fn cpu_list(text: &str) -> Option<CpuList> {
    let mut cpus: Option<CpuList> = None;
    for range in text.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?);
        let before = match cpus {
            Some(cpus) if first <= cpus.highest => return None,
            Some(cpus) => cpus.count,
            None => 0,
        };
        let count = last.checked_sub(first)?.checked_add(1)?.checked_add(before)?;
        cpus = Some(CpuList { count, highest: last });
    }
    cpus
}

/// The lines `Uid:` and `CapEff:` of `/proc/self/status`.
pub(super) fn privileges(status: &str) -> Option<Privileges> {
    let line = |key: &str| status.lines().find_map(|line| line.strip_prefix(key));
    Some(Privileges {
        // Real, effective, saved, file system.
        euid: line("Uid:")?.split_whitespace().nth(1)?.parse().ok()?,
        effective: u64::from_str_radix(line("CapEff:")?.trim(), 16).ok()?,
    })
}

/// `none [integrity] confidentiality`
pub(super) fn lockdown(text: &str) -> Option<Lockdown> {
    let (_, rest) = text.split_once('[')?;
    match rest.split_once(']')?.0 {
        "none" => Some(Lockdown::None),
        "integrity" => Some(Lockdown::Integrity),
        "confidentiality" => Some(Lockdown::Confidentiality),
        _ => None,
    }
}

/// Whether an option of a kernel's configuration is built in.
pub(super) fn config_option(text: &str, option: &str) -> bool {
    text.lines().any(|line| line.strip_prefix(option) == Some("=y"))
}

/// `0` or `1`
pub(super) fn switch(text: &str) -> Option<bool> {
    match text.trim() {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    }
}

/// A number alone.
pub(super) fn integer(text: &str) -> Option<i64> {
    text.trim().parse().ok()
}

/// uname's version names the kind of preemption: `#1 SMP PREEMPT_RT Debian ..` (`init/Makefile`).
pub(super) fn version_is_realtime(version: &str) -> bool {
    version.split_whitespace().any(|word| word == "PREEMPT_RT")
}

/// `none (voluntary) full`: what is in use stands in brackets.
pub(super) fn preemptible(text: &str) -> Option<bool> {
    let mode = text.split_whitespace().find_map(|word| word.strip_prefix('(')?.strip_suffix(')'))?;
    Some(matches!(mode, "full" | "lazy"))
}

/// The line `Max locked memory` of `/proc/self/limits`.
pub(super) fn memlock(limits: &str) -> Option<MemoryLimit> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max locked memory"))?;
    let mut fields = line.split_whitespace();
    let mut limit = || match fields.next()? {
        "unlimited" => Some(None),
        bytes => bytes.parse().ok().map(Some),
    };
    Some(MemoryLimit { soft: limit()?, hard: limit()? })
}

/// `pid:[4026531836]`
pub(super) fn namespace(link: &str) -> Option<u64> {
    link.split_once(":[")?.1.strip_suffix(']')?.parse().ok()
}

/// The first mount of a type in the form of `/proc/self/mounts`: device, place, type, options.
pub(super) fn mount_of(mounts: &str, kind: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let place = fields.nth(1)?;
        (fields.next()? == kind).then(|| PathBuf::from(unescape(place)))
    })
}

/// The kernel writes space, tab, newline, backslash and `#` of a path as `\040` (`fs/proc_namespace.c`, `mangle`).
fn unescape(place: &str) -> String {
    let mut parts = place.split('\\');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let octal = part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        if let (Some(byte), Some(rest)) = (octal.filter(u8::is_ascii), part.get(3..)) {
            out.push(char::from(byte));
            out.push_str(rest);
        } else {
            out.push('\\');
            out.push_str(part);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::types::{Capability, CpuList, Lockdown, MemoryLimit, Privileges};
    use super::{
        config_option, cpu_list, integer, lockdown, memlock, mount_of, namespace, preemptible, privileges, switch,
        version_is_realtime,
    };

    #[test]
    fn lists_of_cpus() {
        assert_eq!(cpu_list("0\n"), Some(CpuList { count: 1, highest: 0 }));
        assert_eq!(cpu_list("0-127\n"), Some(CpuList { count: 128, highest: 127 }));
        assert_eq!(cpu_list("0-3,8,10-11\n"), Some(CpuList { count: 7, highest: 11 }));
        for text in ["", "\n", "3-1", "0-", "a", "0,,1", "4,0", "0-4294967295", "0-3,2"] {
            assert_eq!(cpu_list(text), None, "{text:?}");
        }
    }

    #[test]
    fn who_this_process_is() {
        let status = "Name:\teptrace\nUid:\t1000\t0\t0\t0\nCapPrm:\t0\nCapEff:\t000001ffffffffff\n";
        let root = privileges(status).unwrap();
        assert_eq!(root.euid, 0);
        assert!(Capability::ALL.iter().all(|&capability| root.has(capability)));
        let user = Privileges { euid: 1000, effective: 0 };
        assert!(!Capability::ALL.iter().any(|&capability| user.has(capability)));
        let tracer = Privileges { euid: 1000, effective: 1 << 39 | 1 << 38 };
        assert!(tracer.may_trace() && !tracer.has(Capability::SysAdmin) && !tracer.has(Capability::SysResource));
        let admin = Privileges { euid: 0, effective: 1 << 21 };
        assert!(admin.may_trace() && !admin.has(Capability::Syslog));
        assert!(!Privileges { euid: 0, effective: 1 << 39 }.may_trace());
        assert_eq!(privileges("Name:\tx\nUid:\t0\n"), None);
    }

    #[test]
    fn lockdown_is_what_stands_in_brackets() {
        assert_eq!(lockdown("[none] integrity confidentiality\n"), Some(Lockdown::None));
        assert_eq!(lockdown("none [integrity] confidentiality\n"), Some(Lockdown::Integrity));
        assert_eq!(lockdown("none integrity [confidentiality]\n"), Some(Lockdown::Confidentiality));
        assert_eq!(lockdown("none integrity confidentiality\n"), None);
        assert_eq!(lockdown("[total]"), None);
        assert!(Lockdown::Integrity < Lockdown::Confidentiality);
    }

    #[test]
    fn small_values() {
        let config = "CONFIG_KPROBES=y\n# CONFIG_KPROBE_EVENTS is not set\nCONFIG_KPROBES_ON_FTRACE=y\n";
        assert!(config_option(config, "CONFIG_KPROBES"));
        assert!(!config_option(config, "CONFIG_KPROBE_EVENTS"));
        assert!(!config_option(config, "CONFIG_KPROBE"));
        assert_eq!((switch("1\n"), switch("0\n"), switch("2\n")), (Some(true), Some(false), None));
        assert_eq!((integer("-1\n"), integer("")), (Some(-1), None));
        assert_eq!(preemptible("none (voluntary) full \n"), Some(false));
        assert_eq!(preemptible("full (lazy)\n"), Some(true));
        assert_eq!(preemptible("full lazy\n"), None);
        assert!(version_is_realtime("#1 SMP PREEMPT_RT Debian 6.1.192-1"));
        assert!(!version_is_realtime("#1 SMP PREEMPT_DYNAMIC Debian 6.1.192-1"));
        assert_eq!(namespace("pid:[4026531836]"), Some(0xefff_fffc));
        assert_eq!(namespace("pid:4026531836"), None);
    }

    #[test]
    fn locked_memory() {
        let line = "Max processes             96365                96365                processes \n\
                    Max locked memory         8388608              unlimited            bytes     \n";
        assert_eq!(memlock(line), Some(MemoryLimit { soft: Some(8_388_608), hard: None }));
        assert_eq!(memlock("Max locked memory\n"), None);
        assert_eq!(memlock(""), None);
    }

    #[test]
    fn mounts() {
        let mounts = "sysfs /sys sysfs rw 0 0\nnone /a\\040b\\134c tracefs rw 0 0\ntracefs /t tracefs rw 0 0\n";
        assert_eq!(mount_of(mounts, "tracefs"), Some(PathBuf::from("/a b\\c")));
        assert_eq!(mount_of(mounts, "debugfs"), None);
        assert_eq!(mount_of("tracefs\n\ntracefs /t\n", "tracefs"), None);
        assert_eq!(mount_of("x /odd\\9é tracefs rw", "tracefs"), Some(PathBuf::from("/odd\\9é")));
    }
}

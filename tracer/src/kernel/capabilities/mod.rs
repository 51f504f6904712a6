//! What this kernel offers and what this process may do with it, before anything is loaded.
//!
//! In: `/proc`, `/sys`, `uname`. Out: [`System`], where each fact is known or says why it is not. What follows from the facts is for
//! `probes` and `check` to say; a real try to attach has the last word. Reading is here, understanding in `parse`.

mod parse;
mod types;

use std::ffi::CStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};

pub use types::{Capability, CpuList, Fact, Kprobes, Lockdown, MemoryLimit, Privileges, Unknown};

/// The most that is read of one file: `/proc/self/mounts` of a large container host has some hundred KiB.
const MAX_FILE: u64 = 8 << 20;
/// `PROC_PID_INIT_INO` (`include/linux/proc_ns.h`)
const INITIAL_PID_NAMESPACE: u64 = 0xefff_fffc;
/// `PROC_USER_INIT_INO` (`include/linux/proc_ns.h`)
const INITIAL_USER_NAMESPACE: u64 = 0xefff_fffd;

/// The facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct System {
    /// `6.1.0-56-cloud-amd64`
    pub release: Fact<String>,
    /// When and how it was built: `#1 SMP PREEMPT_DYNAMIC Debian 6.1.192-1 (2026-..)`.
    pub version: Fact<String>,
    /// `x86_64`
    pub machine: Fact<String>,
    /// CPUs that can ever be there: as many as a per-CPU map has slots.
    pub possible_cpus: Fact<CpuList>,
    /// Effective uid and capabilities. Outside of the initial user namespace they count for little: `bpf()` asks the initial one.
    pub privileges: Fact<Privileges>,
    /// Whether this process is in the initial user namespace.
    pub initial_user_namespace: Fact<bool>,
    /// Whether this process's pids are those that the probes see; in a container's own namespace they are others.
    pub initial_pid_namespace: Fact<bool>,
    /// What the lockdown LSM forbids even to root.
    pub lockdown: Fact<Lockdown>,
    /// Whether `/sys/kernel/btf/vmlinux` is there.
    pub btf: Fact<bool>,
    /// Whether the kernel has kprobes.
    pub kprobes: Fact<Kprobes>,
    /// `false`: all kprobes are disarmed and none fires, though they attach. Shown in debugfs only.
    pub kprobes_armed: Fact<bool>,
    /// `false`: nothing that rests on ftrace works: fentry, kprobes at a function's entry.
    pub ftrace_enabled: Fact<bool>,
    /// Whether BPF is compiled: fentry needs it.
    pub bpf_jit: Fact<bool>,
    /// Whether spinlocks can be preempted (`PREEMPT_RT`): then more than one callback can be under way on a CPU.
    pub realtime: Fact<bool>,
    /// Whether a task can be preempted anywhere in the kernel, also in the middle of a BPF program: `full` and `lazy`, as against
    /// `none` and `voluntary` (`sched_dynamic_show`, kernel/sched/debug.c).
    pub preemptible: Fact<bool>,
    /// 2: kallsyms shows addresses to nobody; 1: to those with `CAP_SYSLOG`; 0: to them, and to all where `perf_event_paranoid` is at
    /// most 1 (`kallsyms_show_value()`).
    pub kptr_restrict: Fact<i64>,
    /// Above 2 some distributions refuse `perf_event_open` without `CAP_PERFMON`.
    pub perf_event_paranoid: Fact<i64>,
    /// 0: BPF for all, 1: only with `CAP_BPF` until the next boot, 2: only with `CAP_BPF`.
    pub unprivileged_bpf_disabled: Fact<i64>,
    /// `RLIMIT_MEMLOCK`, which limits BPF maps before 5.11; since then they count as the cgroup's memory.
    pub memlock: Fact<MemoryLimit>,
    /// Where tracefs is mounted; `None`: nowhere.
    pub tracefs: Fact<Option<PathBuf>>,
}

impl System {
    /// Looks at the running kernel. Nothing fails as a whole: what cannot be found out is [`Unknown`] with its reason.
    #[must_use]
    pub fn read() -> Self {
        let uname = uname();
        let name = |pick: fn(&Uname) -> &String| uname.as_ref().map(|uname| pick(uname).clone()).map_err(Clone::clone);
        let release = name(|uname| &uname.release);
        let version = name(|uname| &uname.version);
        let status = text("/proc/self/status");
        let tracefs = tracefs();
        Self {
            possible_cpus: parsed("/sys/devices/system/cpu/possible", parse::cpu_list),
            privileges: status.and_then(|status| parse::privileges(&status).ok_or_else(|| odd("/proc/self/status"))),
            initial_user_namespace: namespace("user").map(|inode| inode == INITIAL_USER_NAMESPACE),
            initial_pid_namespace: namespace("pid").map(|inode| inode == INITIAL_PID_NAMESPACE),
            lockdown: lockdown(),
            btf: exists(super::btf::VMLINUX),
            kprobes: kprobes(&release, &tracefs),
            kprobes_armed: parsed("/sys/kernel/debug/kprobes/enabled", parse::switch),
            ftrace_enabled: parsed("/proc/sys/kernel/ftrace_enabled", parse::switch),
            bpf_jit: parsed("/proc/sys/net/core/bpf_jit_enable", parse::integer).map(|value| value != 0),
            realtime: realtime(&version),
            preemptible: preemptible(&version),
            kptr_restrict: parsed("/proc/sys/kernel/kptr_restrict", parse::integer),
            perf_event_paranoid: parsed("/proc/sys/kernel/perf_event_paranoid", parse::integer),
            unprivileged_bpf_disabled: parsed("/proc/sys/kernel/unprivileged_bpf_disabled", parse::integer),
            memlock: parsed("/proc/self/limits", parse::memlock),
            machine: name(|uname| &uname.machine),
            release,
            version,
            tracefs,
        }
    }
}

struct Uname {
    release: String,
    version: String,
    machine: String,
}

fn uname() -> Fact<Uname> {
    let mut buffer = MaybeUninit::<libc::utsname>::zeroed();
    // SAFETY: uname(2) writes to one utsname, and the buffer is one.
    if unsafe { libc::uname(buffer.as_mut_ptr()) } != 0 {
        return Err(Unknown::because(format!("uname: {}", io::Error::last_os_error())));
    }
    // SAFETY: utsname is made of character arrays, for which all bytes are valid, and every byte was set to zero above.
    let buffer = unsafe { buffer.assume_init() };
    let string = |field: &[libc::c_char]| {
        let bytes: Vec<u8> = field.iter().map(|&byte| byte.to_ne_bytes()[0]).collect();
        CStr::from_bytes_until_nul(&bytes)
            .map(|text| text.to_string_lossy().into_owned())
            .map_err(|_| Unknown::because("uname gave a name without an end"))
    };
    Ok(Uname {
        release: string(&buffer.release)?,
        version: string(&buffer.version)?,
        machine: string(&buffer.machine)?,
    })
}

fn lockdown() -> Fact<Lockdown> {
    let path = "/sys/kernel/security/lockdown";
    match exists(path) {
        Ok(true) => parsed(path, parse::lockdown),
        // With securityfs, `lsm` is always there (security/inode.c).
        Ok(false) if Path::new("/sys/kernel/security/lsm").exists() => Ok(Lockdown::None),
        Ok(false) => Err(Unknown::because("securityfs is not mounted at /sys/kernel/security")),
        Err(unknown) => Err(unknown),
    }
}

/// The kernel registers a PMU for kprobes wherever it has them for perf, through which they are attached (4.17 on,
/// kernel/events/core.c, `perf_tp_register`).
fn kprobes(release: &Fact<String>, tracefs: &Fact<Option<PathBuf>>) -> Fact<Kprobes> {
    let pmus = Path::new("/sys/bus/event_source/devices");
    let found = |available, seen: &Path| Ok(Kprobes { available, seen: seen.to_owned() });
    if pmus.join("kprobe/type").exists() {
        return found(true, &pmus.join("kprobe/type"));
    }
    if let Ok(Some(tracefs)) = tracefs
        && tracefs.join("kprobe_events").exists()
    {
        return found(true, &tracefs.join("kprobe_events"));
    }
    // The PMU of tracepoints is registered by the same function.
    if pmus.join("tracepoint/type").exists() {
        return found(false, pmus);
    }
    let config = PathBuf::from(format!("/boot/config-{}", release.as_deref().unwrap_or("unknown")));
    match text(&config) {
        Ok(text) => found(parse::config_option(&text, "CONFIG_KPROBE_EVENTS"), &config),
        Err(unknown) => Err(Unknown::because(format!("{} shows no PMU of the kernel, and {unknown}", pmus.display()))),
    }
}

fn realtime(version: &Fact<String>) -> Fact<bool> {
    let path = "/sys/kernel/realtime";
    match exists(path) {
        Ok(true) => parsed(path, parse::switch),
        _ => version.as_ref().map(|version| parse::version_is_realtime(version)).map_err(Clone::clone),
    }
}

/// A kernel that can choose shows its choice in debugfs only; where that is not mounted, it is taken to have chosen so.
fn preemptible(version: &Fact<String>) -> Fact<bool> {
    let shown = parsed("/sys/kernel/debug/sched/preempt", parse::preemptible);
    shown.or_else(|_| version.as_ref().map(|version| version.contains("PREEMPT")).map_err(Clone::clone))
}

fn tracefs() -> Fact<Option<PathBuf>> {
    let mounts = text("/proc/self/mounts")?;
    if let Some(found) = parse::mount_of(&mounts, "tracefs") {
        return Ok(Some(found));
    }
    // Debugfs mounts it on itself when it is looked at (kernel/trace/trace.c, `trace_automount`).
    let inside = parse::mount_of(&mounts, "debugfs").map(|debugfs| debugfs.join("tracing"));
    Ok(inside.filter(|path| path.join("available_events").exists()))
}

/// The inode number of one of this process's namespaces: `pid:[4026531836]`.
fn namespace(kind: &str) -> Fact<u64> {
    let path = format!("/proc/self/ns/{kind}");
    let link = fs::read_link(&path).map_err(|error| Unknown::because(format!("{path}: {error}")))?;
    parse::namespace(&link.to_string_lossy()).ok_or_else(|| odd(path))
}

fn exists(path: impl AsRef<Path>) -> Fact<bool> {
    let path = path.as_ref();
    path.try_exists().map_err(|error| Unknown::because(format!("{}: {error}", path.display())))
}

fn parsed<T>(path: &str, parse: impl FnOnce(&str) -> Option<T>) -> Fact<T> {
    parse(&text(path)?).ok_or_else(|| odd(path))
}

fn text(path: impl AsRef<Path>) -> Fact<String> {
    let path = path.as_ref();
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILE).read_to_end(&mut bytes));
    match read {
        Ok(_) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(Unknown::because(format!("there is no {}", path.display())))
        }
        Err(error) => Err(Unknown::because(format!("{}: {error}", path.display()))),
    }
}

fn odd(path: impl AsRef<Path>) -> Unknown {
    Unknown::because(format!("{} has another form than expected", path.as_ref().display()))
}

#[cfg(test)]
mod tests {
    use super::System;

    #[test]
    fn the_running_kernel_says_what_every_kernel_says() {
        let system = System::read();
        assert!(system.release.unwrap().split('.').count() >= 2);
        assert_eq!(system.machine.as_deref(), Ok(std::env::consts::ARCH));
        let cpus = system.possible_cpus.unwrap();
        assert!(cpus.count >= 1 && cpus.highest >= cpus.count - 1);
        system.privileges.unwrap();
        system.initial_pid_namespace.unwrap();
        system.memlock.unwrap();
        system.tracefs.unwrap();
        system.realtime.unwrap();
        assert!(system.perf_event_paranoid.unwrap() >= -1);
    }
}

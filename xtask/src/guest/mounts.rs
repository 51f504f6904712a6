//! What a bare kernel lacks before a program feels at home: file systems, the loopback interface, limits.

use std::fs;

use anyhow::{Context as _, Result};
use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MsFlags, mount};
use nix::sys::resource::{Resource, setrlimit};

use crate::vm::plan::MODULES_PATH;

/// Kind, place and options. Those that a kernel may lack come as notes, not as failures.
const MOUNTS: &[(&str, &str, &str)] = &[
    ("proc", "/proc", ""),
    ("sysfs", "/sys", ""),
    ("devtmpfs", "/dev", ""),
    ("tmpfs", "/dev/shm", ""),
    ("devpts", "/dev/pts", ""),
    ("tmpfs", "/tmp", ""),
    ("tmpfs", "/run", ""),
    ("cgroup2", "/sys/fs/cgroup", ""),
    ("bpf", "/sys/fs/bpf", ""),
    ("debugfs", "/sys/kernel/debug", ""),
    ("tracefs", "/sys/kernel/tracing", ""),
];

/// Prepares the guest and returns what could not be had.
pub(super) fn prepare() -> Result<Vec<String>> {
    let mut notes = Vec::new();
    for (kind, place, options) in MOUNTS {
        // Below /sys the directories are the kernel's own; elsewhere they may have to be made.
        let _ = fs::create_dir_all(place);
        if let Err(error) = mount(Some(*kind), *place, Some(*kind), MsFlags::empty(), Some(*options)) {
            notes.push(format!("cannot mount {kind} at {place}: {error}"));
        }
    }
    for (link, target) in
        [("/dev/fd", "/proc/self/fd"), ("/dev/stdin", "fd/0"), ("/dev/stdout", "fd/1"), ("/dev/stderr", "fd/2")]
    {
        if let Err(error) = std::os::unix::fs::symlink(target, link) {
            notes.push(format!("cannot link {link}: {error}"));
        }
    }
    notes.extend(load_modules()?);
    fs::write("/proc/sys/fs/nr_open", "1048576").context("cannot write /proc/sys/fs/nr_open")?;
    setrlimit(Resource::RLIMIT_NOFILE, 1_048_576, 1_048_576).context("cannot raise the limit of open files")?;
    setrlimit(Resource::RLIMIT_MEMLOCK, libc::RLIM_INFINITY, libc::RLIM_INFINITY)
        .context("cannot lift the limit of locked memory")?;
    if let Err(error) = loopback_up() {
        notes.push(format!("{error:#}"));
    }
    Ok(notes)
}

/// Loads the drivers that this kernel does not have built in.
///
/// Which of two modules needs the other differs between kernels: those that failed are tried again as long as others
/// succeed.
fn load_modules() -> Result<Vec<String>> {
    let Ok(entries) = fs::read_dir(MODULES_PATH) else {
        return Ok(Vec::new());
    };
    let mut left: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    loop {
        let before = left.len();
        let mut failed = Vec::new();
        let mut notes = Vec::new();
        for path in left {
            let file = fs::File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
            if let Err(error) = finit_module(&file, c"", ModuleInitFlags::empty()) {
                notes.push(format!("cannot load {}: {error}", path.display()));
                failed.push(path);
            }
        }
        if failed.is_empty() || failed.len() == before {
            return Ok(notes);
        }
        left = failed;
    }
}

/// Does what `ip link set lo up` does.
fn loopback_up() -> Result<()> {
    let socket =
        std::net::UdpSocket::bind("0.0.0.0:0").context("cannot open a socket to set the loopback interface up")?;
    // SAFETY: ifreq is plain old data, for which all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(b"lo") {
        *place = byte.cast_signed();
    }
    request.ifr_ifru.ifru_flags =
        libc::c_short::try_from(libc::IFF_UP | libc::IFF_RUNNING).context("interface flags")?;
    // SAFETY: SIOCSIFFLAGS reads one ifreq, which lives until the call returns; the socket is open.
    let done = unsafe { libc::ioctl(std::os::fd::AsRawFd::as_raw_fd(&socket), libc::SIOCSIFFLAGS, &raw const request) };
    nix::errno::Errno::result(done).map(drop).context("cannot set the loopback interface up")
}

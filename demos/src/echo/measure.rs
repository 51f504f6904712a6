//! What the kernel counts of one thread: system calls by name, context switches, processor time.
//!
//! In: a thread of this process. Out: what it did between [`Meter::of`] and [`Meter::read`], without anything done in that thread: the
//! calls are counted at the tracepoint `raw_syscalls:sys_enter` by `perf_event_open`, another thread reads the counters.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use serde_json::json;

use crate::fds::own;
use crate::story::act::Act;

/// The calls that a server of the demos may make, by the kernel's names; all others are "other".
const NAMED: [(libc::c_long, &str); 19] = [
    (libc::SYS_accept4, "accept4"),
    (libc::SYS_read, "read"),
    (libc::SYS_write, "write"),
    (libc::SYS_close, "close"),
    (libc::SYS_fcntl, "fcntl"),
    (libc::SYS_poll, "poll"),
    (libc::SYS_ppoll, "ppoll"),
    (libc::SYS_select, "select"),
    (libc::SYS_pselect6, "pselect6"),
    (libc::SYS_epoll_wait, "epoll_wait"),
    (libc::SYS_epoll_pwait, "epoll_pwait"),
    (libc::SYS_epoll_ctl, "epoll_ctl"),
    (libc::SYS_io_uring_enter, "io_uring_enter"),
    (libc::SYS_io_uring_setup, "io_uring_setup"),
    (libc::SYS_futex, "futex"),
    (libc::SYS_sched_yield, "sched_yield"),
    (libc::SYS_recvfrom, "recvfrom"),
    (libc::SYS_sendto, "sendto"),
    (libc::SYS_mmap, "mmap"),
];

const PERF_TYPE_TRACEPOINT: u32 = 2;
const PERF_FLAG_FD_CLOEXEC: libc::c_ulong = 8;
/// `PERF_EVENT_IOC_SET_FILTER`: `_IOW('$', 6, char *)`.
const SET_FILTER: libc::c_ulong = 0x4008_2406;

/// The first version of `struct perf_event_attr` (`uapi/linux/perf_event.h`), which every kernel takes.
#[repr(C)]
#[derive(Default)]
struct Attr {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    bp_type: u32,
    config1: u64,
}

/// Counters of one thread.
#[derive(Debug)]
pub(crate) struct Meter {
    tid: i32,
    /// The counter of all calls, and those of each named one; None where the kernel does not let us.
    calls: Option<(OwnedFd, Vec<(&'static str, OwnedFd)>)>,
    before: Task,
    /// What the named counters had when the last of them was made.
    zero: BTreeMap<&'static str, u64>,
    zero_all: u64,
}

/// What `/proc` says of a thread.
#[derive(Debug, Clone, Copy, Default)]
struct Task {
    voluntary: u64,
    involuntary: u64,
    cpu_ns: u64,
}

/// What a thread did.
#[derive(Debug, Clone, Default)]
pub(crate) struct Measured {
    /// By name; None where they could not be counted.
    pub(crate) calls: Option<BTreeMap<&'static str, u64>>,
    pub(crate) voluntary_switches: u64,
    pub(crate) involuntary_switches: u64,
    pub(crate) cpu_ns: u64,
}

impl Meter {
    /// Begins to count. The thread should be asleep, so that nothing is counted by some counters and not by others.
    pub(crate) fn of(tid: i32) -> Result<Self> {
        let calls = match tracepoint() {
            Some(id) => open_all(tid, id)?,
            None => None,
        };
        let mut meter = Self { tid, calls, before: Task::read(tid)?, zero: BTreeMap::new(), zero_all: 0 };
        if let Some((all, named)) = &meter.calls {
            meter.zero_all = value(all)?;
            meter.zero = named.iter().map(|(name, counter)| Ok((*name, value(counter)?))).collect::<Result<_>>()?;
        }
        Ok(meter)
    }

    /// What the thread did since.
    pub(crate) fn read(&self) -> Result<Measured> {
        let now = Task::read(self.tid)?;
        let mut calls = None;
        if let Some((all, named)) = &self.calls {
            let total = value(all)? - self.zero_all;
            let mut by_name = BTreeMap::new();
            for (name, counter) in named {
                let made = value(counter)? - self.zero.get(name).copied().unwrap_or(0);
                if made > 0 {
                    by_name.insert(*name, made);
                }
            }
            let other = total.saturating_sub(by_name.values().sum());
            if other > 0 {
                by_name.insert("other", other);
            }
            calls = Some(by_name);
        }
        Ok(Measured {
            calls,
            voluntary_switches: now.voluntary - self.before.voluntary,
            involuntary_switches: now.involuntary - self.before.involuntary,
            cpu_ns: now.cpu_ns - self.before.cpu_ns,
        })
    }
}

impl Measured {
    pub(crate) fn calls_per(&self, requests: u64) -> Option<f64> {
        let calls: u64 = self.calls.as_ref()?.values().sum();
        #[expect(clippy::cast_precision_loss, reason = "an average of at most some 1e9 calls fits an f64 well")]
        let each = calls as f64 / requests.max(1) as f64;
        Some((each * 1000.0).round() / 1000.0)
    }

    pub(crate) fn tell(&self, act: &mut Act<'_>, requests: u64) {
        if let Some(calls) = &self.calls {
            act.tell("system_calls", json!(calls));
            act.tell("system_calls_per_request", json!(self.calls_per(requests)));
        }
        act.tell("voluntary_switches", self.voluntary_switches);
        act.tell("involuntary_switches", self.involuntary_switches);
        act.tell("cpu_ns_per_request", self.cpu_ns / requests.max(1));
    }
}

impl Task {
    fn read(tid: i32) -> Result<Self> {
        let path = format!("/proc/self/task/{tid}/status");
        let status = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        let number =
            |key: &str| status.lines().find_map(|line| line.strip_prefix(key)?.trim().parse().ok()).unwrap_or_default();
        let path = format!("/proc/self/task/{tid}/schedstat");
        let stat = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        let cpu_ns = stat.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or_default();
        Ok(Self {
            voluntary: number("voluntary_ctxt_switches:"),
            involuntary: number("nonvoluntary_ctxt_switches:"),
            cpu_ns,
        })
    }
}

/// The number of `raw_syscalls:sys_enter`.
fn tracepoint() -> Option<u64> {
    ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"].iter().find_map(|root| {
        fs::read_to_string(format!("{root}/events/raw_syscalls/sys_enter/id")).ok()?.trim().parse().ok()
    })
}

type Counters = (OwnedFd, Vec<(&'static str, OwnedFd)>);

fn open_all(tid: i32, tracepoint: u64) -> Result<Option<Counters>> {
    let all = match open(tid, tracepoint, None) {
        Ok(all) => all,
        Err(error) if matches!(error.downcast_ref(), Some(Errno::EACCES | Errno::EPERM)) => return Ok(None),
        Err(error) => return Err(error),
    };
    let named = NAMED.iter().map(|(number, name)| Ok((*name, open(tid, tracepoint, Some(*number))?)));
    Ok(Some((all, named.collect::<Result<_>>()?)))
}

fn open(tid: i32, tracepoint: u64, call: Option<libc::c_long>) -> Result<OwnedFd> {
    let size = u32::try_from(size_of::<Attr>()).context("a size")?;
    let attr = Attr { kind: PERF_TYPE_TRACEPOINT, size, config: tracepoint, ..Attr::default() };
    // SAFETY: the kernel reads as many bytes as `size` says.
    let fd = unsafe { libc::syscall(libc::SYS_perf_event_open, &raw const attr, tid, -1, -1, PERF_FLAG_FD_CLOEXEC) };
    // SAFETY: the result of a call that gives a new descriptor, or -1.
    let counter = unsafe { own(i32::try_from(fd).context("perf_event_open")?, "perf_event_open")? };
    if let Some(call) = call {
        let filter = std::ffi::CString::new(format!("id == {call}")).context("a filter")?;
        // SAFETY: a string that lives during the call.
        let set = unsafe { libc::ioctl(counter.as_raw_fd(), SET_FILTER, filter.as_ptr()) };
        Errno::result(set).context("ioctl(PERF_EVENT_IOC_SET_FILTER)")?;
    }
    Ok(counter)
}

fn value(counter: &OwnedFd) -> Result<u64> {
    let mut value = [0; 8];
    nix::unistd::read(counter, &mut value).context("read a counter")?;
    Ok(u64::from_ne_bytes(value))
}

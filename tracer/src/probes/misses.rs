//! What the kernel itself skipped: programs that could not run because one already ran on that CPU, and kprobes that were hit
//! while another was handled.
//!
//! A program's `recursion_misses` counts fentry programs from 5.12 on, kprobe programs from 6.7 on (`kernel/trace/bpf_trace.c`,
//! `trace_call_bpf`); a kprobe link's `missed` is the kprobe's own counter, from 6.7 on. Where the kernel cannot count, the trace
//! says so.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::mem::offset_of;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use aya::Ebpf;
use aya_obj::generated::{bpf_cmd, bpf_prog_info};
use tracer_common::Hook;

use super::attach::Outcome;
use crate::event::LossReason;

/// Bytes of the info structures as this program knows them; the kernel fills what it has.
const INFO_BYTES: usize = 512;

/// Programs whose skips lose no event, or are counted by the probes themselves: the entry of a call finds that the last one has not
/// ended (`no-exit`). Their kretprobe's own count would count calls that others tell the end of.
const UNCOUNTED: [&str; 9] = [
    "process_free",
    "callback_kretprobe",
    "file_gone_kretprobe",
    "ctl_kretprobe",
    "ctl_file_kretprobe",
    "io_ctl_kretprobe",
    "io_wait_kretprobe",
    "audit_scan_kretprobe",
    "audit_release_kretprobe",
];

/// One event's counters: those of a program and its twins, or that of a link.
#[derive(Debug)]
struct Counter {
    hook: Hook,
    reason: LossReason,
    fds: Vec<OwnedFd>,
    /// Where the info of each holds the count.
    offset: usize,
}

/// The counters of the attached programs and links.
#[derive(Debug)]
pub struct Misses {
    counters: Vec<Counter>,
    told: BTreeMap<(Hook, LossReason), u64>,
    /// Why the kprobes' own counters cannot be read, though the kernel has them.
    uncounted: Option<io::Error>,
}

impl Misses {
    /// Opens the counters of everything that is attached. `missed_offset` is that of `perf_event.kprobe.missed` in the kernel's
    /// `struct bpf_link_info`, `None` where it has no such field.
    #[must_use]
    pub fn open(ebpf: &Ebpf, outcomes: &[Outcome], missed_offset: Option<usize>) -> Self {
        let mut counters = Vec::new();
        let mut hooks = BTreeMap::new();
        for outcome in outcomes {
            let programs = outcome.held.map(|variant| variant.programs).unwrap_or_default();
            let own: BTreeSet<(&str, Vec<String>)> = programs
                .iter()
                .filter(|program| !UNCOUNTED.contains(&program.name))
                .map(|program| (program.name, program.twin_names().collect()))
                .collect();
            for (name, twins) in own {
                let names = std::iter::once(name).chain(twins.iter().map(String::as_str));
                let mut fds = Vec::new();
                for loaded in names.filter_map(|name| ebpf.program(name)) {
                    let (Ok(fd), Ok(info)) = (loaded.fd(), loaded.info()) else { continue };
                    hooks.insert(info.id(), outcome.hook);
                    fds.extend(fd.as_fd().try_clone_to_owned());
                }
                let offset = offset_of!(bpf_prog_info, recursion_misses);
                counters.push(Counter { hook: outcome.hook, reason: LossReason::Recursion, fds, offset });
            }
        }
        let mut uncounted = None;
        if let Some(offset) = missed_offset {
            let links = kprobe_links().unwrap_or_else(|error| {
                uncounted = Some(error);
                Vec::new()
            });
            for (program, link) in links {
                if let Some(hook) = hooks.get(&program) {
                    counters.push(Counter { hook: *hook, reason: LossReason::Skipped, fds: vec![link], offset });
                }
            }
        }
        Self { counters, told: BTreeMap::new(), uncounted }
    }

    /// Why the kprobes' own counters cannot be read, though the kernel has them: `BPF_LINK_GET_NEXT_ID` asks for
    /// `CAP_SYS_ADMIN`.
    #[must_use]
    pub const fn uncounted(&self) -> Option<&io::Error> {
        self.uncounted.as_ref()
    }

    /// What was missed since the last call, by hook and reason.
    ///
    /// `rescued` reads how many skips of a program lost nothing, by hook. It is asked last: a rescue that is not yet counted
    /// would be taken for a loss.
    ///
    /// # Errors
    ///
    /// Those of `rescued`.
    pub fn take<E>(
        &mut self,
        rescued: impl FnOnce() -> Result<BTreeMap<Hook, u64>, E>,
    ) -> Result<Vec<(Hook, LossReason, u64)>, E> {
        // Skips of the programs themselves, and events that at most were lost: those that no copy saw.
        let mut sums: BTreeMap<(Hook, LossReason), (u64, u64)> = BTreeMap::new();
        for Counter { hook, reason, fds, offset } in &self.counters {
            let read = |fd: &OwnedFd| info(fd.as_raw_fd()).ok().and_then(|info| number(&info, *offset)).unwrap_or(0);
            let counts: Vec<u64> = fds.iter().map(read).collect();
            let (own, lost) = sums.entry((*hook, *reason)).or_default();
            *own = own.saturating_add(counts.first().copied().unwrap_or(0));
            *lost = lost.saturating_add(counts.iter().copied().min().unwrap_or(0));
        }
        for (hook, count) in rescued()? {
            if let Some((own, lost)) = sums.get_mut(&(hook, LossReason::Recursion)) {
                *lost = own.saturating_sub(count).min(*lost);
            }
        }
        let mut news = Vec::new();
        for (key, (_, sum)) in sums {
            let told = self.told.entry(key).or_default();
            if sum > *told {
                news.push((key.0, key.1, sum - *told));
                *told = sum;
            }
        }
        Ok(news)
    }
}

/// Every kprobe link in the system with its program's id (uapi/linux/bpf.h, `struct bpf_link_info`: type, id, `prog_id`).
fn kprobe_links() -> io::Result<Vec<(u32, OwnedFd)>> {
    const PERF_EVENT_LINK: u32 = 7;
    let mut links = Vec::new();
    let mut id = 0;
    loop {
        id = match next_link(id) {
            Ok(next) => next,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(links),
            Err(error) => return Err(error),
        };
        let Ok(fd) = link_by_id(id) else { continue };
        let Ok(info) = info(fd.as_raw_fd()) else { continue };
        let word = |at: usize| info.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_ne_bytes);
        // The kind of perf event lies first in the union: 3 kprobe, 4 kretprobe.
        if word(0) == Some(PERF_EVENT_LINK) && matches!(word(16), Some(3 | 4)) {
            links.extend(word(8).map(|program| (program, fd)));
        }
    }
}

fn number(info: &[u8; INFO_BYTES], offset: usize) -> Option<u64> {
    info.get(offset..offset.checked_add(8)?).and_then(|bytes| bytes.try_into().ok()).map(u64::from_ne_bytes)
}

/// `bpf(2)` with the first bytes of its attributes.
fn bpf<const N: usize>(command: bpf_cmd, attributes: &mut [u64; N]) -> io::Result<i64> {
    // SAFETY: the kernel reads and writes no more than the size given; pointers inside are valid for the call.
    let ret = unsafe {
        libc::syscall(libc::SYS_bpf, command as libc::c_long, attributes.as_mut_ptr(), size_of_val(attributes))
    };
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(ret) }
}

/// `BPF_LINK_GET_NEXT_ID`: `start_id` in, `next_id` out.
fn next_link(start: u32) -> io::Result<u32> {
    let mut attributes = [u64::from(start), 0];
    bpf(bpf_cmd::BPF_LINK_GET_NEXT_ID, &mut attributes)?;
    let [first, _] = attributes;
    u32::try_from(first >> 32).map_err(io::Error::other)
}

/// `BPF_LINK_GET_FD_BY_ID`
fn link_by_id(id: u32) -> io::Result<OwnedFd> {
    let mut attributes = [u64::from(id), 0];
    let fd = bpf(bpf_cmd::BPF_LINK_GET_FD_BY_ID, &mut attributes)?;
    let fd = RawFd::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel just gave this descriptor to us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `BPF_OBJ_GET_INFO_BY_FD` of a program or a link: `bpf_fd`, `info_len`, `info`.
fn info(fd: RawFd) -> io::Result<[u8; INFO_BYTES]> {
    // Programs of newer kernels would have us read more than they need: only the head is asked for.
    let mut buffer = [0_u8; INFO_BYTES];
    let fd = u64::try_from(fd).map_err(io::Error::other)?;
    let length = u64::try_from(size_of::<bpf_prog_info>().min(INFO_BYTES)).map_err(io::Error::other)?;
    let mut attributes = [fd | length << 32, buffer.as_mut_ptr() as u64];
    bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attributes)?;
    Ok(buffer)
}

#[cfg(test)]
mod tests {
    use super::UNCOUNTED;
    use crate::probes::catalog::CATALOG;

    #[test]
    fn what_is_not_counted_are_programs_of_the_catalogue() {
        let programs = CATALOG.iter().flat_map(|spec| spec.variants).flat_map(|variant| variant.programs);
        let names: Vec<&str> = programs.map(|program| program.name).collect();
        for name in UNCOUNTED {
            assert!(names.contains(&name), "{name} is no program of the catalogue");
        }
    }
}

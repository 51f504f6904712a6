//! What the processes under trace already have when tracing begins: their eventpolls, and the items in these.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use aya::Ebpf;
use aya::programs::Iter;

use tracer_common::events::{Record, TaskName, TaskPid};
use tracer_common::{COMM_LEN, Header};

use super::clock::monotonic_ns;
use crate::event::Event;
use crate::probes::attach::unload;

/// What `/proc/PID/fd/FD` of an eventpoll points to (`anon_inode_getfile`, fs/eventpoll.c, 5.10 to 7.3).
pub(super) const EVENTPOLL: &str = "anon_inode:[eventpoll]";
/// The programs that tell an eventpoll's items while its fdinfo is read.
const LISTERS: [&str; 3] = ["fdinfo_kprobe", "fdinfo_item_kprobe", "fdinfo_kretprobe"];

/// Walks the open files of the processes under trace: the probe adopts their eventpolls.
pub(super) fn find_eventpolls(ebpf: &mut Ebpf) -> Result<()> {
    let Some(program) = ebpf.program_mut("inventory") else { return Ok(()) };
    if program.fd().is_err() {
        return Ok(());
    }
    let iter: &mut Iter = program.try_into()?;
    let link = iter.attach().context("cannot start the walk over open files")?;
    let mut file = iter.take_link(link)?.into_file().context("cannot read the walk over open files")?;
    io::copy(&mut file.by_ref(), &mut io::sink()).context("the walk over open files failed")?;
    Ok(())
}

/// The names of all threads of these processes, and their numbers in their own pid namespaces: what they do first is then told with
/// a name.
pub(super) fn task_names(pids: &[u32]) -> Vec<Event> {
    let ts_ns = monotonic_ns();
    let of_process = |tgid: u32| {
        let threads = fs::read_dir(format!("/proc/{tgid}/task")).into_iter().flatten().flatten();
        threads.flat_map(move |thread| of_thread(ts_ns, tgid, &thread))
    };
    pids.iter().copied().flat_map(of_process).collect()
}

/// Nothing of a thread that is gone.
fn of_thread(ts_ns: u64, process: u32, thread: &fs::DirEntry) -> Vec<Event> {
    let Some(task) = thread.file_name().to_str().and_then(|name| name.parse().ok()) else { return Vec::new() };
    let Ok(name) = fs::read(thread.path().join("comm")) else { return Vec::new() };
    let mut comm = [0; COMM_LEN];
    // The last byte is a zero in the kernel as well.
    for (to, from) in comm[..COMM_LEN - 1].iter_mut().zip(name.strip_suffix(b"\n").unwrap_or(&name)) {
        *to = *from;
    }
    let named = Event::TaskName(TaskName { header: header::<TaskName>(ts_ns, process, task), comm });
    let status = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
    let numbered = numbers_in_namespace(&status).map(|(ns_tgid, ns_tid)| {
        Event::TaskPid(TaskPid { header: header::<TaskPid>(ts_ns, process, task), ns_tgid, ns_tid })
    });
    std::iter::once(named).chain(numbered).collect()
}

/// The header that a probe would have written for this record.
fn header<R: Record>(ts_ns: u64, process: u32, task: u32) -> Header {
    let len = u16::try_from(size_of::<R>()).unwrap_or(u16::MAX);
    Header { kind: R::KIND as u16, len, cpu: 0, ts_ns, tgid: process, tid: task }
}

/// `NStgid` and `NSpid` of `/proc/PID/task/TID/status` list a task's numbers from the reader's pid namespace down to the task's own;
/// `None` where these are one.
fn numbers_in_namespace(status: &str) -> Option<(u32, u32)> {
    let innermost = |key: &str| {
        let numbers = status.lines().find_map(|line| line.strip_prefix(key))?;
        let numbers: Vec<&str> = numbers.split_ascii_whitespace().skip(1).collect();
        numbers.last()?.parse().ok()
    };
    Some((innermost("NStgid:")?, innermost("NSpid:")?))
}

/// Whether items can be told.
pub(super) fn can_list(ebpf: &Ebpf) -> bool {
    LISTERS.iter().all(|name| ebpf.program(name).is_some_and(|program| program.fd().is_ok()))
}

/// Detaches what told the items: nothing else of the kernel's is to be slower for it.
pub(super) fn done(ebpf: &mut Ebpf) {
    for name in LISTERS {
        ebpf.program_mut(name).into_iter().for_each(unload);
    }
}

/// Has the kernel list the items of every eventpoll of these processes; of every process but the own when there are none. A
/// process or descriptor that is gone meanwhile has nothing to list.
pub(super) fn list_items(pids: &[u32]) {
    let all = || -> Vec<u32> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|pid| *pid != std::process::id()).collect()
    };
    let pids = if pids.is_empty() { all() } else { pids.to_vec() };
    for fdinfo in pids.into_iter().flat_map(eventpolls) {
        // Only that the kernel writes it counts.
        let _ = File::open(fdinfo).and_then(|mut file| io::copy(&mut file, &mut io::sink()));
    }
}

/// `/proc/PID/fdinfo/FD` of each eventpoll of a process.
pub(super) fn eventpolls(pid: u32) -> Vec<PathBuf> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    entries
        .filter(|entry| fs::read_link(entry.path()).is_ok_and(|target| target.as_os_str() == EVENTPOLL))
        .map(|entry| PathBuf::from(format!("/proc/{pid}/fdinfo")).join(entry.file_name()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{eventpolls, numbers_in_namespace, task_names};
    use crate::event::Event;
    use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

    #[test]
    fn every_thread_of_a_process_has_its_name() {
        let own = std::process::id();
        let comm = std::fs::read("/proc/self/comm").unwrap();
        let names = task_names(&[own, u32::MAX]);
        let leader = names.iter().find_map(|event| match event {
            Event::TaskName(name) if name.header.tid == own => Some(name),
            _ => None,
        });
        assert!(leader.unwrap().comm.starts_with(comm.strip_suffix(b"\n").unwrap()));
        assert!(names.iter().all(|event| event.header().unwrap().tgid == own));
    }

    #[test]
    fn only_a_task_in_a_namespace_of_its_own_has_other_numbers() {
        let own = "Name:\tx\nNStgid:\t812\t7\t1\nNSpid:\t815\t9\t3\nNSpgid:\t812\t7\t1\n";
        assert_eq!(numbers_in_namespace(own), Some((1, 3)));
        assert_eq!(numbers_in_namespace("NStgid:\t812\nNSpid:\t815\n"), None);
        assert_eq!(numbers_in_namespace("NStgid:\t812\tx\nNSpid:\t815\ty\n"), None);
        assert_eq!(numbers_in_namespace(""), None);
    }

    #[test]
    fn the_eventpolls_of_a_process_are_found_among_its_files() {
        // SAFETY: the kernel gives a new descriptor, or -1, which the assertion refuses.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        assert!(fd >= 0);
        // SAFETY: the descriptor is ours.
        let epoll = unsafe { OwnedFd::from_raw_fd(fd) };
        let own = std::process::id();
        let path = format!("/proc/{own}/fdinfo/{}", epoll.as_raw_fd());
        assert!(eventpolls(own).iter().any(|found| found.as_os_str() == path.as_str()));
        assert!(eventpolls(u32::MAX).is_empty());
    }
}

//! strace as a witness: one file for each thread (`-ff`), so that no call is cut in two.

use anyhow::{Context as _, Result};

use super::witnessed::{Counts, Thread};
use crate::vmtest::calls::{self, Call, Calls};

/// The variable by which the guest's scripts learn which calls to watch.
pub(super) const CALLS: &str = "CALLS";
/// The calls that are watched. A kernel or a strace that does not know the last one goes without it.
pub(super) const WATCHED: &str = "epoll_ctl,epoll_wait,epoll_pwait,?epoll_pwait2,accept,accept4";

/// The calls of each thread, in lines of `strace.TID:CALL(...) = RESULT`.
pub(super) fn calls(said: &str) -> Result<Calls> {
    let mut calls = Calls::new();
    for line in said.lines() {
        let parts = line.strip_prefix("strace.").and_then(|rest| rest.split_once(':'));
        let (tid, call) = parts.with_context(|| format!("strace printed no thread: {line}"))?;
        let tid = tid.parse().with_context(|| format!("strace printed no thread: {line}"))?;
        let call = calls::of_strace(call).with_context(|| format!("not understood: {line}"))?;
        calls.entry(tid).or_default().extend(call);
    }
    Ok(calls)
}

/// How many calls each thread made, by the columns of a report.
pub(super) fn threads(calls: &Calls) -> Vec<Thread> {
    let counts = |calls: &Vec<Call>| {
        let mut counts = Counts::new();
        for (column, more) in calls.iter().flat_map(counted) {
            *counts.entry(column.to_owned()).or_default() += more;
        }
        counts
    };
    calls.iter().map(|(tid, calls)| Thread { tid: *tid, counts: counts(calls) }).collect()
}

/// What one call adds to which columns.
fn counted(call: &Call) -> Vec<(&'static str, u64)> {
    match call {
        Call::Ctl { op, end, .. } => {
            let column = match op.as_str() {
                "ADD" => "ctl_add",
                "MOD" => "ctl_mod",
                "DEL" => "ctl_del",
                _ => "ctl_other",
            };
            vec![(column, 1), ("ctl_failed", u64::from(end.is_err()))]
        }
        Call::Wait { end: Ok(0), .. } => vec![("waits", 1), ("timeouts", 1)],
        Call::Wait { end: Ok(events), .. } => {
            vec![("waits", 1), ("waits_returned", 1), ("events", events.unsigned_abs())]
        }
        Call::Wait { end: Err(error), .. } => {
            vec![("waits", 1), (if error == "EINTR" { "interrupted" } else { "wait_errors" }, 1)]
        }
        // The process ended while the thread was inside. The kernel wakes it with SIGKILL, ends the call with -EINTR and reports
        // that at sys_exit before the thread dies (`syscall_exit_work` comes before signals: kernel/entry/common.c, 5.10 to 7.3).
        Call::Killed { .. } => vec![("waits", 1), ("interrupted", 1)],
        Call::Accept { end: Ok(_), .. } => vec![("accepts", 1)],
        Call::Accept { end: Err(error), .. } => {
            vec![(if error == "EAGAIN" { "accept_eagain" } else { "accept_failed" }, 1)]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{calls, threads};

    const SAID: &str = "strace.7:epoll_ctl(6, EPOLL_CTL_ADD, 3, {events=EPOLLIN, data={u32=1, u64=1}}) = 0\n\
        strace.7:epoll_ctl(6, EPOLL_CTL_DEL, 9, 0x7fff) = -1 ENOENT (No such file or directory)\n\
        strace.7:epoll_wait(6, [{events=EPOLLIN, data={u32=1, u64=1}}, {events=EPOLLIN, data={u32=2, u64=2}}], 512, -1) = 2\n\
        strace.7:--- SIGIO {si_signo=SIGIO, si_code=SI_KERNEL} ---\n\
        strace.8:epoll_wait(6, [], 512, 10) = 0\n\
        strace.8:epoll_wait(6, 0x7f, 512, -1) = -1 EINTR (Interrupted system call)\n\
        strace.8:accept4(3, {sa_family=AF_INET}, [112 => 16], SOCK_NONBLOCK) = 9\n\
        strace.8:accept4(3, 0x7f, [112], SOCK_NONBLOCK) = -1 EAGAIN (Resource temporarily unavailable)\n\
        strace.8:epoll_wait(6,  <unfinished ...>) = ?\n\
        strace.8:+++ killed by SIGKILL +++\n";

    #[test]
    fn calls_are_counted_by_thread_and_result() {
        let threads = threads(&calls(SAID).unwrap());
        let [seven, eight] = threads.as_slice() else { panic!("{threads:?}") };
        let of = |columns: &[&str]| columns.iter().map(|column| seven.count(column)).collect::<Vec<_>>();
        assert_eq!(seven.tid, 7);
        assert_eq!(of(&["ctl_add", "ctl_del", "ctl_failed", "waits", "waits_returned", "events"]), [1, 1, 1, 1, 1, 2]);
        let of = |columns: &[&str]| columns.iter().map(|column| eight.count(column)).collect::<Vec<_>>();
        assert_eq!(of(&["waits", "timeouts", "interrupted"]), [3, 1, 2]);
        assert_eq!(of(&["accepts", "accept_eagain", "accept_failed"]), [1, 1, 0]);
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for line in
            ["what", "strace.x:epoll_wait() = 0", "strace.7:read(3) = 4", "strace.7:accept(3) = ? ERESTARTSYS (..)"]
        {
            assert!(calls(line).is_err(), "{line}");
        }
    }
}

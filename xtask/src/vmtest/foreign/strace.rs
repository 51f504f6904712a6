//! strace as a witness: one file for each thread (`-ff`), so that no call is cut in two.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};

use super::witnessed::Thread;

/// The variable by which the guest's scripts learn which calls to watch.
pub(super) const CALLS: &str = "CALLS";
/// The calls that are counted. A kernel or a strace that does not know the last one goes without it.
pub(super) const WATCHED: &str = "epoll_ctl,epoll_wait,epoll_pwait,?epoll_pwait2,accept,accept4";

/// The threads in lines of `strace.TID:CALL(...) = RESULT`.
pub(super) fn threads(said: &str) -> Result<Vec<Thread>> {
    let mut threads: BTreeMap<u64, Thread> = BTreeMap::new();
    for line in said.lines() {
        let parts = line.strip_prefix("strace.").and_then(|rest| rest.split_once(':'));
        let (tid, call) = parts.with_context(|| format!("strace printed no thread: {line}"))?;
        let tid = tid.parse().with_context(|| format!("strace printed no thread: {line}"))?;
        let thread = threads.entry(tid).or_insert_with(|| Thread { tid, counts: BTreeMap::new() });
        for (column, more) in counted(call).with_context(|| format!("not understood: {line}"))? {
            *thread.counts.entry(column.to_owned()).or_default() += more;
        }
    }
    Ok(threads.into_values().collect())
}

/// What one call adds to which columns; nothing for signals and exits.
fn counted(call: &str) -> Result<Vec<(&'static str, u64)>> {
    if call.starts_with("---") || call.starts_with("+++") {
        return Ok(Vec::new());
    }
    let (name, rest) = call.split_once('(').context("no call")?;
    let (arguments, result) = rest.rsplit_once(" = ").context("no result")?;
    match name {
        "epoll_ctl" => ctl(arguments, result),
        "epoll_wait" | "epoll_pwait" | "epoll_pwait2" => wait(result),
        "accept" | "accept4" => accept(result),
        other => bail!("strace was not asked for {other}"),
    }
}

fn ctl(arguments: &str, result: &str) -> Result<Vec<(&'static str, u64)>> {
    let op = arguments.split(", ").nth(1).context("no operation")?;
    let column = match op {
        "EPOLL_CTL_ADD" => "ctl_add",
        "EPOLL_CTL_MOD" => "ctl_mod",
        "EPOLL_CTL_DEL" => "ctl_del",
        _ => "ctl_other",
    };
    Ok(vec![(column, 1), ("ctl_failed", u64::from(outcome(result)?.is_err()))])
}

fn wait(result: &str) -> Result<Vec<(&'static str, u64)>> {
    // The process ended while the thread was inside. The kernel wakes it with SIGKILL, ends the call with -EINTR and reports
    // that at sys_exit before the thread dies (`syscall_exit_work` comes before signals: kernel/entry/common.c, 5.10 to 7.3).
    if result.trim() == "?" {
        return Ok(vec![("waits", 1), ("interrupted", 1)]);
    }
    let mut counts = vec![("waits", 1)];
    match outcome(result)? {
        Ok(0) => counts.push(("timeouts", 1)),
        Ok(events) => counts.extend([("waits_returned", 1), ("events", events)]),
        Err("EINTR") => counts.push(("interrupted", 1)),
        Err(_) => counts.push(("wait_errors", 1)),
    }
    Ok(counts)
}

fn accept(result: &str) -> Result<Vec<(&'static str, u64)>> {
    let column = match outcome(result)? {
        Ok(_) => "accepts",
        Err("EAGAIN") => "accept_eagain",
        Err(_) => "accept_failed",
    };
    Ok(vec![(column, 1)])
}

/// `7`, or `-1 EAGAIN (Resource temporarily unavailable)`. A call that the kernel restarts (`? ERESTARTSYS`) would be two
/// calls here and is refused.
fn outcome(result: &str) -> Result<Result<u64, &str>> {
    let mut words = result.split_whitespace();
    match (words.next(), words.next()) {
        (Some("-1"), Some(error)) => Ok(Err(error)),
        (Some(value), _) => value.parse().map(Ok).with_context(|| format!("the result is {result}")),
        _ => bail!("no result"),
    }
}

#[cfg(test)]
mod tests {
    use super::threads;

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
        let threads = threads(SAID).unwrap();
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
            assert!(threads(line).is_err(), "{line}");
        }
    }
}

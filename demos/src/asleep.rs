//! Where other threads of this process are, as the kernel shows it: nothing here guesses by time.

use std::fs;
use std::thread;

use anyhow::{Context as _, Result};

/// The calls that glibc and musl make for `epoll_wait`.
#[cfg(target_arch = "x86_64")]
pub(crate) const WAITS: [libc::c_long; 3] = [libc::SYS_epoll_wait, libc::SYS_epoll_pwait, libc::SYS_epoll_pwait2];
#[cfg(not(target_arch = "x86_64"))]
pub(crate) const WAITS: [libc::c_long; 2] = [libc::SYS_epoll_pwait, libc::SYS_epoll_pwait2];

/// Returns when every one of these threads sleeps in `epoll_wait`.
pub(crate) fn until_waiting(tids: &[i32]) -> Result<()> {
    tids.iter().try_for_each(|&tid| until_in(tid, &WAITS))
}

/// Returns when the thread sleeps in one of these calls.
pub(crate) fn until_in(tid: i32, calls: &[libc::c_long]) -> Result<()> {
    while !is_asleep_in(tid, calls)? {
        thread::yield_now();
    }
    Ok(())
}

/// Whether the thread is blocked in this call, asleep or where not even a signal reaches it (a mutex).
pub(crate) fn is_blocked_in(tid: i32, call: libc::c_long) -> Result<bool> {
    Ok(is_in(&read(tid, "syscall")?, &[call]) && is_blocked(&read(tid, "stat")?))
}

/// As many times in a row all threads must have been seen asleep: one of them may wake another that was looked at before.
const PASSES: u32 = 3;

/// Returns when all of these threads sleep in one of these calls at the same time.
pub(crate) fn until_all_in(tids: &[i32], calls: &[libc::c_long]) -> Result<()> {
    let mut passes = 0;
    while passes < PASSES {
        passes += 1;
        for &tid in tids {
            if !is_asleep_in(tid, calls)? {
                passes = 0;
                break;
            }
        }
        thread::yield_now();
    }
    Ok(())
}

/// Whether the thread sleeps in one of these calls.
pub(crate) fn is_asleep_in(tid: i32, calls: &[libc::c_long]) -> Result<bool> {
    Ok(is_in(&read(tid, "syscall")?, calls) && is_sleeping(&read(tid, "stat")?))
}

fn read(tid: i32, file: &str) -> Result<String> {
    let path = format!("/proc/self/task/{tid}/{file}");
    fs::read_to_string(&path).with_context(|| format!("read {path}; is /proc mounted, and the thread there?"))
}

/// The content of `/proc/PID/task/TID/syscall`: "running", or the number of the call in which the task is blocked (-1 outside of
/// any) and its arguments.
pub(crate) fn is_in(syscall: &str, calls: &[libc::c_long]) -> bool {
    let number = syscall.split_whitespace().next().and_then(|first| first.parse().ok());
    number.is_some_and(|number: libc::c_long| calls.contains(&number))
}

/// The content of `/proc/PID/task/TID/stat`: `tid (comm) state ...`, where comm may hold anything, even parentheses.
pub(crate) fn is_sleeping(stat: &str) -> bool {
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('S'))
}

/// The same for both kinds of sleep.
fn is_blocked(stat: &str) -> bool {
    is_sleeping(stat) || stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('D'))
}

#[cfg(test)]
mod tests {
    use super::{WAITS, is_blocked, is_in, is_sleeping};

    #[test]
    fn the_calls_of_the_epoll_wait_family_are_known() {
        assert!(is_in(&format!("{} 0x4 0x7ffc 0x40 0xffffffff 0x0 0x0 0x7ffc 0x7f01\n", WAITS[0]), &WAITS));
        assert!(!is_in(&format!("{} 0x0 0x7ffc 0x40\n", libc::SYS_read), &WAITS));
        assert!(!is_in("running\n", &WAITS));
        assert!(!is_in("-1 0x7ffc 0x7f01\n", &WAITS));
        assert!(!is_in("", &WAITS));
    }

    #[test]
    fn the_state_stands_after_the_last_parenthesis() {
        assert!(is_sleeping("12 (herd-w0) S 1 12 12 0"));
        assert!(is_sleeping("12 (odd) R name) S 1 12 12 0"));
        assert!(!is_sleeping("12 (herd-w0) R 1 12 12 0"));
        assert!(!is_sleeping("12 (herd-w0) D 1 12 12 0"));
        assert!(is_blocked("12 (herd-w0) D 1 12 12 0") && !is_blocked("12 (herd-w0) R 1 12 12 0"));
        assert!(!is_sleeping(""));
    }
}

//! How long a wait may take, as the program gave it.
//!
//! 5.10 hands `do_epoll_wait` the milliseconds. From 5.11 on it gets a deadline, which was reckoned a while before
//! (`ep_timeout_to_timespec` in fs/eventpoll.c, `poll_select_set_timeout` in fs/select.c, 5.11 to 7.3): what the program gave stands in the
//! registers of its system call.

use tracer_common::Miss;

use super::wait::Call;
use crate::emit::Now;
use crate::globals::config;
use crate::kread;
use crate::registers::{ORIG_AX, R10, of_user};

/// The numbers of the calls on x86-64 (arch/x86/entry/syscalls/syscall_64.tbl).
const EPOLL_WAIT: u64 = 232;
const EPOLL_PWAIT: u64 = 281;
const EPOLL_PWAIT2: u64 = 441;

const NS_PER_MS: i64 = 1_000_000;

/// Nanoseconds, or -1 without end. Where the registers are not found, or a call of another architecture made them, what was left until
/// the deadline when the probe ran.
#[inline(always)]
pub(super) fn given(now: Now, call: Call) -> Result<i64, Miss> {
    if config!(timeout_is_ms) != 0 {
        let ms = call.timeout as i32;
        return Ok(if ms < 0 { -1 } else { i64::from(ms) * NS_PER_MS });
    }
    if call.timeout == 0 {
        return Ok(-1);
    }
    let deadline = ns(kread::kernel(call.timeout)?);
    if deadline == 0 {
        return Ok(0);
    }
    let left = deadline - now.ts_ns as i64;
    let left = if left < 1 { 1 } else { left };
    // Another thread may have changed the time that `epoll_pwait2` was given: no call can have less than what is left of it.
    Ok(match by_program(call) {
        Ok(given) if given > left => given,
        _ => left,
    })
}

/// What the registers of the call say; 0 when they are not found.
#[inline(always)]
fn by_program(call: Call) -> Result<i64, Miss> {
    const FIRST: usize = R10;
    const DX: usize = 12;
    const SI: usize = 13;
    const DI: usize = 14;
    let are = |found: &[u64; ORIG_AX - FIRST + 1]| {
        found[SI - FIRST] == call.events
            && found[DI - FIRST] as i32 == call.epfd
            && found[DX - FIRST] as i32 == call.maxevents
    };
    let Some(found) = of_user(FIRST, are)? else { return Ok(0) };
    match found[ORIG_AX - FIRST] {
        EPOLL_WAIT | EPOLL_PWAIT => Ok(i64::from(found[R10 - FIRST] as i32) * NS_PER_MS),
        EPOLL_PWAIT2 => kread::user(found[R10 - FIRST]).map(ns),
        _ => Ok(0),
    }
}

/// Seconds and nanoseconds as nanoseconds, as many as there can be.
#[inline(always)]
fn ns([sec, nsec]: [i64; 2]) -> i64 {
    const NS_PER_SEC: i64 = 1_000_000_000;
    if sec >= i64::MAX / NS_PER_SEC { i64::MAX } else { sec * NS_PER_SEC + nsec }
}

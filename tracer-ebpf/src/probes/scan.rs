//! The end of a scan of a ready list: what it put back and what it did not reach.
//!
//! `ep_done_scan` (5.11 on) is called there with `ep->mtx` held, while callbacks still go to the overflow list. On 5.10 it is the
//! return of `ep_send_events_proc` or, for the poll of a watched eventpoll, `ep_read_events_proc`. `ep_send_events` stands in where
//! neither exists: it tells how many events were delivered, but not the lists.

use aya_ebpf::macros::{fentry, fexit, kprobe, kretprobe, map};
use aya_ebpf::maps::LruHashMap;
use aya_ebpf::programs::{FEntryContext, FExitContext, ProbeContext, RetProbeContext};
use tracer_common::events::{DELIVERED_UNKNOWN, Scan, scan_flags};
use tracer_common::{Hook, Miss};

use crate::audit::Snapshot;
use crate::emit::{Now, count, current_tid, emit, settle};
use crate::epitem::UNACTIVE;
use crate::globals::{config, offset};
use crate::rescue::{Point, with_twins};
use crate::tasks::{IN_WAIT, TaskState};
use crate::{audit, filter, kread, tasks};

/// The most scans inside each other: an eventpoll watched by an eventpoll, `EP_MAX_NESTS` deep.
const MAX_SCANS: u32 = 8;

/// A scan between its kprobe and its kretprobe.
#[derive(Clone, Copy)]
#[repr(C)]
struct Begun {
    ep: u64,
    list: u64,
    /// The stack pointer at the function's first instruction. The kernel has few instances of a kretprobe, and calls beyond them have an
    /// entry and no exit: the stack tells which entry an exit belongs to.
    sp: u64,
}

/// Between a kprobe and its kretprobe on 5.10, by task and depth. Where no such pair is attached, empty.
#[map]
static SCANS: LruHashMap<u64, Begun> = LruHashMap::with_max_entries(4_096, 0);

/// 6.16 to 7.3: `int ep_send_events(struct eventpoll *ep, struct epoll_event *events, int maxevents)`
#[fexit]
pub fn send_events_fexit(ctx: FExitContext) -> u32 {
    sent(ctx.arg(0), ctx.arg(3))
}

/// As [`send_events_fexit`]; the eventpoll is the one that the current task waits on.
#[kretprobe]
pub fn send_events_kretprobe(ctx: RetProbeContext) -> u32 {
    let ep = tasks::waits_on(current_tid());
    sent(ep, ctx.ret())
}

/// 5.10: `__poll_t ep_send_events_proc(struct eventpoll *ep, struct list_head *head, void *priv)`
#[fexit]
pub fn send_events_proc_fexit(ctx: FExitContext) -> u32 {
    done::<true>(ctx.arg(0), ctx.arg(1))
}

/// 5.10: `__poll_t ep_read_events_proc(struct eventpoll *ep, struct list_head *head, void *priv)`
#[fexit]
pub fn read_events_proc_fexit(ctx: FExitContext) -> u32 {
    done::<true>(ctx.arg(0), ctx.arg(1))
}

/// Keeps the arguments of [`send_events_proc_fexit`] or [`read_events_proc_fexit`] for [`scan_proc_kretprobe`].
#[kprobe]
pub fn scan_proc_kprobe(ctx: ProbeContext) -> u32 {
    if !filter::enabled() {
        return 0;
    }
    match (ctx.arg(0), ctx.arg(1)) {
        // SAFETY: the registers at the function's first instruction.
        (Some(ep), Some(list)) => settle(Hook::Scan, keep(Begun { ep, list, sp: unsafe { (*ctx.regs).rsp } })),
        _ => 0,
    }
}

/// As [`send_events_proc_fexit`] and [`read_events_proc_fexit`].
#[kretprobe]
pub fn scan_proc_kretprobe(ctx: RetProbeContext) -> u32 {
    if !filter::enabled() {
        return 0;
    }
    // SAFETY: the registers after the function's return, which took the address of return off the stack.
    let sp = unsafe { (*ctx.regs).rsp } - size_of::<u64>() as u64;
    settle(Hook::Scan, kept(sp))
}

with_twins! {
    /// 5.11 to 7.3: `void ep_done_scan(struct eventpoll *ep, struct list_head *txlist)`
    fentry [DONE_SCAN_FENTRY: done_scan_fentry, done_scan_fentry_2, done_scan_fentry_3, done_scan_fentry_4](ctx: FEntryContext) -> u32 {
        (Point::Scan, Hook::Scan) => { done::<true>(ctx.arg(0), ctx.arg(1)) }
    }
}

/// As [`done_scan_fentry`].
#[kprobe]
pub fn done_scan_kprobe(ctx: ProbeContext) -> u32 {
    match (ctx.arg(0), ctx.arg(1)) {
        (Some(ep), Some(list)) => done::<false>(ep, list),
        _ => 0,
    }
}

with_twins! {
    /// The end of [`done_scan_fentry`], for the audit: the lists are one again.
    fexit [
        AUDIT_DONE_SCAN_FEXIT: audit_done_scan_fexit, audit_done_scan_fexit_2, audit_done_scan_fexit_3, audit_done_scan_fexit_4,
    ](ctx: FExitContext) -> u32 {
        (Point::AuditScan, Hook::Audit) => { over() }
    }
}

/// As [`audit_done_scan_fexit`]; 5.10: the return of
/// `__poll_t ep_scan_ready_list.constprop.0(struct eventpoll *ep, __poll_t (*sproc)(...), void *priv, int depth, bool ep_locked)`.
#[kretprobe]
pub fn audit_scan_kretprobe(_ctx: RetProbeContext) -> u32 {
    over()
}

#[inline(always)]
fn sent(ep: u64, delivered: i32) -> u32 {
    if !filter::enabled() {
        return 0;
    }
    settle(Hook::Scan, body::<false>(ep, delivered, 0))
}

/// `TYPED`: fentry and fexit give the arguments as pointers whose types the verifier knows, and lets a program load from there.
#[inline(always)]
fn done<const TYPED: bool>(ep: u64, list: u64) -> u32 {
    if !filter::enabled() {
        return 0;
    }
    settle(Hook::Scan, body::<TYPED>(ep, DELIVERED_UNKNOWN, list))
}

#[inline(always)]
const fn scan_key(tid: u32, depth: u32) -> u64 {
    tid as u64 * MAX_SCANS as u64 + (depth % MAX_SCANS) as u64
}

#[inline(always)]
fn keep(scan: Begun) -> Result<(), Miss> {
    let now = Now::take();
    if !filter::traced(now.tgid) && !filter::traced_ep(scan.ep) {
        return Ok(());
    }
    let state = tasks::get_or_make(now.tid)?;
    // Whoever called this one has its frame above.
    let depth = unended(now.tid, state, scan.sp + 1);
    SCANS.insert(scan_key(now.tid, depth), scan, 0).map_err(|_| Miss::MapFull)?;
    // SAFETY: as in `unended`.
    unsafe { (*state).scans = depth + 1 };
    Ok(())
}

/// Takes away the scans whose frames lie below `sp` and so have ended without an exit, and counts them. Returns how many are left.
#[inline(always)]
fn unended(tid: u32, state: *mut TaskState, sp: u64) -> u32 {
    // SAFETY: a map value outlives the program's run; only this task's own calls write to it.
    let mut depth = unsafe { (*state).scans };
    for _ in 0..MAX_SCANS {
        if depth == 0 {
            break;
        }
        let key = scan_key(tid, depth - 1);
        // SAFETY: as above.
        if SCANS.get_ptr(key).is_some_and(|inner| unsafe { (*inner).sp } >= sp) {
            break;
        }
        let _ = SCANS.remove(key);
        depth -= 1;
        count(Hook::Scan, Miss::NoExit);
    }
    // SAFETY: as above.
    unsafe { (*state).scans = depth };
    depth
}

/// The scan that began with this stack pointer has ended.
#[inline(always)]
fn kept(sp: u64) -> Result<(), Miss> {
    let now = Now::take();
    let Some(state) = tasks::get(now.tid) else { return Ok(()) };
    let depth = unended(now.tid, state, sp);
    if depth == 0 {
        return Ok(());
    }
    let key = scan_key(now.tid, depth - 1);
    let Some(found) = SCANS.get_ptr(key) else { return Err(Miss::NoEntry) };
    // SAFETY: as in `unended`.
    let Begun { ep, list, sp: begun } = unsafe { *found };
    if begun != sp {
        return Err(Miss::NoEntry);
    }
    // SAFETY: as in `unended`.
    unsafe { (*state).scans = depth - 1 };
    let _ = SCANS.remove(key);
    body::<false>(ep, DELIVERED_UNKNOWN, list)
}

/// What the lists hold when a scan ends: flags, and the first item that it did not reach.
#[inline(always)]
fn lists<const TYPED: bool>(ep: u64, list: u64) -> Result<(u32, u64), Miss> {
    let read = #[inline(always)]
    |address: u64| {
        // SAFETY: the verifier has checked the load; the eventpoll lives while it is scanned.
        if TYPED { Ok(unsafe { *(address as *const u64) }) } else { kread::kernel::<u64>(address) }
    };
    let mut flags = scan_flags::LISTS_KNOWN;
    let rdllist = ep + offset!(ep_rdllist) as u64;
    if read(rdllist)? != rdllist {
        flags |= scan_flags::REQUEUED;
    }
    let mut first_left = 0;
    let next = read(list)?;
    if next != list {
        flags |= scan_flags::LEFT_OVER;
        first_left = next.wrapping_sub(offset!(epitem_rdllink) as u64);
    }
    if read(ep + offset!(ep_ovflist) as u64)? != 0 {
        flags |= scan_flags::OVERFLOW;
    }
    Ok((flags, first_left))
}

#[inline(always)]
fn body<const TYPED: bool>(ep: u64, delivered: i32, list: u64) -> Result<(), Miss> {
    // Only a traced task's wait is remembered: then its eventpoll is traced.
    let in_wait = ep != 0 && in_wait(ep);
    if !in_wait && !filter::traced_ep(ep) {
        return Ok(());
    }
    let before = changes(ep)?;
    let now = Now::take();
    let list = if config!(scan_list_is_head) == 0 { 0 } else { list };
    let (mut flags, first_left) = if list == 0 { (0, 0) } else { lists::<TYPED>(ep, list)? };
    if in_wait {
        flags |= scan_flags::IN_WAIT;
    }
    emit::<Scan>(now, |record| {
        // SAFETY: `emit` gives a slot for one record.
        let record = unsafe { &mut *record };
        record.ep = ep;
        record.first_left = first_left;
        record.delivered = delivered;
        record.flags = flags;
    })?;
    if audit::on() && list != 0 {
        let ep = scalar(ep)?;
        audit::scan_ends(now, ep, list, before);
        let state = tasks::get_or_make(now.tid)?;
        // SAFETY: as in `keep`.
        let unended = unsafe { core::mem::replace(&mut (*state).changing, ep) };
        if unended != 0 {
            // The end of an earlier scan was beyond the kretprobe's instances.
            audit::end(unended);
        }
        audit::begin(ep);
    }
    Ok(())
}

/// Whether the current task waits on this eventpoll, and does not poll it inside a wait on another: that is done during a scan of the other.
/// Else its descriptor stood for the other when the probe of the wait looked, and for this one when the kernel did.
#[inline(always)]
fn in_wait(ep: u64) -> bool {
    let Some(state) = tasks::get(current_tid()) else { return false };
    // SAFETY: as in `unended`.
    let (flags, waits_on) = unsafe { ((*state).flags, (*state).ep) };
    if flags & IN_WAIT == 0 || waits_on == ep {
        return flags & IN_WAIT != 0;
    }
    if waits_on != 0 && filter::known(waits_on) && scanned(waits_on) {
        return false;
    }
    // SAFETY: as in `unended`.
    unsafe { (*state).ep = ep };
    true
}

/// Whether a scan of this eventpoll runs.
#[inline(always)]
fn scanned(ep: u64) -> bool {
    kread::kernel::<u64>(ep + offset!(ep_ovflist) as u64).is_ok_and(|ovflist| ovflist != UNACTIVE)
}

/// The changes of the eventpoll's lists so far, for the audit.
#[inline(always)]
fn changes(ep: u64) -> Result<Snapshot, Miss> {
    if !audit::on() || ep == 0 {
        return Ok(Snapshot { begun: 0, ended: 0 });
    }
    Ok(audit::snapshot(scalar(ep)?))
}

/// Keeps the eventpoll with the task until the scan is over, and reads it back: what fentry gives is a pointer to the verifier,
/// which may not be divided.
#[inline(always)]
fn scalar(ep: u64) -> Result<u64, Miss> {
    let state = tasks::get_or_make(current_tid())?;
    // SAFETY: as in `keep`.
    unsafe {
        (*state).scanned = ep;
        Ok(core::ptr::read_volatile(&raw const (*state).scanned))
    }
}

#[inline(always)]
fn over() -> u32 {
    if let Some(state) = tasks::get(current_tid()) {
        // SAFETY: as in `keep`.
        let ep = unsafe { core::mem::replace(&mut (*state).changing, 0) };
        if ep != 0 {
            audit::end(ep);
        }
    }
    0
}

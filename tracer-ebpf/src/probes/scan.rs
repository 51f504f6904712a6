//! The scan of a ready list. `ep_send_events` is inlined from 5.11 to 6.12: `ep_done_scan` stands for it there.

use aya_ebpf::macros::{fentry, fexit, kprobe, kretprobe};
use aya_ebpf::programs::{FEntryContext, FExitContext, ProbeContext, RetProbeContext};
use tracer_common::events::{DELIVERED_UNKNOWN, Scan, scan_flags};
use tracer_common::{Hook, Miss};

use crate::emit::{Now, current_tid, emit, settle};
use crate::globals::{config, offset};
use crate::{filter, kread, tasks};

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
    sent(ctx.arg(0), DELIVERED_UNKNOWN)
}

/// As [`send_events_proc_fexit`].
#[kprobe]
pub fn send_events_proc_kprobe(ctx: ProbeContext) -> u32 {
    ctx.arg(0).map_or(0, |ep| sent(ep, DELIVERED_UNKNOWN))
}

/// 5.11 to 7.0: `void ep_done_scan(struct eventpoll *ep, struct list_head *txlist)`; 7.1 to 7.3: the second argument differs.
#[fentry]
pub fn done_scan_fentry(ctx: FEntryContext) -> u32 {
    done(ctx.arg(0), ctx.arg(1))
}

/// As [`done_scan_fentry`].
#[kprobe]
pub fn done_scan_kprobe(ctx: ProbeContext) -> u32 {
    match (ctx.arg(0), ctx.arg(1)) {
        (Some(ep), Some(list)) => done(ep, list),
        _ => 0,
    }
}

#[inline(always)]
fn sent(ep: u64, delivered: i32) -> u32 {
    if !filter::enabled() {
        return 0;
    }
    settle(Hook::Scan, body(ep, delivered, None))
}

#[inline(always)]
fn done(ep: u64, list: u64) -> u32 {
    if !filter::enabled() {
        return 0;
    }
    settle(Hook::Scan, body(ep, DELIVERED_UNKNOWN, Some(list)))
}

/// What the lists hold when a scan ends; `ep->mtx` is held, callbacks go to the overflow list.
#[inline(always)]
fn lists(ep: u64, list: u64) -> Result<u32, Miss> {
    let mut flags = scan_flags::LISTS_KNOWN;
    let rdllist = ep + offset!(ep_rdllist) as u64;
    if kread::kernel::<u64>(rdllist)? != rdllist {
        flags |= scan_flags::REQUEUED;
    }
    if config!(scan_list_is_head) != 0 && kread::kernel::<u64>(list)? != list {
        flags |= scan_flags::LEFT_OVER;
    }
    if kread::kernel::<u64>(ep + offset!(ep_ovflist) as u64)? != 0 {
        flags |= scan_flags::OVERFLOW;
    }
    Ok(flags)
}

#[inline(always)]
fn body(ep: u64, delivered: i32, list: Option<u64>) -> Result<(), Miss> {
    let now = Now::take();
    // Only a traced task's wait is remembered: then its eventpoll is traced.
    let in_wait = ep != 0 && tasks::waits_on(now.tid) == ep;
    if !in_wait && !filter::traced_ep(ep) {
        return Ok(());
    }
    let mut flags = match list {
        Some(list) => lists(ep, list)?,
        None => 0,
    };
    if in_wait {
        flags |= scan_flags::IN_WAIT;
    }
    emit::<Scan>(now, |record| {
        // SAFETY: `emit` gives a slot for one record.
        let record = unsafe { &mut *record };
        record.ep = ep;
        record.delivered = delivered;
        record.flags = flags;
    })
}

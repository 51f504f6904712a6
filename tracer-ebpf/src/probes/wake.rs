//! `ep_autoremove_wake_function`: an eventpoll wakes one of its waiters.

use aya_ebpf::macros::{fexit, kprobe, kretprobe, map};
use aya_ebpf::maps::PerCpuArray;
use aya_ebpf::programs::{FExitContext, ProbeContext, RetProbeContext};
use tracer_common::events::{Wake, WakeCause};
use tracer_common::{Hook, Miss};

use super::{ctl, path};
use crate::emit::{Now, emit, settle};
use crate::globals::offset;
use crate::{context, filter, kread, tasks};

/// The wait queue entry between a kprobe and its kretprobe: the call runs under a lock with interrupts off.
#[map]
static WAKING: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// 5.10 to 7.3: `int ep_autoremove_wake_function(struct wait_queue_entry *wq_entry, unsigned int mode, int sync, void *key)`
#[fexit]
pub fn wake_fexit(ctx: FExitContext) -> u32 {
    leave(ctx.arg(0), ctx.arg(4))
}

/// Keeps the argument of [`wake_fexit`] for [`wake_kretprobe`].
#[kprobe]
pub fn wake_kprobe(ctx: ProbeContext) -> u32 {
    if let (Some(entry), Some(slot)) = (ctx.arg::<u64>(0), WAKING.get_ptr_mut(0)) {
        // SAFETY: a map value outlives the program's run; the slot belongs to this CPU.
        unsafe { *slot = entry };
    }
    0
}

/// As [`wake_fexit`].
#[kretprobe]
pub fn wake_kretprobe(ctx: RetProbeContext) -> u32 {
    let Some(slot) = WAKING.get_ptr_mut(0) else { return 0 };
    // SAFETY: as in `wake_kprobe`.
    let entry = unsafe { *slot };
    // SAFETY: as above. An exit without an entry finds 0 here.
    unsafe { *slot = 0 };
    leave(entry, ctx.ret())
}

#[inline(always)]
fn leave(entry: u64, ret: i32) -> u32 {
    if !filter::enabled() {
        return 0;
    }
    settle(Hook::Wake, body(entry, ret))
}

#[inline(always)]
fn body(entry: u64, ret: i32) -> Result<(), Miss> {
    if entry == 0 {
        return Err(Miss::NoEntry);
    }
    let mut now = Now::take();
    let mut after_ns = 0;
    let task: u64 = kread::kernel(entry + offset!(wait_private) as u64)?;
    let tgid: u32 = kread::kernel(task + offset!(task_tgid) as u64)?;
    // Plain numbers: 5.10 refuses to copy what was not set.
    let (caused, cause_ts, cause_ep) = match context::innermost() {
        Some(frame) => (true, frame.ts_ns, frame.ep),
        None => (false, 0, 0),
    };
    // A callback that was reported is of an eventpoll under trace, whoever waits on it.
    if cause_ts == 0 && !filter::traced(tgid) {
        return Ok(());
    }
    let tid: u32 = kread::kernel(task + offset!(task_pid) as u64)?;
    if path::on() && ret == 0 {
        // It was running already.
        path::forget(tid);
    }
    let (cause, ep) = if caused {
        if cause_ts == 0 {
            // The callback was not reported because nobody had named its eventpoll yet: a traced task waits on it.
            filter::adopt(cause_ep, true)?;
        } else {
            // This runs after the wake-up, when the task may long be running on another CPU: its cause comes before that.
            after_ns = now.ts_ns.wrapping_sub(cause_ts);
            now.ts_ns = cause_ts;
        }
        (WakeCause::Callback, cause_ep)
    } else {
        // A scan wakes, also one for a task that waits elsewhere or polls; an item that is ready when it is added wakes too.
        let cause = if ctl::under_way() { WakeCause::Task } else { WakeCause::Scan };
        // Of a task that slept before tracing began only the chain of wakes says where.
        let ep = match tasks::last_wait(tid) {
            0 => tasks::waits_on(now.tid),
            ep => ep,
        };
        (cause, ep)
    };
    emit::<Wake>(now, |record| {
        // SAFETY: `emit` gives a slot for one record.
        let record = unsafe { &mut *record };
        record.ep = ep;
        record.cause_ts = cause_ts;
        record.woken_tgid = tgid;
        record.woken_tid = tid;
        record.cause = cause as u32;
        record.ret = ret;
        record.after_ns = if after_ns > u64::from(u32::MAX) { u32::MAX } else { after_ns as u32 };
        record.pad = 0;
    })
}

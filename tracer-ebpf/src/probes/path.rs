//! The way of an event to the task that it wakes (`--path`): what the callback ran in, and when the task was on a CPU.
//!
//! Each CPU remembers since when it has been in a softirq, in the handler of an interrupt or a timer, and in `sock_def_readable`. When an
//! eventpoll is about to wake a waiter, these are kept for the waiter, until the scheduler puts it on a CPU. While nobody is waited
//! for, the program there looks at one number and leaves.

use aya_ebpf::bindings::{BPF_EXIST, BPF_NOEXIST};
use aya_ebpf::helpers::{bpf_get_smp_processor_id, bpf_ktime_get_ns};
use aya_ebpf::macros::{fentry, fexit, kprobe, kretprobe, map, raw_tracepoint};
use aya_ebpf::maps::{Array, HashMap, PerCpuArray};
use aya_ebpf::programs::{FEntryContext, FExitContext, ProbeContext, RawTracePointContext, RetProbeContext};
use tracer_common::events::{Path, softirq};
use tracer_common::{Hook, Miss};

use crate::atomic::{add_one, take_one};
use crate::emit::{Now, current_tid, emit, settle};
use crate::globals::{config, offset};
use crate::{context, filter, kread};

/// Something that this CPU is in.
#[derive(Clone, Copy)]
#[repr(C)]
struct Since {
    /// 0: it is not in it.
    ts_ns: u64,
    /// The task that was current: another one has preempted it, and is not in it.
    tid: u32,
    /// Of a softirq its number.
    number: u32,
}

/// What a CPU is in.
#[repr(C)]
struct Within {
    softirq: Since,
    interrupt: Since,
    sock: Since,
}

#[map]
static WITHIN: PerCpuArray<Within> = PerCpuArray::with_max_entries(1, 0);

/// A task that a callback wakes, until it is on a CPU.
#[derive(Clone, Copy)]
#[repr(C)]
struct Woken {
    ep: u64,
    cause_ts: u64,
    softirq_ts: u64,
    interrupt_ts: u64,
    sock_ts: u64,
    wake_ts: u64,
    cause_cpu: u32,
    softirq: u32,
    tgid: u32,
    pad: u32,
}

/// By thread id.
#[map]
static WOKEN: HashMap<u32, Woken> = HashMap::with_max_entries(8192, 0);

/// One entry: how many [`WOKEN`] has.
#[map]
static AWAITED: Array<u64> = Array::with_max_entries(1, 0);

/// Whether the probes tell any of this.
#[inline(always)]
pub(super) fn on() -> bool {
    config!(path) != 0
}

/// 5.10 to 7.3: `softirq_entry(unsigned int vec_nr)`
#[raw_tracepoint]
pub fn path_softirq_entry(ctx: RawTracePointContext) -> i32 {
    if let Some(within) = within() {
        // SAFETY: a map value outlives the program's run; no softirq begins in another.
        begin(unsafe { &raw mut (*within).softirq }, ctx.arg::<u64>(0) as u32);
    }
    0
}

/// 5.10 to 7.3: `softirq_exit(unsigned int vec_nr)`
#[raw_tracepoint]
pub fn path_softirq_exit(_ctx: RawTracePointContext) -> i32 {
    if let Some(within) = within() {
        // SAFETY: as above.
        end(unsafe { &raw mut (*within).softirq });
    }
    0
}

/// 5.10 to 7.3: `irq_handler_entry(int irq, struct irqaction *action)`, `hrtimer_expire_entry(struct hrtimer *hrtimer, ktime_t *now)`
#[raw_tracepoint]
pub fn path_interrupt_entry(_ctx: RawTracePointContext) -> i32 {
    if let Some(within) = within() {
        // SAFETY: as above; where one begins in another, the inner one counts.
        begin(unsafe { &raw mut (*within).interrupt }, 0);
    }
    0
}

/// The ends of what [`path_interrupt_entry`] saw.
#[raw_tracepoint]
pub fn path_interrupt_exit(_ctx: RawTracePointContext) -> i32 {
    if let Some(within) = within() {
        // SAFETY: as above.
        end(unsafe { &raw mut (*within).interrupt });
    }
    0
}

/// Where the kernel can be preempted, one of the copies may be skipped: the others do the same, and once is enough.
macro_rules! copies {
    ($($(#[doc = $doc:literal])* $kind:ident $name:ident($type:ty) $work:ident)*) => {$(
        $(#[doc = $doc])*
        #[$kind]
        pub fn $name(_ctx: $type) -> u32 {
            $work()
        }
    )*};
}

copies! {
    /// 5.10 to 7.3: `void sock_def_readable(struct sock *sk)` (net/core/sock.c)
    fentry path_sock_fentry(FEntryContext) sock_begins_once
    fentry path_sock_fentry_2(FEntryContext) sock_begins_once
    fentry path_sock_fentry_3(FEntryContext) sock_begins_once
    fentry path_sock_fentry_4(FEntryContext) sock_begins_once
    /// Its end.
    fexit path_sock_fexit(FExitContext) sock_ends
    fexit path_sock_fexit_2(FExitContext) sock_ends
    fexit path_sock_fexit_3(FExitContext) sock_ends
    fexit path_sock_fexit_4(FExitContext) sock_ends
    /// As [`path_sock_fentry`].
    kprobe path_sock_kprobe(ProbeContext) sock_begins
    /// As [`path_sock_fexit`].
    kretprobe path_sock_kretprobe(RetProbeContext) sock_ends
}

/// 5.10 to 7.3: `int ep_autoremove_wake_function(struct wait_queue_entry *wq_entry, unsigned int mode, int sync, void *key)`; its end
/// is told by [`super::wake`], but then the task may be on a CPU already.
#[fentry]
pub fn path_wake_fentry(ctx: FEntryContext) -> u32 {
    wakes(ctx.arg(0))
}

/// As [`path_wake_fentry`].
#[kprobe]
pub fn path_wake_kprobe(ctx: ProbeContext) -> u32 {
    match ctx.arg(0) {
        Some(entry) => wakes(entry),
        None => 0,
    }
}

/// 5.10 to 7.3: `sched_switch(bool preempt, struct task_struct *prev, struct task_struct *next, ...)`. The runqueue is locked.
#[raw_tracepoint]
pub fn path_sched_switch(ctx: RawTracePointContext) -> i32 {
    if !awaited() || !filter::enabled() {
        return 0;
    }
    settle(Hook::Path, on_cpu(ctx.arg(2))) as i32
}

/// What this CPU is in, while tracing is on.
#[inline(always)]
fn within() -> Option<*mut Within> {
    if filter::enabled() { WITHIN.get_ptr_mut(0) } else { None }
}

#[inline(always)]
fn begin(since: *mut Since, number: u32) {
    let now = Now::take();
    // SAFETY: the caller's map value outlives the program's run.
    unsafe {
        (*since).tid = now.tid;
        (*since).number = number;
        (*since).ts_ns = now.ts_ns;
    }
}

#[inline(always)]
fn end(since: *mut Since) {
    // SAFETY: as in `begin`.
    unsafe {
        if (*since).tid == current_tid() {
            (*since).ts_ns = 0;
        }
    }
}

#[inline(always)]
fn sock_begins() -> u32 {
    if let Some(within) = within() {
        // SAFETY: as in `begin`.
        begin(unsafe { &raw mut (*within).sock }, 0);
    }
    0
}

#[inline(always)]
fn sock_begins_once() -> u32 {
    let Some(within) = within() else { return 0 };
    // SAFETY: as in `begin`.
    unsafe {
        let (sock, tid) = ((*within).sock, current_tid());
        // A copy was here already, unless an interrupt or a softirq has come into an outer one.
        let told = sock.ts_ns > (*within).softirq.ts_ns && sock.ts_ns > (*within).interrupt.ts_ns;
        if !told || sock.tid != tid {
            begin(&raw mut (*within).sock, 0);
        }
    }
    0
}

#[inline(always)]
fn sock_ends() -> u32 {
    if let Some(within) = within() {
        // SAFETY: as in `begin`.
        end(unsafe { &raw mut (*within).sock });
    }
    0
}

#[inline(always)]
fn wakes(entry: u64) -> u32 {
    if !filter::enabled() {
        return 0;
    }
    settle(Hook::Path, wake(entry))
}

#[inline(always)]
fn wake(entry: u64) -> Result<(), Miss> {
    let now = Now::take();
    let task: u64 = kread::kernel(entry + offset!(wait_private) as u64)?;
    let tid: u32 = kread::kernel(task + offset!(task_pid) as u64)?;
    // Not in a callback, or in one that was not reported; an earlier wake has come to its end.
    let (cause_ts, ep) = context::innermost().map_or((0, 0), |cause| (cause.ts_ns, cause.ep));
    if cause_ts == 0 {
        forget(tid);
        return Ok(());
    }
    let tgid: u32 = kread::kernel(task + offset!(task_tgid) as u64)?;
    let within = WITHIN.get_ptr(0).ok_or(Miss::ReadFailed)?;
    let since = |since: Since| if since.tid == now.tid { since.ts_ns } else { 0 };
    // SAFETY: a map value outlives the program's run; interrupts are off.
    let (mut softirq_ts, interrupt_ts, mut sock_ts, number) = unsafe {
        let within = &*within;
        (since(within.softirq), since(within.interrupt), since(within.sock), within.softirq.number)
    };
    if interrupt_ts != 0 && number != softirq::HRTIMER {
        // An interrupt came into the softirq; but some timers expire in one of their own.
        softirq_ts = 0;
    }
    if sock_ts < softirq_ts || sock_ts < interrupt_ts {
        sock_ts = 0;
    }
    // SAFETY: a helper without arguments.
    let cause_cpu = unsafe { bpf_get_smp_processor_id() };
    let woken = Woken {
        ep,
        cause_ts,
        softirq_ts,
        interrupt_ts,
        sock_ts,
        wake_ts: now.ts_ns,
        cause_cpu,
        softirq: if softirq_ts == 0 { 0 } else { number },
        tgid,
        pad: 0,
    };
    if WOKEN.insert(tid, woken, u64::from(BPF_NOEXIST)).is_ok() {
        if let Some(awaited) = AWAITED.get_ptr_mut(0) {
            // SAFETY: a map value outlives the program's run.
            unsafe { add_one(awaited) };
        }
        return Ok(());
    }
    WOKEN.insert(tid, woken, u64::from(BPF_EXIST)).map_err(|_| Miss::MapFull)
}

/// Whether any task is waited for.
#[inline(always)]
fn awaited() -> bool {
    AWAITED.get(0).is_some_and(|awaited| *awaited != 0)
}

/// The task's wake is over, however it was.
#[inline(always)]
pub(super) fn forget(tid: u32) {
    if awaited()
        && WOKEN.remove(tid).is_ok()
        && let Some(awaited) = AWAITED.get_ptr_mut(0)
    {
        // SAFETY: a map value outlives the program's run.
        unsafe { take_one(awaited) };
    }
}

#[inline(always)]
fn on_cpu(next: u64) -> Result<(), Miss> {
    // SAFETY: a helper without arguments.
    let ts_ns = unsafe { bpf_ktime_get_ns() };
    let tid: u32 = kread::kernel(next + offset!(task_pid) as u64)?;
    let Some(woken) = WOKEN.get_ptr(tid) else { return Ok(()) };
    // SAFETY: a map value outlives the program's run.
    let woken = unsafe { &*woken };
    let told = emit::<Path>(Now { ts_ns, tgid: woken.tgid, tid }, |record| {
        // SAFETY: `emit` gives a slot for one record.
        let record = unsafe { &mut *record };
        record.ep = woken.ep;
        record.cause_ts = woken.cause_ts;
        record.softirq_ts = woken.softirq_ts;
        record.interrupt_ts = woken.interrupt_ts;
        record.sock_ts = woken.sock_ts;
        record.wake_ts = woken.wake_ts;
        record.cause_cpu = woken.cause_cpu;
        record.softirq = woken.softirq;
    });
    forget(tid);
    told
}

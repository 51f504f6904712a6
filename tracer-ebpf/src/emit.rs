//! Records into the ring buffer, and losses into their counters.

use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_get_smp_processor_id, bpf_ktime_get_ns};
use tracer_common::events::Record;
use tracer_common::snapshot::Found;
use tracer_common::{Header, Hook, LOSS_STRIDE, Miss};

use crate::atomic::add_one;
use crate::maps::{EVENTS, LOSSES};

/// The moment a probe runs, and the current task.
#[derive(Clone, Copy)]
pub(crate) struct Now {
    pub(crate) ts_ns: u64,
    pub(crate) tgid: u32,
    pub(crate) tid: u32,
}

impl Now {
    /// Time first.
    #[inline(always)]
    pub(crate) fn take() -> Self {
        // SAFETY: a helper without arguments.
        let ts_ns = unsafe { bpf_ktime_get_ns() };
        let id = bpf_get_current_pid_tgid();
        Self { ts_ns, tgid: (id >> 32) as u32, tid: id as u32 }
    }
}

impl Now {
    /// The current task, where the moment does not matter: `ts_ns` is 0.
    #[inline(always)]
    pub(crate) fn task() -> Self {
        let id = bpf_get_current_pid_tgid();
        Self { ts_ns: 0, tgid: (id >> 32) as u32, tid: id as u32 }
    }
}

/// The current task, where the moment does not matter.
#[inline(always)]
pub(crate) fn current_tid() -> u32 {
    bpf_get_current_pid_tgid() as u32
}

/// Reserves a record, lets `fill` write its fields in place, and submits it.
///
/// The collector is never woken: it looks by itself. A wakeup costs more than the record, and makes a callback of its own.
#[inline(always)]
pub(crate) fn emit<T: Record + 'static>(now: Now, fill: impl FnOnce(*mut T)) -> Result<(), Miss> {
    // SAFETY: a helper without arguments.
    emit_on(unsafe { bpf_get_smp_processor_id() }, now, fill)
}

/// As [`emit`], where the caller has asked already which CPU this is.
#[inline(always)]
pub(crate) fn emit_on<T: Record + 'static>(cpu: u32, now: Now, fill: impl FnOnce(*mut T)) -> Result<(), Miss> {
    // SAFETY: every record begins with a header (asserted in tracer-common).
    unsafe { write(T::KIND as u16, cpu, now, fill) }
}

/// [`emit`] for a record of a snapshot.
#[inline(always)]
pub(crate) fn tell<T: Found + 'static>(now: Now, fill: impl FnOnce(*mut T)) -> Result<(), Miss> {
    // SAFETY: as in `emit` and `emit_on`.
    unsafe { write(T::PART as u16, bpf_get_smp_processor_id(), now, fill) }
}

/// # Safety
///
/// `T` begins with a [`Header`].
#[inline(always)]
unsafe fn write<T: 'static>(kind: u16, cpu: u32, now: Now, fill: impl FnOnce(*mut T)) -> Result<(), Miss> {
    let Some(mut slot) = EVENTS.reserve::<T>(0) else { return Err(Miss::RingFull) };
    let record: *mut T = slot.as_mut_ptr();
    let header = record.cast::<Header>();
    // SAFETY: the caller's promise, and the slot is large enough for `T`.
    unsafe {
        (*header).kind = kind;
        (*header).len = size_of::<T>() as u16;
        (*header).cpu = cpu;
        (*header).ts_ns = now.ts_ns;
        (*header).tgid = now.tgid;
        (*header).tid = now.tid;
    }
    fill(record);
    slot.submit(u64::from(BPF_RB_NO_WAKEUP));
    Ok(())
}

/// Counts what a probe could not report.
#[inline(always)]
pub(crate) fn count(hook: Hook, miss: Miss) {
    // SAFETY: a helper without arguments.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    if let Some(counter) = LOSSES.get_ptr_mut(cpu * LOSS_STRIDE + miss.slot(hook)) {
        // SAFETY: a map value outlives the program's run.
        unsafe { add_one(counter) };
    }
}

/// Ends an entry: counts the body's miss.
#[inline(always)]
pub(crate) fn settle(hook: Hook, result: Result<(), Miss>) -> u32 {
    if let Err(miss) = result {
        count(hook, miss);
        #[cfg(feature = "log")]
        log(hook as u32, miss as u32);
    }
    0
}

/// Not inlined: what the message needs of the stack would not fit beside a body's.
#[cfg(feature = "log")]
#[inline(never)]
fn log(hook: u32, miss: u32) {
    aya_log_ebpf::warn!(&NoContext, "hook {}: miss {}", hook, miss);
}

/// The log writes to a ring buffer of its own and asks the context for nothing.
#[cfg(feature = "log")]
struct NoContext;

#[cfg(feature = "log")]
impl aya_ebpf::EbpfContext for NoContext {
    fn as_ptr(&self) -> *mut core::ffi::c_void {
        core::ptr::null_mut()
    }
}

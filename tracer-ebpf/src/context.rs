//! Which callbacks are running on this CPU: the cause of a wake-up, and what a nested callback is nested in.
//!
//! A wake-up runs with interrupts off, under the lock of the wait queue that is walked, so the stack belongs to the CPU
//! (fs/eventpoll.c and kernel/sched/wait.c, 5.10 to 7.3). On PREEMPT_RT that lock can be preempted: the loader says so.

use aya_ebpf::helpers::bpf_get_smp_processor_id;
use tracer_common::Miss;

use crate::filter;
use crate::globals::offset;
use crate::maps::CONTEXT;

/// The kernel nests eventpolls at most 5 deep (`EP_MAX_NESTS`, fs/eventpoll.c); a power of two above that.
const MAX_DEPTH: u32 = 8;

/// A running callback.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Frame {
    /// Its record's time; 0 when it was not reported.
    pub(crate) ts_ns: u64,
    /// Its eventpoll.
    pub(crate) ep: u64,
    /// For the audit: its item, the changes that had begun and ended when it began, and whether a scan ran.
    pub(crate) audit: Audit,
}

/// What the audit compares a callback's end with.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Audit {
    pub(crate) epi: u64,
    pub(crate) begun: u64,
    pub(crate) ended: u64,
    pub(crate) scanning: u64,
}

/// The callbacks that are running on a CPU, outermost first.
#[repr(C)]
pub(crate) struct CpuContext {
    depth: u32,
    pad: u32,
    /// The eventpoll that the filter was asked about last; its lowest bit says whether it is under trace, which an address leaves free.
    asked: u64,
    /// The [`filter::epoch`] of that answer.
    asked_at: u64,
    frames: [Frame; MAX_DEPTH as usize],
    /// No two CPUs write to one cache line.
    apart: [u64; 13],
}

const _: () = assert!(size_of::<CpuContext>() == 512);

/// This CPU's context.
#[inline(always)]
fn current() -> Option<*mut CpuContext> {
    CONTEXT.get_ptr_mut(this_cpu())
}

#[inline(always)]
fn this_cpu() -> u32 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_get_smp_processor_id() }
}

/// Where the frame of this depth lies.
#[inline(always)]
fn slot(context: *mut CpuContext, depth: u32) -> *mut Frame {
    let index = (depth & (MAX_DEPTH - 1)) as usize;
    // SAFETY: the index is below `MAX_DEPTH`; a map value outlives the program's run.
    unsafe { (&raw mut (*context).frames).cast::<Frame>().add(index) }
}

/// A callback is about to begin on this CPU.
pub(crate) struct Entering {
    context: *mut CpuContext,
    depth: u32,
    pub(crate) cpu: u32,
}

/// This CPU's stack, for a callback that begins.
#[inline(always)]
pub(crate) fn enter() -> Result<Entering, Miss> {
    // The array has an entry for every CPU.
    let cpu = this_cpu();
    let context = CONTEXT.get_ptr_mut(cpu).ok_or(Miss::ReadFailed)?;
    // SAFETY: a map value outlives the program's run, and interrupts are off.
    let depth = unsafe { (*context).depth };
    Ok(Entering { context, depth, cpu })
}

impl Entering {
    /// `whead` is the wait queue that called back. A callback runs inside another only when it comes from the poll queue of the
    /// other's eventpoll (`ep_poll_safewake`, fs/eventpoll.c): else the exits of those below were missed.
    #[inline(always)]
    pub(crate) fn mend(&mut self, whead: u64) {
        if self.depth == 0 {
            return;
        }
        // SAFETY: as in `enter`.
        let outer = unsafe { (*slot(self.context, self.depth - 1)).ep };
        if outer == 0 || whead != outer + offset!(ep_poll_wait) as u64 {
            self.depth = 0;
        }
    }
}

impl Entering {
    /// Whether the callback's eventpoll is under trace. Most callbacks on a CPU are of few eventpolls: the last answer is kept for as
    /// long as the filter stays as it was.
    #[inline(always)]
    pub(crate) fn traced_ep(&self, ep: u64) -> bool {
        let epoch = filter::epoch();
        // SAFETY: as in `enter`.
        unsafe {
            let asked = (*self.context).asked;
            if asked & !1 == ep && (*self.context).asked_at == epoch {
                return asked & 1 != 0;
            }
            let traced = filter::traced_ep(ep);
            (*self.context).asked = ep | traced as u64;
            (*self.context).asked_at = epoch;
            traced
        }
    }

    /// The time of the callback that this one is nested in, 0 if none.
    #[inline(always)]
    pub(crate) fn parent_ts(&self) -> u64 {
        if self.depth == 0 {
            return 0;
        }
        // SAFETY: as in `enter`.
        unsafe { (*slot(self.context, self.depth - 1)).ts_ns }
    }

    /// Keeps what the audit needs at the callback's end; before [`Entering::push`].
    #[inline(always)]
    pub(crate) fn keep(&self, audit: Audit) {
        // SAFETY: as in `enter`.
        unsafe { (*slot(self.context, self.depth)).audit = audit };
    }

    /// The callback has begun; `ts_ns` is 0 when it is not reported.
    #[inline(always)]
    pub(crate) fn push(&self, ts_ns: u64, ep: u64) -> Result<(), Miss> {
        if self.depth >= MAX_DEPTH {
            return Err(Miss::TooDeep);
        }
        let frame = slot(self.context, self.depth);
        // SAFETY: as in `enter`.
        unsafe {
            (*frame).ts_ns = ts_ns;
            (*frame).ep = ep;
            (*self.context).depth = self.depth + 1;
        }
        Ok(())
    }
}

/// A callback ends.
#[inline(always)]
pub(crate) fn pop() {
    if let Some(context) = current() {
        // SAFETY: as in `enter`.
        unsafe {
            let depth = (*context).depth;
            (*context).depth = if depth > 0 { depth - 1 } else { 0 };
        }
    }
}

/// What [`Entering::keep`] and [`Entering::push`] wrote for the callback that ends now.
#[inline(always)]
pub(crate) fn ending() -> Option<(u64, u64, Audit)> {
    let context = current()?;
    // SAFETY: as in `enter`.
    let depth = unsafe { (*context).depth };
    if depth == 0 || depth > MAX_DEPTH {
        return None;
    }
    let frame = slot(context, depth - 1);
    // SAFETY: as in `enter`.
    Some(unsafe { ((*frame).ts_ns, (*frame).ep, (*frame).audit) })
}

/// No callback can be running here: a task makes a system call. Mends what a missed exit left behind.
#[inline(always)]
pub(crate) fn reset() {
    if let Some(context) = current() {
        // SAFETY: as in `enter`.
        unsafe { (*context).depth = 0 };
    }
}

/// The innermost callback on this CPU.
#[inline(always)]
pub(crate) fn innermost() -> Option<Cause> {
    let context = current()?;
    // SAFETY: as in `enter`.
    let depth = unsafe { (*context).depth };
    if depth == 0 || depth > MAX_DEPTH {
        return None;
    }
    let frame = slot(context, depth - 1);
    // SAFETY: as in `enter`.
    Some(unsafe { Cause { ts_ns: (*frame).ts_ns, ep: (*frame).ep } })
}

/// The callback that a wake-up is due to: its time, 0 when it was not reported, and its eventpoll.
pub(crate) struct Cause {
    pub(crate) ts_ns: u64,
    pub(crate) ep: u64,
}

//! What any callback probe must cost at least. Only `cargo xtask bench callback` attaches these, to compare the real ones with.

use core::mem::MaybeUninit;

use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use aya_ebpf::helpers::bpf_get_smp_processor_id;
use aya_ebpf::macros::{fentry, fexit, kprobe, kretprobe};
use aya_ebpf::programs::{FEntryContext, FExitContext, ProbeContext, RetProbeContext};
use tracer_common::Miss;
use tracer_common::events::Callback;

use super::callback::{self, Told};
use crate::emit::Now;
use crate::epitem::{Room, alive};
use crate::maps::EVENTS;

/// Empty at both ends of `ep_poll_callback`, but for one submission of a record as large as [`Callback`]; as `callback_fentry`.
#[fentry]
pub fn baseline_fentry(_ctx: FEntryContext) -> u32 {
    submit()
}

/// As `callback_fexit`.
#[fexit]
pub fn baseline_fexit(_ctx: FExitContext) -> u32 {
    0
}

/// As `callback_kprobe`.
#[kprobe]
pub fn baseline_kprobe(_ctx: ProbeContext) -> u32 {
    submit()
}

/// As `callback_kretprobe`.
#[kretprobe]
pub fn baseline_kretprobe(_ctx: RetProbeContext) -> u32 {
    0
}

/// A record with all that it tells, of every callback: nobody is asked whether it is under trace, or nested. In place of
/// [`baseline_fentry`].
#[fentry]
pub fn bare_fentry(ctx: FEntryContext) -> u32 {
    told(ctx.arg(0), ctx.arg(3))
}

/// In place of [`baseline_kprobe`].
#[kprobe]
pub fn bare_kprobe(ctx: ProbeContext) -> u32 {
    match (ctx.arg(0), ctx.arg(3)) {
        (Some(wait), Some(key)) => told(wait, key),
        _ => 0,
    }
}

#[inline(always)]
fn submit() -> u32 {
    if let Some(slot) = EVENTS.reserve::<Callback>(0) {
        slot.submit(u64::from(BPF_RB_NO_WAKEUP));
    }
    0
}

#[inline(always)]
fn told(wait: u64, key: u64) -> u32 {
    let _ = tell(wait, key);
    0
}

#[inline(always)]
fn tell(wait: u64, key: u64) -> Result<(), Miss> {
    let now = Now::take();
    // SAFETY: a helper without arguments.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let (mut around, mut room) = (MaybeUninit::uninit(), Room::uninit());
    let entry = callback::entry(wait, &mut around)?;
    let item = alive(entry.epi, &mut room)?;
    let ep = item.ep();
    let ovflist = callback::overflow(ep);
    callback::tell(cpu, now, Told { wait, key, parent_ts: 0, ep, entry, item, ovflist })
}

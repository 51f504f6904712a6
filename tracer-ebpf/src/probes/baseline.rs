//! What any callback probe must cost at least: empty programs at both ends of `ep_poll_callback`, and one submission of a record
//! as large as [`Callback`]. Only `cargo xtask bench callback` attaches them, to compare the real ones with.

use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use aya_ebpf::macros::{fentry, fexit, kprobe, kretprobe};
use aya_ebpf::programs::{FEntryContext, FExitContext, ProbeContext, RetProbeContext};
use tracer_common::events::Callback;

use crate::maps::EVENTS;

/// As `callback_fentry`.
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

#[inline(always)]
fn submit() -> u32 {
    if let Some(slot) = EVENTS.reserve::<Callback>(0) {
        slot.submit(u64::from(BPF_RB_NO_WAKEUP));
    }
    0
}

//! The hook that an ADD puts on a wait queue of the watched file.

use aya_ebpf::macros::{fentry, kprobe};
use aya_ebpf::programs::{FEntryContext, ProbeContext};
use tracer_common::events::Hooked;
use tracer_common::{Hook, Miss};

use super::ctl;
use crate::emit::{Now, emit, settle};
use crate::epitem::epitem;
use crate::globals::offset;
use crate::rescue::{Point, with_twins};
use crate::{file_info, filter, kread};

with_twins! {
    /// 5.10 to 7.3: `void ep_ptable_queue_proc(struct file *file, wait_queue_head_t *whead, poll_table *pt)`
    fentry [HOOKED_FENTRY: hooked_fentry, hooked_fentry_2, hooked_fentry_3, hooked_fentry_4](ctx: FEntryContext) -> u32 {
        (Point::Hooked, Hook::Hooked) => { hooked(ctx.arg(1), ctx.arg(2)) }
    }
}

/// As [`hooked_fentry`].
#[kprobe]
pub fn hooked_kprobe(ctx: ProbeContext) -> u32 {
    match (ctx.arg(1), ctx.arg(2)) {
        (Some(whead), Some(table)) => hooked(whead, table),
        _ => 0,
    }
}

#[inline(always)]
fn hooked(whead: u64, table: u64) -> u32 {
    if !filter::enabled() {
        return 0;
    }
    settle(Hook::Hooked, hooked_body(whead, table))
}

#[inline(always)]
fn hooked_body(whead: u64, table: u64) -> Result<(), Miss> {
    let now = Now::take();
    if !filter::traced(now.tgid) {
        return Ok(());
    }
    let epi: u64 = kread::kernel(table + offset!(ep_pqueue_epi) as u64)?;
    if epi == 0 {
        return Ok(());
    }
    let item = epitem(epi)?;
    ctl::stands_for(now.tid, item.ep, item.file);
    filter::adopt(item.ep, true)?;
    emit::<Hooked>(now, |record| {
        // SAFETY: `emit` gives a slot for one record.
        let record = unsafe { &mut *record };
        record.ep = item.ep;
        record.epi = epi;
        record.file = item.file;
        record.whead = whead;
        record.data = item.data;
        record.events = item.events;
        record.fd = item.fd;
    })?;
    file_info::emit_info(now, item.file)
}

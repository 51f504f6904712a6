//! The eventpolls that the processes under trace already have open when tracing begins, and their items.
//!
//! A walk over all open files finds the eventpolls. Their items are told while the collector reads `/proc/PID/fdinfo/FD`: there the
//! kernel goes through the tree with the eventpoll's mutex held (`ep_show_fdinfo`, fs/eventpoll.c, 5.10 to 7.3), and calls
//! `seq_printf` once for each item. At each of these calls the next item is told. Where the text outgrows its buffer, the kernel
//! begins anew and this goes on.

use core::ffi::c_void;

use aya_ebpf::macros::{kprobe, kretprobe, map};
use aya_ebpf::maps::{Array, LruHashMap};
use aya_ebpf::programs::{ProbeContext, RetProbeContext};
use tracer_common::events::{EventpollSeen, ItemSeen, item_flags};
use tracer_common::{Hook, Miss};

use crate::emit::{Now, emit, settle};
use crate::globals::{config, offset};
use crate::{epitem, file_info, files, filter, kread, task_file};

/// The eventpoll whose items the tracer reads at this moment; 0 when none.
#[map]
static LISTED: Array<u64> = Array::with_max_entries(1, 0);

/// By eventpoll: file and descriptor of the item that was told last. An eventpoll is told once, whoever else has it.
#[map]
static TOLD: LruHashMap<u64, [u64; 2]> = LruHashMap::with_max_entries(16_384, 0);

/// Runs once for every open file of every task; the last time without a task.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
pub fn inventory(ctx: *mut c_void) -> u32 {
    task_file::each(ctx, body)
}

#[inline(always)]
fn body(task: u64, fd: i32, file: u64) -> Result<(), Miss> {
    if config!(eventpoll_fops) == 0 {
        return Ok(());
    }
    let tgid: u32 = kread::kernel(task + offset!(task_tgid) as u64)?;
    let traced = filter::traced(tgid);
    if !traced && tgid != config!(own_tgid) {
        return Ok(());
    }
    let (ep, _) = files::eventpoll(file)?;
    if ep == 0 || !filter::adopt(ep, traced)? || !traced {
        return Ok(());
    }
    emit::<EventpollSeen>(Now::take(), |record| {
        // SAFETY: `emit` gives a slot for one record.
        let record = unsafe { &mut *record };
        record.ep = ep;
        record.owner_tgid = tgid;
        record.epfd = fd;
        record.pad = 0;
    })
}

/// 5.10 to 7.3: `void ep_show_fdinfo(struct seq_file *m, struct file *f)`
#[kprobe]
pub fn fdinfo_kprobe(ctx: ProbeContext) -> u32 {
    if Now::task().tgid != config!(own_tgid) {
        return 0;
    }
    ctx.arg(1).map_or(0, |file| settle(Hook::Inventory, list(file)))
}

/// 5.10 to 7.3: `void seq_printf(struct seq_file *m, const char *f, ...)`
#[kprobe]
pub fn fdinfo_item_kprobe(_ctx: ProbeContext) -> u32 {
    if Now::task().tgid != config!(own_tgid) {
        return 0;
    }
    settle(Hook::Inventory, item())
}

/// The end of [`fdinfo_kprobe`].
#[kretprobe]
pub fn fdinfo_kretprobe(_ctx: RetProbeContext) -> u32 {
    if Now::task().tgid == config!(own_tgid) {
        set_listed(0);
    }
    0
}

#[inline(always)]
fn set_listed(ep: u64) {
    if let Some(listed) = LISTED.get_ptr_mut(0) {
        // SAFETY: a map value outlives the program's run; only the tracer's one reading thread gets here.
        unsafe { *listed = ep };
    }
}

#[inline(always)]
fn list(file: u64) -> Result<(), Miss> {
    let (ep, _) = files::eventpoll(file)?;
    set_listed(if filter::traced_ep(ep) { ep } else { 0 });
    Ok(())
}

#[inline(always)]
fn item() -> Result<(), Miss> {
    let ep = LISTED.get(0).copied().unwrap_or(0);
    if ep == 0 {
        return Ok(());
    }
    // SAFETY: the value is copied; only the tracer's one reading thread writes it.
    let [file, fd] = unsafe { TOLD.get(ep) }.copied().unwrap_or([0, u64::MAX]);
    let (epi, found) = epitem::next(ep, (file, fd as i32))?;
    let Some(item) = found else { return Ok(()) };
    let _ = TOLD.insert(ep, [item.file, item.fd as u64], 0);
    let now = Now::take();
    emit::<ItemSeen>(now, |record| {
        // SAFETY: `emit` gives a slot for one record.
        let record = unsafe { &mut *record };
        record.ep = ep;
        record.epi = epi;
        record.file = item.file;
        record.data = item.data;
        record.events = item.events;
        record.fd = item.fd;
        record.flags = if item.linked { item_flags::LINKED } else { 0 };
        record.pad = 0;
    })?;
    file_info::emit_info(now, item.file)
}

//! The ends of eventpolls and of watched files.
//!
//! A file's end is told when it is over: it waits for scans of the eventpolls that watch the file, which still deliver its events.

use aya_ebpf::macros::{fentry, fexit, kprobe, kretprobe};
use aya_ebpf::programs::{FEntryContext, FExitContext, ProbeContext, RetProbeContext};
use tracer_common::events::{EventpollGone, FileEnds, FileGone};
use tracer_common::{Hook, Miss, OFFSET_UNKNOWN};

use crate::emit::{Now, count, current_tid, emit, settle};
use crate::globals::{config, offset};
use crate::rescue::{Point, with_twins};
use crate::{audit, files, filter, kread, tasks};

/// Watchers of a file that are asked whether they are under trace.
const WATCHERS: u32 = 32;

with_twins! {
    /// 5.10 to 7.3: `int ep_eventpoll_release(struct inode *inode, struct file *file)`
    fentry [RELEASE_FENTRY: release_fentry, release_fentry_2, release_fentry_3, release_fentry_4](ctx: FEntryContext) -> u32 {
        (Point::Release, Hook::Release) => { settle(Hook::Release, release(ctx.arg(1))) }
    }
}

/// As [`release_fentry`].
#[kprobe]
pub fn release_kprobe(ctx: ProbeContext) -> u32 {
    ctx.arg(1).map_or(0, |file| settle(Hook::Release, release(file)))
}

with_twins! {
    /// The end of [`release_fentry`], for the audit.
    fexit [
        AUDIT_RELEASE_FEXIT: audit_release_fexit, audit_release_fexit_2, audit_release_fexit_3, audit_release_fexit_4,
    ](ctx: FExitContext) -> u32 {
        (Point::AuditRelease, Hook::Audit) => { released::<true>() }
    }
}

/// As [`audit_release_fexit`].
#[kretprobe]
pub fn audit_release_kretprobe(_ctx: RetProbeContext) -> u32 {
    released::<false>()
}

with_twins! {
    /// 5.10 to 7.3: `void eventpoll_release_file(struct file *file)`
    fentry [FILE_GONE_FENTRY: file_gone_fentry, file_gone_fentry_2, file_gone_fentry_3, file_gone_fentry_4](ctx: FEntryContext) -> u32 {
        (Point::FileGoes, Hook::Release) => { settle(Hook::Release, file_goes(ctx.arg(0))) }
    }
}

/// As [`file_gone_fentry`].
#[kprobe]
pub fn file_gone_kprobe(ctx: ProbeContext) -> u32 {
    if !filter::enabled() {
        return 0;
    }
    // SAFETY: as in `release`.
    if tasks::get(current_tid()).is_some_and(|state| unsafe { (*state).ending_file } != 0) {
        count(Hook::Release, Miss::NoExit);
    }
    ctx.arg(0).map_or(0, |file| settle(Hook::Release, file_goes(file)))
}

with_twins! {
    /// The end of [`file_gone_fentry`].
    fexit [FILE_GONE_FEXIT: file_gone_fexit, file_gone_fexit_2, file_gone_fexit_3, file_gone_fexit_4](ctx: FExitContext) -> u32 {
        (Point::FileGone, Hook::Release) => { settle(Hook::Release, file_gone::<true>()) }
    }
}

/// As [`file_gone_fexit`].
#[kretprobe]
pub fn file_gone_kretprobe(_ctx: RetProbeContext) -> u32 {
    settle(Hook::Release, file_gone::<false>())
}

#[inline(always)]
fn release(file: u64) -> Result<(), Miss> {
    let ep: u64 = kread::kernel(file + offset!(file_private_data) as u64)?;
    let traced = filter::traced_ep(ep);
    filter::forget(ep);
    if !traced || !filter::enabled() {
        return Ok(());
    }
    if audit::on() {
        let state = tasks::get_or_make_for_end(current_tid())?;
        // SAFETY: a map value outlives the program's run; only this task's own calls write to it.
        let unended = unsafe { core::mem::replace(&mut (*state).ending_ep, ep) };
        if unended != 0 {
            audit::end(unended);
        }
        audit::begin(ep);
    }
    emit::<EventpollGone>(Now::take(), |record| {
        // SAFETY: `emit` gives a slot for one record.
        unsafe { (*record).ep = ep };
    })
}

#[inline(always)]
fn released<const TWINS: bool>() -> u32 {
    if let Some(state) = tasks::get(current_tid()) {
        // SAFETY: as in `release`.
        let ep = unsafe { core::mem::replace(&mut (*state).ending_ep, 0) };
        if ep != 0 {
            audit::end(ep);
            end_is_over::<TWINS>();
        }
    }
    0
}

/// Where there are twins, the last of them forgets the state.
#[inline(always)]
fn end_is_over<const TWINS: bool>() {
    if !TWINS || config!(rescue) == 0 {
        tasks::forget_if_made_for_end(current_tid());
    }
}

/// A file may be dropped by a process that is not traced, though a traced eventpoll watches it.
#[inline(always)]
fn file_goes(file: u64) -> Result<(), Miss> {
    let now = Now::task();
    if !filter::traced(now.tgid) && !watched_under_trace(file)? {
        return Ok(());
    }
    let state = tasks::get_or_make_for_end(now.tid)?;
    // SAFETY: as in `release`.
    let unended = unsafe { core::mem::replace(&mut (*state).ending_file, file) };
    if !audit::on() {
        return Ok(());
    }
    if unended == 0 {
        audit::begin(0);
    }
    emit::<FileEnds>(Now::take(), |record| {
        // SAFETY: `emit` gives a slot for one record.
        unsafe { (*record).file = file };
    })
}

#[inline(always)]
fn file_gone<const TWINS: bool>() -> Result<(), Miss> {
    let Some(state) = tasks::get(current_tid()) else { return Ok(()) };
    // SAFETY: as in `release`. Read as a number: fentry gave it as a pointer.
    let file = unsafe { core::ptr::read_volatile(&raw const (*state).ending_file) };
    if file == 0 {
        return Ok(());
    }
    // SAFETY: as in `release`.
    unsafe { (*state).ending_file = 0 };
    end_is_over::<TWINS>();
    if audit::on() {
        audit::end(0);
    }
    if !filter::enabled() {
        return Ok(());
    }
    emit::<FileGone>(Now::take(), |record| {
        // SAFETY: `emit` gives a slot for one record.
        unsafe { (*record).file = file };
    })
}

/// Whether one of a file's watchers is under trace, or there are too many to ask.
#[inline(always)]
fn watched_under_trace(file: u64) -> Result<bool, Miss> {
    let (head, end) = files::watchers(file)?;
    if head == 0 || offset!(epitem_fllink) == OFFSET_UNKNOWN as usize {
        return Ok(false);
    }
    let mut link: u64 = kread::kernel(head)?;
    for _ in 0..WATCHERS {
        if link == end {
            return Ok(false);
        }
        let ep: u64 = kread::kernel(link - offset!(epitem_fllink) as u64 + offset!(epitem_ep) as u64)?;
        if filter::traced_ep(ep) {
            return Ok(true);
        }
        link = kread::kernel(link)?;
    }
    Ok(true)
}

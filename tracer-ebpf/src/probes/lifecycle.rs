//! Tasks, files and eventpolls that come and go.

use aya_ebpf::helpers::bpf_get_current_comm;
use aya_ebpf::macros::{fentry, fexit, kprobe, kretprobe, raw_tracepoint};
use aya_ebpf::programs::{FEntryContext, FExitContext, ProbeContext, RawTracePointContext, RetProbeContext};
use tracer_common::events::{EventpollGone, FileGone, Fork, TaskExit, TaskName};
use tracer_common::{COMM_LEN, Hook, Miss, OFFSET_UNKNOWN};

use crate::emit::{Now, current_tid, emit, settle};
use crate::globals::{config, offset};
use crate::maps::{EVENTPOLLS, TGIDS};
use crate::rescue::{self, Point};
use crate::tasks::{EVENTPOLL, FILE};
use crate::{audit, filter, kread, tasks};

/// 5.10 to 7.3: `sched_process_fork(struct task_struct *parent, struct task_struct *child)`
#[raw_tracepoint]
pub fn process_fork(ctx: RawTracePointContext) -> i32 {
    if !filter::enabled() {
        // A child is followed from its first moment, also before tracing is on.
        return settle(Hook::Lifecycle, fork(ctx.arg(1))) as i32;
    }
    rescue::first(Point::Fork, || settle(Hook::Lifecycle, fork(ctx.arg(1)))) as i32
}

/// The twin of [`process_fork`].
#[raw_tracepoint]
pub fn process_fork_again(ctx: RawTracePointContext) -> i32 {
    rescue::again(Point::Fork, Hook::Lifecycle, || settle(Hook::Lifecycle, fork(ctx.arg(1)))) as i32
}

/// 5.10 to 7.3: `sched_process_exec(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`
#[raw_tracepoint]
pub fn process_exec(_ctx: RawTracePointContext) -> i32 {
    rescue::first(Point::Exec, || settle(Hook::Lifecycle, exec())) as i32
}

/// The twin of [`process_exec`].
#[raw_tracepoint]
pub fn process_exec_again(_ctx: RawTracePointContext) -> i32 {
    rescue::again(Point::Exec, Hook::Lifecycle, || settle(Hook::Lifecycle, exec())) as i32
}

/// 5.10 to 7.3: `sched_process_exit(struct task_struct *p, ...)`; the current task ends.
#[raw_tracepoint]
pub fn process_exit(_ctx: RawTracePointContext) -> i32 {
    rescue::first(Point::Exit, || settle(Hook::Lifecycle, exit())) as i32
}

/// The twin of [`process_exit`].
#[raw_tracepoint]
pub fn process_exit_again(_ctx: RawTracePointContext) -> i32 {
    let ret = rescue::again(Point::Exit, Hook::Lifecycle, || settle(Hook::Lifecycle, exit()));
    tasks::forget(current_tid());
    ret as i32
}

/// 5.10 to 7.3: `sched_process_free(struct task_struct *p)`: the leader goes last, and with it the process.
#[raw_tracepoint]
pub fn process_free(ctx: RawTracePointContext) -> i32 {
    settle(Hook::Lifecycle, free(ctx.arg(0))) as i32
}

/// The twin of [`process_free`], which finds nothing to do when that ran. It runs in whatever task comes along: no marks.
#[raw_tracepoint]
pub fn process_free_again(ctx: RawTracePointContext) -> i32 {
    settle(Hook::Lifecycle, free(ctx.arg(0))) as i32
}

/// 5.10 to 7.3: `int ep_eventpoll_release(struct inode *inode, struct file *file)`
#[fentry]
pub fn release_fentry(ctx: FEntryContext) -> u32 {
    if !filter::enabled() {
        // An address that is free is under trace no more.
        return settle(Hook::Release, release(ctx.arg(1)));
    }
    rescue::first(Point::Release, || settle(Hook::Release, release(ctx.arg(1))))
}

/// The twin of [`release_fentry`].
#[fentry]
pub fn release_fentry_again(ctx: FEntryContext) -> u32 {
    rescue::again(Point::Release, Hook::Release, || settle(Hook::Release, release(ctx.arg(1))))
}

/// As [`release_fentry`].
#[kprobe]
pub fn release_kprobe(ctx: ProbeContext) -> u32 {
    ctx.arg(1).map_or(0, |file| settle(Hook::Release, release(file)))
}

/// 5.10 to 7.3: `void eventpoll_release_file(struct file *file)`
#[fentry]
pub fn file_gone_fentry(ctx: FEntryContext) -> u32 {
    rescue::first(Point::FileGone, || file_gone_entry(ctx.arg(0)))
}

/// The twin of [`file_gone_fentry`].
#[fentry]
pub fn file_gone_fentry_again(ctx: FEntryContext) -> u32 {
    rescue::again(Point::FileGone, Hook::Release, || file_gone_entry(ctx.arg(0)))
}

/// As [`file_gone_fentry`].
#[kprobe]
pub fn file_gone_kprobe(ctx: ProbeContext) -> u32 {
    ctx.arg(0).map_or(0, |file| file_gone_entry(file))
}

/// The end of [`release_fentry`], for the audit.
#[fexit]
pub fn audit_release_fexit(_ctx: FExitContext) -> u32 {
    rescue::first(Point::AuditRelease, || ended(EVENTPOLL))
}

/// The twin of [`audit_release_fexit`].
#[fexit]
pub fn audit_release_fexit_again(_ctx: FExitContext) -> u32 {
    rescue::again(Point::AuditRelease, Hook::Audit, || ended(EVENTPOLL))
}

/// As [`audit_release_fexit`].
#[kretprobe]
pub fn audit_release_kretprobe(_ctx: RetProbeContext) -> u32 {
    ended(EVENTPOLL)
}

/// The end of [`file_gone_fentry`], for the audit.
#[fexit]
pub fn audit_file_gone_fexit(_ctx: FExitContext) -> u32 {
    rescue::first(Point::AuditFileGone, || ended(FILE))
}

/// The twin of [`audit_file_gone_fexit`].
#[fexit]
pub fn audit_file_gone_fexit_again(_ctx: FExitContext) -> u32 {
    rescue::again(Point::AuditFileGone, Hook::Audit, || ended(FILE))
}

/// As [`audit_file_gone_fexit`].
#[kretprobe]
pub fn audit_file_gone_kretprobe(_ctx: RetProbeContext) -> u32 {
    ended(FILE)
}

/// The end of an eventpoll (its address) or of a file (1) begins to change lists.
#[inline(always)]
fn begins(which: usize, what: u64) -> Result<(), Miss> {
    if !audit::on() {
        return Ok(());
    }
    let state = tasks::get_or_make(current_tid())?;
    // SAFETY: a map value outlives the program's run; only this task's own calls write to it.
    unsafe { (*state).ending[which & 1] = what };
    audit::begin(if which == FILE { 0 } else { what });
    Ok(())
}

#[inline(always)]
fn ended(which: usize) -> u32 {
    if let Some(state) = tasks::get(current_tid()) {
        // SAFETY: as in `begins`.
        let what = unsafe { core::mem::replace(&mut (*state).ending[which & 1], 0) };
        if what != 0 {
            audit::end(if which == FILE { 0 } else { what });
        }
    }
    0
}

#[inline(always)]
fn fork(child: u64) -> Result<(), Miss> {
    let now = Now::take();
    if !filter::traced(now.tgid) {
        return Ok(());
    }
    let child_tgid: u32 = kread::kernel(child + offset!(task_tgid) as u64)?;
    let child_tid: u32 = kread::kernel(child + offset!(task_pid) as u64)?;
    if child_tgid != now.tgid {
        if config!(follow_forks) == 0 {
            return Ok(());
        }
        if config!(trace_all) == 0 {
            filter::follow(child_tgid)?;
        }
    }
    if !filter::enabled() {
        return Ok(());
    }
    let comm: [u8; COMM_LEN] = kread::kernel(child + offset!(task_comm) as u64)?;
    emit::<Fork>(now, |record| {
        // SAFETY: `emit` gives a slot for one record.
        let record = unsafe { &mut *record };
        record.child_tgid = child_tgid;
        record.child_tid = child_tid;
        record.comm = comm;
    })
}

#[inline(always)]
fn exec() -> Result<(), Miss> {
    let now = Now::take();
    if !filter::traced(now.tgid) {
        return Ok(());
    }
    let comm = bpf_get_current_comm().map_err(|_| Miss::ReadFailed)?;
    emit::<TaskName>(now, |record| {
        // SAFETY: `emit` gives a slot for one record.
        unsafe { (*record).comm = comm };
    })
}

#[inline(always)]
fn exit() -> Result<(), Miss> {
    let now = Now::take();
    let traced = filter::traced(now.tgid);
    // A task that is not under trace may have used an eventpoll that is. The mark for the twin stays with the task that is.
    if !traced || config!(rescue) == 0 {
        tasks::forget(now.tid);
    }
    if !traced {
        return Ok(());
    }
    let comm = bpf_get_current_comm().map_err(|_| Miss::ReadFailed)?;
    emit::<TaskExit>(now, |record| {
        // SAFETY: `emit` gives a slot for one record.
        unsafe { (*record).comm = comm };
    })
}

/// Forgets a process whose number the kernel may use again.
#[inline(always)]
fn free(task: u64) -> Result<(), Miss> {
    let tgid: u32 = kread::kernel(task + offset!(task_tgid) as u64)?;
    if TGIDS.get_ptr(tgid).is_none() {
        return Ok(());
    }
    let tid: u32 = kread::kernel(task + offset!(task_pid) as u64)?;
    if tid == tgid {
        let _ = TGIDS.remove(tgid);
    }
    Ok(())
}

#[inline(always)]
fn release(file: u64) -> Result<(), Miss> {
    let ep: u64 = kread::kernel(file + offset!(file_private_data) as u64)?;
    let traced = filter::traced_ep(ep);
    let _ = EVENTPOLLS.remove(ep);
    if !traced || !filter::enabled() {
        return Ok(());
    }
    begins(EVENTPOLL, ep)?;
    emit::<EventpollGone>(Now::take(), |record| {
        // SAFETY: `emit` gives a slot for one record.
        unsafe { (*record).ep = ep };
    })
}

#[inline(always)]
fn file_gone_entry(file: u64) -> u32 {
    if !filter::enabled() {
        return 0;
    }
    settle(Hook::Audit, begins(FILE, 1));
    settle(Hook::Release, file_gone(file))
}

/// A file may be dropped by a process that is not traced, though a traced eventpoll watches it: ask the first watcher.
#[inline(always)]
fn file_gone(file: u64) -> Result<(), Miss> {
    let now = Now::take();
    if !filter::traced(now.tgid) && !first_watcher_traced(file)? {
        return Ok(());
    }
    emit::<FileGone>(now, |record| {
        // SAFETY: `emit` gives a slot for one record.
        unsafe { (*record).file = file };
    })
}

/// `file->f_ep->first`, the `fllink` of an epitem (5.11 on).
#[inline(always)]
fn first_watcher_traced(file: u64) -> Result<bool, Miss> {
    if offset!(file_f_ep) == OFFSET_UNKNOWN as usize || offset!(epitem_fllink) == OFFSET_UNKNOWN as usize {
        return Ok(false);
    }
    let head: u64 = kread::kernel(file + offset!(file_f_ep) as u64)?;
    if head == 0 {
        return Ok(false);
    }
    let first: u64 = kread::kernel(head)?;
    if first == 0 {
        return Ok(false);
    }
    let ep: u64 = kread::kernel(first - offset!(epitem_fllink) as u64 + offset!(epitem_ep) as u64)?;
    Ok(filter::traced_ep(ep))
}

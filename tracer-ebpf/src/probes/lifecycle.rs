//! Tasks that come and go.

use aya_ebpf::helpers::bpf_get_current_comm;
use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use tracer_common::events::{Fork, TaskExit, TaskName};
use tracer_common::{COMM_LEN, Hook, Miss};

use crate::emit::{Now, count, emit, settle};
use crate::globals::{config, offset};
use crate::maps::TGIDS;
use crate::rescue::{Point, with_twins};
use crate::{filter, kread, tasks};

with_twins! {
    /// 5.10 to 7.3: `sched_process_fork(struct task_struct *parent, struct task_struct *child)`
    raw_tracepoint [PROCESS_FORK: process_fork, process_fork_2, process_fork_3, process_fork_4](ctx: RawTracePointContext) -> i32 {
        (Point::Fork, Hook::Lifecycle) => { settle(Hook::Lifecycle, fork(ctx.arg(1))) }
    }
}

with_twins! {
    /// 5.10 to 7.3: `sched_process_exec(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`
    raw_tracepoint [PROCESS_EXEC: process_exec, process_exec_2, process_exec_3, process_exec_4](ctx: RawTracePointContext) -> i32 {
        (Point::Exec, Hook::Lifecycle) => { settle(Hook::Lifecycle, exec(ctx.arg(1))) }
    }
}

with_twins! {
    /// 5.10 to 7.3: `sched_process_exit(struct task_struct *p, ...)`; the current task ends.
    raw_tracepoint [PROCESS_EXIT: process_exit, process_exit_2, process_exit_3, process_exit_4](ctx: RawTracePointContext) -> i32 {
        (Point::Exit, Hook::Lifecycle) => { settle(Hook::Lifecycle, exit()) }
    }
}

/// Each copy finds nothing to do when one before it ran. They run in whatever task comes along: no marks.
macro_rules! process_free {
    ($($(#[doc = $doc:literal])* $name:ident)*) => {$(
        $(#[doc = $doc])*
        #[raw_tracepoint]
        pub fn $name(ctx: RawTracePointContext) -> i32 {
            settle(Hook::Lifecycle, free(ctx.arg(0))) as i32
        }
    )*};
}

process_free! {
    /// 5.10 to 7.3: `sched_process_free(struct task_struct *p)`: the leader goes last, and with it the process.
    process_free
    process_free_2
    process_free_3
    process_free_4
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

/// A thread that is not the leader takes the leader's number with it: the one that it had is nobody's from then on (`de_thread`,
/// fs/exec.c, 5.10 to 7.3), and no other tracepoint says so.
#[inline(always)]
fn exec(before: i32) -> Result<(), Miss> {
    let now = Now::take();
    if !filter::traced(now.tgid) {
        return Ok(());
    }
    let comm = bpf_get_current_comm().map_err(|_| Miss::ReadFailed)?;
    let before = Now { tid: before as u32, ..now };
    if before.tid != now.tid {
        tasks::forget(before.tid);
        emit::<TaskExit>(before, |record| {
            // SAFETY: `emit` gives a slot for one record.
            unsafe { (*record).comm = comm };
        })?;
    }
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
    if tasks::left_end_untold(tid) {
        count(Hook::Release, Miss::NoExit);
    }
    if tid == tgid {
        let _ = TGIDS.remove(tgid);
    }
    Ok(())
}

//! The numbers of tasks in their own pid namespaces: records carry those of the initial one.

use aya_ebpf::helpers::bpf_get_current_task;
use tracer_common::events::TaskPid;
use tracer_common::{Miss, OFFSET_UNKNOWN};

use crate::emit::{Now, emit};
use crate::globals::offset;
use crate::kread;

/// `sizeof(struct upid)`: the number comes first (include/linux/pid.h, 5.10 to 7.3).
const BYTES_OF_UPID: u64 = 16;
/// `MAX_PID_NS_LEVEL` (include/linux/pid_namespace.h, 5.10 to 7.3).
const MAX_LEVEL: u32 = 32;

/// Tells the current task's numbers, if it is in a pid namespace of its own.
#[inline(always)]
pub(crate) fn tell(now: Now) -> Result<(), Miss> {
    if offset!(task_thread_pid) == OFFSET_UNKNOWN as usize || offset!(pid_numbers) == OFFSET_UNKNOWN as usize {
        return Ok(());
    }
    // SAFETY: a helper without arguments.
    let task = unsafe { bpf_get_current_task() };
    let (level, ns_tid) = number(task)?;
    if level == 0 {
        return Ok(());
    }
    let leader: u64 = kread::kernel(task + offset!(task_group_leader) as u64)?;
    let (_, ns_tgid) = number(leader)?;
    emit::<TaskPid>(now, |record| {
        // SAFETY: `emit` gives a slot for one record.
        let record = unsafe { &mut *record };
        record.ns_tgid = ns_tgid;
        record.ns_tid = ns_tid;
    })
}

/// How deep a task's pid namespace lies below the initial one, and the task's number in it: `task->thread_pid->numbers[level].nr`
/// (kernel/pid.c, `task_pid_vnr`).
#[inline(always)]
fn number(task: u64) -> Result<(u32, u32), Miss> {
    let pid: u64 = kread::kernel(task + offset!(task_thread_pid) as u64)?;
    let level: u32 = kread::kernel(pid + offset!(pid_level) as u64)?;
    if level > MAX_LEVEL {
        return Err(Miss::ReadFailed);
    }
    let number = kread::kernel(pid + offset!(pid_numbers) as u64 + u64::from(level) * BYTES_OF_UPID)?;
    Ok((level, number))
}

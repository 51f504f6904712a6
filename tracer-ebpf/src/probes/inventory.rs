//! The eventpolls that the processes under trace already have open when tracing begins.

use core::ffi::c_void;

use tracer_common::events::EventpollSeen;
use tracer_common::{Hook, Miss};

use crate::emit::{Now, emit, settle};
use crate::globals::{config, offset};
use crate::{files, filter, kread};

/// `struct bpf_iter__task_file { meta, task, fd, file }` (kernel/bpf/task_iter.c, 5.8 to 7.3): eight bytes each.
#[repr(C)]
struct TaskFile {
    meta: u64,
    task: u64,
    fd: u64,
    file: u64,
}

/// Runs once for every open file of every task; the last time without a task.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
pub fn inventory(ctx: *mut c_void) -> u32 {
    let ctx = ctx.cast::<TaskFile>();
    // SAFETY: the verifier knows the context and checks these reads.
    let (task, fd, file) = unsafe { ((*ctx).task, (*ctx).fd as i32, (*ctx).file) };
    if task == 0 || file == 0 {
        return 0;
    }
    settle(Hook::Inventory, body(task, fd, file))
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

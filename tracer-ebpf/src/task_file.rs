//! The walk over the open files of all tasks, as its programs see it.

use core::ffi::c_void;

use tracer_common::{Hook, Miss};

use crate::emit::settle;

/// `struct bpf_iter__task_file { meta, task, fd, file }` (kernel/bpf/task_iter.c, 5.8 to 7.3): eight bytes each.
#[repr(C)]
struct TaskFile {
    meta: u64,
    task: u64,
    fd: u64,
    file: u64,
}

/// Calls `body` with task, descriptor and file of an open file; the last call of a walk has none, and does nothing.
#[inline(always)]
pub(crate) fn each(ctx: *mut c_void, body: impl FnOnce(u64, i32, u64) -> Result<(), Miss>) -> u32 {
    let ctx = ctx.cast::<TaskFile>();
    // SAFETY: the verifier knows the context and checks these reads.
    let (task, fd, file) = unsafe { ((*ctx).task, (*ctx).fd as i32, (*ctx).file) };
    if task == 0 || file == 0 {
        return 0;
    }
    settle(Hook::Inventory, body(task, fd, file))
}

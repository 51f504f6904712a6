//! `accept` and `accept4`: what a woken task got from a listening socket.

use core::ffi::c_void;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::macros::{fexit, kprobe, tracepoint};
use aya_ebpf::programs::{FExitContext, ProbeContext, TracePointContext};
use tracer_common::events::Accept;
use tracer_common::{Hook, Miss};

use crate::emit::{Now, emit, settle};
use crate::rescue::{self, Point, with_twins};
use crate::{file_info, files, filter, stacks, sys_exit, tasks};

with_twins! {
    /// 5.10 to 7.3: `int __sys_accept4(int fd, struct sockaddr *upeer_sockaddr, int *upeer_addrlen, int flags)`
    fexit [ACCEPT_FEXIT: accept_fexit, accept_fexit_2, accept_fexit_3, accept_fexit_4](ctx: FExitContext) -> u32 {
        (Point::Accept, Hook::Accept) => { settle(Hook::Accept, body(ctx.as_ptr(), Now::take(), ctx.arg(0), ctx.arg(4))) }
    }
}

/// Keeps the argument of [`accept_fexit`] for [`accept_sys_exit`].
#[kprobe]
pub fn accept_kprobe(ctx: ProbeContext) -> u32 {
    if !filter::enabled() {
        return 0;
    }
    ctx.arg(0).map_or(0, |fd| settle(Hook::Accept, keep(fd)))
}

with_twins! {
    /// The end of `accept` or `accept4`, which may have slept for long.
    tracepoint [ACCEPT_SYS_EXIT: accept_sys_exit, accept_sys_exit_2, accept_sys_exit_3, accept_sys_exit_4](ctx: TracePointContext) -> u32 {
        (Point::Accept, Hook::Accept) => { settle(Hook::Accept, ended(ctx.as_ptr(), sys_exit::result(&ctx))) }
    }
}

#[inline(always)]
fn keep(fd: i32) -> Result<(), Miss> {
    let now = Now::take();
    if !filter::traced(now.tgid) {
        return Ok(());
    }
    let state = tasks::get_or_make(now.tid)?;
    // SAFETY: a map value outlives the program's run; only this task's own calls write to it.
    unsafe { (*state).accept_fd = fd };
    rescue::begins(state, Point::Accept);
    Ok(())
}

#[inline(always)]
fn ended(ctx: *mut c_void, ret: i32) -> Result<(), Miss> {
    let now = Now::take();
    if !filter::traced(now.tgid) {
        return Ok(());
    }
    let fd = match tasks::get(now.tid) {
        // SAFETY: as in `keep`.
        Some(state) => unsafe { core::mem::replace(&mut (*state).accept_fd, -1) },
        None => -1,
    };
    body(ctx, now, fd, ret)
}

#[inline(always)]
fn body(ctx: *mut c_void, now: Now, fd: i32, ret: i32) -> Result<(), Miss> {
    if !filter::traced(now.tgid) {
        return Ok(());
    }
    let file = files::of_current(fd)?;
    stacks::tell(ctx, now);
    emit::<Accept>(now, |record| {
        // SAFETY: `emit` gives a slot for one record.
        let record = unsafe { &mut *record };
        record.file = file;
        record.fd = fd;
        record.ret = ret;
    })?;
    describe_once(now, file)
}

/// A listening socket that was registered before tracing began is described when a task first accepts from it.
#[inline(always)]
fn describe_once(now: Now, file: u64) -> Result<(), Miss> {
    match tasks::get(now.tid) {
        // SAFETY: as in `keep`.
        Some(state) if file != 0 && unsafe { (*state).described } != file => {
            // SAFETY: as in `keep`.
            unsafe { (*state).described = file };
            file_info::emit_info(now, file)
        }
        _ => Ok(()),
    }
}

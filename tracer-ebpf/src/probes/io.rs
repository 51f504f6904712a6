//! The calls that read, write, accept and close, on files that an eventpoll watches: only for `eptrace lint`.
//!
//! Two programs, each at the tracepoints of many system calls; the call's number says which it is.

use core::ffi::c_void;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::macros::tracepoint;
use aya_ebpf::programs::TracePointContext;
use tracer_common::events::{Io, LEFT_UNKNOWN, io_call, io_flags};
use tracer_common::{Hook, Miss};

use crate::emit::{Now, emit, settle};
use crate::globals::offset;
use crate::rescue::{Point, with_twins};
use crate::{file_left, files, filter, kread, stacks, sys_exit, tasks};

/// Byte offsets of `struct syscall_tp_t` (kernel/trace/trace_syscalls.c, 5.10 to 7.3): the call's number, its arguments.
const NUMBER: usize = 8;
const ARGUMENTS: usize = 16;

/// `O_NONBLOCK` (uapi/asm-generic/fcntl.h)
const O_NONBLOCK: u32 = 0o4000;
/// `MSG_PEEK`, `MSG_DONTWAIT` (include/linux/socket.h)
const MSG_PEEK: u64 = 2;
const MSG_DONTWAIT: u64 = 0x40;

/// System calls of x86-64 (arch/x86/entry/syscalls/syscall_64.tbl).
mod number {
    pub(super) const READ: i32 = 0;
    pub(super) const CLOSE: i32 = 3;
    pub(super) const READV: i32 = 19;
    pub(super) const ACCEPT: i32 = 43;
    pub(super) const RECVFROM: i32 = 45;
    pub(super) const RECVMSG: i32 = 47;
    pub(super) const SPLICE: i32 = 275;
    pub(super) const ACCEPT4: i32 = 288;
    pub(super) const RECVMMSG: i32 = 299;
}

/// Between the begin and the end of a call.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct InCall {
    /// The watched file, 0 if none.
    file: u64,
    /// The watched file that `splice` writes to, 0 if none.
    to: u64,
    fd: i32,
    to_fd: i32,
    call: u32,
    pad: u32,
}

impl InCall {
    pub(crate) const NONE: Self = Self { file: 0, to: 0, fd: -1, to_fd: -1, call: 0, pad: 0 };
}

with_twins! {
    /// The begin of a call whose first argument is a descriptor.
    tracepoint [IO_ENTER: io_enter, io_enter_2, io_enter_3, io_enter_4](ctx: TracePointContext) -> u32 {
        (Point::CallBegins, Hook::Io) => { settle(Hook::Io, begins(&ctx)) }
    }
}

with_twins! {
    /// The end of what [`io_enter`] saw, but for closes.
    tracepoint [IO_EXIT: io_exit, io_exit_2, io_exit_3, io_exit_4](ctx: TracePointContext) -> u32 {
        (Point::CallEnds, Hook::Io) => { settle(Hook::Io, ends(ctx.as_ptr(), sys_exit::result(&ctx))) }
    }
}

/// An argument. Copied, for a program that looks beyond a call's own number of arguments is not attached to it.
#[inline(always)]
fn argument(ctx: &TracePointContext, number: usize) -> Result<u64, Miss> {
    kread::kernel(ctx.as_ptr() as u64 + (ARGUMENTS + 8 * number) as u64)
}

#[inline(always)]
fn begins(ctx: &TracePointContext) -> Result<(), Miss> {
    let now = Now::take();
    if !filter::traced(now.tgid) {
        return Ok(());
    }
    // SAFETY: every record of these tracepoints has them.
    let (number, fd) = unsafe {
        let record = ctx.as_ptr().cast::<u8>();
        (*record.add(NUMBER).cast::<i32>(), *record.add(ARGUMENTS).cast::<u64>() as i32)
    };
    let (call, flags) = match number {
        number::CLOSE => (io_call::CLOSE, 0),
        number::READ | number::READV | number::SPLICE => (io_call::READ, 0),
        number::ACCEPT | number::ACCEPT4 => (io_call::ACCEPT, 0),
        number::RECVMSG => (io_call::READ, argument(ctx, 2)?),
        number::RECVFROM | number::RECVMMSG => (io_call::READ, argument(ctx, 3)?),
        _ => (io_call::WRITE, 0),
    };
    let mut entered = InCall { call, fd, file: watched(fd)?, ..InCall::NONE };
    if number == number::SPLICE {
        entered.to_fd = argument(ctx, 2)? as i32;
        entered.to = watched(entered.to_fd)?;
    }
    if flags & MSG_PEEK != 0 {
        entered.file = 0;
    }
    if call == io_call::CLOSE {
        if entered.file == 0 {
            return Ok(());
        }
        return tell(ctx.as_ptr(), now, (entered.file, fd), call, 0, LEFT_UNKNOWN, 0);
    }
    if entered.file == 0 && entered.to == 0 {
        if let Some(state) = tasks::get(now.tid) {
            // SAFETY: a map value outlives the program's run; only this task's own calls write to it.
            unsafe { (*state).io = InCall::NONE };
        }
        return Ok(());
    }
    let state = tasks::get_or_make(now.tid)?;
    // SAFETY: as above.
    unsafe { (*state).io = entered };
    if entered.file == 0 || call == io_call::WRITE || flags & MSG_DONTWAIT != 0 {
        return Ok(());
    }
    let f_flags: u32 = kread::kernel(entered.file + offset!(file_f_flags) as u64)?;
    if f_flags & O_NONBLOCK == 0 && file_left::of(entered.file)? == 0 {
        return tell(ctx.as_ptr(), now, (entered.file, fd), call, 0, 0, io_flags::WILL_SLEEP);
    }
    Ok(())
}

#[inline(always)]
fn ends(ctx: *mut c_void, ret: i32) -> Result<(), Miss> {
    let now = Now::take();
    let Some(state) = tasks::get(now.tid) else { return Ok(()) };
    // SAFETY: as in `begins`.
    let call = unsafe { core::mem::replace(&mut (*state).io, InCall::NONE) };
    if call.file != 0 {
        let left = if call.call == io_call::WRITE { LEFT_UNKNOWN } else { file_left::of(call.file)? };
        tell(ctx, now, (call.file, call.fd), call.call, ret, left, 0)?;
    }
    if call.to != 0 {
        return tell(ctx, now, (call.to, call.to_fd), io_call::WRITE, ret, LEFT_UNKNOWN, 0);
    }
    Ok(())
}

#[inline(always)]
fn tell(
    ctx: *mut c_void,
    now: Now,
    (file, fd): (u64, i32),
    call: u32,
    ret: i32,
    left: u32,
    flags: u32,
) -> Result<(), Miss> {
    stacks::tell(ctx, now);
    emit::<Io>(now, |record| {
        // SAFETY: `emit` gives a slot for one record.
        let record = unsafe { &mut *record };
        record.file = file;
        record.fd = fd;
        record.ret = ret;
        record.left = left;
        record.call = call;
        record.flags = flags;
        record.pad = 0;
    })
}

/// The file behind a descriptor of the current task, if an eventpoll watches it; else 0.
#[inline(always)]
fn watched(fd: i32) -> Result<u64, Miss> {
    let file = files::of_current(fd)?;
    if file == 0 {
        return Ok(0);
    }
    let (head, end) = files::watchers(file)?;
    let watched = head != 0 && (end == 0 || kread::kernel::<u64>(head)? != end);
    Ok(if watched { file } else { 0 })
}

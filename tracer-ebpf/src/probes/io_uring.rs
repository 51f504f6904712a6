//! `epoll_ctl` and `epoll_wait` by io_uring, which makes no system call of its own: `IORING_OP_EPOLL_CTL`, `IORING_OP_EPOLL_WAIT`.
//!
//! Up to 7.1 the first calls `do_epoll_ctl`, whose probes then see it, but for the end with kprobes. From 7.2 on it goes past that to
//! `do_epoll_ctl_file`, as `do_epoll_ctl` itself does: these probes only look when the task is in `io_epoll_ctl`.

use core::ffi::c_void;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::macros::{fentry, fexit, kprobe, kretprobe};
use aya_ebpf::programs::{FEntryContext, FExitContext, ProbeContext, RetProbeContext};
use tracer_common::events::{BY_IO_URING, WaitEnter};
use tracer_common::{Hook, Miss, OFFSET_UNKNOWN};

use super::ctl::{Call, Given, count_unended, ended, keep};
use super::wait;
use crate::emit::{Now, count, current_tid, emit, settle};
use crate::globals::{config, offset};
use crate::rescue::{Point, with_twins};
use crate::tasks::{IN_IO_CTL, IN_WAIT};
use crate::{files, filter, kread, tasks};

with_twins! {
    /// 5.10 to 7.3: `int io_epoll_ctl(struct io_kiocb *req, unsigned int issue_flags)`; 5.10: `bool force_nonblock` and a third argument.
    fentry [IO_CTL_FENTRY: io_ctl_fentry, io_ctl_fentry_2, io_ctl_fentry_3, io_ctl_fentry_4](ctx: FEntryContext) -> u32 {
        (Point::IoCtlBegins, Hook::Ctl) => { io_begins(ctx.arg(0)) }
    }
}

/// As [`io_ctl_fentry`].
#[kprobe]
pub fn io_ctl_kprobe(ctx: ProbeContext) -> u32 {
    match ctx.arg(0) {
        Some(request) if filter::enabled() => io_begins(request),
        _ => 0,
    }
}

with_twins! {
    /// The end of [`io_ctl_fentry`].
    fexit [IO_CTL_FEXIT: io_ctl_fexit, io_ctl_fexit_2, io_ctl_fexit_3, io_ctl_fexit_4](ctx: FExitContext) -> u32 {
        (Point::IoCtlEnds, Hook::Ctl) => { io_ends() }
    }
}

/// As [`io_ctl_fexit`].
#[kretprobe]
pub fn io_ctl_kretprobe(_ctx: RetProbeContext) -> u32 {
    io_ends()
}

/// The end of `do_epoll_ctl`, whose system call's end does not come.
#[kretprobe]
pub fn ctl_kretprobe(ctx: RetProbeContext) -> u32 {
    if in_io_ctl() { settle(Hook::Ctl, ended(ctx.as_ptr(), ctx.ret())) } else { 0 }
}

with_twins! {
    /// 7.2 to 7.3: `int do_epoll_ctl_file(struct file *f, int op, struct epoll_key *tf, struct epoll_event *epds, bool nonblock)`
    fentry [CTL_FILE_FENTRY: ctl_file_fentry, ctl_file_fentry_2, ctl_file_fentry_3, ctl_file_fentry_4](ctx: FEntryContext) -> u32 {
        (Point::CtlFileBegins, Hook::Ctl) => { file_begins(ctx.arg(0), ctx.arg(1), ctx.arg(2), ctx.arg(3)) }
    }
}

/// As [`ctl_file_fentry`].
#[kprobe]
pub fn ctl_file_kprobe(ctx: ProbeContext) -> u32 {
    match (ctx.arg(0), ctx.arg(1), ctx.arg(2), ctx.arg(3)) {
        (Some(file), Some(op), Some(key), Some(event)) if in_io_ctl() => {
            count_unended();
            file_begins(file, op, key, event)
        }
        _ => 0,
    }
}

with_twins! {
    /// The end of the call that [`ctl_file_fentry`] saw.
    fexit [CTL_FILE_FEXIT: ctl_file_fexit, ctl_file_fexit_2, ctl_file_fexit_3, ctl_file_fexit_4](ctx: FExitContext) -> u32 {
        (Point::CtlFile, Hook::Ctl) => { file_ends(ctx.as_ptr(), ctx.arg(5)) }
    }
}

/// As [`ctl_file_fexit`].
#[kretprobe]
pub fn ctl_file_kretprobe(ctx: RetProbeContext) -> u32 {
    file_ends(ctx.as_ptr(), ctx.ret())
}

#[inline(always)]
fn in_io_ctl() -> bool {
    filter::enabled() && tasks::has(current_tid(), IN_IO_CTL)
}

/// The request's own data lies at its beginning (`struct io_kiocb`, include/linux/io_uring_types.h, and `struct io_epoll`,
/// io_uring/epoll.c, 5.10 to 7.3).
#[inline(always)]
fn io_begins(request: u64) -> u32 {
    let place = offset!(io_epoll_epfd);
    let epfd = if place == OFFSET_UNKNOWN as usize { -1 } else { kread::kernel(request + place as u64).unwrap_or(-1) };
    match tasks::get_or_make(current_tid()) {
        // SAFETY: a map value outlives the program's run; only this task's own calls write to it.
        Ok(state) => unsafe {
            (*state).flags |= IN_IO_CTL;
            (*state).io_epfd = epfd;
        },
        Err(miss) => count(Hook::Ctl, miss),
    }
    0
}

#[inline(always)]
fn io_ends() -> u32 {
    if let Some(state) = tasks::get(current_tid()) {
        // SAFETY: as in `io_begins`.
        unsafe { (*state).flags &= !IN_IO_CTL };
    }
    0
}

#[inline(always)]
fn file_begins(file: u64, op: i32, key: u64, event: u64) -> u32 {
    if in_io_ctl() { settle(Hook::Ctl, file_call(file, op, key, event)) } else { 0 }
}

#[inline(always)]
fn file_ends(ctx: *mut c_void, ret: i32) -> u32 {
    if in_io_ctl() { settle(Hook::Ctl, ended(ctx, ret)) } else { 0 }
}

/// `struct epoll_key` (7.2 on): the file and the descriptor of an item.
#[inline(always)]
fn file_call(eventpoll: u64, op: i32, key: u64, event: u64) -> Result<(), Miss> {
    let (ep, _) = files::eventpoll(eventpoll)?;
    let file: u64 = kread::kernel(key)?;
    let fd: i32 = kread::kernel(key + 8)?;
    // SAFETY: a map value outlives the program's run.
    let epfd = tasks::get(current_tid()).map_or(-1, |state| unsafe { (*state).io_epfd });
    keep(Call { epfd, op, fd, begun: 1, ep, file, event: Given::at(op, event) })
}

with_twins! {
    /// 6.15 to 7.3: `int epoll_sendevents(struct file *file, struct epoll_event *events, int maxevents)`
    fentry [IO_WAIT_FENTRY: io_wait_fentry, io_wait_fentry_2, io_wait_fentry_3, io_wait_fentry_4](ctx: FEntryContext) -> u32 {
        (Point::IoWaitBegins, Hook::WaitEnter) => {
            settle(Hook::WaitEnter, wait_begins(ctx.arg(0), ctx.arg(1), ctx.arg(2)))
        }
    }
}

/// As [`io_wait_fentry`].
#[kprobe]
pub fn io_wait_kprobe(ctx: ProbeContext) -> u32 {
    if !filter::enabled() {
        return 0;
    }
    if waits() {
        count(Hook::WaitExit, Miss::NoExit);
    }
    match (ctx.arg(0), ctx.arg(1), ctx.arg(2)) {
        (Some(file), Some(events), Some(maxevents)) => settle(Hook::WaitEnter, wait_begins(file, events, maxevents)),
        _ => 0,
    }
}

with_twins! {
    /// The end of [`io_wait_fentry`].
    fexit [IO_WAIT_FEXIT: io_wait_fexit, io_wait_fexit_2, io_wait_fexit_3, io_wait_fexit_4](ctx: FExitContext) -> u32 {
        (Point::IoWaitEnds, Hook::WaitExit) => { settle(Hook::WaitExit, wait_ends(ctx.as_ptr(), ctx.arg(3))) }
    }
}

/// As [`io_wait_fexit`].
#[kretprobe]
pub fn io_wait_kretprobe(ctx: RetProbeContext) -> u32 {
    if filter::enabled() { settle(Hook::WaitExit, wait_ends(ctx.as_ptr(), ctx.ret())) } else { 0 }
}

/// Whether an io_uring `EPOLL_WAIT` of the current task has begun and not ended.
#[inline(always)]
fn waits() -> bool {
    // SAFETY: a map value outlives the program's run.
    tasks::get(current_tid())
        .is_some_and(|state| unsafe { (*state).flags & IN_WAIT != 0 && (*state).epfd == BY_IO_URING })
}

#[inline(always)]
fn wait_begins(file: u64, events: u64, maxevents: i32) -> Result<(), Miss> {
    let now = Now::take();
    let (ep, known) = files::eventpoll(file)?;
    let traced = filter::traced(now.tgid);
    if ep == 0 || now.tgid == config!(own_tgid) || !(traced || (known && filter::traced_ep(ep))) {
        return Ok(());
    }
    filter::adopt(ep, true)?;
    let state = tasks::get_or_make(now.tid)?;
    // SAFETY: a map value outlives the program's run; only this task's own calls write to it.
    unsafe {
        (*state).flags |= IN_WAIT;
        (*state).epfd = BY_IO_URING;
        (*state).ep = ep;
        (*state).user_events = events;
        (*state).io_wait_ns = now.ts_ns;
        (*state).io_maxevents = maxevents;
    }
    wait::name_once(now, state)
}

/// Only now it is known whether there is anything to tell: without events io_uring tries again when the eventpoll calls it back.
#[inline(always)]
fn wait_ends(ctx: *mut c_void, ret: i32) -> Result<(), Miss> {
    let now = Now::task();
    let Some(state) = tasks::get(now.tid) else { return Ok(()) };
    // SAFETY: as in `wait_begins`.
    if unsafe { (*state).flags } & IN_WAIT == 0 || unsafe { (*state).epfd } != BY_IO_URING {
        return Ok(());
    }
    if ret == 0 {
        // SAFETY: as in `wait_begins`.
        unsafe { (*state).flags &= !IN_WAIT };
        return Ok(());
    }
    // SAFETY: as in `wait_begins`.
    let (ts_ns, ep, maxevents) = unsafe { ((*state).io_wait_ns, (*state).ep, (*state).io_maxevents) };
    emit::<WaitEnter>(Now { ts_ns, ..now }, |record| {
        // SAFETY: `emit` gives a slot for one record.
        let record = unsafe { &mut *record };
        record.ep = ep;
        record.timeout_ns = 0;
        record.epfd = BY_IO_URING;
        record.maxevents = maxevents;
    })?;
    wait::exit(ctx, ret)
}

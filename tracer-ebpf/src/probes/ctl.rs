//! `epoll_ctl`, and the hook that an ADD installs.

use aya_ebpf::macros::{fentry, fexit, kprobe, tracepoint};
use aya_ebpf::programs::{FEntryContext, FExitContext, ProbeContext, TracePointContext};
use tracer_common::events::{Ctl, Hooked, NO_EVENT};
use tracer_common::{Hook, Miss};

use crate::emit::{Now, emit, settle};
use crate::epitem::epitem;
use crate::globals::{config, offset};
use crate::{context, file_info, files, filter, kread, sys_exit, tasks};

/// `EPOLL_CTL_DEL` (uapi/linux/eventpoll.h): the event is not used.
const DEL: i32 = 2;

/// 5.10 to 7.3: `int do_epoll_ctl(int epfd, int op, int fd, struct epoll_event *epds, bool nonblock)`
#[fexit]
pub fn ctl_fexit(ctx: FExitContext) -> u32 {
    if !filter::enabled() {
        return 0;
    }
    let call = Call { epfd: ctx.arg(0), op: ctx.arg(1), fd: ctx.arg(2), event: ctx.arg(3) };
    settle(Hook::Ctl, body(Now::take(), call, ctx.arg(5)))
}

/// Keeps the arguments of [`ctl_fexit`] for [`ctl_sys_exit`].
#[kprobe]
pub fn ctl_kprobe(ctx: ProbeContext) -> u32 {
    if !filter::enabled() {
        return 0;
    }
    match (ctx.arg(0), ctx.arg(1), ctx.arg(2), ctx.arg(3)) {
        (Some(epfd), Some(op), Some(fd), Some(event)) => settle(Hook::Ctl, keep(Call { epfd, op, fd, event })),
        _ => 0,
    }
}

/// The end of `epoll_ctl`, whose kretprobe would miss calls beyond its instances: they may sleep for the eventpoll's mutex.
#[tracepoint]
pub fn ctl_sys_exit(ctx: TracePointContext) -> u32 {
    if !filter::enabled() {
        return 0;
    }
    settle(Hook::Ctl, ended(sys_exit::result(&ctx)))
}

/// 5.10 to 7.3: `void ep_ptable_queue_proc(struct file *file, wait_queue_head_t *whead, poll_table *pt)`
#[fentry]
pub fn hooked_fentry(ctx: FEntryContext) -> u32 {
    hooked(ctx.arg(1), ctx.arg(2))
}

/// As [`hooked_fentry`].
#[kprobe]
pub fn hooked_kprobe(ctx: ProbeContext) -> u32 {
    match (ctx.arg(1), ctx.arg(2)) {
        (Some(whead), Some(table)) => hooked(whead, table),
        _ => 0,
    }
}

/// The arguments of an `epoll_ctl`; `event` is an address in kernel memory.
struct Call {
    epfd: i32,
    op: i32,
    fd: i32,
    event: u64,
}

#[inline(always)]
fn keep(call: Call) -> Result<(), Miss> {
    let now = Now::take();
    if !filter::traced(now.tgid) {
        return Ok(());
    }
    let state = tasks::get_or_make(now.tid)?;
    // SAFETY: a map value outlives the program's run; only this task's own calls write to it.
    unsafe {
        (*state).ctl = [call.epfd, call.op, call.fd];
        (*state).ctl_event = call.event;
    }
    Ok(())
}

#[inline(always)]
fn ended(ret: i32) -> Result<(), Miss> {
    let now = Now::take();
    if !filter::traced(now.tgid) {
        return Ok(());
    }
    let state = tasks::get(now.tid).ok_or(Miss::NoEntry)?;
    // SAFETY: as in `keep`.
    let call = unsafe {
        let [epfd, op, fd] = (*state).ctl;
        Call { epfd, op, fd, event: (*state).ctl_event }
    };
    if call.op == 0 {
        return Err(Miss::NoEntry);
    }
    // SAFETY: as in `keep`.
    unsafe { (*state).ctl = [-1, 0, -1] };
    body(now, call, ret)
}

#[inline(always)]
fn body(now: Now, call: Call, ret: i32) -> Result<(), Miss> {
    if !filter::traced(now.tgid) {
        return Ok(());
    }
    context::reset();
    let (ep, _) = files::eventpoll(files::of_current(call.epfd)?)?;
    let file = files::of_current(call.fd)?;
    filter::adopt(ep, true)?;
    let event = if call.op == DEL || call.event == 0 { None } else { kread::kernel::<[u32; 4]>(call.event).ok() };
    let (has_event, events, data) = match event {
        Some([events, low, high, _]) if config!(user_event_bytes) == 12 => (1, events, join(low, high)),
        Some([events, _, low, high]) => (1, events, join(low, high)),
        None => (NO_EVENT, 0, 0),
    };
    emit::<Ctl>(now, |record| {
        // SAFETY: `emit` gives a slot for one record.
        let record = unsafe { &mut *record };
        record.ep = ep;
        record.file = file;
        record.data = data;
        record.epfd = call.epfd;
        record.op = call.op;
        record.fd = call.fd;
        record.events = events;
        record.ret = ret;
        record.has_event = has_event;
    })
}

#[inline(always)]
const fn join(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

#[inline(always)]
fn hooked(whead: u64, table: u64) -> u32 {
    if !filter::enabled() {
        return 0;
    }
    settle(Hook::Hooked, hooked_body(whead, table))
}

#[inline(always)]
fn hooked_body(whead: u64, table: u64) -> Result<(), Miss> {
    let now = Now::take();
    if !filter::traced(now.tgid) {
        return Ok(());
    }
    let epi: u64 = kread::kernel(table + offset!(ep_pqueue_epi) as u64)?;
    if epi == 0 {
        return Ok(());
    }
    let item = epitem(epi)?;
    filter::adopt(item.ep, true)?;
    emit::<Hooked>(now, |record| {
        // SAFETY: `emit` gives a slot for one record.
        let record = unsafe { &mut *record };
        record.ep = item.ep;
        record.epi = epi;
        record.file = item.file;
        record.whead = whead;
        record.data = item.data;
        record.events = item.events;
        record.fd = item.fd;
    })?;
    file_info::emit_info(now, item.file)
}

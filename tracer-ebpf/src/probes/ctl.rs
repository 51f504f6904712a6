//! `epoll_ctl`, and the hook that an ADD installs.

use aya_ebpf::macros::{fentry, fexit, kprobe, kretprobe, tracepoint};
use aya_ebpf::programs::{FEntryContext, FExitContext, ProbeContext, RetProbeContext, TracePointContext};
use tracer_common::events::{Ctl, Hooked, audit_moment, ctl_flags};
use tracer_common::{Hook, Miss};

use crate::emit::{Now, count, current_tid, emit, settle};
use crate::epitem::{epitem, find};
use crate::globals::{config, offset};
use crate::rescue::{self, Point};
use crate::tasks::{CTL, IN_IO_CTL};
use crate::{audit, context, file_info, files, filter, kread, sys_exit, tasks};

/// `EPOLL_CTL_DEL` (uapi/linux/eventpoll.h): the event is not used.
const DEL: i32 = 2;

/// 5.10 to 7.3: `int do_epoll_ctl(int epfd, int op, int fd, struct epoll_event *epds, bool nonblock)`
#[fexit]
pub fn ctl_fexit(ctx: FExitContext) -> u32 {
    rescue::first(Point::Ctl, || {
        let call = Call { epfd: ctx.arg(0), op: ctx.arg(1), fd: ctx.arg(2), event: Given::at(ctx.arg(1), ctx.arg(3)) };
        settle(Hook::Ctl, body(Now::take(), call, ctx.arg(5)))
    })
}

/// The twin of [`ctl_fexit`].
#[fexit]
pub fn ctl_fexit_again(ctx: FExitContext) -> u32 {
    rescue::again(Point::Ctl, Hook::Ctl, || {
        let call = Call { epfd: ctx.arg(0), op: ctx.arg(1), fd: ctx.arg(2), event: Given::at(ctx.arg(1), ctx.arg(3)) };
        settle(Hook::Ctl, body(Now::take(), call, ctx.arg(5)))
    })
}

/// Keeps the arguments of [`ctl_fexit`] for [`ctl_sys_exit`].
#[kprobe]
pub fn ctl_kprobe(ctx: ProbeContext) -> u32 {
    if !filter::enabled() {
        return 0;
    }
    match (ctx.arg(0), ctx.arg(1), ctx.arg(2), ctx.arg(3)) {
        (Some(epfd), Some(op), Some(fd), Some(event)) => {
            let event = Given::at(op, event);
            settle(Hook::Ctl, keep(Call { epfd, op, fd, event }))
        }
        _ => 0,
    }
}

/// The end of `epoll_ctl`, whose kretprobe would miss calls beyond its instances: they may sleep for the eventpoll's mutex.
#[tracepoint]
pub fn ctl_sys_exit(ctx: TracePointContext) -> u32 {
    rescue::first(Point::Ctl, || settle(Hook::Ctl, ended(sys_exit::result(&ctx))))
}

/// The twin of [`ctl_sys_exit`].
#[tracepoint]
pub fn ctl_sys_exit_again(ctx: TracePointContext) -> u32 {
    rescue::again(Point::Ctl, Hook::Ctl, || settle(Hook::Ctl, ended(sys_exit::result(&ctx))))
}

/// As [`ctl_fexit`], for a call that io_uring makes: it has no system call that ends.
#[kretprobe]
pub fn ctl_kretprobe(ctx: RetProbeContext) -> u32 {
    if !filter::enabled() || !tasks::has(current_tid(), IN_IO_CTL) {
        return 0;
    }
    settle(Hook::Ctl, ended(ctx.ret()))
}

/// 7.2 to 7.3: `int do_epoll_ctl_file(struct file *f, int op, struct epoll_key *tf, struct epoll_event *epds, bool nonblock)`;
/// only for a call that io_uring makes: others come from `do_epoll_ctl`.
#[fexit]
pub fn ctl_file_fexit(ctx: FExitContext) -> u32 {
    rescue::first(Point::CtlFile, || {
        if !tasks::has(current_tid(), IN_IO_CTL) {
            return 0;
        }
        settle(Hook::Ctl, of_files(ctx.arg(0), ctx.arg(1), ctx.arg(2), Given::at(ctx.arg(1), ctx.arg(3)), ctx.arg(5)))
    })
}

/// The twin of [`ctl_file_fexit`].
#[fexit]
pub fn ctl_file_fexit_again(ctx: FExitContext) -> u32 {
    rescue::again(Point::CtlFile, Hook::Ctl, || {
        if !tasks::has(current_tid(), IN_IO_CTL) {
            return 0;
        }
        settle(Hook::Ctl, of_files(ctx.arg(0), ctx.arg(1), ctx.arg(2), Given::at(ctx.arg(1), ctx.arg(3)), ctx.arg(5)))
    })
}

/// Keeps the arguments of [`ctl_file_fexit`] for [`ctl_file_kretprobe`].
#[kprobe]
pub fn ctl_file_kprobe(ctx: ProbeContext) -> u32 {
    if !filter::enabled() || !tasks::has(current_tid(), IN_IO_CTL) {
        return 0;
    }
    match (ctx.arg(0), ctx.arg(1), ctx.arg(2), ctx.arg(3)) {
        (Some(file), Some(op), Some(key), Some(event)) => {
            settle(Hook::Ctl, keep_files(file, op, key, Given::at(op, event)))
        }
        _ => 0,
    }
}

/// As [`ctl_file_fexit`].
#[kretprobe]
pub fn ctl_file_kretprobe(ctx: RetProbeContext) -> u32 {
    if !filter::enabled() || !tasks::has(current_tid(), IN_IO_CTL) {
        return 0;
    }
    settle(Hook::Ctl, ended_files(ctx.ret()))
}

/// 5.10 to 7.3: `int io_epoll_ctl(struct io_kiocb *req, unsigned int issue_flags)`; 5.10: `bool force_nonblock` and a third argument.
#[fentry]
pub fn io_ctl_fentry(_ctx: FEntryContext) -> u32 {
    rescue::first(Point::IoCtlBegins, || io_begins())
}

/// The twin of [`io_ctl_fentry`].
#[fentry]
pub fn io_ctl_fentry_again(_ctx: FEntryContext) -> u32 {
    rescue::again(Point::IoCtlBegins, Hook::Ctl, || io_begins())
}

/// As [`io_ctl_fentry`].
#[kprobe]
pub fn io_ctl_kprobe(_ctx: ProbeContext) -> u32 {
    io_begins()
}

/// The end of [`io_ctl_fentry`].
#[fexit]
pub fn io_ctl_fexit(_ctx: FExitContext) -> u32 {
    rescue::first(Point::IoCtlEnds, || io_ends())
}

/// The twin of [`io_ctl_fexit`].
#[fexit]
pub fn io_ctl_fexit_again(_ctx: FExitContext) -> u32 {
    rescue::again(Point::IoCtlEnds, Hook::Ctl, || io_ends())
}

/// As [`io_ctl_fexit`].
#[kretprobe]
pub fn io_ctl_kretprobe(_ctx: RetProbeContext) -> u32 {
    io_ends()
}

/// For the audit, the entry of [`ctl_fexit`].
#[fentry]
pub fn audit_ctl_fentry(ctx: FEntryContext) -> u32 {
    rescue::first(Point::AuditCtl, || settle(Hook::Audit, changes(files::of_current(ctx.arg(0)))))
}

/// The twin of [`audit_ctl_fentry`].
#[fentry]
pub fn audit_ctl_fentry_again(ctx: FEntryContext) -> u32 {
    rescue::again(Point::AuditCtl, Hook::Audit, || settle(Hook::Audit, changes(files::of_current(ctx.arg(0)))))
}

/// As [`audit_ctl_fentry`].
#[kprobe]
pub fn audit_ctl_kprobe(ctx: ProbeContext) -> u32 {
    if !filter::enabled() {
        return 0;
    }
    ctx.arg(0).map_or(0, |epfd| settle(Hook::Audit, changes(files::of_current(epfd))))
}

/// For the audit, the entry of [`ctl_file_fexit`].
#[fentry]
pub fn audit_ctl_file_fentry(ctx: FEntryContext) -> u32 {
    rescue::first(Point::AuditCtlFile, || {
        if !tasks::has(current_tid(), IN_IO_CTL) {
            return 0;
        }
        settle(Hook::Audit, changes(Ok(ctx.arg(0))))
    })
}

/// The twin of [`audit_ctl_file_fentry`].
#[fentry]
pub fn audit_ctl_file_fentry_again(ctx: FEntryContext) -> u32 {
    rescue::again(Point::AuditCtlFile, Hook::Audit, || {
        if !tasks::has(current_tid(), IN_IO_CTL) {
            return 0;
        }
        settle(Hook::Audit, changes(Ok(ctx.arg(0))))
    })
}

/// As [`audit_ctl_file_fentry`].
#[kprobe]
pub fn audit_ctl_file_kprobe(ctx: ProbeContext) -> u32 {
    if !filter::enabled() || !tasks::has(current_tid(), IN_IO_CTL) {
        return 0;
    }
    ctx.arg(0).map_or(0, |file| settle(Hook::Audit, changes(Ok(file))))
}

/// 5.10 to 7.3: `void ep_ptable_queue_proc(struct file *file, wait_queue_head_t *whead, poll_table *pt)`
#[fentry]
pub fn hooked_fentry(ctx: FEntryContext) -> u32 {
    rescue::first(Point::Hooked, || hooked(ctx.arg(1), ctx.arg(2)))
}

/// The twin of [`hooked_fentry`].
#[fentry]
pub fn hooked_fentry_again(ctx: FEntryContext) -> u32 {
    rescue::again(Point::Hooked, Hook::Hooked, || hooked(ctx.arg(1), ctx.arg(2)))
}

/// As [`hooked_fentry`].
#[kprobe]
pub fn hooked_kprobe(ctx: ProbeContext) -> u32 {
    match (ctx.arg(1), ctx.arg(2)) {
        (Some(whead), Some(table)) => hooked(whead, table),
        _ => 0,
    }
}

/// The `epoll_event` of an `epoll_ctl`, read while the call runs: it lies on the kernel's stack.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Given {
    /// [`ctl_flags::HAS_EVENT`], or 0.
    known: u32,
    events: u32,
    data: u64,
}

impl Given {
    pub(crate) const NONE: Self = Self { known: 0, events: 0, data: 0 };

    #[inline(always)]
    fn at(op: i32, address: u64) -> Self {
        if op == DEL || address == 0 {
            return Self::NONE;
        }
        match kread::kernel::<[u32; 4]>(address) {
            Ok([events, low, high, _]) if config!(user_event_bytes) == 12 => {
                Self { known: ctl_flags::HAS_EVENT, events, data: join(low, high) }
            }
            Ok([events, _, low, high]) => Self { known: ctl_flags::HAS_EVENT, events, data: join(low, high) },
            Err(_) => Self::NONE,
        }
    }
}

/// The arguments of an `epoll_ctl`.
struct Call {
    epfd: i32,
    op: i32,
    fd: i32,
    event: Given,
}

/// What was added, changed or removed where.
struct Target {
    ep: u64,
    file: u64,
}

/// Whether the current task's call matters: it is under trace, or the eventpoll is, though another process uses it.
#[inline(always)]
fn concerns(now: Now, ep: u64) -> bool {
    filter::traced(now.tgid) || (ep != 0 && now.tgid != config!(own_tgid) && filter::traced_ep(ep))
}

#[inline(always)]
fn keep(call: Call) -> Result<(), Miss> {
    let now = Now::take();
    if !filter::traced(now.tgid) {
        let (ep, _) = files::eventpoll(files::of_current(call.epfd)?)?;
        if !concerns(now, ep) {
            return Ok(());
        }
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
    let traced = filter::traced(now.tgid);
    let state = match tasks::get(now.tid) {
        Some(state) => state,
        None if traced => return Err(Miss::NoEntry),
        None => return Ok(()),
    };
    // SAFETY: as in `keep`.
    let call = unsafe {
        let [epfd, op, fd] = (*state).ctl;
        Call { epfd, op, fd, event: (*state).ctl_event }
    };
    if call.op == 0 {
        return if traced { Err(Miss::NoEntry) } else { Ok(()) };
    }
    // SAFETY: as in `keep`.
    unsafe { (*state).ctl = [-1, 0, -1] };
    body(now, call, ret)
}

#[inline(always)]
fn body(now: Now, call: Call, ret: i32) -> Result<(), Miss> {
    let result = calls(now, &call, ret);
    audit_end(now);
    result
}

#[inline(always)]
fn calls(now: Now, call: &Call, ret: i32) -> Result<(), Miss> {
    let (ep, _) = files::eventpoll(files::of_current(call.epfd)?)?;
    if !concerns(now, ep) {
        return Ok(());
    }
    let file = files::of_current(call.fd)?;
    tell(now, call, &Target { ep, file }, ret)
}

#[inline(always)]
fn tell(now: Now, call: &Call, target: &Target, ret: i32) -> Result<(), Miss> {
    context::reset();
    let &Target { ep, file } = target;
    filter::adopt(ep, true)?;
    // After the time was taken: the item may have come to the ready list since, but not before.
    let (epi, state) = if ret == 0 && call.op != DEL && ep != 0 && file != 0 {
        state(ep, file, call.fd).unwrap_or((0, 0))
    } else {
        (0, 0)
    };
    emit::<Ctl>(now, |record| {
        // SAFETY: `emit` gives a slot for one record.
        let record = unsafe { &mut *record };
        record.ep = ep;
        record.file = file;
        record.data = call.event.data;
        record.epi = epi;
        record.epfd = call.epfd;
        record.op = call.op;
        record.fd = call.fd;
        record.events = call.event.events;
        record.ret = ret;
        record.flags = call.event.known | state;
    })
}

/// The item that an ADD or a MOD left behind, and whether it is ready.
#[inline(always)]
fn state(ep: u64, file: u64, fd: i32) -> Result<(u64, u32), Miss> {
    let (epi, Some(item)) = find(ep, file, fd)? else { return Ok((0, 0)) };
    let linked = item.rdllink_next != epi + offset!(epitem_rdllink) as u64;
    Ok((epi, ctl_flags::FOUND | if linked { ctl_flags::LINKED } else { 0 }))
}

/// An `epoll_ctl` begins to change an eventpoll's lists.
#[inline(always)]
fn changes(file: Result<u64, Miss>) -> Result<(), Miss> {
    let now = Now::take();
    let (ep, _) = files::eventpoll(file?)?;
    if ep == 0 || !concerns(now, ep) {
        return Ok(());
    }
    let state = tasks::get_or_make(now.tid)?;
    // SAFETY: as in `keep`.
    if unsafe { core::mem::replace(&mut (*state).changing[CTL], ep) } != 0 {
        // The twin of the program that was here before.
        return Ok(());
    }
    audit::begin(ep);
    Ok(())
}

/// It has ended.
#[inline(always)]
fn audit_end(now: Now) {
    if !audit::on() {
        return;
    }
    if let Some(state) = tasks::get(now.tid) {
        // SAFETY: as in `keep`.
        let ep = unsafe { core::mem::replace(&mut (*state).changing[CTL], 0) };
        if ep != 0 {
            audit::end(ep);
            audit::walk(ep, audit_moment::CTL);
        }
    }
}

#[inline(always)]
fn io_begins() -> u32 {
    if !filter::enabled() {
        return 0;
    }
    let now = Now::take();
    if now.tgid == config!(own_tgid) {
        return 0;
    }
    match tasks::get_or_make(now.tid) {
        // SAFETY: as in `keep`.
        Ok(state) => unsafe { (*state).flags |= IN_IO_CTL },
        Err(miss) => count(Hook::Ctl, miss),
    }
    0
}

#[inline(always)]
fn io_ends() -> u32 {
    if let Some(state) = tasks::get(current_tid()) {
        // SAFETY: as in `keep`.
        unsafe { (*state).flags &= !IN_IO_CTL };
    }
    0
}

/// `struct epoll_key` (7.2 on): the file and the descriptor of an item.
#[inline(always)]
fn of_files(file: u64, op: i32, key: u64, event: Given, ret: i32) -> Result<(), Miss> {
    let now = Now::take();
    let result = told_by_files(now, file, op, key, event, ret);
    audit_end(now);
    result
}

#[inline(always)]
fn told_by_files(now: Now, file: u64, op: i32, key: u64, event: Given, ret: i32) -> Result<(), Miss> {
    let (ep, _) = files::eventpoll(file)?;
    if !concerns(now, ep) {
        return Ok(());
    }
    let target: u64 = kread::kernel(key)?;
    let fd: i32 = kread::kernel(key + 8)?;
    tell(now, &Call { epfd: -1, op, fd, event }, &Target { ep, file: target }, ret)
}

#[inline(always)]
fn keep_files(file: u64, op: i32, key: u64, event: Given) -> Result<(), Miss> {
    let state = tasks::get_or_make(current_tid())?;
    // SAFETY: as in `keep`.
    unsafe {
        (*state).ctl = [-1, op, -1];
        (*state).ctl_event = event;
        (*state).ctl_files = [file, key];
    }
    Ok(())
}

#[inline(always)]
fn ended_files(ret: i32) -> Result<(), Miss> {
    let Some(state) = tasks::get(current_tid()) else { return Ok(()) };
    // SAFETY: as in `keep`.
    let ([file, key], op, event) = unsafe { ((*state).ctl_files, (*state).ctl[1], (*state).ctl_event) };
    if op == 0 {
        return Err(Miss::NoEntry);
    }
    // SAFETY: as in `keep`.
    unsafe { (*state).ctl = [-1, 0, -1] };
    of_files(file, op, key, event, ret)
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

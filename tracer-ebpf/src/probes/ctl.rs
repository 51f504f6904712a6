//! `epoll_ctl`: its arguments are kept when it begins, since a descriptor can be closed, and used again, while it runs.

use core::ffi::c_void;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::macros::{fentry, fexit, kprobe, kretprobe, tracepoint};
use aya_ebpf::programs::{FEntryContext, FExitContext, ProbeContext, RetProbeContext, TracePointContext};
use tracer_common::events::{Ctl, audit_moment, ctl_flags};
use tracer_common::{EP_PRIVATE_BITS, Hook, Miss};

use super::wait::EFAULT;
use crate::audit::Snapshot;
use crate::emit::{Now, count, current_tid, emit, settle};
use crate::epitem::find;
use crate::globals::config;
use crate::rescue::{self, Point, with_twins};
use crate::{audit, context, files, filter, kread, stacks, sys_exit, tasks};

/// `EPOLL_CTL_ADD` (uapi/linux/eventpoll.h)
const ADD: i32 = 1;
/// `EPOLL_CTL_DEL`: the event is not used.
const DEL: i32 = 2;
/// Bits that the kernel adds to a mask or takes away: `EPOLLERR`, `EPOLLHUP`, `EPOLLWAKEUP` (`do_epoll_ctl`, fs/eventpoll.c).
const ADDED: u32 = 0x18 | 1 << 29;
/// `-EAGAIN`: io_uring's try found the eventpoll's mutex taken, and a worker makes the call anew (`epoll_mutex_lock`, fs/eventpoll.c,
/// `io_epoll_ctl`, io_uring/epoll.c, 5.10 to 7.3). The system call waits for the mutex.
const AGAIN: i32 = -11;

with_twins! {
    /// 5.10 to 7.3: `int do_epoll_ctl(int epfd, int op, int fd, struct epoll_event *epds, bool nonblock)`
    fentry [CTL_FENTRY: ctl_fentry, ctl_fentry_2, ctl_fentry_3, ctl_fentry_4](ctx: FEntryContext) -> u32 {
        (Point::CtlBegins, Hook::Ctl) => { settle(Hook::Ctl, begins(ctx.arg(0), ctx.arg(1), ctx.arg(2), ctx.arg(3))) }
    }
}

/// As [`ctl_fentry`].
#[kprobe]
pub fn ctl_kprobe(ctx: ProbeContext) -> u32 {
    if !filter::enabled() {
        return 0;
    }
    count_unended();
    match (ctx.arg(0), ctx.arg(1), ctx.arg(2), ctx.arg(3)) {
        (Some(epfd), Some(op), Some(fd), Some(event)) => settle(Hook::Ctl, begins(epfd, op, fd, event)),
        _ => 0,
    }
}

with_twins! {
    /// The end of the call that [`ctl_fentry`] saw.
    fexit [CTL_FEXIT: ctl_fexit, ctl_fexit_2, ctl_fexit_3, ctl_fexit_4](ctx: FExitContext) -> u32 {
        (Point::Ctl, Hook::Ctl) => { settle(Hook::Ctl, ended(ctx.as_ptr(), ctx.arg(5))) }
    }
}

with_twins! {
    /// The end of `epoll_ctl`, whose kretprobe would miss calls beyond its instances: they may sleep for the eventpoll's mutex.
    tracepoint [CTL_SYS_EXIT: ctl_sys_exit, ctl_sys_exit_2, ctl_sys_exit_3, ctl_sys_exit_4](ctx: TracePointContext) -> u32 {
        (Point::Ctl, Hook::Ctl) => { settle(Hook::Ctl, ended(ctx.as_ptr(), sys_exit::result(&ctx))) }
    }
}

/// The end of every `do_epoll_ctl`, where it cannot be told whether io_uring makes the call.
#[kretprobe]
pub fn ctl_return_kretprobe(ctx: RetProbeContext) -> u32 {
    if under_way() { settle(Hook::Ctl, ended(ctx.as_ptr(), ctx.ret())) } else { 0 }
}

with_twins! {
    /// As [`ctl_sys_exit`], beside [`ctl_return_kretprobe`]: for the calls beyond its instances.
    tracepoint [CTL_SYS_EXIT_LEFT: ctl_sys_exit_left, ctl_sys_exit_left_2, ctl_sys_exit_left_3, ctl_sys_exit_left_4](
        ctx: TracePointContext
    ) -> u32 {
        (Point::Ctl, Hook::Ctl) => {
            if under_way() { settle(Hook::Ctl, ended(ctx.as_ptr(), sys_exit::result(&ctx))) } else { 0 }
        }
    }
}

/// Whether a call of the current task was seen to begin and not to end.
#[inline(always)]
pub(super) fn under_way() -> bool {
    // SAFETY: a map value outlives the program's run; only this task's own calls write to it.
    tasks::get(current_tid()).is_some_and(|state| unsafe { (*state).ctl.begun } != 0)
}

/// A call begins, and the task's last one has not ended: it was io_uring's, and beyond the kretprobe's instances.
#[inline(always)]
pub(crate) fn count_unended() {
    if under_way() {
        count(Hook::Ctl, Miss::NoExit);
    }
}

/// A call in progress: what it was given, and the objects that the descriptors stood for when it began.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Call {
    pub(crate) epfd: i32,
    pub(crate) op: i32,
    pub(crate) fd: i32,
    /// 0 when there is no call.
    pub(crate) begun: u32,
    pub(crate) ep: u64,
    pub(crate) file: u64,
    pub(crate) event: Given,
}

impl Call {
    pub(crate) const NONE: Self = Self { epfd: -1, op: 0, fd: -1, begun: 0, ep: 0, file: 0, event: Given::NONE };
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
    pub(crate) fn at(op: i32, address: u64) -> Self {
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

/// Whether the current task's call matters: it is under trace, or the eventpoll is, though another process uses it.
#[inline(always)]
fn concerns(now: Now, ep: u64) -> bool {
    filter::traced(now.tgid) || (ep != 0 && now.tgid != config!(own_tgid) && filter::traced_ep(ep))
}

#[inline(always)]
fn begins(epfd: i32, op: i32, fd: i32, event: u64) -> Result<(), Miss> {
    if !filter::enabled() {
        return Ok(());
    }
    let (ep, _) = files::eventpoll(files::of_current(epfd)?)?;
    if !concerns(Now::task(), ep) {
        return Ok(());
    }
    let file = files::of_current(fd)?;
    keep(Call { epfd, op, fd, begun: 1, ep, file, event: Given::at(op, event) })
}

/// Keeps a call of the current task until it ends.
#[inline(always)]
pub(crate) fn keep(call: Call) -> Result<(), Miss> {
    let now = Now::task();
    if !concerns(now, call.ep) {
        return Ok(());
    }
    let state = tasks::get_or_make(now.tid)?;
    // SAFETY: a map value outlives the program's run; only this task's own calls write to it.
    let last = unsafe { core::mem::replace(&mut (*state).ctl, call) };
    if audit::on() && last.begun != 0 && last.ep != 0 {
        audit::end(last.ep);
    }
    rescue::begins(state, Point::Ctl);
    if audit::on() && call.ep != 0 {
        audit::begin(call.ep);
        let before = audit::snapshot(call.ep);
        // SAFETY: as above.
        unsafe { (*state).ctl_changes = [before.begun, before.ended] };
    }
    Ok(())
}

/// The current task's call has ended.
#[inline(always)]
pub(crate) fn ended(ctx: *mut c_void, ret: i32) -> Result<(), Miss> {
    if !filter::enabled() {
        return Ok(());
    }
    let Some(state) = tasks::get(current_tid()) else { return unseen(ret) };
    // SAFETY: as in `keep`.
    let mut call = unsafe { (*state).ctl };
    if call.begun == 0 {
        return unseen(ret);
    }
    // SAFETY: as in `keep`.
    unsafe { (*state).ctl.begun = 0 };
    let raced = audit::on() && {
        // SAFETY: as in `keep`.
        let [begun, ended] = unsafe { (*state).ctl_changes };
        !audit::alone(call.ep, Snapshot { begun, ended })
    };
    let changed = call.ep;
    let result =
        if ret == AGAIN { Ok(()) } else { tell(ctx, &mut call, ret, if raced { ctl_flags::RACED } else { 0 }) };
    if audit::on() && changed != 0 {
        audit::end(changed);
        audit::walk(call.ep, audit_moment::CTL);
    }
    result
}

/// The kernel says what the descriptors of the current task's call stand for.
#[inline(always)]
pub(super) fn stands_for(tid: u32, ep: u64, file: u64) {
    let Some(state) = tasks::get(tid) else { return };
    // SAFETY: as in `keep`.
    let call = unsafe { &mut (*state).ctl };
    if call.begun == 0 {
        return;
    }
    call.file = file;
    if call.ep != ep {
        if audit::on() {
            if call.ep != 0 {
                audit::end(call.ep);
            }
            audit::begin(ep);
        }
        call.ep = ep;
    }
}

/// A call that ends without having begun: it began before tracing did, or has nothing to do with it, or could not read its event and never
/// came to epoll.
#[inline(always)]
fn unseen(ret: i32) -> Result<(), Miss> {
    if ret != EFAULT && filter::traced(Now::task().tgid) { Err(Miss::NoEntry) } else { Ok(()) }
}

#[inline(always)]
fn tell(ctx: *mut c_void, call: &mut Call, ret: i32, raced: u32) -> Result<(), Miss> {
    let now = Now::take();
    context::reset();
    call.ep = files::found_behind(call.epfd, call.ep, ret == 0)?;
    // After the time was taken: the item may have come to the ready list since, but not before.
    let (epi, state) = if ret == 0 { left_behind(call).unwrap_or((0, 0)) } else { (0, 0) };
    let &mut Call { epfd, op, fd, ep, file, event, .. } = call;
    stacks::tell(ctx, now);
    emit::<Ctl>(now, |record| {
        // SAFETY: `emit` gives a slot for one record.
        let record = unsafe { &mut *record };
        record.ep = ep;
        record.file = file;
        record.data = event.data;
        record.epi = epi;
        record.epfd = epfd;
        record.op = op;
        record.fd = fd;
        record.events = event.events;
        record.ret = ret;
        record.flags = event.known | state | raced;
    })
}

/// The item that an ADD or a MOD left behind, and whether it is ready. After a DEL there is none, unless another task has added
/// it again before this call ended.
///
/// If it is not so with the files that the descriptors stood for when the call began, but with those they stand for now, the kernel found these.
/// Of an ADD [`stands_for`] has said it.
#[inline(always)]
fn left_behind(call: &mut Call) -> Result<(u64, u32), Miss> {
    let first = state(call)?;
    if call.op == ADD || as_asked(call, first) {
        return Ok(first);
    }
    let (ep, _) = files::eventpoll(files::of_current(call.epfd)?)?;
    let now = Call { ep, file: files::of_current(call.fd)?, ..*call };
    if now.ep != call.ep || now.file != call.file {
        let found = state(&now)?;
        if as_asked(&now, found) {
            *call = now;
            return Ok(found);
        }
    }
    Ok(first)
}

/// Whether a MOD or a DEL that succeeded can have left this behind.
#[inline(always)]
const fn as_asked(call: &Call, (epi, flags): (u64, u32)) -> bool {
    let given = flags & (ctl_flags::FOUND | ctl_flags::SUPERSEDED) == ctl_flags::FOUND;
    call.ep != 0 && call.file != 0 && if call.op == DEL { epi == 0 } else { given }
}

/// The item of a call's eventpoll, file and descriptor, and what is known of it.
#[inline(always)]
fn state(call: &Call) -> Result<(u64, u32), Miss> {
    if call.ep == 0 || call.file == 0 {
        return Ok((0, 0));
    }
    let (epi, Some(item)) = find(call.ep, call.file, call.fd)? else { return Ok((0, 0)) };
    let mut flags = ctl_flags::FOUND;
    if item.linked {
        flags |= ctl_flags::LINKED;
    }
    // An item that is disarmed has delivered its one event since: it had the mask that was given.
    let armed = item.events & !EP_PRIVATE_BITS != 0;
    if call.event.known != 0
        && (item.data != call.event.data || (armed && (item.events ^ call.event.events) & !ADDED != 0))
    {
        flags |= ctl_flags::SUPERSEDED;
    }
    Ok((epi, flags))
}

#[inline(always)]
const fn join(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

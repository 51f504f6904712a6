//! `epoll_wait`, `epoll_pwait`, `epoll_pwait2`: all three are `do_epoll_wait` inside.

use core::ffi::c_void;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::bpf_get_current_comm;
use aya_ebpf::macros::{fentry, fexit, kprobe, tracepoint};
use aya_ebpf::programs::{FEntryContext, FExitContext, ProbeContext, TracePointContext};
use tracer_common::events::{Returned, TaskName, WaitEnter, WaitExit, audit_moment};
use tracer_common::{Hook, MAX_RETURNED, Miss};

use super::{path, timeout};
use crate::emit::{Now, count, current_tid, emit, settle};
use crate::globals::config;
use crate::rescue::{self, Point, with_twins};
use crate::tasks::{IN_WAIT, NAMED, STRANGER, TaskState};
use crate::{audit, context, files, filter, kread, namespace, stacks, sys_exit, tasks};

with_twins! {
    /// 5.11 to 7.3: `int do_epoll_wait(int epfd, struct epoll_event *events, int maxevents, struct timespec64 *to)`;
    /// 5.10: the last argument is `int timeout`, milliseconds.
    fentry [WAIT_FENTRY: wait_fentry, wait_fentry_2, wait_fentry_3, wait_fentry_4](ctx: FEntryContext) -> u32 {
        (Point::WaitEnter, Hook::WaitEnter) => { enter(ctx.arg(0), ctx.arg(1), ctx.arg(2), ctx.arg(3)) }
    }
}

/// As [`wait_fentry`].
#[kprobe]
pub fn wait_kprobe(ctx: ProbeContext) -> u32 {
    match (ctx.arg(0), ctx.arg(1), ctx.arg(2), ctx.arg(3)) {
        (Some(epfd), Some(events), Some(maxevents), Some(timeout)) => enter(epfd, events, maxevents, timeout),
        _ => 0,
    }
}

with_twins! {
    /// The end of the call that [`wait_fentry`] saw.
    fexit [WAIT_FEXIT: wait_fexit, wait_fexit_2, wait_fexit_3, wait_fexit_4](ctx: FExitContext) -> u32 {
        (Point::WaitExit, Hook::WaitExit) => { leave(ctx.as_ptr(), ctx.arg(4)) }
    }
}

with_twins! {
    /// As [`wait_fexit`], beside [`wait_sys_exit_unseen`]: only for a wait that was seen to begin, so that no end is told twice.
    fexit [WAIT_FEXIT_SEEN: wait_fexit_seen, wait_fexit_seen_2, wait_fexit_seen_3, wait_fexit_seen_4](ctx: FExitContext) -> u32 {
        (Point::WaitExit, Hook::WaitExit) => { if tasks::has(current_tid(), NAMED) { leave(ctx.as_ptr(), ctx.arg(4)) } else { 0 } }
    }
}

with_twins! {
    /// The end of `epoll_wait`, `epoll_pwait` or `epoll_pwait2`, whose kretprobe would miss calls beyond its instances: they sleep.
    tracepoint [WAIT_SYS_EXIT: wait_sys_exit, wait_sys_exit_2, wait_sys_exit_3, wait_sys_exit_4](ctx: TracePointContext) -> u32 {
        (Point::WaitExit, Hook::WaitExit) => { leave(ctx.as_ptr(), sys_exit::result(&ctx)) }
    }
}

with_twins! {
    /// As [`wait_sys_exit`], beside [`wait_fexit`]: only for a task that was not seen to begin its wait, because it already slept
    /// when the probes were attached.
    tracepoint [
        WAIT_SYS_EXIT_UNSEEN: wait_sys_exit_unseen, wait_sys_exit_unseen_2, wait_sys_exit_unseen_3, wait_sys_exit_unseen_4,
    ](ctx: TracePointContext) -> u32 {
        (Point::WaitExitUnseen, Hook::WaitExit) => {
            if tasks::has(current_tid(), NAMED) { 0 } else { leave(ctx.as_ptr(), sys_exit::result(&ctx)) }
        }
    }
}

#[inline(always)]
fn enter(epfd: i32, events: u64, maxevents: i32, timeout: u64) -> u32 {
    if !filter::enabled() {
        return 0;
    }
    settle(Hook::WaitEnter, entry(epfd, events, maxevents, timeout))
}

#[inline(always)]
fn leave(ctx: *mut c_void, ret: i32) -> u32 {
    if !filter::enabled() {
        return 0;
    }
    settle(Hook::WaitExit, exit(ctx, ret))
}

#[inline(always)]
fn entry(epfd: i32, events: u64, maxevents: i32, timeout: u64) -> Result<(), Miss> {
    let now = Now::take();
    let known = tasks::get(now.tid);
    let state = match known {
        // A task that has waited before is known.
        // SAFETY: a map value outlives the program's run.
        Some(state) if unsafe { (*state).flags } & (NAMED | STRANGER) == NAMED => state,
        _ if filter::traced(now.tgid) => tasks::get_or_make(now.tid)?,
        _ => return stranger(now, Call { epfd, events, maxevents, timeout }),
    };
    begins(now, state, Call { epfd, events, maxevents, timeout })
}

/// The arguments of a wait.
#[derive(Clone, Copy)]
pub(super) struct Call {
    pub(super) epfd: i32,
    pub(super) events: u64,
    pub(super) maxevents: i32,
    pub(super) timeout: u64,
}

/// A task that is not under trace: what it does counts when its eventpoll is. With every process under trace, the tracer's own
/// eventpolls must be known to be left out.
#[inline(always)]
fn stranger(now: Now, call: Call) -> Result<(), Miss> {
    let own = now.tgid == config!(own_tgid);
    if own && config!(trace_all) == 0 {
        return Ok(());
    }
    let (ep, known) = files::eventpoll(files::of_current(call.epfd)?)?;
    if own {
        return filter::adopt(ep, false).map(|_| ());
    }
    if !known || !filter::traced_ep(ep) {
        return Ok(());
    }
    let state = tasks::get_or_make(now.tid)?;
    // SAFETY: as in `entry`.
    unsafe { (*state).flags |= STRANGER };
    begins(now, state, call)
}

#[inline(always)]
fn begins(now: Now, state: *mut TaskState, call: Call) -> Result<(), Miss> {
    let Call { epfd, events, maxevents, .. } = call;
    context::reset();
    let epoch = filter::epoch();
    // Mostly a task waits on what it waited on before.
    // SAFETY: a map value outlives the program's run; only this task's own calls write to it.
    let before = unsafe { if (*state).known_at == epoch { (*state).known } else { 0 } };
    let (mut ep, known) = files::eventpoll_or(files::of_current(epfd)?, before)?;
    if !known {
        ep = files::found_behind(epfd, ep, true)?;
    }
    // SAFETY: as above.
    unsafe {
        (*state).known = if known { ep } else { 0 };
        (*state).known_at = epoch;
        (*state).flags |= IN_WAIT;
        (*state).epfd = epfd;
        (*state).ep = ep;
        (*state).user_events = events;
    }
    rescue::begins(state, Point::WaitExit);
    if let Err(miss) = name_once(now, state) {
        count(Hook::WaitEnter, miss);
    }
    let timeout_ns = timeout::given(now, call)?;
    emit::<WaitEnter>(now, |record| {
        // SAFETY: `emit` gives a slot for one record.
        let record = unsafe { &mut *record };
        record.ep = ep;
        record.timeout_ns = timeout_ns;
        record.epfd = epfd;
        record.maxevents = maxevents;
    })?;
    if audit::on() {
        audit::walk(ep, audit_moment::WAIT);
    }
    Ok(())
}

/// Reports the current task's name once, when it first waits.
#[inline(always)]
pub(super) fn name_once(now: Now, state: *mut TaskState) -> Result<(), Miss> {
    // SAFETY: as in `entry`.
    if unsafe { (*state).flags } & NAMED != 0 {
        return Ok(());
    }
    // SAFETY: as in `entry`.
    unsafe { (*state).flags |= NAMED };
    let comm = bpf_get_current_comm().map_err(|_| Miss::ReadFailed)?;
    emit::<TaskName>(now, |record| {
        // SAFETY: `emit` gives a slot for one record.
        unsafe { (*record).comm = comm };
    })?;
    namespace::tell(now)
}

#[inline(always)]
pub(super) fn exit(ctx: *mut c_void, ret: i32) -> Result<(), Miss> {
    let now = Now::take();
    if path::on() {
        path::forget(now.tid);
    }
    let (mut ep, mut epfd, mut user_events) = (0, -1, 0);
    match tasks::get(now.tid) {
        // SAFETY: as in `entry`.
        Some(state) if unsafe { (*state).flags } & IN_WAIT != 0 => unsafe {
            ep = (*state).ep;
            epfd = (*state).epfd;
            user_events = (*state).user_events;
            (*state).flags &= !IN_WAIT;
        },
        // Signals or a time that make no sense: it never came to epoll.
        Some(state) if unsafe { (*state).flags } & NAMED != 0 && refused(ret) => return Ok(()),
        _ if filter::traced(now.tgid) => count(Hook::WaitExit, Miss::NoEntry),
        _ => return Ok(()),
    }
    let (captured, first) = first(ret, user_events);
    stacks::tell(ctx, now);
    emit::<WaitExit>(now, |record| {
        // SAFETY: `emit` gives a slot for one record.
        let record = unsafe { &mut *record };
        record.ep = ep;
        record.data = first.data;
        record.epfd = epfd;
        record.ret = ret;
        record.events = first.events;
        record.captured = captured;
    })?;
    for index in 1..MAX_RETURNED {
        if index >= captured {
            break;
        }
        if let Err(miss) = one(now, ep, user_events, index) {
            count(Hook::WaitExit, miss);
        }
    }
    Ok(())
}

/// Whether the kernel answers so to a call that it refuses before it looks at the eventpoll (`set_user_sigmask`, kernel/signal.c;
/// `get_timespec64`, `poll_select_set_timeout`, 5.10 to 7.3).
#[inline(always)]
const fn refused(ret: i32) -> bool {
    ret == EFAULT || ret == EINVAL
}

pub(super) const EFAULT: i32 = -14;
const EINVAL: i32 = -22;

/// What matters of a `struct epoll_event` in user memory (uapi/linux/eventpoll.h).
struct UserEvent {
    events: u32,
    data: u64,
}

/// How many of the returned events can be told, and the first of them.
#[inline(always)]
fn first(ret: i32, user_events: u64) -> (u32, UserEvent) {
    let none = UserEvent { events: 0, data: 0 };
    if ret <= 0 || user_events == 0 {
        return (0, none);
    }
    let Ok(event) = user_event(user_events, 0) else {
        count(Hook::WaitExit, Miss::ReadFailed);
        return (0, none);
    };
    if ret as u32 > MAX_RETURNED {
        count(Hook::WaitExit, Miss::Truncated);
        return (MAX_RETURNED, event);
    }
    (ret as u32, event)
}

#[inline(always)]
fn user_event(user_events: u64, index: u32) -> Result<UserEvent, Miss> {
    let stride = config!(user_event_bytes);
    let address = user_events + u64::from(index) * u64::from(stride);
    if stride == 12 {
        let [events, low, high]: [u32; 3] = kread::user(address)?;
        return Ok(UserEvent { events, data: u64::from(low) | u64::from(high) << 32 });
    }
    let [events, data]: [u64; 2] = kread::user(address)?;
    Ok(UserEvent { events: events as u32, data })
}

/// Reports one more event of the caller's array.
#[inline(always)]
fn one(now: Now, ep: u64, user_events: u64, index: u32) -> Result<(), Miss> {
    let event = user_event(user_events, index)?;
    emit::<Returned>(now, |record| {
        // SAFETY: `emit` gives a slot for one record.
        let record = unsafe { &mut *record };
        record.ep = ep;
        record.data = event.data;
        record.events = event.events;
        record.index = index;
    })
}

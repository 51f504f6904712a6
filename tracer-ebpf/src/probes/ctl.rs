//! `epoll_ctl`, the hook that an ADD installs, and what the registered file is.

use aya_ebpf::macros::{fentry, fexit, kprobe, kretprobe};
use aya_ebpf::programs::{FEntryContext, FExitContext, ProbeContext, RetProbeContext};
use tracer_common::events::{Ctl, FileInfo, Hooked, NO_EVENT};
use tracer_common::{Hook, Miss, OFFSET_UNKNOWN};

use crate::emit::{Now, emit, settle};
use crate::epitem::epitem;
use crate::globals::{config, offset};
use crate::{context, files, filter, kread, tasks};

/// `EPOLL_CTL_DEL` (uapi/linux/eventpoll.h): the event is not used.
const DEL: i32 = 2;
/// `AF_INET`, `AF_INET6` (include/linux/socket.h)
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// 5.10 to 7.3: `int do_epoll_ctl(int epfd, int op, int fd, struct epoll_event *epds, bool nonblock)`
#[fexit]
pub fn ctl_fexit(ctx: FExitContext) -> u32 {
    if !filter::enabled() {
        return 0;
    }
    let call = Call { epfd: ctx.arg(0), op: ctx.arg(1), fd: ctx.arg(2), event: ctx.arg(3) };
    settle(Hook::Ctl, body(Now::take(), call, ctx.arg(5)))
}

/// Keeps the arguments of [`ctl_fexit`] for [`ctl_kretprobe`].
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

/// As [`ctl_fexit`].
#[kretprobe]
pub fn ctl_kretprobe(ctx: RetProbeContext) -> u32 {
    if !filter::enabled() {
        return 0;
    }
    settle(Hook::Ctl, ended(ctx.ret()))
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
    let ep = files::eventpoll(files::of_current(call.epfd)?)?;
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
    file_info(now, item.file)
}

/// Says what a file is: its operations, its inode, and its addresses when it is an internet socket.
#[inline(always)]
fn file_info(now: Now, file: u64) -> Result<(), Miss> {
    let f_op: u64 = kread::kernel(file + offset!(file_f_op) as u64)?;
    let inode: u64 = kread::kernel(file + offset!(file_f_inode) as u64)?;
    let ino: u64 = kread::kernel(inode + offset!(inode_i_ino) as u64)?;
    let mut socket = Socket::NONE;
    let socket_fops = config!(socket_fops);
    if socket_fops != 0 && f_op == socket_fops {
        socket = Socket::of(kread::kernel(file + offset!(file_private_data) as u64)?)?;
    }
    emit::<FileInfo>(now, |record| {
        // SAFETY: `emit` gives a slot for one record.
        let record = unsafe { &mut *record };
        record.file = file;
        record.f_op = f_op;
        record.ino = ino;
        record.local = socket.local;
        record.remote = socket.remote;
        record.local_port = socket.local_port;
        record.remote_port = socket.remote_port;
        record.family = socket.family;
        record.sock_type = socket.sock_type;
        record.state = socket.state;
    })
}

/// Of a `struct socket` and its `struct sock_common` (include/net/sock.h).
struct Socket {
    local: [u8; 16],
    remote: [u8; 16],
    local_port: u16,
    remote_port: u16,
    family: u16,
    sock_type: u8,
    state: u8,
}

impl Socket {
    const NONE: Self =
        Self { local: [0; 16], remote: [0; 16], local_port: 0, remote_port: 0, family: 0, sock_type: 0, state: 0 };

    #[inline(always)]
    fn of(socket: u64) -> Result<Self, Miss> {
        let sock_type: u16 = kread::kernel(socket + offset!(socket_type) as u64)?;
        let sk: u64 = kread::kernel(socket + offset!(socket_sk) as u64)?;
        let mut this = Self::NONE;
        this.sock_type = sock_type as u8;
        this.family = kread::kernel(sk + offset!(skc_family) as u64)?;
        this.state = kread::kernel(sk + offset!(skc_state) as u64)?;
        if this.family != AF_INET && this.family != AF_INET6 {
            return Ok(this);
        }
        this.local_port = kread::kernel(sk + offset!(skc_num) as u64)?;
        this.remote_port = u16::from_be(kread::kernel(sk + offset!(skc_dport) as u64)?);
        if this.family == AF_INET6 && offset!(skc_v6_rcv_saddr) != OFFSET_UNKNOWN as usize {
            this.local = kread::kernel(sk + offset!(skc_v6_rcv_saddr) as u64)?;
            this.remote = kread::kernel(sk + offset!(skc_v6_daddr) as u64)?;
            return Ok(this);
        }
        let local: [u8; 4] = kread::kernel(sk + offset!(skc_rcv_saddr) as u64)?;
        let remote: [u8; 4] = kread::kernel(sk + offset!(skc_daddr) as u64)?;
        this.local = widen(local);
        this.remote = widen(remote);
        Ok(this)
    }
}

#[inline(always)]
const fn widen([a, b, c, d]: [u8; 4]) -> [u8; 16] {
    [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
}

//! An eventpoll as it stands, for `eptrace snapshot`.
//!
//! The collector reads `/proc/PID/fdinfo/FD`. The kernel then takes the eventpoll's mutex, goes through the tree and calls
//! `seq_printf` once for each item (`ep_show_fdinfo`, fs/eventpoll.c, 5.10 to 7.3). At each call one item is told, and one item of the
//! ready list: with the mutex held no item comes or goes, no scan runs, and the ready list only grows at its end, so what is told is
//! of one piece, however many items there are, and the text that the kernel writes meanwhile is of the same moment. Where the text
//! outgrows its buffer, the kernel begins anew: another pass.

mod queues;
mod tree;

use core::ffi::c_void;

use aya_ebpf::macros::{kprobe, kretprobe, map};
use aya_ebpf::maps::Array;
use aya_ebpf::programs::{ProbeContext, RetProbeContext};
use tracer_common::snapshot::{Begun, Ended, OpenFile, level};
use tracer_common::{COMM_LEN, Miss, OFFSET_UNKNOWN};

use crate::emit::{Now, tell};
use crate::globals::{config, offset};
use crate::maps::TGIDS;
use crate::{files, kread, task_file};

/// One entry: a [`level`].
#[map]
static SNAPSHOT_LEVEL: Array<u32> = Array::with_max_entries(1, 0);

/// Instead of a node's address: the first of the tree.
const FIRST: u64 = 1;

/// Where the reading stands.
#[map]
static SNAPSHOT: Array<State> = Array::with_max_entries(1, 0);

/// The collector has one thread that reads. One that it gave up, because a mutex could not be had, may go on at any time: its steps
/// are none of this reading's, and where it begins anew, the reading is incomplete and made again.
#[repr(C)]
struct State {
    /// The eventpoll that is read; 0 when none is.
    ep: u64,
    /// The tree's node to be told next; [`FIRST`], and 0 behind the last.
    node: u64,
    /// The link of the ready list that was told last; at first the list itself.
    ready: u64,
    /// Numbers the passes.
    pass: u32,
    /// Items told.
    items: u32,
    /// Items of the ready list told.
    listed: u32,
    /// A bit for each [`Miss`].
    misses: u32,
    /// The thread that reads.
    tid: u32,
    /// Zero.
    pad: u32,
}

/// The state, when it is eptrace that runs, and it wants to know so much.
#[inline(always)]
fn reading(least: u32) -> Option<&'static mut State> {
    if Now::task().tgid != config!(own_tgid) || told_level() < least {
        return None;
    }
    // SAFETY: a map value outlives the program's run; see `State` for who else gets here.
    SNAPSHOT.get_ptr_mut(0).map(|state| unsafe { &mut *state })
}

#[inline(always)]
fn told_level() -> u32 {
    SNAPSHOT_LEVEL.get(0).copied().unwrap_or(level::NOTHING)
}

/// Notes what befell a step.
#[inline(always)]
fn note(state: &mut State, result: Result<(), Miss>) {
    if let Err(miss) = result {
        state.misses |= 1 << (miss as u32);
    }
}

/// Runs once for every open file of every task; the last time without a task.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
pub fn snapshot_files(ctx: *mut c_void) -> u32 {
    task_file::each(ctx, open_file)
}

#[inline(always)]
fn open_file(task: u64, fd: i32, file: u64) -> Result<(), Miss> {
    let tgid: u32 = kread::kernel(task + offset!(task_tgid) as u64)?;
    let f_op: u64 = kread::kernel(file + offset!(file_f_op) as u64)?;
    let is_ep = f_op == config!(eventpoll_fops);
    if !is_ep && TGIDS.get_ptr(tgid).is_none() {
        return Ok(());
    }
    let ep: u64 = if is_ep { kread::kernel(file + offset!(file_private_data) as u64)? } else { 0 };
    tell::<OpenFile>(Now::task(), |record| {
        // SAFETY: `tell` gives a slot for one record.
        let record = unsafe { &mut *record };
        record.file = file;
        record.ep = ep;
        record.tgid = tgid;
        record.fd = fd;
    })
}

/// Before the mutex is taken.
///
/// 5.10 to 7.3: `void ep_show_fdinfo(struct seq_file *m, struct file *f)`
#[kprobe]
pub fn snapshot_begin_kprobe(ctx: ProbeContext) -> u32 {
    let Some(state) = reading(level::BEGINNINGS) else { return 0 };
    let Some(file) = ctx.arg::<u64>(1) else { return 0 };
    state.ep = 0;
    state.tid = Now::task().tid;
    state.pass += 1;
    state.items = 0;
    state.listed = 0;
    state.misses = 0;
    let done = begin(state, file);
    note(state, done);
    0
}

#[inline(always)]
fn begin(state: &mut State, file: u64) -> Result<(), Miss> {
    let (ep, _) = files::eventpoll(file)?;
    // Which node is the first can only be said with the mutex held.
    state.node = FIRST;
    state.ready = ep + offset!(ep_rdllist) as u64;
    state.ep = ep;
    let ovflist: u64 = kread::kernel(ep + offset!(ep_ovflist) as u64)?;
    let owner = owner(ep)?;
    let (tgid, tid, comm) = task(owner)?;
    tell::<Begun>(Now::take(), |record| {
        // SAFETY: `tell` gives a slot for one record.
        let record = unsafe { &mut *record };
        record.ep = ep;
        record.ovflist = ovflist;
        record.owner = owner;
        record.pass = state.pass;
        record.tgid = tgid;
        record.tid = tid;
        record.pad = 0;
        record.comm = comm;
    })?;
    queues::overflow(state, ovflist)?;
    if told_level() < level::ALL { Ok(()) } else { queues::waiters(state, 0) }
}

/// The task that holds the mutex; 0 when none does, or it cannot be known. The lowest three bits of the word are flags
/// (kernel/locking/mutex.h, `MUTEX_FLAGS`, 5.10 to 7.3).
#[inline(always)]
fn owner(ep: u64) -> Result<u64, Miss> {
    if offset!(ep_mtx_owner) == OFFSET_UNKNOWN as usize {
        return Ok(0);
    }
    Ok(kread::kernel::<u64>(ep + offset!(ep_mtx_owner) as u64)? & !7)
}

/// Thread group, number and name of a task; zeros for none.
#[inline(always)]
fn task(task: u64) -> Result<(u32, u32, [u8; COMM_LEN]), Miss> {
    if task == 0 {
        return Ok((0, 0, [0; COMM_LEN]));
    }
    Ok((
        kread::kernel(task + offset!(task_tgid) as u64)?,
        kread::kernel(task + offset!(task_pid) as u64)?,
        kread::kernel(task + offset!(task_comm) as u64)?,
    ))
}

/// With the mutex held, once for each item.
///
/// 5.10 to 7.3: `void seq_printf(struct seq_file *m, const char *f, ...)`
#[kprobe]
pub fn snapshot_item_kprobe(_ctx: ProbeContext) -> u32 {
    let Some(state) = reading(level::ALL) else { return 0 };
    if state.ep != 0 && state.node != 0 && state.tid == Now::task().tid {
        let done = item(state);
        note(state, done);
    }
    0
}

#[inline(always)]
fn item(state: &mut State) -> Result<(), Miss> {
    let node = match state.node {
        FIRST => kread::kernel(state.ep + offset!(ep_rb_leftmost) as u64)?,
        next => next,
    };
    state.node = 0;
    tree::item(state, node)?;
    queues::ready(state)?;
    // Last: every level that it may end at is a way of its own for the verifier.
    state.node = tree::successor(node)?;
    if state.node == 0 { queues::rooted(state) } else { Ok(()) }
}

/// When the mutex is released.
#[kretprobe]
pub fn snapshot_end_kretprobe(_ctx: RetProbeContext) -> u32 {
    let Some(state) = reading(level::ALL) else { return 0 };
    if state.ep != 0 && state.tid == Now::task().tid {
        let walked = queues::waiters(state, 1);
        note(state, walked);
        let _ = end(state);
        state.ep = 0;
    }
    0
}

#[inline(always)]
fn end(state: &State) -> Result<(), Miss> {
    let root: u64 = kread::kernel(state.ep + offset!(ep_rb_root) as u64)?;
    let polled = queues::count(state.ep + offset!(ep_poll_wait) as u64, 0, 0)?;
    tell::<Ended>(Now::take(), |record| {
        // SAFETY: `tell` gives a slot for one record.
        let record = unsafe { &mut *record };
        record.ep = state.ep;
        record.root = root;
        record.pass = state.pass;
        record.items = state.items;
        record.misses = state.misses;
        record.polled = polled.entries;
    })
}

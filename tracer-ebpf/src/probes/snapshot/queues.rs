//! Lists and wait queues of an eventpoll. None of them needs the eventpoll's mutex to change but the ready list to shrink: what was
//! read is compared in user space with what was read again.

use tracer_common::Miss;
use tracer_common::snapshot::{
    Listed, MAX_OVERFLOW, MAX_QUEUE, MAX_WAITERS, Rooted, Waited, Waiter, entry_flags, listed_on,
};

use super::State;
use crate::emit::{Now, tell};
use crate::epitem::UNACTIVE;
use crate::globals::offset;
use crate::kread;

/// `WQ_FLAG_EXCLUSIVE` (include/linux/wait.h, 5.10 to 7.3).
const WQ_FLAG_EXCLUSIVE: u32 = 1;
/// Items that may come to the ready list while the last of the tree is told.
const LAST_STEPS: u32 = 8;

/// `struct wait_queue_entry` (include/linux/wait.h, 5.10 to 7.3; the collector has compared the places with BTF).
#[repr(C)]
#[derive(Clone, Copy)]
struct WaitEntry {
    flags: u32,
    pad: u32,
    private: u64,
    func: u64,
    next: u64,
    prev: u64,
}

impl WaitEntry {
    const NONE: Self = Self { flags: 0, pad: 0, private: 0, func: 0, next: 0, prev: 0 };
}

/// What was found on a wait queue.
pub(super) struct Queue {
    pub(super) flags: u32,
    pub(super) entries: u32,
    pub(super) epolls: u32,
    pub(super) exclusive: u32,
    pub(super) position: u32,
}

impl Queue {
    pub(super) const NONE: Self = Self { flags: 0, entries: 0, epolls: 0, exclusive: 0, position: 0 };
}

/// 1 where the numbers differ, else 0, without a branch: each one in a loop would be two more ways for the verifier to follow.
#[inline(always)]
fn differ(one: u64, other: u64) -> u32 {
    let difference = one ^ other;
    // Opaque, or the compiler makes a branch of it.
    (core::hint::black_box(difference | difference.wrapping_neg()) >> 63) as u32
}

/// Counts the entries of a wait queue: those whose function is `func`, those that are exclusive, and where `own` stands.
#[inline(always)]
pub(super) fn count(whead: u64, own: u64, func: u64) -> Result<Queue, Miss> {
    let head = whead + offset!(whead_head) as u64;
    let mut link: u64 = kread::kernel(head)?;
    let mut queue = Queue::NONE;
    // 1 until the own entry was met.
    let mut before = 1;
    let mut failed = 0;
    while queue.entries < MAX_QUEUE && link != head {
        let at = link.wrapping_sub(offset!(wait_entry) as u64);
        let mut entry = WaitEntry::NONE;
        // SAFETY: of integers only.
        failed |= unsafe { kread::into(&raw mut entry, at) };
        let exclusive = entry.flags & WQ_FLAG_EXCLUSIVE;
        let other = differ(at, own);
        before &= other;
        queue.position += before;
        // `entry_flags::EXCLUSIVE` is the same bit.
        queue.flags |= exclusive & (1 - other);
        queue.entries += 1;
        queue.exclusive += exclusive;
        queue.epolls += 1 - differ(entry.func, func);
        link = entry.next;
    }
    if failed != 0 {
        return Err(Miss::ReadFailed);
    }
    queue.flags |= (1 - before) * entry_flags::FOUND;
    if link == head {
        queue.flags |= entry_flags::WHOLE;
    }
    Ok(queue)
}

/// Tells the tasks that sleep in `epoll_wait`.
#[inline(always)]
pub(super) fn waiters(state: &State, walk: u32) -> Result<(), Miss> {
    let head = state.ep + (offset!(ep_wq) + offset!(whead_head)) as u64;
    let mut link: u64 = kread::kernel(head)?;
    let mut told = 0;
    let mut failed = 0;
    let pass = state.pass;
    while told < MAX_WAITERS && link != head {
        let at = link.wrapping_sub(offset!(wait_entry) as u64);
        let mut entry = WaitEntry::NONE;
        // SAFETY: of integers only.
        failed |= unsafe { kread::into(&raw mut entry, at) };
        tell::<Waiter>(Now { ts_ns: 0, tgid: 0, tid: 0 }, |record| {
            let task = entry.private;
            let [tgid, tid, comm] =
                [offset!(task_tgid), offset!(task_pid), offset!(task_comm)].map(|offset| task + offset as u64);
            // SAFETY: `tell` gives a slot for one record, of integers only.
            unsafe {
                (*record).link = link;
                (*record).prev = entry.prev;
                (*record).task = task;
                failed |= kread::into(&raw mut (*record).tgid, tgid);
                failed |= kread::into(&raw mut (*record).tid, tid);
                failed |= kread::into(&raw mut (*record).comm, comm);
                (*record).flags = entry.flags;
                (*record).walk = walk;
                (*record).index = told;
                (*record).pass = pass;
            }
        })?;
        told += 1;
        link = entry.next;
    }
    if failed != 0 {
        return Err(Miss::ReadFailed);
    }
    tell::<Waited>(Now::task(), |record| {
        // SAFETY: as above.
        let record = unsafe { &mut *record };
        record.head = head;
        record.pass = state.pass;
        record.walk = walk;
        record.waiters = told;
        record.whole = u32::from(link == head);
    })
}

/// Tells the overflow list, where a scan runs. Nobody takes an item from it or frees one before that scan is over.
#[inline(always)]
pub(super) fn overflow(state: &State, ovflist: u64) -> Result<(), Miss> {
    let mut epi = ovflist;
    let mut told = 0;
    while told < MAX_OVERFLOW && epi != 0 && epi != UNACTIVE {
        let link = epi + offset!(epitem_ovflist_next) as u64;
        listed(state, listed_on::OVERFLOW, told, [epi, link, 0])?;
        told += 1;
        epi = kread::kernel(link)?;
    }
    Ok(())
}

/// Tells the next item of the ready list, if there is one.
#[inline(always)]
pub(super) fn ready(state: &mut State) -> Result<(), Miss> {
    let head = state.ep + offset!(ep_rdllist) as u64;
    let link: u64 = kread::kernel(state.ready)?;
    if link == head {
        return Ok(());
    }
    // `struct list_head { next, prev }`
    let prev: u64 = kread::kernel(link + 8)?;
    let epi = link.wrapping_sub(offset!(epitem_rdllink) as u64);
    listed(state, listed_on::READY, state.listed, [epi, link, prev])?;
    state.listed += 1;
    state.ready = link;
    Ok(())
}

/// Tells the root, after the last item: what else came to the ready list meanwhile comes first.
#[inline(always)]
pub(super) fn rooted(state: &mut State) -> Result<(), Miss> {
    for _ in 0..LAST_STEPS {
        let before = state.listed;
        ready(state)?;
        if state.listed == before {
            break;
        }
    }
    let ready_head = state.ep + offset!(ep_rdllist) as u64;
    let root: u64 = kread::kernel(state.ep + offset!(ep_rb_root) as u64)?;
    let leftmost: u64 = kread::kernel(state.ep + offset!(ep_rb_leftmost) as u64)?;
    let ready_last: u64 = kread::kernel(ready_head + 8)?;
    let ovflist: u64 = kread::kernel(state.ep + offset!(ep_ovflist) as u64)?;
    tell::<Rooted>(Now::take(), |record| {
        // SAFETY: `tell` gives a slot for one record.
        let record = unsafe { &mut *record };
        record.ep = state.ep;
        record.root = root;
        record.leftmost = leftmost;
        record.ready_head = ready_head;
        record.ready_last = ready_last;
        record.ovflist = ovflist;
        record.pass = state.pass;
        record.items = state.items;
        record.ready = state.listed;
        record.pad = 0;
    })
}

#[inline(always)]
fn listed(state: &State, list: u32, index: u32, [epi, link, prev]: [u64; 3]) -> Result<(), Miss> {
    tell::<Listed>(Now::task(), |record| {
        // SAFETY: `tell` gives a slot for one record.
        let record = unsafe { &mut *record };
        record.epi = epi;
        record.link = link;
        record.prev = prev;
        record.list = list;
        record.index = index;
        record.pass = state.pass;
        record.pad = 0;
    })
}

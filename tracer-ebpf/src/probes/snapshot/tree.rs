//! The red-black tree of an eventpoll: its items, one after another.

use tracer_common::Miss;
use tracer_common::snapshot::{Entry, MAX_CHAIN, Node};

use super::{State, queues};
use crate::emit::{Now, tell};
use crate::globals::{config, offset};
use crate::{epitem, file_info, kread};

/// The most levels of a tree: twice the logarithm of a billion items.
const MAX_LEVELS: u32 = 60;
/// The bits of `__rb_parent_color` that are no address (include/linux/rbtree_augmented.h, 5.10 to 7.3).
const COLOR: u64 = 3;

/// The node that follows in the tree's order, 0 behind the last: what `rb_next` finds (lib/rbtree.c, 5.10 to 7.3).
#[inline(always)]
pub(super) fn successor(node: u64) -> Result<u64, Miss> {
    let right: u64 = kread::kernel(node + offset!(rb_right) as u64)?;
    if right != 0 {
        return leftmost(right);
    }
    let mut child = node;
    for _ in 0..MAX_LEVELS {
        let word: u64 = kread::kernel(child + offset!(rb_parent_color) as u64)?;
        let parent = word & !COLOR;
        if parent == 0 {
            return Ok(0);
        }
        let right: u64 = kread::kernel(parent + offset!(rb_right) as u64)?;
        if right != child {
            return Ok(parent);
        }
        child = parent;
    }
    Err(Miss::TooDeep)
}

#[inline(always)]
fn leftmost(from: u64) -> Result<u64, Miss> {
    let mut node = from;
    for _ in 0..MAX_LEVELS {
        let left: u64 = kread::kernel(node + offset!(rb_left) as u64)?;
        if left == 0 {
            return Ok(node);
        }
        node = left;
    }
    Err(Miss::TooDeep)
}

/// Tells an item, what its file is, and its chain.
#[inline(always)]
pub(super) fn item(state: &mut State, node: u64) -> Result<(), Miss> {
    let epi = node.wrapping_sub(offset!(epitem_rbn) as u64);
    let parent_color: u64 = kread::kernel(node + offset!(rb_parent_color) as u64)?;
    let left: u64 = kread::kernel(node + offset!(rb_left) as u64)?;
    let right: u64 = kread::kernel(node + offset!(rb_right) as u64)?;
    let item = epitem::epitem(epi)?;
    let f_op: u64 = kread::kernel(item.file + offset!(file_f_op) as u64)?;
    let inner: u64 =
        if f_op == config!(eventpoll_fops) { kread::kernel(item.file + offset!(file_private_data) as u64)? } else { 0 };
    tell::<Node>(Now::task(), |record| {
        // SAFETY: `tell` gives a slot for one record.
        let record = unsafe { &mut *record };
        record.epi = epi;
        record.node = node;
        record.parent_color = parent_color;
        record.left = left;
        record.right = right;
        record.file = item.file;
        record.inner = inner;
        record.data = item.data;
        record.events = item.events;
        record.fd = item.fd;
        record.pass = state.pass;
        record.index = state.items;
    })?;
    state.items += 1;
    file_info::emit_info(Now::task(), item.file)?;
    chain(state, epi)
}

/// The `eppoll_entry`s of an item. `epitem.pwqlist` points to the first, and each to the next; before 5.11 the same words are a list
/// whose end is its head.
#[inline(always)]
fn chain(state: &State, epi: u64) -> Result<(), Miss> {
    let head = epi + offset!(epitem_pwqlist) as u64;
    let mut pwq: u64 = kread::kernel(head)?;
    for _ in 0..MAX_CHAIN {
        if pwq == 0 || pwq == head {
            return Ok(());
        }
        let whead: u64 = kread::kernel(pwq + offset!(pwq_whead) as u64)?;
        let wait = pwq + offset!(pwq_wait) as u64;
        let func: u64 = kread::kernel(wait + offset!(wait_func) as u64)?;
        // `POLLFREE` took the queue away.
        let found = if whead == 0 { queues::Queue::NONE } else { queues::count(whead, wait, func)? };
        tell::<Entry>(Now::task(), |record| {
            // SAFETY: `tell` gives a slot for one record.
            let record = unsafe { &mut *record };
            record.epi = epi;
            record.pwq = pwq;
            record.whead = whead;
            record.pass = state.pass;
            record.flags = found.flags;
            record.entries = found.entries;
            record.epolls = found.epolls;
            record.exclusive = found.exclusive;
            record.position = found.position;
        })?;
        pwq = kread::kernel(pwq)?;
    }
    Ok(())
}

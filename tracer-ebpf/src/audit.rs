//! Walks of the kernel's own lists, to compare the model with (`--audit`); nothing of this is left in the programs without it.
//!
//! A walk takes no lock. It counts only when nothing changed the lists meanwhile: everything that does (a callback, `epoll_ctl`,
//! the end of a scan, the end of a file) says when it begins and when it ends, per eventpoll, and a scan in between shows in
//! `ep->ovflist`. The list is followed by reads that cannot fault, for at most [`MAX_WALKED`] items.

use core::arch::asm;

use aya_ebpf::macros::map;
use aya_ebpf::maps::Array;
use tracer_common::events::{Audited, AuditedItem, Raced, audit_flags, audit_list, audit_moment};
use tracer_common::{Hook, MAX_WALKED, Miss};

use crate::atomic::add_one;
use crate::emit::{Now, count, emit};
use crate::epitem::UNACTIVE;
use crate::globals::{config, offset};
use crate::kread;

/// A power of two. Eventpolls that share a slot only make walks count less often.
const SLOTS: u32 = 4096;

/// How many changes of an eventpoll's lists have begun, and how many have ended.
#[repr(C)]
pub(crate) struct Changes {
    begun: u64,
    ended: u64,
}

/// Slot 0: the ends of files, which may change any eventpoll.
#[map]
static CHANGES: Array<Changes> = Array::with_max_entries(SLOTS, 0);

/// The changes of an eventpoll and of all, at one moment.
#[derive(Clone, Copy)]
pub(crate) struct Snapshot {
    pub(crate) begun: u64,
    pub(crate) ended: u64,
}

/// Whether the probes walk lists at all.
#[inline(always)]
pub(crate) fn on() -> bool {
    config!(audit) != 0
}

#[inline(always)]
fn slot(ep: u64) -> Option<*mut Changes> {
    let index = if ep == 0 { 0 } else { (ep >> 6) as u32 % (SLOTS - 1) + 1 };
    CHANGES.get_ptr_mut(index)
}

/// A change of this eventpoll's lists begins; 0: of any eventpoll's.
#[inline(always)]
pub(crate) fn begin(ep: u64) {
    if let Some(slot) = slot(ep) {
        // SAFETY: a map value outlives the program's run.
        unsafe { add_one(&raw mut (*slot).begun) };
    }
}

/// The change is over.
#[inline(always)]
pub(crate) fn end(ep: u64) {
    if let Some(slot) = slot(ep) {
        // SAFETY: as in `begin`.
        unsafe { add_one(&raw mut (*slot).ended) };
    }
}

/// Changes of this eventpoll, and of any.
#[inline(always)]
pub(crate) fn snapshot(ep: u64) -> Snapshot {
    let mut sum = Snapshot { begun: 0, ended: 0 };
    if let (Some(own), Some(all)) = (slot(ep), slot(0)) {
        // SAFETY: as in `begin`. What has ended is read first: a change in between then looks as if it were under way.
        unsafe {
            sum.ended = read(&raw const (*own).ended) + read(&raw const (*all).ended);
            sum.begun = read(&raw const (*own).begun) + read(&raw const (*all).begun);
        }
    }
    sum
}

/// A plain load: BPF has no other, and x86-64 keeps the order of loads.
#[inline(always)]
unsafe fn read(counter: *const u64) -> u64 {
    // SAFETY: the caller's pointer is valid.
    unsafe { core::ptr::read_volatile(counter) }
}

/// Whether no other change ran between the beginning of this one, which `before` counts, and now.
#[inline(always)]
pub(crate) fn alone(ep: u64, before: Snapshot) -> bool {
    let now = snapshot(ep);
    before.begun == before.ended + 1 && now.begun == before.begun && now.ended == before.ended
}

/// A callback ended: tells whether another change ran at the same time, and what the lists are now.
#[inline(always)]
pub(crate) fn callback_ended(ep: u64, epi: u64, callback_ts: u64, before: Snapshot, scanning: bool) {
    let alone = alone(ep, before);
    let ovflist: u64 = kread::kernel(ep + offset!(ep_ovflist) as u64).unwrap_or(0);
    let raced = !alone || (ovflist != UNACTIVE) != scanning;
    end(ep);
    if raced && callback_ts != 0 {
        let told = emit::<Raced>(Now::take(), |record| {
            // SAFETY: `emit` gives a slot for one record.
            let record = unsafe { &mut *record };
            record.ep = ep;
            record.epi = epi;
            record.callback_ts = callback_ts;
        });
        settle(told);
    }
    if callback_ts != 0 {
        walk(ep, audit_moment::CALLBACK);
    }
}

/// Walks the ready list, if nothing is under way.
#[inline(always)]
pub(crate) fn walk(ep: u64, moment: u32) {
    if ep == 0 {
        return;
    }
    let before = snapshot(ep);
    let now = Now::take();
    let walked = if before.begun == before.ended { quiet_walk(now, ep, before) } else { Err(Miss::NoEntry) };
    // Else something was under way, or an item went while the list was followed.
    let (flags, told) = walked.unwrap_or((0, 0));
    settle(tell(now, ep, moment, flags, told));
}

#[inline(always)]
fn quiet_walk(now: Now, ep: u64, before: Snapshot) -> Result<(u32, u32), Miss> {
    let ovflist = ep + offset!(ep_ovflist) as u64;
    if kread::kernel::<u64>(ovflist)? != UNACTIVE {
        return Err(Miss::NoEntry);
    }
    let (told, more) = items(now, ep, &List::linked(ep + offset!(ep_rdllist) as u64, audit_list::READY))?;
    let after = snapshot(ep);
    let quiet = after.begun == before.begun && kread::kernel::<u64>(ovflist)? == UNACTIVE;
    let valid = if quiet { audit_flags::VALID } else { 0 };
    Ok((valid | more, told))
}

/// A scan ends: the ready list holds what it put back, `left` what it did not reach, and the overflow list what was called back
/// meanwhile. `ep->mtx` is held, so only a callback can change one of them. What is under way elsewhere is not
/// told yet: then the walk does not count. `before` is older than `now`.
#[inline(always)]
pub(crate) fn scan_ends(now: Now, ep: u64, left: u64, before: Snapshot) {
    settle(scan_lists(now, ep, left, before));
}

#[inline(always)]
fn scan_lists(now: Now, ep: u64, left: u64, before: Snapshot) -> Result<(), Miss> {
    let (told, more) = items(now, ep, &List::linked(ep + offset!(ep_rdllist) as u64, audit_list::READY))?;
    let (told_left, more_left) = items(now, ep, &List::linked(left, audit_list::LEFT_OVER))?;
    let (told_over, more_over) = items(now, ep, &List::overflow(ep))?;
    let after = snapshot(ep);
    let quiet = before.begun == before.ended && after.begun == before.begun;
    let valid = if quiet { audit_flags::VALID } else { 0 };
    tell(now, ep, audit_moment::SCAN_END, valid | more | more_left | more_over, told + told_left + told_over)
}

/// A list of epitems, as a walk follows it.
struct List {
    /// [`audit_list`]
    name: u32,
    /// Where the address of the first link is.
    first: u64,
    /// The link behind the last.
    end: u64,
    /// From an epitem to its link, and from a link to the address of the next, in bytes.
    link: u64,
    next: u64,
}

impl List {
    /// A `struct list_head` of `epitem.rdllink`.
    #[inline(always)]
    fn linked(head: u64, name: u32) -> Self {
        Self { name, first: head, end: head, link: offset!(epitem_rdllink) as u64, next: 0 }
    }

    /// `eventpoll.ovflist` of a scan that runs: the first epitem; each has the next, the last has none.
    #[inline(always)]
    fn overflow(ep: u64) -> Self {
        let first = ep + offset!(ep_ovflist) as u64;
        Self { name: audit_list::OVERFLOW, first, end: 0, link: 0, next: offset!(epitem_ovflist_next) as u64 }
    }
}

/// Tells the items of a list: how many, and whether there are more.
#[inline(always)]
fn items(now: Now, ep: u64, list: &List) -> Result<(u32, u32), Miss> {
    let mut link: u64 = kread::kernel(list.first)?;
    let mut told = unknown_zero(now.ts_ns);
    for _ in 0..MAX_WALKED {
        if link == list.end {
            return Ok((told, 0));
        }
        emit::<AuditedItem>(now, |record| {
            // SAFETY: `emit` gives a slot for one record.
            let record = unsafe { &mut *record };
            record.ep = ep;
            record.epi = link.wrapping_sub(list.link);
            record.list = list.name;
            record.index = told;
        })?;
        told += 1;
        link = kread::kernel(link.wrapping_add(list.next))?;
    }
    Ok((told, audit_flags::TRUNCATED))
}

/// Zero, of which the verifier does not know it: it would go through what follows a loop anew for each number of items.
#[inline(always)]
fn unknown_zero(number: u64) -> u32 {
    let mut zero = number;
    // SAFETY: two registers.
    unsafe {
        asm!("{zero} ^= {number}", zero = inout(reg) zero, number = in(reg) number, options(pure, nomem, nostack))
    };
    zero as u32
}

#[inline(always)]
fn tell(now: Now, ep: u64, moment: u32, flags: u32, told: u32) -> Result<(), Miss> {
    emit::<Audited>(now, |record| {
        // SAFETY: `emit` gives a slot for one record.
        let record = unsafe { &mut *record };
        record.ep = ep;
        record.moment = moment;
        record.flags = flags;
        record.count = told;
        record.pad = 0;
    })
}

#[inline(always)]
fn settle(result: Result<(), Miss>) {
    if let Err(miss) = result {
        count(Hook::Audit, miss);
    }
}

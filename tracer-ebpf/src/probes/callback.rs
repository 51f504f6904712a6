//! `ep_poll_callback`: a source tells an epitem that something happened.

use core::mem::MaybeUninit;

use aya_ebpf::macros::{fentry, fexit, kprobe, kretprobe};
use aya_ebpf::programs::{FEntryContext, FExitContext, ProbeContext, RetProbeContext};
use tracer_common::events::{Callback, callback_flags};
use tracer_common::{Hook, Miss};

use crate::audit::{self, Snapshot};
use crate::context::Audit;
use crate::emit::{Now, emit_on, settle};
use crate::epitem::{New, Room, UNACTIVE, alive};
use crate::globals::offset;
use crate::{context, filter, kread};

/// `WQ_FLAG_EXCLUSIVE` (include/linux/wait.h)
const EXCLUSIVE: u32 = 1;

/// 5.10 to 7.3: `int ep_poll_callback(wait_queue_entry_t *wait, unsigned mode, int sync, void *key)`
#[fentry]
pub fn callback_fentry(ctx: FEntryContext) -> u32 {
    enter(ctx.arg(0), ctx.arg(3))
}

/// As [`callback_fentry`].
#[kprobe]
pub fn callback_kprobe(ctx: ProbeContext) -> u32 {
    match (ctx.arg(0), ctx.arg(3)) {
        (Some(wait), Some(key)) => enter(wait, key),
        _ => 0,
    }
}

/// The end of the call that [`callback_fentry`] saw.
#[fexit]
pub fn callback_fexit(_ctx: FExitContext) -> u32 {
    leave()
}

/// As [`callback_fexit`].
#[kretprobe]
pub fn callback_kretprobe(_ctx: RetProbeContext) -> u32 {
    leave()
}

#[inline(always)]
fn leave() -> u32 {
    // Where tracing is off, nothing was pushed.
    if audit::on()
        && let Some((ts_ns, ep, kept)) = context::ending()
    {
        context::pop();
        if kept.epi != 0 {
            let before = Snapshot { begun: kept.begun, ended: kept.ended };
            audit::callback_ended(ep, kept.epi, ts_ns, before, kept.scanning != 0);
        }
        return 0;
    }
    context::pop();
    0
}

#[inline(always)]
fn enter(wait: u64, key: u64) -> u32 {
    if !filter::enabled() {
        return 0;
    }
    settle(Hook::Callback, body(wait, key))
}

/// Of a callback that the audit leaves out: its eventpoll is not under trace, or could not be read.
const NOT_AUDITED: Audit = Audit { epi: 0, begun: 0, ended: 0, scanning: 0 };

/// The wait queue entry and what surrounds it in its `struct eppoll_entry`, in longs from `base` on: base, flags (and padding), private,
/// func, entry.next, entry.prev, whead. Each is read when it is asked for, as of [`New`].
#[derive(Clone, Copy)]
pub(super) struct Entry {
    longs: *const u64,
    pub(super) epi: u64,
}

impl Entry {
    #[inline(always)]
    fn of(longs: *const u64) -> Result<Self, Miss> {
        // SAFETY: as in `at`.
        let epi = unsafe { *longs };
        if epi == 0 { Err(Miss::ReadFailed) } else { Ok(Self { longs, epi }) }
    }

    #[inline(always)]
    fn at(self, place: usize) -> u64 {
        // SAFETY: seven longs were read; the verifier refuses any other.
        unsafe { *self.longs.add(place) }
    }

    #[inline(always)]
    fn flags(self) -> u32 {
        self.at(1) as u32
    }

    #[inline(always)]
    fn prev(self) -> u64 {
        self.at(5)
    }

    #[inline(always)]
    fn whead(self) -> u64 {
        self.at(6)
    }
}

/// From `eppoll_entry.base` to `wait`, and from there to `wait.entry`, in bytes: the loader has seen to it that it is so.
const WAIT: u64 = 8;
const ENTRY: u64 = 24;

/// Reads the entry's neighbourhood: `eppoll_entry.{base, wait, whead}` lie together from 5.10 to 7.3, base first. `room` is where it is
/// copied to if it cannot be read in place.
#[inline(always)]
pub(super) fn entry(wait: u64, room: &mut MaybeUninit<[u64; 7]>) -> Result<Entry, Miss> {
    let base = wait.wrapping_sub(WAIT);
    if kread::can_in_place() {
        return Entry::of(kread::in_place(base));
    }
    // SAFETY: the room is as large as what is read.
    if unsafe { kread::into(room.as_mut_ptr(), base) } != 0 {
        return Err(Miss::ReadFailed);
    }
    Entry::of(room.as_ptr().cast())
}

/// No `eventpoll.ovflist`: no item lies there.
const UNREADABLE: u64 = 1;

/// `eventpoll.ovflist`, or [`UNREADABLE`]: of an error, the compiler would look at a value that is not there, which a verifier refuses.
#[inline(always)]
pub(super) fn overflow(ep: u64) -> u64 {
    let address = ep + offset!(ep_ovflist) as u64;
    if !kread::can_in_place() {
        return kread::kernel(address).unwrap_or(UNREADABLE);
    }
    // SAFETY: as in `Entry::at`.
    unsafe { *kread::in_place(address) }
}

#[inline(always)]
fn body(wait: u64, key: u64) -> Result<(), Miss> {
    let mut now = Now::take();
    let mut entering = context::enter()?;
    let (mut around, mut room) = (MaybeUninit::uninit(), Room::uninit());
    let entry = entry(wait, &mut around);
    if let Ok(entry) = &entry {
        entering.mend(entry.whead());
    }
    if audit::on() {
        entering.keep(NOT_AUDITED);
    }
    let both = entry.and_then(|entry| alive(entry.epi, &mut room).map(|item| (entry, item)));
    let (entry, item) = match both {
        Ok(both) => both,
        Err(miss) => {
            entering.push(0, 0)?;
            return Err(miss);
        }
    };
    let (epi, ep) = (entry.epi, item.ep());
    if !entering.traced_ep(ep) {
        return entering.push(0, ep);
    }
    let mut item = Ok(item);
    let mut before = Snapshot { begun: 0, ended: 0 };
    if audit::on() {
        // From here on other changes know of this one; the time and the state are taken after that.
        audit::begin(ep);
        before = audit::snapshot(ep);
        now = Now::take();
        item = alive(epi, &mut room);
    }
    let ovflist = overflow(ep);
    if audit::on() {
        let scanning = u64::from(ovflist != UNACTIVE);
        entering.keep(Audit { epi, begun: before.begun, ended: before.ended, scanning });
    }
    entering.push(now.ts_ns, ep)?;
    let item = item?;
    if ovflist == UNREADABLE {
        return Err(Miss::ReadFailed);
    }
    tell(entering.cpu, now, Told { wait, key, parent_ts: entering.parent_ts(), ep, entry, item, ovflist })
}

/// What a record is made of.
pub(super) struct Told {
    pub(super) wait: u64,
    pub(super) key: u64,
    pub(super) parent_ts: u64,
    pub(super) ep: u64,
    pub(super) entry: Entry,
    pub(super) item: New,
    pub(super) ovflist: u64,
}

#[inline(always)]
pub(super) fn tell(cpu: u32, now: Now, told: Told) -> Result<(), Miss> {
    let Told { wait, key, parent_ts, ep, entry, item, ovflist } = told;
    let found = found(item, ovflist);
    emit_on::<Callback>(cpu, now, |record| {
        // SAFETY: `emit` gives a slot for one record.
        let record = unsafe { &mut *record };
        record.ep = ep;
        record.epi = entry.epi;
        record.file = item.file();
        let (whead, prev) = (entry.whead(), entry.prev());
        record.whead = whead;
        record.wait = wait;
        record.prev_wait = prev.wrapping_sub(ENTRY);
        record.data = item.data();
        record.parent_ts = parent_ts;
        record.key = key as u32;
        record.events = item.events();
        record.fd = item.fd();
        record.flags = found | queued(entry.flags(), prev, whead);
    })
}

/// The flags that say where the item was.
#[inline(always)]
fn found(item: New, ovflist: u64) -> u32 {
    let mut flags = 0;
    if ovflist != UNACTIVE {
        flags |= callback_flags::SCANNING;
    }
    if item.ovflist_next() != UNACTIVE {
        flags |= callback_flags::ON_OVFLIST;
    }
    if item.linked() {
        flags |= callback_flags::LINKED;
    }
    flags
}

/// Those that say where and how its entry is queued.
#[inline(always)]
fn queued(wait_flags: u32, prev: u64, whead: u64) -> u32 {
    let mut flags = 0;
    if wait_flags & EXCLUSIVE != 0 {
        flags |= callback_flags::EXCLUSIVE;
    }
    if prev == whead + offset!(whead_head) as u64 {
        flags |= callback_flags::FIRST;
    }
    flags
}

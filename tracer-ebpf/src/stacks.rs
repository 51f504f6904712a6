//! The user stack of a call (`--stacks`): the kernel walks the frame pointers, each stack of a process is told once.
//!
//! A call by libc is made in a function without a frame of its own, so the walk goes past whoever called that. Where the collector has
//! learned from the unwind tables how far up the stack such a function's return address lies ([`RETURNS`]), it is read from there.

use core::ffi::c_void;

use aya_ebpf::bindings::BPF_F_USER_STACK;
use aya_ebpf::helpers::generated::bpf_get_stack;
use aya_ebpf::helpers::{bpf_get_current_task, bpf_get_smp_processor_id};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{HashMap, PerCpuArray};
use tracer_common::events::{Frame, MAX_FRAMES, Stack};
use tracer_common::{Hook, Miss, OFFSET_UNKNOWN};

use crate::atomic::add_one;
use crate::emit::{Now, count, emit};
use crate::globals::{config, offset};
use crate::kread;
use crate::registers::{IP, SP, of_user};

/// What a stack is known by.
#[repr(C)]
struct Known {
    tgid: u32,
    /// How often the process has become another program.
    exec: u32,
    /// Who called the innermost function, 0 if that is not known.
    caller: u64,
    /// Zeros behind the last.
    frames: [u64; MAX_FRAMES],
}

/// Where a stack is put together: one at a time, for where the kernel can be preempted another task can come by in the middle.
#[repr(C)]
struct Desk {
    /// How many came, and how many of them have left.
    begun: u64,
    ended: u64,
    /// How many stacks this CPU has numbered.
    numbered: u64,
    stack: Known,
}

#[map]
static DESK: PerCpuArray<Desk> = PerCpuArray::with_max_entries(1, 0);

/// The number of each stack that was told.
#[map]
static STACKS: HashMap<Known, u64> = HashMap::with_max_entries(32_768, 0);

/// A place where a process makes system calls.
#[repr(C)]
struct Site {
    tgid: u32,
    pad: u32,
    address: u64,
}

/// At how many bytes above the stack pointer the return address lies, by the place of the call. Written by the collector.
#[map]
static RETURNS: HashMap<Site, u32> = HashMap::with_max_entries(4096, 0);

/// Tells with which user stack the current task makes the call that the next record of `now` tells.
#[inline(always)]
pub(crate) fn tell(ctx: *mut c_void, now: Now) {
    if config!(stacks) == 0 {
        return;
    }
    if let Err(miss) = take(ctx, now) {
        count(Hook::Stack, miss);
    }
}

#[inline(always)]
fn take(ctx: *mut c_void, now: Now) -> Result<(), Miss> {
    let desk = DESK.get_ptr_mut(0).ok_or(Miss::ReadFailed)?;
    // SAFETY: a map value outlives the program's run; whoever comes second leaves the rest of it alone. The order is that of the
    // volatile reads: what leaves between them makes two of one, never one of two.
    unsafe {
        add_one(&raw mut (*desk).begun);
        let ended = (&raw const (*desk).ended).read_volatile();
        let begun = (&raw const (*desk).begun).read_volatile();
        let told = if begun - ended == 1 { at(desk, ctx, now) } else { Err(Miss::ReadFailed) };
        add_one(&raw mut (*desk).ended);
        told
    }
}

/// # Safety
///
/// The desk is the caller's alone.
#[inline(always)]
unsafe fn at(desk: *mut Desk, ctx: *mut c_void, now: Now) -> Result<(), Miss> {
    // SAFETY: as above; the helper checks the buffer and writes no more than its size.
    unsafe {
        let known = &raw mut (*desk).stack;
        let frames = (&raw mut (*known).frames).cast::<u64>();
        let size = size_of::<[u64; MAX_FRAMES]>() as u32;
        let bytes = bpf_get_stack(ctx, frames.cast(), size, u64::from(BPF_F_USER_STACK));
        if bytes < 8 || frames.read_volatile() == 0 {
            return Err(Miss::ReadFailed);
        }
        let depth = bytes as u64 / 8;
        for index in 0..MAX_FRAMES {
            if index as u64 >= depth {
                frames.add(index).write_volatile(0);
            }
        }
        (*known).tgid = now.tgid;
        (*known).exec = executions()?;
        (*known).caller = caller(known, frames.read_volatile());
        let stack = match STACKS.get_ptr(&*known) {
            Some(number) => *number,
            None => introduce(desk, depth, now)?,
        };
        emit::<Stack>(now, |record| (*record).stack = stack)
    }
}

/// Numbers a stack, and tells its addresses.
///
/// # Safety
///
/// As of [`at`].
#[inline(always)]
unsafe fn introduce(desk: *mut Desk, depth: u64, now: Now) -> Result<u64, Miss> {
    // SAFETY: as in `at`.
    unsafe {
        let known = &raw mut (*desk).stack;
        (*desk).numbered += 1;
        let stack = (*desk).numbered << 16 | u64::from(bpf_get_smp_processor_id() & 0xffff);
        let caller = (*known).caller;
        let more = u32::from(caller != 0);
        let frames = (&raw const (*known).frames).cast::<u64>();
        for index in 0..MAX_FRAMES {
            if index as u64 >= depth {
                break;
            }
            let address = frames.add(index).read_volatile();
            let place = index as u32 + if index == 0 { 0 } else { more };
            one(now, stack, address, place, depth as u32 + more)?;
            if index == 0 && caller != 0 {
                one(now, stack, caller, 1, depth as u32 + more)?;
            }
        }
        STACKS.insert(&*known, stack, 0).map_err(|_| Miss::MapFull)?;
        Ok(stack)
    }
}

#[inline(always)]
fn one(now: Now, stack: u64, address: u64, index: u32, count: u32) -> Result<(), Miss> {
    emit::<Frame>(now, |record| {
        // SAFETY: `emit` gives a slot for one record.
        let record = unsafe { &mut *record };
        record.stack = stack;
        record.address = address;
        record.index = index;
        record.count = count;
    })
}

/// How often the current process has become another program; 0 where the kernel's field is not known.
#[inline(always)]
fn executions() -> Result<u32, Miss> {
    if offset!(task_self_exec_id) == OFFSET_UNKNOWN as usize {
        return Ok(0);
    }
    // SAFETY: a helper without arguments.
    let task = unsafe { bpf_get_current_task() };
    kread::kernel(task + offset!(task_self_exec_id) as u64)
}

/// Where the innermost function returns to; 0 where that cannot be said.
///
/// # Safety
///
/// As of [`at`].
#[inline(always)]
unsafe fn caller(known: *const Known, address: u64) -> u64 {
    // SAFETY: as in `at`.
    let site = unsafe { Site { tgid: (*known).tgid, pad: 0, address } };
    let Some(above) = RETURNS.get_ptr(&site) else { return 0 };
    // SAFETY: a map value outlives the program's run.
    let above = u64::from(unsafe { *above });
    match stack_pointer(address) {
        Ok(sp) if sp != 0 => kread::user(sp + above).unwrap_or(0),
        _ => 0,
    }
}

/// The stack pointer with which the current task came into the kernel from this address; 0 where its registers are not found.
#[inline(always)]
fn stack_pointer(address: u64) -> Result<u64, Miss> {
    const LAST: usize = SP - IP;
    let registers: Option<[u64; LAST + 1]> = of_user(IP, |registers| registers[0] == address)?;
    Ok(registers.map_or(0, |registers| registers[LAST]))
}

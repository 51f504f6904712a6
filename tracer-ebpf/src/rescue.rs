//! A second chance for programs that the kernel skips.
//!
//! A tracing program is skipped while it is running on the same CPU already (`__bpf_prog_enter_recur`, kernel/bpf/trampoline.c, 5.12
//! to 7.3; raw tracepoints likewise). Where the kernel can be preempted, that is the fate of every task that takes the CPU from one
//! in the middle of a program. There each program that runs in a task's own calls has a twin, attached so that it runs after it:
//! the program leaves a mark with the task, the twin takes the mark away, or does the work where there is none. Callbacks and wakes
//! need no twin: interrupts are off around them.

use tracer_common::{HOOKS, Hook};

use aya_ebpf::macros::map;
use aya_ebpf::maps::PerCpuArray;

use crate::emit::Now;
use crate::globals::config;
use crate::{filter, tasks};

/// How often a twin did the work, by hook.
#[map]
static RESCUED: PerCpuArray<u64> = PerCpuArray::with_max_entries(HOOKS, 0);

/// A place where a program and its twin sit: a bit of `TaskState::told`.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(crate) enum Point {
    Ctl = 1,
    Hooked = 1 << 1,
    Scan = 1 << 2,
    WaitEnter = 1 << 3,
    WaitExit = 1 << 4,
    Accept = 1 << 5,
    Release = 1 << 6,
    FileGone = 1 << 7,
    Fork = 1 << 8,
    Exec = 1 << 9,
    Exit = 1 << 10,
    CtlFile = 1 << 12,
    IoCtlBegins = 1 << 13,
    IoCtlEnds = 1 << 14,
    CtlBegins = 1 << 15,
    CtlFileBegins = 1 << 16,
    AuditScan = 1 << 17,
    AuditRelease = 1 << 18,
    FileGoes = 1 << 19,
}

impl Point {
    /// Marks that cannot be wanted any more when a task comes to this place: their twins were skipped.
    const fn over(self) -> u32 {
        match self {
            Self::Ctl => {
                Self::CtlBegins as u32 | Self::Hooked as u32 | Self::CtlFileBegins as u32 | Self::CtlFile as u32
            }
            Self::CtlBegins => Self::Ctl as u32 | Self::Hooked as u32,
            Self::CtlFileBegins => Self::CtlFile as u32,
            Self::CtlFile => Self::CtlFileBegins as u32,
            Self::IoCtlBegins => Self::IoCtlEnds as u32,
            Self::IoCtlEnds => Self::IoCtlBegins as u32,
            Self::WaitEnter => Self::WaitExit as u32 | Self::Scan as u32 | Self::AuditScan as u32 | Self::Accept as u32,
            Self::WaitExit => Self::WaitEnter as u32 | Self::Scan as u32 | Self::AuditScan as u32 | Self::Accept as u32,
            Self::Scan => Self::AuditScan as u32,
            Self::AuditScan => Self::Scan as u32,
            Self::FileGoes => Self::FileGone as u32,
            Self::FileGone => Self::FileGoes as u32,
            Self::Release => Self::AuditRelease as u32,
            Self::AuditRelease => Self::Release as u32,
            Self::Hooked | Self::Accept | Self::Fork | Self::Exec | Self::Exit => 0,
        }
    }
}

/// The program: does the work, and leaves its mark where there is a twin.
#[inline(always)]
pub(crate) fn first(point: Point, work: impl FnOnce() -> u32) -> u32 {
    if !filter::enabled() {
        return 0;
    }
    let ret = work();
    if config!(rescue) != 0 {
        let now = Now::task();
        let state = match tasks::get(now.tid) {
            Some(state) => state,
            None if filter::traced(now.tgid) => match tasks::get_or_make(now.tid) {
                Ok(state) => state,
                Err(_) => return ret,
            },
            None => return ret,
        };
        // SAFETY: a map value outlives the program's run; only this task's own calls write to it.
        unsafe { (*state).told = (*state).told & !point.over() | point as u32 };
    }
    ret
}

/// The twin: does the work that the program could not do.
#[inline(always)]
pub(crate) fn again(point: Point, hook: Hook, work: impl FnOnce() -> u32) -> u32 {
    if !filter::enabled() {
        return 0;
    }
    let now = Now::task();
    match tasks::get(now.tid) {
        Some(state) => {
            // SAFETY: as in `first`.
            let told = unsafe { (*state).told };
            if told & point as u32 != 0 {
                // SAFETY: as in `first`.
                unsafe { (*state).told = told & !(point as u32) & !point.over() };
                return 0;
            }
        }
        // The program makes a state for every task under trace, so it did not run; or there is no room for one.
        None if !filter::traced(now.tgid) || tasks::get_or_make(now.tid).is_err() => return 0,
        None => {}
    }
    if let Some(counter) = RESCUED.get_ptr_mut(hook as u32) {
        // SAFETY: a map value outlives the program's run; the slot belongs to this CPU.
        unsafe { *counter += 1 };
    }
    work()
}

//! A second chance for programs that the kernel skips.
//!
//! A tracing program is skipped while it is running on the same CPU already (`__bpf_prog_enter_recur`, kernel/bpf/trampoline.c, 5.12
//! to 7.3; raw tracepoints likewise, and from 7.x on those of system calls). Where the kernel can be preempted, that is the fate of
//! every task that takes the CPU from one in the middle of a program. There each program that runs in a task's own calls has three
//! twins, attached so that they run after it: the program leaves a mark with the task, and a twin does the work where there is none;
//! the last one takes the mark away. To lose a record takes four tasks that were preempted at one place on one CPU, each in the
//! middle of another copy. Callbacks and wakes need no twins: interrupts are off around them. Nor do kprobes: preemption is.

use tracer_common::{Hook, RESCUE_SLOTS, Rescue};

use aya_ebpf::macros::map;
use aya_ebpf::maps::PerCpuArray;

use crate::emit::{Now, current_tid};
use crate::globals::config;
use crate::tasks::TaskState;
use crate::{filter, tasks};

/// What became of skipped programs, by hook and [`Rescue`].
#[map]
static RESCUES: PerCpuArray<u64> = PerCpuArray::with_max_entries(RESCUE_SLOTS, 0);

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
    WaitExitUnseen = 1 << 20,
    IoWaitBegins = 1 << 21,
    IoWaitEnds = 1 << 22,
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
            Self::IoWaitBegins => Self::IoWaitEnds as u32 | Self::Scan as u32 | Self::AuditScan as u32,
            Self::IoWaitEnds => Self::IoWaitBegins as u32 | Self::Scan as u32 | Self::AuditScan as u32,
            Self::Scan => Self::AuditScan as u32,
            Self::AuditScan => Self::Scan as u32,
            Self::FileGoes => Self::FileGone as u32,
            Self::FileGone => Self::FileGoes as u32,
            Self::Release => Self::AuditRelease as u32,
            Self::AuditRelease => Self::Release as u32,
            Self::Hooked | Self::Accept | Self::Fork | Self::Exec | Self::Exit | Self::WaitExitUnseen => 0,
        }
    }

    /// Whether there is work also before tracing is on: a child is followed from its first moment, and an address that is free
    /// is under trace no more.
    const fn early(self) -> bool {
        matches!(self, Self::Fork | Self::Release)
    }
}

/// The program: does the work, and leaves its mark where there are twins.
#[inline(always)]
pub(crate) fn first(point: Point, hook: Hook, work: impl FnOnce() -> u32) -> u32 {
    let enabled = filter::enabled();
    if !enabled && !point.early() {
        return 0;
    }
    let ret = work();
    if enabled && config!(rescue) != 0 {
        let now = Now::task();
        let state = match tasks::get(now.tid) {
            Some(state) => state,
            None if filter::traced(now.tgid) => match tasks::get_or_make(now.tid) {
                Ok(state) => state,
                Err(_) => return ret,
            },
            None => {
                count(hook, Rescue::FirstUntraced);
                return ret;
            }
        };
        mark(state, point);
    }
    ret
}

#[inline(always)]
fn mark(state: *mut TaskState, point: Point) {
    // SAFETY: a map value outlives the program's run; only this task's own calls write to it.
    unsafe { (*state).told = (*state).told & !point.over() | point as u32 };
}

/// A twin with others behind it: does the work that no program before it could do.
#[inline(always)]
pub(crate) fn again(point: Point, hook: Hook, work: impl FnOnce() -> u32) -> u32 {
    let Some(state) = unmarked(point, hook, false) else { return 0 };
    count(hook, Rescue::Done);
    let ret = work();
    mark(state, point);
    ret
}

/// The last twin: after it nothing is to be done at this place.
#[inline(always)]
pub(crate) fn last(point: Point, hook: Hook, work: impl FnOnce() -> u32) -> u32 {
    let ret = match unmarked(point, hook, true) {
        Some(_) => {
            count(hook, Rescue::Done);
            work()
        }
        None => 0,
    };
    if matches!(point, Point::Exit) {
        tasks::forget(current_tid());
    }
    ret
}

/// The task's state where its mark is missing; takes the mark away where it is there and `take` asks for it,
/// which only the last twin does.
#[inline(always)]
fn unmarked(point: Point, hook: Hook, take: bool) -> Option<*mut TaskState> {
    if !filter::enabled() {
        return None;
    }
    let now = Now::task();
    match tasks::get(now.tid) {
        Some(state) => {
            // SAFETY: as in `mark`.
            let told = unsafe { (*state).told };
            if told & point as u32 == 0 {
                return Some(state);
            }
            if take {
                // SAFETY: as in `mark`.
                unsafe { (*state).told = told & !(point as u32) & !point.over() };
            }
            None
        }
        // The program makes a state for every task under trace, so it did not run; or there is no room for one.
        None if filter::traced(now.tgid) => tasks::get_or_make(now.tid).ok(),
        None => {
            if take {
                count(hook, Rescue::LastUntraced);
            }
            None
        }
    }
}

#[inline(always)]
fn count(hook: Hook, rescue: Rescue) {
    if let Some(counter) = RESCUES.get_ptr_mut(rescue.slot(hook)) {
        // SAFETY: a map value outlives the program's run; the slot belongs to this CPU.
        unsafe { *counter += 1 };
    }
}

/// Defines a program and its three twins, in the order in which they are to run: all have one body. It is inlined, for a
/// function of its own would bring a symbol into the object whose name depends on where it was built.
macro_rules! with_twins {
    (
        $(#[$doc:meta])*
        $kind:ident [$first:ident, $second:ident, $third:ident, $last:ident $(,)?]($context:ident: $type:ty) -> $ret:ty {
            ($point:expr, $hook:expr) => $work:block
        }
    ) => {
        $(#[$doc])*
        #[$kind]
        pub fn $first($context: $type) -> $ret {
            $crate::rescue::first($point, $hook, #[inline(always)] || $work) as $ret
        }

        #[$kind]
        pub fn $second($context: $type) -> $ret {
            $crate::rescue::again($point, $hook, #[inline(always)] || $work) as $ret
        }

        #[$kind]
        pub fn $third($context: $type) -> $ret {
            $crate::rescue::again($point, $hook, #[inline(always)] || $work) as $ret
        }

        #[$kind]
        pub fn $last($context: $type) -> $ret {
            $crate::rescue::last($point, $hook, #[inline(always)] || $work) as $ret
        }
    };
}

pub(crate) use with_twins;

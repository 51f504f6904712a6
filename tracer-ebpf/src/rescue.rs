//! A second chance for programs that the kernel skips.
//!
//! A tracing program is skipped while it is running on the same CPU already (`__bpf_prog_enter_recur`, kernel/bpf/trampoline.c, 5.12
//! to 7.3; raw tracepoints likewise, and from 7.x on those of system calls). Where the kernel can be preempted, that is the fate of
//! every task that takes the CPU from one in the middle of a program. There each program that runs in a task's own calls has three
//! twins, attached so that they run after it. Each leaves with the task which of the four came to this place last; one that finds
//! no copy before it, or one that must be of an earlier call, does the work. To lose a record takes four skips: of all copies, or
//! of the program in a call that follows one where all its twins were skipped. Callbacks and wakes need no twins: interrupts are
//! off around them. Nor do kprobes: preemption is.

use tracer_common::{Hook, RESCUE_SLOTS, Rescue};

use aya_ebpf::macros::map;
use aya_ebpf::maps::PerCpuArray;

use crate::emit::Now;
use crate::globals::config;
use crate::tasks::TaskState;
use crate::{filter, tasks};

/// What became of skipped programs, by hook and [`Rescue`].
#[map]
static RESCUES: PerCpuArray<u64> = PerCpuArray::with_max_entries(RESCUE_SLOTS, 0);

/// A place where a program and its twins sit: two bits of [`TaskState::told`], the number of the copy that came to it last, 0 if none
/// or the last twin.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(crate) enum Point {
    Ctl,
    Hooked,
    Scan,
    WaitEnter,
    WaitExit,
    Accept,
    Release,
    FileGone,
    Fork,
    Exec,
    Exit,
    CtlFile,
    IoCtlBegins,
    IoCtlEnds,
    CtlBegins,
    CtlFileBegins,
    AuditScan,
    AuditRelease,
    FileGoes,
    WaitExitUnseen,
    IoWaitBegins,
    IoWaitEnds,
    CallBegins,
    CallEnds,
}

impl Point {
    /// Its bits.
    const fn bits(self) -> u64 {
        3 << (2 * self as u32)
    }

    /// The bits of places where no call of the task can be any more when it comes to this one.
    const fn over(self) -> u64 {
        match self {
            Self::Ctl => {
                Self::CtlBegins.bits() | Self::Hooked.bits() | Self::CtlFileBegins.bits() | Self::CtlFile.bits()
            }
            Self::CtlBegins => Self::Ctl.bits() | Self::Hooked.bits(),
            Self::CtlFileBegins => Self::CtlFile.bits(),
            Self::CtlFile => Self::CtlFileBegins.bits(),
            Self::IoCtlBegins => Self::IoCtlEnds.bits(),
            Self::IoCtlEnds => Self::IoCtlBegins.bits(),
            Self::WaitEnter => Self::WaitExit.bits() | Self::Scan.bits() | Self::AuditScan.bits() | Self::Accept.bits(),
            Self::WaitExit => Self::WaitEnter.bits() | Self::Scan.bits() | Self::AuditScan.bits() | Self::Accept.bits(),
            Self::IoWaitBegins => Self::IoWaitEnds.bits() | Self::Scan.bits() | Self::AuditScan.bits(),
            Self::IoWaitEnds => Self::IoWaitBegins.bits() | Self::Scan.bits() | Self::AuditScan.bits(),
            Self::Scan => Self::AuditScan.bits(),
            Self::AuditScan => Self::Scan.bits(),
            Self::FileGoes => Self::FileGone.bits(),
            Self::FileGone => Self::FileGoes.bits(),
            Self::Release => Self::AuditRelease.bits(),
            Self::AuditRelease => Self::Release.bits(),
            Self::CallBegins => Self::CallEnds.bits(),
            Self::CallEnds => Self::CallBegins.bits(),
            Self::Hooked | Self::Accept | Self::Fork | Self::Exec | Self::Exit | Self::WaitExitUnseen => 0,
        }
    }

    /// Whether there is work also before tracing is on: a child is followed from its first moment, and an address that is free
    /// is under trace no more.
    const fn early(self) -> bool {
        matches!(self, Self::Fork | Self::Release)
    }
}

/// The last of the copies: what it leaves is what a call without any would find.
const LAST: u64 = 4;

/// The program: does the work, and leaves its number where there are twins.
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
        leave(state, point, 1);
    }
    ret
}

/// The copy of this number has come to the place.
#[inline(always)]
fn leave(state: *mut TaskState, point: Point, copy: u64) {
    // SAFETY: a map value outlives the program's run; only this task's own calls write to it.
    unsafe {
        (*state).told = (*state).told & !(point.bits() | point.over()) | (copy % LAST) << (2 * point as u32);
    }
}

/// A twin, the copy of this number: does the work that no copy before it did.
#[inline(always)]
pub(crate) fn again(copy: u64, point: Point, hook: Hook, work: impl FnOnce() -> u32) -> u32 {
    if !filter::enabled() {
        return 0;
    }
    let now = Now::task();
    let known = match tasks::get(now.tid) {
        // The program makes a state for every task under trace, so it did not run; or there is no room for one.
        None if filter::traced(now.tgid) => tasks::get_or_make(now.tid).ok(),
        state => state,
    };
    let Some(state) = known else {
        if copy == LAST {
            count(hook, Rescue::LastUntraced);
        }
        return 0;
    };
    // SAFETY: as in `leave`.
    let before = unsafe { (*state).told } >> (2 * point as u32) & 3;
    let ret = if before == 0 || before >= copy {
        count(hook, Rescue::Done);
        work()
    } else {
        0
    };
    leave(state, point, copy);
    if copy == LAST && matches!(point, Point::Exit) {
        tasks::forget(now.tid);
    }
    ret
}

/// A call begins, where no program with twins sees it begin: what its end's copies left before is of earlier calls.
#[inline(always)]
pub(crate) fn begins(state: *mut TaskState, end: Point) {
    // SAFETY: as in `leave`.
    unsafe { (*state).told &= !end.bits() };
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
            $crate::rescue::again(2, $point, $hook, #[inline(always)] || $work) as $ret
        }

        #[$kind]
        pub fn $third($context: $type) -> $ret {
            $crate::rescue::again(3, $point, $hook, #[inline(always)] || $work) as $ret
        }

        #[$kind]
        pub fn $last($context: $type) -> $ret {
            $crate::rescue::again(4, $point, $hook, #[inline(always)] || $work) as $ret
        }
    };
}

pub(crate) use with_twins;

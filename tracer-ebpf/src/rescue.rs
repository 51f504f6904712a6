//! A second chance for programs that the kernel skips.
//!
//! A tracing program is skipped while it is running on the same CPU already (`__bpf_prog_enter_recur`, kernel/bpf/trampoline.c, 5.12
//! to 7.3; raw tracepoints likewise, and from 7.x on those of system calls). Where the kernel can be preempted, that is the fate of
//! every task that takes the CPU from one in the middle of a program. There each program that runs in a task's own calls has three
//! twins, attached so that they run after it. Each leaves with the task which of the four came to this place last; one that finds
//! no copy before it, or one that must be of an earlier call, has the work done. To lose a record takes four skips: of all copies,
//! or of the program in a call that follows one where all its twins were skipped. Callbacks and wakes need no twins: interrupts are
//! off around them. Nor do kprobes: preemption is.
//!
//! A twin has no work of its own, so that the verifier goes through it once for a program and not four times. It calls the program
//! that it stands for, which is skipped at its own place only: `bpf_tail_call` asks for no counter. A tail call does not come back,
//! so a twin leaves its number before it, and with the task that the program is to leave none. Each program has an array of its own
//! for it: programs in one must be attached to functions of one prototype, in one way (`__bpf_prog_map_compatible`,
//! kernel/bpf/core.c, 6.12 to 7.3).

use tracer_common::{Hook, Miss, RESCUE_SLOTS, Rescue};

use aya_ebpf::EbpfContext;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{PerCpuArray, ProgramArray};

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

/// Bits that the places take of [`TaskState::told`]; the others are 0.
const POINT_BITS: u32 = 2 * (Point::CallEnds as u32 + 1);

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

    /// Whether the task may be past its own end: that closes its files.
    const fn may_follow_exit(self) -> bool {
        matches!(self, Self::Release | Self::AuditRelease | Self::FileGoes | Self::FileGone)
    }

    /// The state of a task that has none.
    #[inline(always)]
    fn make_state(self, tid: u32) -> Result<*mut TaskState, Miss> {
        if self.may_follow_exit() { tasks::get_or_make_for_end(tid) } else { tasks::get_or_make(tid) }
    }

    /// Whether there is work also before tracing is on: a child is followed from its first moment, and an address that is free
    /// is under trace no more.
    const fn early(self) -> bool {
        matches!(self, Self::Fork | Self::Release)
    }
}

/// No value of `Config::rescue`. A program that has a tail call anywhere, if only in what the verifier takes out, gets no stack of its
/// own per CPU (`check_max_stack_depth`, kernel/bpf/verifier.c, 6.13 to 7.3). The kernel would let two tasks write to that at once: the
/// one that was preempted in the program, and the one whose twin calls it.
const NEVER: u32 = 2;

/// The last of the copies: what it leaves is what a call without any would find.
const LAST: u64 = 4;

/// The program: does the work, and leaves its number where there are twins.
#[inline(always)]
pub(crate) fn first(
    point: Point,
    hook: Hook,
    program: &ProgramArray,
    context: &impl EbpfContext,
    work: impl FnOnce() -> u32,
) -> u32 {
    let enabled = filter::enabled();
    if config!(rescue) == NEVER {
        // SAFETY: the verifier takes this out.
        unsafe { program.tail_call(context, 0) };
    }
    if !enabled && !point.early() {
        return 0;
    }
    let ret = work();
    if enabled && config!(rescue) != 0 {
        let now = Now::task();
        let state = match tasks::get(now.tid) {
            Some(state) => state,
            None if filter::traced(now.tgid) => match point.make_state(now.tid) {
                Ok(state) => state,
                Err(_) => return ret,
            },
            None => {
                count(hook, Rescue::FirstUntraced);
                return ret;
            }
        };
        if called(state, point) {
            if left(state, point) == LAST % LAST {
                passed(now.tid, point);
            }
        } else {
            leave(state, point, 1);
        }
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

/// The number of the copy that came to the place last, 0 if none or the last twin.
#[inline(always)]
fn left(state: *mut TaskState, point: Point) -> u64 {
    // SAFETY: as in `leave`.
    unsafe { (*state).told >> (2 * point as u32) & 3 }
}

/// Whether a twin called the program, which forgets it with that.
#[inline(always)]
fn called(state: *mut TaskState, point: Point) -> bool {
    // SAFETY: as in `leave`.
    unsafe {
        let called = (*state).called == point as u32 + 1;
        if called {
            (*state).called = 0;
        }
        called
    }
}

/// The last of the copies was at the place.
#[inline(always)]
fn passed(tid: u32, point: Point) {
    match point {
        Point::Exit => tasks::forget(tid),
        point if point.may_follow_exit() => tasks::forget_if_made_for_end(tid),
        _ => {}
    }
}

/// A twin, the copy of this number: has the program do the work that no copy before it did.
#[inline(always)]
pub(crate) fn again(copy: u64, point: Point, hook: Hook, program: &ProgramArray, context: &impl EbpfContext) -> u32 {
    if !filter::enabled() {
        return 0;
    }
    let now = Now::task();
    let known = match tasks::get(now.tid) {
        // The program makes a state for every task under trace, so it did not run; or there is no room for one.
        None if filter::traced(now.tgid) => point.make_state(now.tid).ok(),
        state => state,
    };
    let Some(state) = known else {
        if copy == LAST {
            count(hook, Rescue::LastUntraced);
        }
        return 0;
    };
    let before = left(state, point);
    leave(state, point, copy);
    if before == 0 || before >= copy {
        count(hook, Rescue::Done);
        if copy == LAST && matches!(point, Point::Exit) && !filter::traced(now.tgid) {
            // The program will find the task forgotten, and count it as the first of the copies.
            count(hook, Rescue::LastUntraced);
        }
        // SAFETY: as in `leave`. This is 0, which the verifier must not know: the kernel would patch the twin's code whenever the
        // array changes or goes (`prog_array_map_poke_run`, kernel/bpf/arraymap.c).
        let index = unsafe {
            (*state).called = point as u32 + 1;
            ((*state).told >> POINT_BITS) as u32
        };
        // SAFETY: nothing here waits to be dropped.
        unsafe { program.tail_call(context, index) };
    } else if copy == LAST {
        passed(now.tid, point);
    }
    0
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

/// Defines a program and its three twins, in the order in which they are to run, and the array through which these call the
/// program: it has the program's name in capitals. The body is inlined, for a function of its own would bring a symbol into the
/// object whose name depends on where it was built.
macro_rules! with_twins {
    (
        $(#[$doc:meta])*
        $kind:ident [$array:ident: $first:ident, $second:ident, $third:ident, $last:ident $(,)?](
            $context:ident: $type:ty
        ) -> $ret:ty {
            ($point:expr, $hook:expr) => $work:block
        }
    ) => {
        $(#[$doc])*
        #[$kind]
        pub fn $first($context: $type) -> $ret {
            $crate::rescue::first($point, $hook, &$array, &$context, #[inline(always)] || $work) as $ret
        }

        #[::aya_ebpf::macros::map]
        static $array: ::aya_ebpf::maps::ProgramArray = ::aya_ebpf::maps::ProgramArray::with_max_entries(1, 0);

        #[$kind]
        pub fn $second(context: $type) -> $ret {
            $crate::rescue::again(2, $point, $hook, &$array, &context) as $ret
        }

        #[$kind]
        pub fn $third(context: $type) -> $ret {
            $crate::rescue::again(3, $point, $hook, &$array, &context) as $ret
        }

        #[$kind]
        pub fn $last(context: $type) -> $ret {
            $crate::rescue::again(4, $point, $hook, &$array, &context) as $ret
        }
    };
}

pub(crate) use with_twins;

//! The registers with which the current task came into the kernel. They lie at the end of its kernel stack.

use aya_ebpf::helpers::bpf_get_current_task;
use tracer_common::{Miss, OFFSET_UNKNOWN};

use crate::globals::offset;
use crate::kread;

/// `THREAD_SIZE` of x86-64 (arch/x86/include/asm/page_64_types.h, 5.10 to 7.3), without KASAN.
const THREAD_SIZE: u64 = 16 << 10;
/// The longs of `struct pt_regs` of x86-64 (arch/x86/include/asm/ptrace.h, 5.10 to 7.3).
const REGISTERS: usize = 21;
/// `TOP_OF_KERNEL_STACK_PADDING` with CONFIG_X86_FRED (arch/x86/include/asm/thread_info.h, 6.9 on).
const FRED_PADDING: u64 = 16;

/// The places of some of them.
pub(crate) const R10: usize = 7;
pub(crate) const ORIG_AX: usize = 15;
pub(crate) const IP: usize = 16;
pub(crate) const SP: usize = 19;

/// `N` registers, the first at this place. They are taken for the task's own when `are` knows them again; `None` when no place has
/// such.
#[inline(always)]
pub(crate) fn of_user<const N: usize>(first: usize, are: impl Fn(&[u64; N]) -> bool) -> Result<Option<[u64; N]>, Miss> {
    if offset!(task_stack) == OFFSET_UNKNOWN as usize {
        return Ok(None);
    }
    // SAFETY: a helper without arguments.
    let task = unsafe { bpf_get_current_task() };
    let stack: u64 = kread::kernel(task + offset!(task_stack) as u64)?;
    let end = stack + THREAD_SIZE - (8 * REGISTERS) as u64;
    for padding in [0, FRED_PADDING] {
        let registers: [u64; N] = kread::kernel(end - padding + (8 * first) as u64)?;
        if are(&registers) {
            return Ok(Some(registers));
        }
    }
    Ok(None)
}

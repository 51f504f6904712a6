//! The records of the `sys_exit_*` tracepoints, which stand for kretprobes of calls that sleep.

use aya_ebpf::EbpfContext;
use aya_ebpf::programs::TracePointContext;

/// Byte offset of the result: after the common fields and the call's number (include/trace/trace_events.h, x86-64 and arm64).
const RESULT: usize = 16;

/// What the system call returned.
#[inline(always)]
pub(crate) fn result(ctx: &TracePointContext) -> i32 {
    // SAFETY: the record of every sys_exit tracepoint is at least this long.
    let result = unsafe { *ctx.as_ptr().cast::<u8>().add(RESULT).cast::<i64>() };
    result as i32
}

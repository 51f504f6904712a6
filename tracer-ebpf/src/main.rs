//! The probes: what eptrace runs inside the kernel.
//!
//! Each topic is one file under `probes/`, with one body and thin entries for kprobe and fentry. An entry leaves at once when
//! tracing is off, calls the body, and counts what the body could not do; the body writes its record in place in the ring
//! buffer. Offsets come from the running kernel's BTF through [`globals`].
#![no_std]
#![no_main]
// One addition (`atomic`): the stable interface of atomics leaves out what BPF has.
#![feature(core_intrinsics)]
// A call of a function that the loader puts in (`kread`).
#![feature(asm_experimental_arch)]
// `#[inline(always)]` on closures.
#![feature(stmt_expr_attributes)]
#![expect(internal_features, reason = "as above")]

mod atomic;
mod audit;
mod context;
mod emit;
mod epitem;
mod file_info;
mod file_left;
mod files;
mod filter;
mod globals;
mod kread;
mod maps;
mod namespace;
mod probes;
mod registers;
mod rescue;
mod stacks;
mod sys_exit;
mod task_file;
mod tasks;

/// The licence that the kernel reads: the helpers used here ask for a GPL-compatible one.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

//! Reads of kernel and user memory.

use aya_ebpf::helpers::{bpf_probe_read_kernel, bpf_probe_read_user};
use tracer_common::Miss;

/// The `T` at a kernel address.
#[inline(always)]
pub(crate) fn kernel<T>(address: u64) -> Result<T, Miss> {
    // SAFETY: the helper checks the address; every bit pattern of the integers read here is valid.
    unsafe { bpf_probe_read_kernel(address as *const T) }.map_err(|_| Miss::ReadFailed)
}

/// The `T` at an address of the current task.
#[inline(always)]
pub(crate) fn user<T>(address: u64) -> Result<T, Miss> {
    // SAFETY: as in `kernel`.
    unsafe { bpf_probe_read_user(address as *const T) }.map_err(|_| Miss::ReadFailed)
}

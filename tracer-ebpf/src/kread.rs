//! Reads of kernel and user memory.

use core::arch::asm;

use aya_ebpf::helpers::{bpf_probe_read_kernel, bpf_probe_read_user, generated};
use tracer_common::{CAST, Miss};

use crate::globals::config;

/// The `T` at a kernel address.
#[inline(always)]
pub(crate) fn kernel<T>(address: u64) -> Result<T, Miss> {
    // SAFETY: the helper checks the address; every bit pattern of the integers read here is valid.
    unsafe { bpf_probe_read_kernel(address as *const T) }.map_err(|_| Miss::ReadFailed)
}

/// Reads into `to`, zeros where that fails, and returns 0 or an error: for loops, in which each `?` would be one more way for the
/// verifier to follow.
///
/// # Safety
///
/// `to` is valid for writes, and any bits are a `T`.
#[inline(always)]
pub(crate) unsafe fn into<T>(to: *mut T, address: u64) -> i64 {
    // SAFETY: the helper checks the address, and writes as many bytes as a `T` has.
    unsafe { generated::bpf_probe_read_kernel(to.cast(), size_of::<T>() as u32, address as *const _) }
}

/// The `T` at an address of the current task.
#[inline(always)]
pub(crate) fn user<T>(address: u64) -> Result<T, Miss> {
    // SAFETY: as in `kernel`.
    unsafe { bpf_probe_read_user(address as *const T) }.map_err(|_| Miss::ReadFailed)
}

/// Whether the probes can read [`in_place`].
#[inline(always)]
pub(crate) fn can_in_place() -> bool {
    config!(longs_type) != 0
}

/// At most [`MAX_LONGS_IN_PLACE`] longs at the address of a kernel object that the caller knows to be alive; only where the probes
/// [can](can_in_place). A long that is used costs a few instructions; a copy would be the call of a helper, with a loop.
///
/// `void *bpf_rdonly_cast(const void *obj, u32 btf_id)` (kernel/bpf/helpers.c, 6.2 to 7.3), of which the verifier makes a move. It lets
/// loads from there fail with zero.
///
/// [`MAX_LONGS_IN_PLACE`]: tracer_common::MAX_LONGS_IN_PLACE
#[inline(always)]
pub(crate) fn in_place(address: u64) -> *const u64 {
    let longs = u64::from(config!(longs_type));
    let place: *const u64;
    // SAFETY: called only where the loader has put the function in; it reads and writes no memory.
    unsafe {
        asm!(
            "call {cast}",
            cast = const CAST,
            inlateout("r1") address => _,
            inlateout("r2") longs => _,
            lateout("r0") place,
            lateout("r3") _,
            lateout("r4") _,
            lateout("r5") _,
            options(pure, nomem, nostack),
        );
    }
    place
}

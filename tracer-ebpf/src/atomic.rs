//! The one atomic operation that the probes need.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

/// Adds one in one instruction, which no interrupt and no other CPU can divide. `AtomicU64` has no such method for BPF; the old value
/// is not used, since kernels before 5.12 know only the addition that does not give it.
///
/// # Safety
///
/// The pointer is valid.
#[inline(always)]
pub(crate) unsafe fn add_one(counter: *mut u64) {
    // SAFETY: the caller's promise.
    let _ = unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(counter, 1) };
}

/// As [`add_one`], and takes one away.
///
/// # Safety
///
/// The pointer is valid.
#[inline(always)]
pub(crate) unsafe fn take_one(counter: *mut u64) {
    // SAFETY: the caller's promise.
    let _ = unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(counter, u64::MAX) };
}

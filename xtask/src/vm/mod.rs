//! Commands run on another kernel: a stock Debian kernel in QEMU, with an initramfs made for the occasion.
//!
//! In: a kernel selector, files, a plan of jobs. Out: what every job printed, returned and how it ended.

pub(crate) mod accel;
pub(crate) mod cpio;
pub(crate) mod initramfs;
pub(crate) mod kernel;
pub(crate) mod place;
pub(crate) mod plan;
pub(crate) mod protocol;
pub(crate) mod qemu;
pub(crate) mod session;

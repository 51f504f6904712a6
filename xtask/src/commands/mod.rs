//! The commands of `cargo xtask`, one file each.

pub(crate) mod ebpf;
pub(crate) mod vm;

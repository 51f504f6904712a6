//! The commands of `cargo xtask`, one file each.

pub(crate) mod bench;
mod bench_callback;
mod bench_ready;
mod bench_replay;
pub(crate) mod claims;
pub(crate) mod demo;
pub(crate) mod ebpf;
pub(crate) mod pictures;
pub(crate) mod test;
pub(crate) mod vm;

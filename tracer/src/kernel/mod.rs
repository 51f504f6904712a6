//! Facts about the running kernel: how its structures are laid out and which functions it has.
//!
//! In: `/sys/kernel/btf/vmlinux`, `/proc`, `/sys`, tracefs. Out: plain values and typed errors, from which `probes` plans and
//! `check` reports. Every file is read by one function and judged by another, which is pure.

pub mod btf;
pub mod capabilities;
pub mod files;
pub mod layout;
pub mod process;
pub mod symbols;

#[cfg(test)]
pub(crate) mod testing;

//! The hooks: which there are (`catalog`), which to try on this kernel (`plan`), and how they are attached (`attach`).

pub mod attach;
pub mod catalog;
pub mod facts;
pub mod in_place;
pub mod losses;
pub mod misses;
pub mod plan;
pub mod prototypes;
pub mod survey;

/// The probes, built from `tracer-ebpf` by `cargo xtask ebpf`.
pub const OBJECT: &[u8] = include_bytes!("eptrace.bpf.o");

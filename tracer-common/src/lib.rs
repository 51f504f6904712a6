//! What the probes (`tracer-ebpf`) and the collector (`tracer`) agree on: the records of the ring buffer, the
//! configuration that is set before loading, and the reasons for which a record can be lost.
//!
//! Everything is `#[repr(C)]`, integers only, with explicit padding, and its size and alignment are asserted at compile time.
//! Records begin with a [`Header`]. Kind numbers are never reused.
#![no_std]

mod config;
pub mod events;
mod header;
mod loss;
pub mod snapshot;

pub use config::{CAST, Config, Layout, MAX_BYTES_OF_EPITEM, MAX_LONGS_IN_PLACE, OFFSET_UNKNOWN, epitem_shape};
pub use header::{Header, Kind};
pub use loss::{HOOKS, Hook, LOSS_STRIDE, LOSSES_MAP, Miss, RESCUE_SLOTS, Rescue};

/// The version of everything in this crate. The probes' ring buffer map carries it in its name
/// ([`EVENTS_MAP`]), so that a collector cannot read an object of another version.
pub const ABI: u32 = 6;

/// The name of the ring buffer map; ends in [`ABI`].
pub const EVENTS_MAP: &str = "EVENTS_V6";

/// The map of the one word that is 1 while tracing is on: a section of the object.
pub const ENABLED_MAP: &str = ".data.enabled";

/// Bytes of a task's name in the kernel (`TASK_COMM_LEN`, include/linux/sched.h, 5.10 to 7.3).
pub const COMM_LEN: usize = 16;

/// Event bits with a meaning of their own to the kernel, which are no poll events: what is left of the mask of an item that is disarmed
/// (`EP_PRIVATE_BITS`, fs/eventpoll.c, 5.10 to 7.3).
pub const EP_PRIVATE_BITS: u32 = 0xF000_0000;

/// Events of one `epoll_wait` that the probes copy from the user's array; the number returned is always exact.
pub const MAX_RETURNED: u32 = 64;
/// The most items of one list that a walk of the audit tells; a list of just as many counts as longer.
pub const MAX_WALKED: u32 = 64;

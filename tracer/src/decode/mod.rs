//! Bytes of the ring buffer to events, in the order of their time.
//!
//! In: one record at a time, as the probes wrote it. Out: [`Event`]s, and counts of what could not be read. No byte is trusted:
//! length is checked first, then the kind, then fields are copied one by one.

mod order;
mod record;

pub use order::{Place, Sequencer, WINDOW_NS};
pub use record::{DecodeError, decode};

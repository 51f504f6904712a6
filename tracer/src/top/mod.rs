//! A live view of eventpolls, for a terminal.
//!
//! In: events, the time, and keys. Out: a screen. [`Meter`] counts beside the model that the report reads, [`State`] knows what is
//! looked at, [`view`] draws it, [`keys`] says what a key means. None of them touches a terminal: `cli::top` does.

pub mod keys;
mod latency;
mod meter;
mod picture;
mod rows;
mod state;
#[cfg(test)]
mod tests;
pub mod view;

pub use latency::Latencies;
pub use meter::{Flow, Meter, Window};
pub use rows::{EventpollRow, ItemRow, Rates, Row, Sort, TaskRow};
pub use state::{Action, Playing, Screen, Seen, State};

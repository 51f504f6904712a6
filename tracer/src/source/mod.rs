//! Where events come from: a live kernel, a trace file, or a list made by a test.

pub mod file;
pub mod live;

use crate::event::{Event, TraceInfo};

/// A stream of events in the order of their time, with the facts that hold for all of them.
pub trait EventSource {
    /// Why the next events could not be had.
    type Error;

    /// The facts that hold for the whole trace.
    fn info(&self) -> &TraceInfo;

    /// Appends the next events to `events`.
    ///
    /// Returns `false` at the end of the stream; `true` may come with no event.
    ///
    /// # Errors
    /// The source's own: a torn or foreign file. What was appended before stays valid.
    fn next_events(&mut self, events: &mut Vec<Event>) -> Result<bool, Self::Error>;
}

//! The herd demo under the tracer: what is run, and how the demo's own truth is set beside what was traced.

pub(crate) mod outcome;
pub(crate) mod spec;

//! Questions asked of the model, one file each.
//!
//! In: a finished [`Model`](crate::model::Model) and the trace's [`TraceInfo`](crate::event::TraceInfo). Out: a [`Report`], a plain
//! tree of numbers and sentences for `output`, and the [`Comparison`] of two of them. What needs to see the fold as it goes on
//! ([`history`], [`player`]) is fed event by event.

mod build;
mod compare;
mod herd;
pub mod history;
mod latency;
pub mod lint;
pub mod player;
mod report;
mod source;
mod spread;
mod steps;
#[cfg(test)]
mod tests;
mod verdict;

pub(crate) use build::eventpoll_name;
pub use compare::{Comparison, Pair, Side, compare};
pub use herd::{HerdRow, HerdTask};
pub use latency::LatencyRow;
pub use report::{
    AuditRow, DifferenceRow, EventpollRow, Lost, LostRow, Report, SCHEMA_VERSION, SourceRow, TaskRow, Totals,
};
pub(crate) use source::{description, file_kind, ip};
pub use spread::Spread;
pub use verdict::{HERD_MEAN_WASTED, HERD_MIN_WORKERS, Verdict};

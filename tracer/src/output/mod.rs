//! Reports and events as people and programs read them.
//!
//! In: a [`Report`], a [`Comparison`], or one event with the model as it stood then. Out: text. Names that come from a traced process
//! or from a trace file are not trusted: text and Markdown pass every string through [`sanitize`].

mod errno;
pub mod export;
pub mod html;
pub mod json;
mod latency;
mod layout;
pub mod lines;
mod lines_json;
mod lint;
mod markdown;
pub mod names;
mod ready_list;
pub mod sanitize;
pub mod snapshot;
#[cfg(test)]
mod tests;
mod text;

pub use json::Json;
#[cfg(test)]
pub(crate) use layout::MAX_ROWS;
pub(crate) use layout::task_name;
pub use lint::{explain, rules};
pub use markdown::Markdown;
pub use text::Text;

use crate::analysis::lint::LintReport;
use crate::analysis::{Comparison, Report};

/// A format that reports are printed in. Every text ends with a newline.
pub trait Output {
    /// Prints a report.
    fn report(&self, report: &Report) -> String;

    /// Prints a comparison.
    fn comparison(&self, comparison: &Comparison) -> String;

    /// Prints pitfalls that were found.
    fn lint(&self, report: &LintReport) -> String;
}

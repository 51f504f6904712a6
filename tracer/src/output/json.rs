//! JSON: one object per line.

use serde::Serialize;

use super::Output;
use crate::analysis::lint::LintReport;
use crate::analysis::{Comparison, Report};

/// Prints reports as one line of JSON.
#[derive(Debug, Clone, Copy, Default)]
pub struct Json;

impl Output for Json {
    fn report(&self, report: &Report) -> String {
        one_line(report)
    }

    fn comparison(&self, comparison: &Comparison) -> String {
        one_line(comparison)
    }

    fn lint(&self, report: &LintReport) -> String {
        one_line(report)
    }
}

/// A report as one line of JSON.
#[must_use]
pub fn report(report: &Report) -> String {
    one_line(report)
}

/// A comparison as one line of JSON.
#[must_use]
pub fn comparison(comparison: &Comparison) -> String {
    one_line(comparison)
}

/// Any value as one line of JSON. Our own trees have string keys and finite numbers, so it cannot fail on them.
pub(super) fn one_line<T: Serialize>(value: &T) -> String {
    let mut line = serde_json::to_string(value)
        .unwrap_or_else(|error| serde_json::json!({ "kind": "error", "error": error.to_string() }).to_string());
    line.push('\n');
    line
}

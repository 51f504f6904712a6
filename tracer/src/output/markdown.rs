//! Reports as Markdown: for an issue, a merge request, a wiki.

use std::fmt::Write as _;

use super::layout::{self, Grid};
use super::{Output, latency, lint, sanitize};
use crate::analysis::lint::LintReport;
use crate::analysis::{Comparison, HerdRow, Report};

/// Prints reports as Markdown.
#[derive(Debug, Clone, Copy, Default)]
pub struct Markdown;

impl Output for Markdown {
    fn report(&self, report: &Report) -> String {
        let mut page = Page::default();
        page.alarms(&layout::alarms(report));
        page.heading(1, "eptrace report");
        page.list(layout::facts(report).into_iter().map(|(name, value)| format!("{name}: {value}")));
        if report.complete {
            page.paragraph(layout::nothing_lost(report));
        }
        page.list(layout::remarks(report));
        if report.herd.is_empty() {
            page.paragraph("No listening socket was seen in an eventpoll.");
        }
        for row in &report.herd {
            page.herd(row);
        }
        page.heading(2, "Totals");
        page.list(layout::totals(report));
        let tables = [
            ("Tasks", layout::tasks(report)),
            ("Eventpolls", layout::eventpolls(report)),
            ("Sources", layout::sources(report)),
            ("Callbacks", layout::callbacks(report)),
        ];
        for (title, grid) in tables.iter().filter(|(_, grid)| !grid.rows.is_empty()) {
            page.heading(2, title);
            page.grid(grid);
        }
        for (measure, grid) in latency::tables(report) {
            page.heading(2, measure.title);
            page.paragraph(measure.what);
            page.grid(&grid);
        }
        if let Some(left_out) = latency::left_out(report) {
            page.paragraph(&left_out);
        }
        page.finish()
    }

    fn comparison(&self, comparison: &Comparison) -> String {
        let mut page = Page::default();
        page.alarms(&layout::comparison_alarms(comparison));
        page.heading(1, "eptrace comparison");
        if comparison.pairs.is_empty() {
            page.paragraph("No listening socket was seen in both traces.");
        }
        for pair in &comparison.pairs {
            page.heading(2, &format!("{} → {}", pair.before.source, pair.after.source));
            page.paragraph(&pair.sentence);
            page.grid(&layout::comparison(&pair.before, &pair.after));
        }
        page.list(comparison.only_before.iter().map(|name| format!("only before: {name}")));
        page.list(comparison.only_after.iter().map(|name| format!("only after: {name}")));
        page.finish()
    }

    fn lint(&self, report: &LintReport) -> String {
        let mut page = Page::default();
        page.alarms(&lint::alarms(report));
        page.heading(1, "eptrace lint");
        page.list(lint::facts(report).into_iter().map(|(name, value)| format!("{name}: {value}")));
        page.list(report.limits.clone());
        for finding in &report.findings {
            page.heading(2, &format!("{}: {}", finding.severity.name(), finding.rule));
            page.paragraph(&finding.sentence);
            page.list(lint::details(finding).into_iter().map(|(name, value)| match name {
                "" => value,
                name => format!("{name}: {value}"),
            }));
        }
        if !report.unjudged.is_empty() {
            page.heading(2, "Cannot be judged");
            page.list(report.unjudged.iter().map(|unjudged| format!("{}: {}", unjudged.rule, unjudged.why)));
        }
        page.paragraph(&lint::summary(report));
        page.finish()
    }
}

/// The text as it grows: every string goes through [`sanitize::markdown`].
#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn alarms(&mut self, alarms: &[String]) {
        for alarm in alarms {
            let _ = writeln!(self.text, "> **{}**\n>", sanitize::markdown(alarm));
        }
        if !alarms.is_empty() {
            self.text.push('\n');
        }
    }

    fn heading(&mut self, level: usize, title: &str) {
        let _ = write!(self.text, "{} {}\n\n", "#".repeat(level), sanitize::markdown(title));
    }

    fn paragraph(&mut self, line: &str) {
        let _ = write!(self.text, "{}\n\n", sanitize::markdown(line));
    }

    fn list(&mut self, lines: impl IntoIterator<Item = String>) {
        let before = self.text.len();
        for line in lines {
            let _ = writeln!(self.text, "- {}", sanitize::markdown(&line));
        }
        if self.text.len() > before {
            self.text.push('\n');
        }
    }

    fn herd(&mut self, row: &HerdRow) {
        self.heading(2, &format!("{}: {}", row.source, row.verdict.name()));
        self.paragraph(&row.sentence);
        if !row.cure.is_empty() {
            self.paragraph(&format!("Cure: {}", row.cure));
        }
        self.paragraph(&layout::herd_size(row));
        self.grid(&layout::fan_out(row));
        if !row.tasks.is_empty() {
            self.grid(&layout::herd_tasks(row));
        }
    }

    fn grid(&mut self, grid: &Grid) {
        let words = |index: usize| index == 0 || grid.head.get(index) == Some(&"distribution");
        self.row(grid.head.iter().map(|cell| sanitize::markdown(cell)));
        self.row((0..grid.head.len()).map(|index| if words(index) { "---".to_owned() } else { "---:".to_owned() }));
        for row in &grid.rows {
            self.row(row.iter().map(|cell| sanitize::markdown(cell)));
        }
        self.text.push('\n');
        if grid.more > 0 {
            self.paragraph(&format!("… and {} more (all of them in JSON)", grid.more));
        }
    }

    fn row(&mut self, cells: impl Iterator<Item = String>) {
        let cells: Vec<String> = cells.collect();
        let _ = writeln!(self.text, "| {} |", cells.join(" | "));
    }

    fn finish(mut self) -> String {
        let length = self.text.trim_end().len();
        self.text.truncate(length);
        self.text.push('\n');
        self.text
    }
}

//! Reports for a terminal.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use super::layout::{self, Grid};
use super::{Output, latency, lint, sanitize};
use crate::analysis::lint::{LintReport, Severity};
use crate::analysis::{Comparison, HerdRow, Report, Verdict};

/// The narrowest width that is respected.
const MIN_WIDTH: u16 = 40;

/// The most columns of a table that are two spaces apart.
const WIDELY_SPACED: usize = 7;

const HEADING: Style = Style::new().bold();
const ALARM: Style = AnsiColor::Red.on_default().bold();
const FINE: Style = AnsiColor::Green.on_default().bold();
const UNSURE: Style = AnsiColor::Yellow.on_default().bold();

/// Prints reports as text.
#[derive(Debug, Clone, Copy)]
pub struct Text {
    /// Columns of the terminal.
    pub width: u16,
    /// Whether colour codes are wanted.
    pub colour: bool,
}

impl Output for Text {
    fn report(&self, report: &Report) -> String {
        let mut page = Page::new(*self);
        page.alarms(&layout::alarms(report));
        page.heading("eptrace report");
        for (name, value) in layout::facts(report) {
            page.paragraph(&format!("  {name:<9} "), &value, Style::new());
        }
        if report.complete {
            page.paragraph("  ", layout::nothing_lost(report), Style::new());
        }
        for remark in layout::remarks(report) {
            page.paragraph("  note: ", &remark, Style::new());
        }
        if report.herd.is_empty() {
            page.gap();
            page.paragraph("", "No listening socket was seen in an eventpoll.", Style::new());
        }
        for row in &report.herd {
            page.herd(row);
        }
        page.section("Totals");
        for line in layout::totals(report) {
            page.paragraph("  ", &line, Style::new());
        }
        let tables = [
            ("Tasks", layout::tasks(report)),
            ("Eventpolls", layout::eventpolls(report)),
            ("Sources", layout::sources(report)),
            ("Callbacks", layout::callbacks(report)),
        ];
        for (title, grid) in tables.iter().filter(|(_, grid)| !grid.rows.is_empty()) {
            page.section(title);
            page.grid(grid);
        }
        for (measure, grid) in latency::tables(report) {
            page.section(measure.title);
            page.paragraph("  ", measure.what, Style::new());
            page.grid(&grid);
        }
        if let Some(left_out) = latency::left_out(report) {
            page.gap();
            page.paragraph("  ", &left_out, UNSURE);
        }
        page.text
    }

    fn comparison(&self, comparison: &Comparison) -> String {
        let mut page = Page::new(*self);
        page.alarms(&layout::comparison_alarms(comparison));
        page.heading("eptrace comparison");
        if comparison.pairs.is_empty() {
            page.paragraph("", "No listening socket was seen in both traces.", Style::new());
        }
        for pair in &comparison.pairs {
            let title = if pair.before.source == pair.after.source {
                pair.before.source.clone()
            } else {
                format!("{} → {}", pair.before.source, pair.after.source)
            };
            page.section(&title);
            page.paragraph("  ", &pair.sentence, style_of(pair.after.verdict));
            page.grid(&layout::comparison(&pair.before, &pair.after));
        }
        for (side, names) in [("before", &comparison.only_before), ("after", &comparison.only_after)] {
            for name in names {
                page.paragraph("", &format!("only {side}: {name}"), Style::new());
            }
        }
        page.text
    }

    fn lint(&self, report: &LintReport) -> String {
        let mut page = Page::new(*self);
        page.alarms(&lint::alarms(report));
        page.heading("eptrace lint");
        for (name, value) in lint::facts(report) {
            page.paragraph(&format!("  {name:<9} "), &value, Style::new());
        }
        for limit in &report.limits {
            page.paragraph("  note: ", limit, Style::new());
        }
        for finding in &report.findings {
            page.gap();
            let title = format!("{} [{}]: {}", finding.severity.name(), finding.rule, finding.sentence);
            page.paragraph("", &title, style_of_severity(finding.severity));
            for (name, value) in lint::details(finding) {
                page.paragraph(&format!("  {name:<10} "), &value, Style::new());
            }
        }
        if !report.unjudged.is_empty() {
            page.section("Cannot be judged");
        }
        for unjudged in &report.unjudged {
            page.paragraph("  ", &format!("{}: {}", unjudged.rule, unjudged.why), UNSURE);
        }
        page.gap();
        page.paragraph("", &lint::summary(report), Style::new());
        page.text
    }
}

const fn style_of_severity(severity: Severity) -> Style {
    match severity {
        Severity::Error => ALARM,
        Severity::Warning => UNSURE,
        Severity::Note => HEADING,
    }
}

const fn style_of(verdict: Verdict) -> Style {
    match verdict {
        Verdict::Herd => ALARM,
        Verdict::NoHerd => FINE,
        Verdict::Idle | Verdict::Incomplete => UNSURE,
    }
}

/// The text as it grows.
struct Page {
    form: Text,
    text: String,
}

impl Page {
    fn new(form: Text) -> Self {
        Self { form: Text { width: form.width.max(MIN_WIDTH), ..form }, text: String::new() }
    }

    fn alarms(&mut self, alarms: &[String]) {
        for alarm in alarms {
            self.paragraph("", alarm, ALARM);
        }
        if !alarms.is_empty() {
            self.gap();
        }
    }

    fn gap(&mut self) {
        self.text.push('\n');
    }

    fn section(&mut self, title: &str) {
        self.gap();
        self.heading(title);
    }

    fn heading(&mut self, title: &str) {
        self.paragraph("", title, HEADING);
    }

    /// A line that is wrapped at the width; `prefix` is ours, `line` is not trusted.
    fn paragraph(&mut self, prefix: &str, line: &str, style: Style) {
        let indent = " ".repeat(prefix.len().min(12));
        let options = textwrap::Options::new(usize::from(self.form.width))
            .initial_indent(prefix)
            .subsequent_indent(&indent)
            .break_words(true);
        for line in textwrap::wrap(&sanitize::text(line), options) {
            self.styled(&line, style);
        }
    }

    fn styled(&mut self, line: &str, style: Style) {
        if self.form.colour && style != Style::new() {
            let _ = write!(self.text, "{}{line}{}", style.render(), style.render_reset());
        } else {
            self.text.push_str(line);
        }
        self.text.push('\n');
    }

    fn herd(&mut self, row: &HerdRow) {
        self.gap();
        let style = style_of(row.verdict);
        self.paragraph("", &format!("{}: {}", row.source, row.verdict.name().to_uppercase()), style);
        self.paragraph("  ", &row.sentence, Style::new());
        if !row.cure.is_empty() {
            self.paragraph("  cure: ", &row.cure, Style::new());
        }
        self.paragraph("  ", &layout::herd_size(row), Style::new());
        self.gap();
        self.grid(&layout::fan_out(row));
        if !row.tasks.is_empty() {
            self.gap();
            self.grid(&layout::herd_tasks(row));
        }
    }

    fn grid(&mut self, grid: &Grid) {
        let mut table = Table::new();
        table
            .load_style(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(self.form.width)
            .set_header(grid.head.iter().copied());
        for row in &grid.rows {
            table.add_row(row.iter().map(|cell| sanitize::text(cell)));
        }
        for (index, column) in table.column_iter_mut().enumerate() {
            let words = index == 0 || grid.head.get(index) == Some(&"distribution");
            column.set_cell_alignment(if words { CellAlignment::Left } else { CellAlignment::Right });
            let wide = index > 0 && (words || grid.head.len() <= WIDELY_SPACED);
            column.set_padding((if wide { 2 } else { 1 }, 0));
        }
        for line in table.lines() {
            self.text.push_str(line.trim_end());
            self.text.push('\n');
        }
        if grid.more > 0 {
            self.paragraph("  ", &format!("… and {} more (all of them in JSON)", grid.more), Style::new());
        }
    }
}

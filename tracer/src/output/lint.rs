//! Pitfalls that were found, and the rules themselves, as lines that every format for people prints.

use std::fmt::Write as _;

use super::layout::{seconds, task_name};
use crate::analysis::lint::{About, Finding, LintReport, Severity};

/// What the head warns of.
pub(super) fn alarms(report: &LintReport) -> Vec<String> {
    if report.lost > 0 {
        return vec![format!("LOST: {} events are missing", report.lost)];
    }
    if report.complete {
        return Vec::new();
    }
    vec!["NOT WHOLE: the recording was cut short, or the model had no room for everything".to_owned()]
}

/// Where and what.
pub(super) fn facts(report: &LintReport) -> Vec<(&'static str, String)> {
    vec![
        ("kernel", report.kernel.clone()),
        ("target", report.target.clone()),
        ("duration", seconds(report.duration_ns)),
        ("events", report.events.to_string()),
    ]
}

/// What stands under a finding.
pub(super) fn details(finding: &Finding) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    if !finding.eventpoll.is_empty() {
        lines.push(("eventpoll", finding.eventpoll.clone()));
    }
    let tasks: Vec<String> = finding.tasks.iter().map(|who| task_name(&who.comm, who.pid, who.tid)).collect();
    if !tasks.is_empty() {
        lines.push(("task", tasks.join(", ")));
    }
    if !finding.descriptors.is_empty() {
        let shown = u64::try_from(finding.descriptors.len()).unwrap_or(u64::MAX);
        let more = finding.descriptors_total.saturating_sub(shown);
        let more = if more > 0 { format!(", and {more} more") } else { String::new() };
        lines.push(("descriptor", format!("{}{more}", finding.descriptors.join("; "))));
    }
    if !finding.rows.is_empty() {
        let rows: Vec<String> = finding.rows.iter().map(u64::to_string).collect();
        lines.push(("rows", format!("{} ({} in all)", rows.join(", "), finding.times)));
    }
    lines.extend(finding.evidence.iter().map(|words| ("seen", words.clone())));
    lines.push(("do", finding.cure.to_owned()));
    lines
}

/// The last line.
pub(super) fn summary(report: &LintReport) -> String {
    let count = |severity| report.findings.iter().filter(|finding| finding.severity == severity).count();
    let unjudged: std::collections::BTreeSet<&str> = report.unjudged.iter().map(|unjudged| unjudged.rule).collect();
    let mut line = format!(
        "{} rules looked: {} errors, {} warnings, {} notes",
        report.rules.len(),
        count(Severity::Error),
        count(Severity::Warning),
        count(Severity::Note)
    );
    if !unjudged.is_empty() {
        let _ = write!(line, "; {} cannot be judged here", unjudged.len());
    }
    line
}

/// All rules, a line each.
#[must_use]
pub fn rules(abouts: &[&About]) -> String {
    let width = abouts.iter().map(|about| about.id.len()).max().unwrap_or(0);
    let mut text = String::new();
    for about in abouts {
        let _ = writeln!(text, "{:<width$}  {:<7}  {}", about.id, about.severity.name(), about.summary);
    }
    text
}

/// All that is to be said of a rule.
#[must_use]
pub fn explain(about: &About, width: usize) -> String {
    let fill = |text: &str, indent: &str| {
        let indent = textwrap::Options::new(width).initial_indent(indent).subsequent_indent(indent);
        textwrap::fill(text, indent)
    };
    let mut text = format!("{} ({}): {}\n\n", about.id, about.severity.name(), about.summary);
    let _ = writeln!(text, "{}\n", fill(about.explain, ""));
    let _ = writeln!(text, "What to do\n{}\n", fill(about.cure, "  "));
    text.push_str("When it says so\n");
    for (what, number) in about.thresholds {
        let _ = writeln!(text, "{}", fill(&format!("{number}: {what}"), "  "));
    }
    let hooks: Vec<&str> = about.needs.iter().map(|hook| hook.name()).collect();
    let _ = writeln!(
        text,
        "\nIt cannot be judged without the hooks {}{}.",
        hooks.join(", "),
        if about.absence { ", or when events were lost: one of them could clear the accused" } else { "" }
    );
    text
}

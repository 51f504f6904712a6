//! Pitfalls that were found, and the rules themselves, as lines that every format for people prints.

use std::fmt::Write as _;

use super::layout::{seconds, task_name};
use crate::analysis::lint::{About, Finding, LintReport, Severity, StackFrame, UserStack};

/// Frames of a stack that are shown.
const SHOWN_FRAMES: usize = 16;

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
        ("backend", report.backend.clone()),
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
    lines.extend(finding.stack.iter().flat_map(stack));
    lines.push(("do", finding.cure.to_owned()));
    lines
}

/// From where a call was made, a line for each frame.
fn stack(stack: &UserStack) -> Vec<(&'static str, String)> {
    let missing = stack.missing.as_deref();
    if stack.frames.is_empty() {
        return vec![("from", format!("no user stack: {}", missing.unwrap_or("it is empty")))];
    }
    let mut lines = vec![("from", format!("the user stack of the call in row {}, innermost first", stack.row))];
    let shown = stack.frames.iter().take(SHOWN_FRAMES).zip(0..);
    lines.extend(shown.map(|(frame, place)| ("", format!("#{place} {}", self::frame(frame)))));
    let more = stack.frames.len().saturating_sub(SHOWN_FRAMES);
    match missing {
        _ if more > 0 => lines.push(("", format!("and {more} more"))),
        Some(why) => lines.push(("", format!("no more: {why}"))),
        None => {}
    }
    lines
}

/// `epoll_wait+0x1e (libc.so.6+0x10a21e)`, or as much of it as is known.
fn frame(frame: &StackFrame) -> String {
    let behind = |name: &str, offset: Option<u64>| format!("{name}+{:#x}", offset.unwrap_or(0));
    let function = frame.function.as_ref().map(|name| behind(name, frame.function_offset));
    let module = frame.module.as_ref().map(|name| behind(name, frame.module_offset));
    match (function, module, &frame.unknown) {
        (Some(function), Some(module), _) => format!("{function} ({module})"),
        (Some(name), None, _) | (None, Some(name), _) => name,
        (None, None, Some(why)) => format!("{} ({why})", frame.address),
        (None, None, None) => frame.address.clone(),
    }
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

#[cfg(test)]
mod tests {
    use super::{SHOWN_FRAMES, details};
    use crate::analysis::lint::{Finding, LintReport, Severity, StackFrame, UserStack};
    use crate::output::{Json, Markdown, Output as _, Text};

    fn frame(function: &str) -> StackFrame {
        StackFrame {
            address: "0x1005".to_owned(),
            module: Some("server".to_owned()),
            module_offset: Some(0xf05),
            function: Some(function.to_owned()),
            function_offset: Some(5),
            unknown: None,
        }
    }

    fn finding(frames: Vec<StackFrame>, missing: Option<&str>) -> Finding {
        Finding {
            rule: "ctl-fails",
            severity: Severity::Warning,
            sentence: String::new(),
            eventpoll: String::new(),
            tasks: Vec::new(),
            descriptors: Vec::new(),
            descriptors_total: 0,
            times: 1,
            rows: Vec::new(),
            evidence: Vec::new(),
            stack: Some(UserStack { row: 12, frames, missing: missing.map(str::to_owned) }),
            cure: "do it well",
        }
    }

    fn lines(finding: &Finding) -> Vec<String> {
        details(finding).into_iter().map(|(name, value)| format!("{name}|{value}")).collect()
    }

    #[test]
    fn a_stack_is_told_frame_by_frame_and_says_why_it_ends() {
        let nameless = StackFrame { function: None, ..frame("") };
        let unknown =
            StackFrame { module: None, unknown: Some("the process had ended".to_owned()), ..nameless.clone() };
        let finding = finding(vec![frame("run"), nameless, unknown], Some("no frame pointer leads further"));
        assert_eq!(
            lines(&finding)[..5],
            [
                "from|the user stack of the call in row 12, innermost first",
                "|#0 run+0x5 (server+0xf05)",
                "|#1 server+0xf05",
                "|#2 0x1005 (the process had ended)",
                "|no more: no frame pointer leads further",
            ]
        );
    }

    #[test]
    fn only_so_many_frames_are_shown_and_none_is_said_to_be_none() {
        let deep = finding(vec![frame("run"); SHOWN_FRAMES + 3], None);
        assert_eq!(lines(&deep).len(), SHOWN_FRAMES + 3);
        assert!(lines(&deep).contains(&"|and 3 more".to_owned()));
        assert_eq!(lines(&finding(Vec::new(), Some("why")))[0], "from|no user stack: why");
        assert_eq!(lines(&Finding { stack: None, ..finding(Vec::new(), None) }), ["do|do it well"]);
    }

    #[test]
    fn names_of_functions_and_modules_are_not_trusted() {
        let hostile =
            StackFrame { module: Some("<img src=x>\u{202e}".to_owned()), ..frame("\x1b]0;owned\x07\n# title") };
        let report = LintReport {
            schema_version: 1,
            kind: "lint",
            eptrace: String::new(),
            kernel: String::new(),
            backend: String::new(),
            target: String::new(),
            duration_ns: 0,
            events: 0,
            lost: 0,
            complete: true,
            limits: Vec::new(),
            rules: Vec::new(),
            findings: vec![finding(vec![hostile], None)],
            unjudged: Vec::new(),
        };
        for text in [Text { width: 200, colour: false }.lint(&report), Markdown.lint(&report), Json.lint(&report)] {
            assert!(!text.contains('\x1b') && !text.contains('\x07'), "{text}");
            assert!(!text.lines().any(|line| line.starts_with("# title")), "{text}");
        }
        assert!(!Text { width: 200, colour: false }.lint(&report).contains('\u{202e}'));
        assert!(!Markdown.lint(&report).contains("<img"));
    }
}

//! `docs/claims.md`: a run's verdicts, for people.
//!
//! In: a [`Record`]. Out: Markdown. Everything in it that is about kernels is of the run.

use std::fmt::Write as _;

use crate::claims::judge::Verdict;
use crate::claims::record::{OnKernel, OneClaim, Record};

const SECTIONS: [(&str, &str); 9] = [
    ("34.1", "The data structures"),
    ("34.2", "The callback"),
    ("34.3", "Level-triggered and edge-triggered"),
    ("34.4", "EPOLLONESHOT, EPOLLEXCLUSIVE, SO_REUSEPORT"),
    ("34.5", "Pitfalls of edge-triggered loops"),
    ("34.6", "Beside other interfaces"),
    ("34.7", "The reactor's loop"),
    ("34.8", "Echo servers"),
    ("interview", "Of the interview's answers"),
];

/// The document.
pub(crate) fn markdown(record: &Record) -> String {
    let mut text = head(record);
    summary(&mut text, record);
    questions(&mut text, record);
    for (section, title) in SECTIONS {
        let mut claims = record.claims.iter().filter(|claim| claim.section == section).peekable();
        if claims.peek().is_none() {
            continue;
        }
        let number = if section.starts_with("34") { format!("§ {section}: ") } else { String::new() };
        // Writing to a String does not fail.
        let _ = writeln!(text, "\n## {number}{title}");
        for claim in claims {
            one(&mut text, record, claim);
        }
    }
    text
}

fn head(record: &Record) -> String {
    let kernels: Vec<String> =
        record.kernels.iter().map(|kernel| format!("{} (`{}`)", kernel.version, kernel.release)).collect();
    let mut text = format!(
        "# A chapter on epoll, statement by statement\n\n\
         `cargo xtask claims` wrote this from its run of {}. The statements are those of a textbook's chapter on epoll, in our words; \
         the numbers are of Debian's cloud kernels {}. Each demo ran under eptrace, which said what the kernel did; what bpftrace \
         counted stands where no demo is named. The same numbers, each under its name: [claims.json](claims.json).\n\n\
         A statement is taken as predictions. It *holds* where all of them come out, is *imprecise* where it is right in the main and a \
         detail is not so, and *wrong* where its main point is not so. What has no run behind it says *not run*, and why. Kernels before \
         5.10 and other platforms were not run.\n",
        record.started,
        listed(&kernels)
    );
    for kernel in &record.kernels {
        if kernel.lost > 0 {
            let _ = writeln!(
                text,
                "\n**{}: the trace lost {} records.** Counts may be short by as many.",
                kernel.version, kernel.lost
            );
        }
        for trouble in &kernel.troubles {
            let _ = writeln!(text, "\n{}: not measured: {}", kernel.version, one_line(trouble));
        }
    }
    text
}

fn listed(items: &[String]) -> String {
    match items {
        [first @ .., last] if !first.is_empty() => format!("{} and {last}", first.join(", ")),
        _ => items.join(""),
    }
}

/// What a table's cell or a line may hold.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

fn summary(text: &mut String, record: &Record) {
    let verdicts = ["holds", "holds since", "imprecise", "wrong", "not run"];
    let of = |verdict: &str| {
        let is = |claim: &&OneClaim| match verdict {
            "holds since" => claim.verdict.starts_with("holds since"),
            exactly => claim.verdict == exactly,
        };
        record.claims.iter().filter(is).count()
    };
    let counted: Vec<String> =
        verdicts.iter().filter(|verdict| of(verdict) > 0).map(|verdict| format!("{} {verdict}", of(verdict))).collect();
    let _ = writeln!(text, "\n## All of them\n\n{} statements: {}.\n", record.claims.len(), listed(&counted));
    let _ = writeln!(text, "| | § | statement | verdict |\n|---|---|---|---|");
    for claim in &record.claims {
        let OneClaim { id, section, statement, verdict, .. } = claim;
        let _ =
            writeln!(text, "| [{id}](#{}) | {section} | {} | {} |", anchor(id), one_line(statement), marked(verdict));
    }
}

fn anchor(id: &str) -> String {
    id.to_lowercase()
}

fn marked(verdict: &str) -> String {
    match verdict {
        "holds" | "not run" => verdict.to_owned(),
        other => format!("**{other}**"),
    }
}

fn questions(text: &mut String, record: &Record) {
    if record.interview.is_empty() {
        return;
    }
    let _ = writeln!(
        text,
        "\n## The interview's questions\n\nEach sentence names the statements whose verdicts bear it out."
    );
    for answer in &record.interview {
        let _ = writeln!(text, "\n**{}**", answer.question);
        for sentence in &answer.sentences {
            let rests: Vec<String> = sentence.rests_on.iter().map(|id| format!("[{id}](#{})", anchor(id))).collect();
            let _ = writeln!(text, "- {} ({})", sentence.text, rests.join(", "));
        }
    }
}

fn one(text: &mut String, record: &Record, claim: &OneClaim) {
    let _ = writeln!(text, "\n### {}\n\n{}\n\n**{}**.", claim.id, claim.statement, claim.verdict);
    if let Some(why) = &claim.not_run {
        let _ = writeln!(text, "Why: {why}.");
        return;
    }
    if let Some(command) = &claim.command {
        let _ = writeln!(text, "Shown by `{command}`.");
    }
    let points =
        claim.kernels.iter().find(|on| !on.points.is_empty()).map(|on| on.points.as_slice()).unwrap_or_default();
    if !points.is_empty() {
        let versions: Vec<&str> = record.kernels.iter().map(|kernel| kernel.version.as_str()).collect();
        let _ = writeln!(text, "\n| | stated | {} |", versions.join(" | "));
        let _ = writeln!(text, "|---|---|{}", "---|".repeat(versions.len()));
        for (index, point) in points.iter().enumerate() {
            let cells: Vec<String> = claim.kernels.iter().map(|on| cell(on, index)).collect();
            let _ =
                writeln!(text, "| {} | {} | {} |", one_line(&point.what), one_line(&point.stated), cells.join(" | "));
        }
        let each: Vec<String> = claim.kernels.iter().map(|on| on.verdict.to_string()).collect();
        let _ = writeln!(text, "| verdict | | {} |", each.join(" | "));
    }
    let mut instead: Vec<&str> = Vec::new();
    for point in
        claim.kernels.iter().flat_map(|on| &on.points).filter(|point| !point.agrees && !point.instead.is_empty())
    {
        if !instead.contains(&point.instead.as_str()) {
            instead.push(&point.instead);
        }
    }
    if !instead.is_empty() {
        let _ = writeln!(text, "\nInstead: {}.", instead.join("; "));
    }
    for (kernel, on) in record.kernels.iter().zip(&claim.kernels) {
        if let (Verdict::NotRun, Some(why)) = (on.verdict, &on.not_run) {
            let _ = writeln!(text, "\n{}: not run: {}", kernel.version, one_line(why));
        }
    }
}

/// What was found; marked where it is not what was stated.
fn cell(on: &OnKernel, index: usize) -> String {
    match on.points.get(index) {
        Some(point) if point.agrees => one_line(&point.found),
        Some(point) => format!("**{}**", one_line(&point.found)),
        None => "–".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{listed, one_line};

    #[test]
    fn what_a_kernel_says_does_not_break_a_table() {
        assert_eq!(one_line("a|b\n  c"), "a\\|b c");
    }

    #[test]
    fn lists_read_as_sentences() {
        let words = |words: &[&str]| listed(&words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>());
        assert_eq!(words(&["a"]), "a");
        assert_eq!(words(&["a", "b", "c"]), "a, b and c");
    }
}

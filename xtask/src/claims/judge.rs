//! From predictions to verdicts.
//!
//! In: what a statement says must be found, beside what was found, on each kernel. Out: a verdict for each kernel, and one over all
//! of them. Nobody writes a verdict: it follows from the numbers.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One thing that a statement predicts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Point {
    /// What was measured.
    pub(crate) what: String,
    /// What the statement says it must be.
    pub(crate) stated: String,
    pub(crate) found: String,
    pub(crate) agrees: bool,
    /// Whether the statement falls with it. Otherwise it is only not exact.
    pub(crate) core: bool,
    /// What is the case instead; told only where the numbers do not agree.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) instead: String,
}

/// A number or a word that must be exactly this.
pub(crate) fn exact(what: &str, stated: impl Into<Value>, found: impl Into<Value>) -> Point {
    let (stated, found) = (stated.into(), found.into());
    let agrees = stated == found;
    test(what, &text(&stated), found, agrees)
}

/// Something that must be as `stated` says in words.
pub(crate) fn test(what: &str, stated: &str, found: impl Into<Value>, agrees: bool) -> Point {
    Point {
        what: what.to_owned(),
        stated: stated.to_owned(),
        found: text(&found.into()),
        agrees,
        core: true,
        instead: String::new(),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(" "),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        other => other.to_string(),
    }
}

impl Point {
    /// The statement is right in the main when only this is not so.
    pub(crate) fn detail(self) -> Self {
        Self { core: false, ..self }
    }

    /// What is so when this is not.
    pub(crate) fn instead(self, text: &str) -> Self {
        Self { instead: text.to_owned(), ..self }
    }
}

/// Of a statement on one kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    Holds,
    Imprecise,
    Wrong,
    NotRun,
}

impl Verdict {
    pub(crate) fn of(points: &[Point]) -> Self {
        let fails = |core: bool| points.iter().any(|point| !point.agrees && point.core == core);
        if points.is_empty() {
            Self::NotRun
        } else if fails(true) {
            Self::Wrong
        } else if fails(false) {
            Self::Imprecise
        } else {
            Self::Holds
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Imprecise => "imprecise",
            Self::Wrong => "wrong",
            Self::NotRun => "not run",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One verdict over all kernels, which come oldest first.
pub(crate) fn overall<'a>(kernels: impl IntoIterator<Item = (&'a str, Verdict)>) -> String {
    let run: Vec<(&str, Verdict)> = kernels.into_iter().filter(|(_, verdict)| *verdict != Verdict::NotRun).collect();
    let Some((_, first)) = run.first().copied() else { return Verdict::NotRun.to_string() };
    if run.iter().all(|(_, verdict)| *verdict == first) {
        return first.to_string();
    }
    if let Some(since) = run.iter().position(|(_, verdict)| *verdict == Verdict::Holds)
        && run.iter().skip(since).all(|(_, verdict)| *verdict == Verdict::Holds)
    {
        return format!("holds since {}", version(run[since].0));
    }
    let each: Vec<String> = run.iter().map(|(kernel, verdict)| format!("{verdict} on {}", version(kernel))).collect();
    each.join(", ")
}

/// The numbers of a release: `6.12.117` of `6.12.117+deb13-cloud-amd64`.
pub(crate) fn version(release: &str) -> &str {
    release.split(|c: char| !c.is_ascii_digit() && c != '.').next().unwrap_or(release).trim_end_matches('.')
}

#[cfg(test)]
mod tests {
    use super::{Verdict, exact, overall, test, version};

    #[test]
    fn a_statement_falls_with_a_core_point_and_is_imprecise_with_a_detail() {
        let (good, bad) = (exact("a", 1, 1), exact("b", 1, 2));
        assert_eq!(Verdict::of(std::slice::from_ref(&good)), Verdict::Holds);
        assert_eq!(Verdict::of(&[good.clone(), bad.clone().detail()]), Verdict::Imprecise);
        assert_eq!(Verdict::of(&[good, bad.clone().detail(), bad]), Verdict::Wrong);
        assert_eq!(Verdict::of(&[]), Verdict::NotRun);
    }

    #[test]
    fn numbers_and_words_are_equal_or_not() {
        assert!(exact("a", "x", "x").agrees && !exact("a", "1", 1).agrees);
        let said = test("a", "few", vec![1, 2], false).instead("many");
        assert_eq!((said.found.as_str(), said.instead.as_str()), ("1 2", "many"));
    }

    #[test]
    fn the_verdict_over_all_kernels_follows_from_each() {
        use Verdict::{Holds, Imprecise, NotRun, Wrong};
        let all = |verdicts: [Verdict; 3]| overall(["5.10.1-x", "6.1.2-y", "7.3.4+deb13-z"].into_iter().zip(verdicts));
        assert_eq!(all([Holds, Holds, Holds]), "holds");
        assert_eq!(all([Wrong, Wrong, NotRun]), "wrong");
        assert_eq!(all([Wrong, Holds, Holds]), "holds since 6.1.2");
        assert_eq!(all([NotRun, Imprecise, Holds]), "holds since 7.3.4");
        assert_eq!(all([Holds, Wrong, Holds]), "holds on 5.10.1, wrong on 6.1.2, holds on 7.3.4");
        assert_eq!(all([NotRun; 3]), "not run");
    }

    #[test]
    fn a_release_is_told_by_its_numbers() {
        assert_eq!(version("6.12.117+deb13-cloud-amd64"), "6.12.117");
        assert_eq!(version("6.1.0-56-cloud-amd64"), "6.1.0");
        assert_eq!(version("7.4-rc1"), "7.4");
    }
}

//! What came of looking for pitfalls: a plain tree, which every output format prints.

use serde::Serialize;

use super::rule::Severity;

/// Everything that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LintReport {
    /// [`SCHEMA_VERSION`](crate::analysis::SCHEMA_VERSION)
    pub schema_version: u32,
    /// `lint`
    pub kind: &'static str,
    /// Version of eptrace that recorded the trace.
    pub eptrace: String,
    /// `uname -r`
    pub kernel: String,
    /// `fentry`, `kprobe`, `mixed` or `none`.
    pub backend: String,
    /// What was traced, in words.
    pub target: String,
    /// How long it went on, nanoseconds.
    pub duration_ns: u64,
    /// Events in the trace.
    pub events: u64,
    /// Events that are missing from it.
    pub lost: u64,
    /// Whether nothing is missing: nothing lost, nothing that did not fit the model.
    pub complete: bool,
    /// What this trace cannot show: whole sentences.
    pub limits: Vec<String>,
    /// The rules that looked.
    pub rules: Vec<&'static str>,
    /// What they found, what matters most first.
    pub findings: Vec<Finding>,
    /// What they cannot say.
    pub unjudged: Vec<Unjudged>,
}

/// A pitfall that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The rule's id.
    pub rule: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// What was seen.
    pub sentence: String,
    /// The eventpoll.
    pub eventpoll: String,
    /// Some of the tasks that did it.
    pub tasks: Vec<Who>,
    /// Some of the descriptors, and what they are.
    pub descriptors: Vec<String>,
    /// How many descriptors.
    pub descriptors_total: u64,
    /// How often.
    pub times: u64,
    /// Rows of the trace, from 1: the first few, and the last.
    pub rows: Vec<u64>,
    /// The first few times, in full.
    pub evidence: Vec<String>,
    /// From where in its program one of the calls was made, the latest that is known; none where no call is accused.
    pub stack: Option<UserStack>,
    /// What to do.
    pub cure: &'static str,
}

/// The user stack of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UserStack {
    /// The row of the call.
    pub row: u64,
    /// Its frames, innermost first, as far as frame pointers lead.
    pub frames: Vec<StackFrame>,
    /// Why there is none, or no more of it.
    pub missing: Option<String>,
}

/// One frame of a user stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StackFrame {
    /// The address in the process, hexadecimal.
    pub address: String,
    /// The name of the file that is mapped there; not a string to trust.
    pub module: Option<String>,
    /// The address as the file's own tables count it.
    pub module_offset: Option<u64>,
    /// The function; not a string to trust.
    pub function: Option<String>,
    /// How far the address lies behind the function's beginning.
    pub function_offset: Option<u64>,
    /// Why there are no names.
    pub unknown: Option<String>,
}

/// A rule that cannot be judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unjudged {
    /// Its id.
    pub rule: &'static str,
    /// Why.
    pub why: String,
}

/// A task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Who {
    /// Its thread group.
    pub pid: u32,
    /// Its number.
    pub tid: u32,
    /// Its name; not a string to trust.
    pub comm: String,
}

impl LintReport {
    /// Whether one of these rules found something, or something that matters at least so much was found.
    #[must_use]
    pub fn has(&self, least: Option<Severity>, denied: &[String]) -> bool {
        let denied = |rule: &str| denied.iter().any(|id| id == rule);
        let grave = |finding: &Finding| least.is_some_and(|least| finding.severity >= least) || denied(finding.rule);
        self.findings.iter().any(grave) || self.unjudged.iter().any(|unjudged| denied(unjudged.rule))
    }
}

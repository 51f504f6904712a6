//! Whom to trace, and how.

use std::path::PathBuf;

use crate::probes::attach::Sizes;
use crate::probes::plan::{Preference, Purpose};

/// Whom to trace, and how.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Thread groups; empty: every process but the tracer.
    pub pids: Vec<u32>,
    /// What is traced, in words.
    pub target: String,
    /// What is asked of the probes.
    pub purpose: Purpose,
    /// Children of traced processes are traced too.
    pub follow_forks: bool,
    /// Which backends to take.
    pub preference: Preference,
    /// Map sizes.
    pub sizes: Sizes,
    /// BTF of the running kernel, where the kernel itself does not offer it.
    pub btf: Option<PathBuf>,
    /// Probes to load instead of the built-in ones.
    pub object: Option<PathBuf>,
    /// How much to say.
    pub detail: Detail,
}

/// How much is said beside the events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detail {
    /// The end of the log of a verifier that refuses.
    #[default]
    Plain,
    /// All of that log.
    VerifierLog,
    /// And what the probes log, if they were built to.
    ProbeLog,
}

/// This kernel cannot be traced: the hooks that are needed and did not attach.
#[derive(Debug, thiserror::Error)]
#[error("this kernel cannot be traced; `eptrace check` shows why, hook by hook. First: {0}")]
pub struct Untraceable(pub String);

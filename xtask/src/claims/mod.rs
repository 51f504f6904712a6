//! The chapter's statements about epoll, each with what must be measured if it is right, and the verdicts that follow from a run.
//!
//! In: what demos and tools gave on each kernel. Out: `docs/claims.md` and `docs/claims.json`.

pub(crate) mod document;
pub(crate) mod expected;
pub(crate) mod facts;
mod interview;
pub(crate) mod judge;
pub(crate) mod judges;
pub(crate) mod record;
pub(crate) mod runs;
#[cfg(test)]
mod tests;

use anyhow::Result;

use self::facts::Facts;
use self::judge::Point;

/// One statement.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) id: &'static str,
    /// Of the chapter.
    pub(crate) section: &'static str,
    pub(crate) says: &'static str,
    pub(crate) how: How,
}

/// How a statement gets its verdict.
#[derive(Debug)]
pub(crate) enum How {
    /// By a run: the demo that shows it, if one demo does, and what must be found.
    Run { demo: &'static str, judge: fn(&Facts<'_>) -> Result<Vec<Point>> },
    /// Not at all, and why.
    NotRun(&'static str),
}

const fn run(
    id: &'static str,
    section: &'static str,
    says: &'static str,
    demo: &'static str,
    judge: fn(&Facts<'_>) -> Result<Vec<Point>>,
) -> Claim {
    Claim { id, section, says, how: How::Run { demo, judge } }
}

const fn not_run(id: &'static str, section: &'static str, says: &'static str, why: &'static str) -> Claim {
    Claim { id, section, says, how: How::NotRun(why) }
}

impl Claim {
    /// The command that shows it again.
    pub(crate) fn command(&self) -> Option<String> {
        match self.how {
            How::Run { demo: "", .. } => Some(format!("cargo xtask claims {}", self.id)),
            How::Run { demo, .. } => Some(format!("cargo xtask demo {demo}")),
            How::NotRun(_) => None,
        }
    }
}

//! Enums as the words that stand in the dictionaries of a trace file.

use tracer_common::Hook;

use crate::event::{LossReason, MarkKind};

/// A closed set of words.
pub(super) trait Name: Copy + Eq + 'static {
    /// All of them; the place is the word's number in the dictionaries that eptrace writes.
    const ALL: &'static [Self];

    /// The word.
    fn name(self) -> &'static str;

    /// The word's number.
    fn code(self) -> i8 {
        Self::ALL.iter().zip(0..).find_map(|(name, code)| (*name == self).then_some(code)).unwrap_or_default()
    }

    /// The value of this word.
    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|known| known.name() == name)
    }
}

impl Name for Hook {
    const ALL: &'static [Self] = &Hook::ALL;

    fn name(self) -> &'static str {
        Hook::name(self)
    }
}

impl Name for LossReason {
    const ALL: &'static [Self] = &LossReason::ALL;

    fn name(self) -> &'static str {
        LossReason::name(self)
    }
}

impl Name for MarkKind {
    const ALL: &'static [Self] = &[Self::Started, Self::Stopped];

    fn name(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Stopped => "stopped",
        }
    }
}

//! Which steps the player shows: all of a short trace; of a long one how each eventpoll begins, and what follows its moments.

use std::collections::BTreeMap;

use super::super::history::{EventpollHistory, History};
use crate::model::EpId;

/// Steps of a whole page.
const MAX_STEPS: u64 = 6_000;
/// Eventpolls of a page.
const MAX_EVENTPOLLS: usize = 24;
/// Steps from the beginning of an eventpoll.
const BEGINNING: usize = 80;
/// Steps from a moment on.
const AFTER_MOMENT: usize = 120;

/// Steps that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// The first of them.
    from: From,
    /// How many.
    pub(super) steps: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    Step(u64),
    Time(i64),
}

impl Stretch {
    /// Whether it begins with this step.
    pub(super) const fn begins(&self, number: u64, at_ns: i64) -> bool {
        match self.from {
            From::Step(first) => number >= first,
            From::Time(from_ns) => at_ns >= from_ns,
        }
    }
}

/// Which steps of which eventpolls are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    stretches: BTreeMap<EpId, Vec<Stretch>>,
}

impl Plan {
    /// Every step of these eventpolls.
    #[must_use]
    pub fn everything(eventpolls: impl IntoIterator<Item = EpId>) -> Self {
        let all = || vec![Stretch { from: From::Step(0), steps: usize::MAX }];
        Self { stretches: eventpolls.into_iter().map(|ep| (ep, all())).collect() }
    }

    /// What is worth showing of a trace, and fits a page.
    #[must_use]
    pub fn of_history(history: &History) -> Self {
        let steps = history.eventpolls.iter().fold(0_u64, |sum, ep| sum.saturating_add(ep.steps));
        if steps <= MAX_STEPS && history.eventpolls.len() <= MAX_EVENTPOLLS {
            return Self::everything(history.eventpolls.iter().map(|ep| ep.id));
        }
        let mut plan = Self::default();
        let mut left = MAX_STEPS;
        for ep in chosen(history) {
            let mut stretches = vec![Stretch { from: From::Step(0), steps: BEGINNING }];
            // A wakeup of a source concerns all eventpolls, whichever it was noticed at.
            let moments = history.moments.iter().filter(|moment| moment.ep.is_some());
            let times = moments.map(|moment| i64::try_from(moment.at_ns).unwrap_or(i64::MAX));
            stretches.extend(times.map(|at_ns| Stretch { from: From::Time(at_ns), steps: AFTER_MOMENT }));
            let wanted = stretches.iter().map(|stretch| stretch.steps as u64).sum::<u64>().min(ep.steps);
            if wanted > left {
                break;
            }
            left -= wanted;
            plan.stretches.insert(ep.id, stretches);
        }
        plan
    }

    /// The stretches of an eventpoll that have not begun.
    pub(super) fn of(&mut self, ep: EpId) -> Option<&mut Vec<Stretch>> {
        self.stretches.get_mut(&ep)
    }
}

/// The eventpolls to show: those with moments first, then the busiest.
fn chosen(history: &History) -> Vec<&EventpollHistory> {
    let has_moment = |ep: &EventpollHistory| history.moments.iter().any(|moment| moment.ep == Some(ep.id));
    let (mut first, second): (Vec<_>, Vec<_>) = history.eventpolls.iter().partition(|ep| has_moment(ep));
    first.extend(second);
    first.truncate(MAX_EVENTPOLLS);
    first
}

//! Every wait fills its array while more items wait than it holds.

use tracer_common::Hook;

use super::cases::{Cases, Judged};
use super::rule::{About, Rule, Scene, Severity};
use super::step::{Step, What};
use crate::model::EpId;

use std::collections::BTreeMap;

/// So many waits in a row that fill the array and leave ready items behind.
const RUN: u64 = 64;
/// Eventpolls that are followed.
const MAX_COUNTS: usize = 65_536;
/// Ready items that are counted for the sentence.
const MAX_WAITING: usize = 4_096;

static ABOUT: About = About {
    id: "small-maxevents",
    severity: Severity::Warning,
    summary: "every wait returns as many events as fit, and at least as many ready items are left waiting",
    explain: "A scan stops when the array is full; what it did not reach goes back to the head of the ready list. Nothing is lost and \
              nobody is passed over for ever, but each ready item waits for several rounds of the loop, and each round is a system \
              call.",
    cure: "Give epoll_wait a larger array: as many events as are ready at once under load, 64 to 1024 for a server.",
    thresholds: &[(
        "waits of an eventpoll's only task in a row that are full, while at least as many ready items again are left",
        RUN,
    )],
    needs: &[Hook::WaitExit, Hook::WaitEnter, Hook::Scan],
    absence: true,
};

#[derive(Debug, Default)]
pub(super) struct SmallMaxevents {
    full: BTreeMap<EpId, u64>,
    cases: Cases,
}

impl Rule for SmallMaxevents {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn see(&mut self, step: &Step, scene: &Scene<'_>) {
        match step.what {
            What::Back { ep, ret, wait, left_over } => {
                let Some(room) = wait.map(|wait| wait.maxevents).filter(|room| *room > 0) else { return };
                if ret != room || !left_over {
                    self.full.remove(&ep);
                    return;
                }
                if self.full.len() >= MAX_COUNTS && !self.full.contains_key(&ep) {
                    return;
                }
                let full = self.full.entry(ep).or_default();
                *full = full.saturating_add(1);
                if !full.is_multiple_of(RUN) {
                    return;
                }
                let waiting = scene.model.items().waiting(ep, MAX_WAITING).len();
                let room = usize::try_from(room).unwrap_or(usize::MAX);
                // Tasks that share an eventpoll may each take no more than they can deal with.
                if waiting < room.saturating_mul(2) || scene.model.shared(ep) {
                    return;
                }
                let Some(case) = self.cases.again(ep) else { return };
                case.by(step.task, scene);
                case.at(step.row);
                case.saying(|| format!("room for {room}, and {waiting} items on the ready list when the wait ended"));
            }
            What::EventpollGone { ep } => _ = self.full.remove(&ep),
            _ => {}
        }
    }

    fn judge(&mut self, _scene: &Scene<'_>, judged: &mut Judged) {
        self.cases.accuse(judged, |case| {
            format!("{} times {RUN} waits in a row filled their array and left ready items behind.", case.times)
        });
    }
}

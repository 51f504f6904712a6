//! An edge-triggered item is delivered, its handler reads or accepts once, and leaves something behind that no event will tell of.
//!
//! Two rules with one logic: bytes that are not read, connections that are not accepted.

use std::collections::BTreeSet;

use tracer_common::Hook;

use super::cases::{Cases, Judged};
use super::rule::{About, Rule, Scene, Severity};
use super::runs::ms;
use super::step::{Did, Row, Step, Subject, What};
use super::table::{Items, Tasks};
use crate::model::{EPOLLET, EPOLLONESHOT, EpId, TaskId, op};

/// So long nobody reads what was left, milliseconds.
const LEFT_MS: u64 = 100;
/// Eventpolls that are remembered as cleared.
const MAX_CLEARED: usize = 65_536;

/// `EPOLLIN | EPOLLRDNORM`
const READABLE: u32 = 0x41;
/// `-EAGAIN`
const EAGAIN: i32 = -11;

const NEEDS: &[Hook] = &[Hook::WaitEnter, Hook::WaitExit, Hook::Io, Hook::Ctl, Hook::Release];

static NOT_DRAINED: About = About {
    id: "et-not-drained",
    severity: Severity::Error,
    summary: "an edge-triggered descriptor is read once for each event, and data is left that no event will tell of",
    explain: "With EPOLLET the kernel reports that something came, once. What is not read then stays where it is, and the next event \
              comes only when something new comes: the rest is answered late, or never. A program that at any time reads until \
              EAGAIN, reads twice for one event, or reads on without an event keeps its own account, and is not accused. What \
              io_uring reads is not seen.",
    cure: "Read until EAGAIN (or until a read gives less than was asked for) for each event, or leave EPOLLET out.",
    thresholds: &[("milliseconds that data lies unread after a single read, while the task waits again", LEFT_MS)],
    needs: NEEDS,
    absence: true,
};

static ACCEPT_ONCE: About = About {
    id: "et-accept-once",
    severity: Severity::Error,
    summary: "one connection is accepted for each edge-triggered event, and others stay in the backlog",
    explain: "With EPOLLET on a listening socket one event can stand for many connections. A handler that accepts one leaves the \
              others in the backlog, and no event comes for them until yet another client connects: the backlog grows by one \
              each time two connections come together. A program that at any time accepts until EAGAIN, accepts twice for \
              one event, or accepts on without an event is not accused.",
    cure: "Accept until EAGAIN for each event, or leave EPOLLET out: level-triggered, one accept for each event is enough.",
    thresholds: &[(
        "milliseconds that a connection lies in the backlog after a single accept, while the task waits again",
        LEFT_MS,
    )],
    needs: NEEDS,
    absence: true,
};

/// What became of the last event of an item.
#[derive(Debug, Clone, Copy, Default)]
struct Round {
    task: Option<TaskId>,
    /// How many waits that task had begun.
    waits: u64,
    /// The only read since: its row, its time, what it left.
    read: Option<(Row, u64, u32)>,
}

#[derive(Debug)]
pub(super) struct LeftBehind {
    about: &'static About,
    rounds: Items<Round>,
    waits: Tasks<u64>,
    /// These know how to go on.
    cleared: BTreeSet<EpId>,
    last_ns: u64,
    cases: Cases,
}

impl LeftBehind {
    pub(super) fn reads() -> Self {
        Self::new(&NOT_DRAINED)
    }

    pub(super) fn accepts() -> Self {
        Self::new(&ACCEPT_ONCE)
    }

    fn new(about: &'static About) -> Self {
        Self {
            about,
            rounds: Items::default(),
            waits: Tasks::default(),
            cleared: BTreeSet::new(),
            last_ns: 0,
            cases: Cases::default(),
        }
    }

    /// What a call returned and left, if it is of the kind that this rule looks at.
    fn took(&self, did: Did) -> Option<(i32, Option<u32>)> {
        match did {
            Did::Read { ret, left } if self.about.id == NOT_DRAINED.id => Some((ret, left)),
            Did::Accept { ret, left } if self.about.id == ACCEPT_ONCE.id => Some((ret, left)),
            _ => None,
        }
    }

    fn clear(&mut self, ep: EpId) {
        if self.cleared.len() < MAX_CLEARED {
            self.cleared.insert(ep);
        }
        self.cases.acquit(ep);
    }

    /// A round is over: was something left for so long that it counts?
    fn over(&mut self, item: &Subject, round: Round, now_ns: u64, scene: &Scene<'_>) {
        let Some((row, read_ns, left)) = round.read else { return };
        let waited = round.task.and_then(|task| self.waits.known(task)).is_some_and(|waits| *waits > round.waits);
        let since = now_ns.saturating_sub(read_ns);
        if left == 0 || !waited || since < LEFT_MS * 1_000_000 || self.cleared.contains(&item.ep) {
            return;
        }
        self.cases.note(item, (round.task, row), scene, || {
            format!("{left} left by the call in row {row}, and nobody came back for {}", ms(since))
        });
    }
}

impl Rule for LeftBehind {
    fn about(&self) -> &'static About {
        self.about
    }

    fn see(&mut self, step: &Step, scene: &Scene<'_>) {
        self.last_ns = self.last_ns.max(step.at_ns);
        match step.what {
            What::Waits { .. } => {
                if let Some(waits) = step.task.and_then(|task| self.waits.at(task)) {
                    *waits = step.waits;
                }
            }
            What::Delivered { item, events, mask }
                if mask & (EPOLLET | EPOLLONESHOT) == EPOLLET && events & READABLE != 0 =>
            {
                let begun = Round { task: step.task, waits: step.waits, read: None };
                let Some(round) = self.rounds.at(&item) else { return };
                let before = std::mem::replace(round, begun);
                self.over(&item, before, step.at_ns, scene);
            }
            What::Io { file, did, .. } => {
                let Some((ret, left)) = self.took(did) else { return };
                let mut able = Vec::new();
                for (item, round) in self.rounds.of_file(file) {
                    if ret == EAGAIN || round.read.is_some() {
                        able.push(item.ep);
                    }
                    round.read = Some((step.row, step.at_ns, left.unwrap_or(0)));
                }
                for ep in able {
                    self.clear(ep);
                }
            }
            What::Ctl { ep, file: Some(file), fd, op: op::MOD | op::DEL, ret: 0 } => {
                self.rounds.forget(&Subject { ep, file, fd });
            }
            What::FileGone { file } => {
                for (item, round) in self.rounds.forget_file(file) {
                    self.over(&item, round, step.at_ns, scene);
                }
            }
            What::EventpollGone { ep } => {
                for (item, round) in self.rounds.forget_ep(ep) {
                    self.over(&item, round, step.at_ns, scene);
                }
            }
            _ => {}
        }
    }

    fn judge(&mut self, scene: &Scene<'_>, judged: &mut Judged) {
        let end = scene.model.span().stopped.unwrap_or(self.last_ns).max(self.last_ns);
        let rounds: Vec<(Subject, Round)> = self.rounds.iter().map(|(item, round)| (item, *round)).collect();
        for (item, round) in rounds {
            self.over(&item, round, end, scene);
        }
        if self.cleared.len() >= MAX_CLEARED {
            judged.cannot("more eventpolls than can be remembered keep their own account".to_owned());
            return;
        }
        let accepts = self.about.id == ACCEPT_ONCE.id;
        self.cases.accuse(judged, |case| {
            if accepts {
                format!(
                    "{} is edge-triggered, one connection is accepted for each event, and others wait.",
                    case.subject()
                )
            } else {
                format!("{} is edge-triggered and read once for each event; data was left unread.", case.subject())
            }
        });
    }
}

//! Something can be read, or there is room to write; every wait says so, and nobody does anything about it.
//!
//! Two rules with one logic.

use tracer_common::Hook;

use super::cases::{Cases, Judged};
use super::rule::{About, Rule, Scene, Severity};
use super::runs::{Run, ms};
use super::step::{Step, What};
use super::table::Items;
use crate::model::{EPOLLET, EPOLLONESHOT};

/// A readable item in so many deliveries, without a callback and without a call on the file between them.
const READABLE_RUN: u64 = 128;
/// An item with nothing but room to write in so many, likewise.
const WRITABLE_RUN: u64 = 64;

/// `EPOLLIN | EPOLLRDNORM`
const READABLE: u32 = 0x41;
/// `EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND`
const WRITABLE: u32 = 0x304;

static READABLE_IGNORED: About = About {
    id: "level-ignored",
    severity: Severity::Error,
    summary: "a level-triggered descriptor is readable at every wait, and nobody reads it: a requeue storm",
    explain: "The kernel puts a level-triggered item back on the ready list when it is delivered, and looks again at the next wait. \
              While something is there to read, every wait returns at once with it; a program that does not read, and does not \
              take EPOLLIN out of the mask, takes a whole processor for nothing.",
    cure: "Read what is there, or stop listening while you cannot: EPOLL_CTL_MOD without EPOLLIN, or EPOLL_CTL_DEL, and EPOLLIN again \
           later. EPOLLET reports it once.",
    thresholds: &[(
        "deliveries in a row of the same readable item, without a callback or a call on the file between them",
        READABLE_RUN,
    )],
    needs: &[Hook::WaitExit, Hook::Callback, Hook::Io],
    absence: true,
};

static WRITABLE_IGNORED: About = About {
    id: "epollout-always-ready",
    severity: Severity::Error,
    summary: "EPOLLOUT is armed level-triggered while nothing is written: every wait returns at once",
    explain: "A socket or pipe has room nearly always, so a level-triggered item with EPOLLOUT in its mask is ready at every wait. A \
              program that has nothing to write then never sleeps: it takes a whole processor for nothing.",
    cure: "Listen for EPOLLOUT only after a write gave EAGAIN, and take it out of the mask (EPOLL_CTL_MOD) when all is written; or \
           use EPOLLET, which reports room once.",
    thresholds: &[(
        "deliveries in a row of the same item with room to write alone, without a callback or a call on the file between them",
        WRITABLE_RUN,
    )],
    needs: &[Hook::WaitExit, Hook::Callback, Hook::Io],
    absence: true,
};

#[derive(Debug)]
pub(super) struct LevelIgnored {
    about: &'static About,
    run: u64,
    runs: Items<Run>,
    cases: Cases,
}

impl LevelIgnored {
    /// Something can be read.
    pub(super) fn readable() -> Self {
        Self { about: &READABLE_IGNORED, run: READABLE_RUN, runs: Items::default(), cases: Cases::default() }
    }

    /// There is room to write, and nothing else.
    pub(super) fn writable() -> Self {
        Self { about: &WRITABLE_IGNORED, run: WRITABLE_RUN, runs: Items::default(), cases: Cases::default() }
    }

    fn is_about_reading(&self) -> bool {
        self.about.id == READABLE_IGNORED.id
    }

    /// Whether these events are what this rule looks for.
    fn looks_at(&self, events: u32) -> bool {
        if self.is_about_reading() {
            return events & READABLE != 0;
        }
        events & WRITABLE != 0 && events & !WRITABLE == 0
    }
}

impl Rule for LevelIgnored {
    fn about(&self) -> &'static About {
        self.about
    }

    fn see(&mut self, step: &Step, scene: &Scene<'_>) {
        match step.what {
            What::Delivered { item, events, mask } => {
                // What an eventpoll has is taken by a wait, not by a read.
                let nested = scene.kind(item.file) == Some("eventpoll");
                if !self.looks_at(events) || mask & (EPOLLET | EPOLLONESHOT) != 0 || nested {
                    self.runs.forget(&item);
                    return;
                }
                let Some(run) = self.runs.at(&item) else { return };
                if run.goes_on(step.row, step.at_ns) == self.run {
                    let run = *run;
                    self.cases.note(&item, (step.task, step.row), scene, || {
                        let Run { times, first_row, .. } = run;
                        format!(
                            "{times} deliveries in {} from row {first_row} on, and no call on the file",
                            ms(run.ns())
                        )
                    });
                }
            }
            What::Called { item, .. } => _ = self.runs.forget(&item),
            What::Io { file, .. } | What::FileGone { file } => _ = self.runs.forget_file(file),
            What::EventpollGone { ep } => _ = self.runs.forget_ep(ep),
            _ => {}
        }
    }

    fn judge(&mut self, _scene: &Scene<'_>, judged: &mut Judged) {
        let reading = self.is_about_reading();
        self.cases.accuse(judged, |case| {
            if reading {
                format!("{} was delivered as readable again and again, and nobody read it.", case.subject())
            } else {
                format!("{} has EPOLLOUT armed and nothing to write: every wait returned at once.", case.subject())
            }
        });
    }
}

//! Something can be read, every wait says so, and nobody reads it.

use tracer_common::Hook;

use super::cases::{Cases, Judged};
use super::rule::{About, Rule, Scene, Severity};
use super::runs::{Run, ms};
use super::step::{Step, What};
use super::table::Items;
use crate::model::{EPOLLET, EPOLLONESHOT};

/// The same item in so many deliveries, without a callback and without a call on the file between them.
const RUN: u64 = 128;

/// `EPOLLIN | EPOLLRDNORM`
const READABLE: u32 = 0x41;

static ABOUT: About = About {
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
        RUN,
    )],
    needs: &[Hook::WaitExit, Hook::Callback, Hook::Io],
    absence: true,
};

#[derive(Debug, Default)]
pub(super) struct LevelIgnored {
    runs: Items<Run>,
    cases: Cases,
}

impl Rule for LevelIgnored {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn see(&mut self, step: &Step, scene: &Scene<'_>) {
        match step.what {
            What::Delivered { item, events, mask } => {
                // What an eventpoll has is taken by a wait, not by a read.
                let nested = scene.kind(item.file) == Some("eventpoll");
                if events & READABLE == 0 || mask & (EPOLLET | EPOLLONESHOT) != 0 || nested {
                    self.runs.forget(&item);
                    return;
                }
                let Some(run) = self.runs.at(&item) else { return };
                if run.goes_on(step.row, step.at_ns) == RUN {
                    let run = *run;
                    self.cases.note(&item, (step.task, step.row), scene, || {
                        format!(
                            "{} deliveries in {} from row {} on, and no read",
                            run.times,
                            ms(run.ns()),
                            run.first_row
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
        self.cases.accuse(judged, |case| {
            format!("{} was delivered as readable again and again, and nobody read it.", case.subject())
        });
    }
}

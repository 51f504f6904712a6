//! `EPOLLOUT` is listened for while there is nothing to write.

use tracer_common::Hook;

use super::cases::{Cases, Judged};
use super::rule::{About, Rule, Scene, Severity};
use super::runs::{Run, ms};
use super::step::{Step, What};
use super::table::Items;
use crate::model::{EPOLLET, EPOLLONESHOT};

/// The same item in so many deliveries, with nothing but room to write, without a callback and without a call on the file between
/// them.
const RUN: u64 = 64;

/// `EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND`
const WRITABLE: u32 = 0x304;

static ABOUT: About = About {
    id: "epollout-always-ready",
    severity: Severity::Error,
    summary: "EPOLLOUT is armed level-triggered while nothing is written: every wait returns at once",
    explain: "A socket or pipe has room nearly always, so a level-triggered item with EPOLLOUT in its mask is ready at every wait. A \
              program that has nothing to write then never sleeps: it takes a whole processor for nothing.",
    cure: "Listen for EPOLLOUT only after a write gave EAGAIN, and take it out of the mask (EPOLL_CTL_MOD) when all is written; or \
           use EPOLLET, which reports room once.",
    thresholds: &[(
        "deliveries in a row of the same item with room to write alone, without a callback or a call on the file between them",
        RUN,
    )],
    needs: &[Hook::WaitExit, Hook::Callback, Hook::Io],
    absence: true,
};

#[derive(Debug, Default)]
pub(super) struct EpolloutAlwaysReady {
    runs: Items<Run>,
    cases: Cases,
}

impl Rule for EpolloutAlwaysReady {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn see(&mut self, step: &Step, scene: &Scene<'_>) {
        match step.what {
            What::Delivered { item, events, mask } => {
                let room = events & WRITABLE != 0 && events & !WRITABLE == 0;
                if !room || mask & (EPOLLET | EPOLLONESHOT) != 0 {
                    self.runs.forget(&item);
                    return;
                }
                let Some(run) = self.runs.at(&item) else { return };
                if run.goes_on(step.row, step.at_ns) == RUN {
                    let run = *run;
                    self.cases.note(&item, (step.task, step.row), scene, || {
                        format!(
                            "{} deliveries in {} from row {} on, and no write",
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
            format!("{} has EPOLLOUT armed and nothing to write: every wait returned at once.", case.subject())
        });
    }
}

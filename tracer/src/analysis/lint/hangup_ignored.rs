//! A hangup or an error is reported at every wait, and the program leaves the descriptor where it is.

use tracer_common::Hook;

use super::cases::{Cases, Judged};
use super::rule::{About, Rule, Scene, Severity};
use super::runs::{Run, ms};
use super::step::{Step, What};
use super::table::Items;
use crate::model::{EPOLLET, EPOLLONESHOT};

/// The same item in so many deliveries, with nothing but a hangup or an error and no callback between them.
const RUN: u64 = 64;

/// `EPOLLERR | EPOLLHUP`
const HANGUP: u32 = 0x18;
/// `EPOLLIN | EPOLLPRI | EPOLLRDNORM | EPOLLRDBAND`: there may be something to read yet.
const READABLE: u32 = 0xc3;

static ABOUT: About = About {
    id: "hangup-ignored",
    severity: Severity::Error,
    summary: "EPOLLHUP or EPOLLERR is reported at every wait, and the descriptor stays registered",
    explain: "The kernel adds EPOLLERR and EPOLLHUP to every mask, and neither goes away: the peer stays gone. A level-triggered \
              item of such a descriptor is ready at every wait, so each wait returns at once, and a program that looks only for \
              EPOLLIN and EPOLLOUT takes a whole processor for nothing.",
    cure: "Handle EPOLLERR and EPOLLHUP wherever events are handled: read what is left, then close the descriptor or delete it \
           from the eventpoll.",
    thresholds: &[(
        "deliveries in a row of the same item with EPOLLHUP or EPOLLERR, without anything to read and without a callback",
        RUN,
    )],
    needs: &[Hook::WaitExit, Hook::Callback],
    absence: true,
};

#[derive(Debug, Default)]
pub(super) struct HangupIgnored {
    runs: Items<Run>,
    cases: Cases,
}

impl Rule for HangupIgnored {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn see(&mut self, step: &Step, scene: &Scene<'_>) {
        match step.what {
            What::Delivered { item, events, mask } => {
                let hung_up = events & HANGUP != 0 && events & READABLE == 0 && mask & (EPOLLET | EPOLLONESHOT) == 0;
                if !hung_up {
                    self.runs.forget(&item);
                    return;
                }
                let Some(run) = self.runs.at(&item) else { return };
                if run.goes_on(step.row, step.at_ns) == RUN {
                    let (run, task) = (*run, (step.task, step.row));
                    self.cases.note(&item, task, scene, || {
                        format!(
                            "{} deliveries in {} from row {} on: {}",
                            run.times,
                            ms(run.ns()),
                            run.first_row,
                            if events & 0x10 != 0 { "EPOLLHUP" } else { "EPOLLERR" }
                        )
                    });
                }
            }
            What::Called { item, .. } => _ = self.runs.forget(&item),
            What::FileGone { file } => _ = self.runs.forget_file(file),
            What::EventpollGone { ep } => _ = self.runs.forget_ep(ep),
            _ => {}
        }
    }

    fn judge(&mut self, _scene: &Scene<'_>, judged: &mut Judged) {
        self.cases.accuse(judged, |case| {
            format!(
                "A hangup or an error of {} was delivered again and again, and nothing was done about it.",
                case.subject()
            )
        });
    }
}

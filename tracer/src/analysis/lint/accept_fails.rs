//! `accept` fails for want of descriptors or memory, and the connection stays where it is.

use tracer_common::Hook;

use super::cases::{Cases, Judged};
use super::rule::{About, Rule, Scene, Severity};
use super::runs::{Run, ms};
use super::step::{Step, Subject, What};
use super::table::Tasks;
use crate::model::{EpId, FileId};

/// So many failures of a task in a row.
const RUN: u64 = 16;

/// `-ENOMEM`, `-ENFILE`, `-EMFILE`, `-ENOBUFS`: nothing is taken from the queue.
const WANTING: [i32; 4] = [-12, -23, -24, -105];

static ABOUT: About = About {
    id: "accept-fails",
    severity: Severity::Error,
    summary: "accept fails again and again for want of descriptors or memory, and the listening socket stays ready",
    explain: "accept that fails with EMFILE, ENFILE, ENOMEM or ENOBUFS leaves the connection in the queue. A level-triggered \
              listening socket is then ready at every wait, and the loop spins; an edge-triggered one says nothing more, and the \
              connection waits.",
    cure: "Raise RLIMIT_NOFILE above what the program can hold. When accept fails so, take the socket out of the eventpoll until a \
           descriptor is closed, or keep one descriptor in reserve: close it, accept, close the connection, open it again.",
    thresholds: &[("failures of accept in a row, in one task, with EMFILE, ENFILE, ENOMEM or ENOBUFS", RUN)],
    needs: &[Hook::Accept],
    absence: false,
};

#[derive(Debug, Default)]
pub(super) struct AcceptFails {
    runs: Tasks<(Run, Option<FileId>)>,
    waited_on: Tasks<Option<EpId>>,
    cases: Cases,
}

impl Rule for AcceptFails {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn see(&mut self, step: &Step, scene: &Scene<'_>) {
        let Some(task) = step.task else { return };
        match step.what {
            What::Waits { ep, .. } => {
                if let Some(last) = self.waited_on.at(task) {
                    *last = Some(ep);
                }
            }
            What::Accepted { file, fd, ret } => {
                let Some((run, of)) = self.runs.at(task) else { return };
                if ret >= 0 || *of != file {
                    run.breaks();
                    *of = file;
                }
                if !WANTING.contains(&ret) || run.goes_on(step.row, step.at_ns) < RUN {
                    return;
                }
                let (run, ep) = (*run, self.waited_on.known(task).copied().flatten());
                let (Some(file), Some(ep)) = (file, ep) else { return };
                let item = Subject { ep, file, fd };
                self.cases.note(&item, (Some(task), step.row), scene, || {
                    let why = match ret {
                        -24 => "EMFILE",
                        -23 => "ENFILE",
                        -12 => "ENOMEM",
                        _ => "ENOBUFS",
                    };
                    format!(
                        "{} failures in {} from row {} on, the last with {why}",
                        run.times,
                        ms(run.ns()),
                        run.first_row
                    )
                });
            }
            What::TaskEnds => {
                self.runs.forget(task);
                self.waited_on.forget(task);
            }
            _ => {}
        }
    }

    fn judge(&mut self, _scene: &Scene<'_>, judged: &mut Judged) {
        self.cases.accuse(judged, |case| {
            format!("accept on {} failed again and again, and its connections stayed.", case.subject())
        });
    }
}

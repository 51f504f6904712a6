//! Waits with a timeout of 0 that return nothing, one after another.

use tracer_common::Hook;

use super::cases::{Cases, Judged};
use super::rule::{About, Rule, Scene, Severity};
use super::runs::{Run, ms};
use super::step::{Step, What};
use super::table::Tasks;
use crate::model::EpId;

/// So many waits in a row.
const RUN: u64 = 256;
/// And so little done between them in the mean, microseconds: a task that works between its looks does not spin.
const BETWEEN_US: u64 = 100;

static ABOUT: About = About {
    id: "zero-timeout-spin",
    severity: Severity::Warning,
    summary: "epoll_wait with a timeout of 0 returns nothing, again and again",
    explain: "A timeout of 0 only looks. A loop that does nothing but look takes a processor for itself, and the events come no \
              sooner than to a task that sleeps until it is woken.",
    cure: "Wait with a timeout of -1, or until the next timer is due; wake the loop with an eventfd when there is other work. Where \
           latency is worth a processor, let the kernel poll the device instead (EPIOCSPARAMS, net.core.busy_poll).",
    thresholds: &[
        ("waits of a task in a row with a timeout of 0 and no event", RUN),
        ("microseconds between two of them, in the mean, at most", BETWEEN_US),
    ],
    needs: &[Hook::WaitEnter, Hook::WaitExit],
    absence: true,
};

/// Of a task.
#[derive(Debug, Clone, Copy, Default)]
struct Spin {
    run: Run,
    between_ns: u64,
    back_ns: u64,
    ep: Option<EpId>,
}

#[derive(Debug, Default)]
pub(super) struct ZeroTimeoutSpin {
    tasks: Tasks<Spin>,
    cases: Cases,
}

impl Rule for ZeroTimeoutSpin {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn see(&mut self, step: &Step, scene: &Scene<'_>) {
        let Some(task) = step.task else { return };
        match step.what {
            What::Waits { ep, timeout_ns } => {
                let Some(spin) = self.tasks.at(task) else { return };
                if timeout_ns != 0 || spin.ep != Some(ep) {
                    *spin = Spin { ep: Some(ep), ..Spin::default() };
                } else if spin.run.times > 0 {
                    spin.between_ns = spin.between_ns.saturating_add(step.at_ns.saturating_sub(spin.back_ns));
                }
            }
            What::Back { ep, ret, wait, .. } => {
                let Some(spin) = self.tasks.at(task) else { return };
                let looked = ret == 0 && wait.is_some_and(|wait| wait.timeout_ns == 0);
                if !looked || spin.ep != Some(ep) {
                    *spin = Spin { ep: Some(ep), ..Spin::default() };
                    return;
                }
                spin.back_ns = step.at_ns;
                if spin.run.goes_on(step.row, step.at_ns) < RUN {
                    return;
                }
                let found = *spin;
                spin.run.breaks();
                spin.between_ns = 0;
                if found.between_ns > RUN * BETWEEN_US * 1_000 {
                    return;
                }
                let Some(case) = self.cases.again(ep) else { return };
                case.by(Some(task), scene);
                case.at(step.row);
                case.saying(|| {
                    format!(
                        "{RUN} waits in {} from row {} on, none with an event",
                        ms(found.run.ns()),
                        found.run.first_row
                    )
                });
            }
            What::TaskEnds => _ = self.tasks.forget(task),
            _ => {}
        }
    }

    fn judge(&mut self, _scene: &Scene<'_>, judged: &mut Judged) {
        self.cases.accuse(judged, |case| {
            format!("epoll_wait looked with a timeout of 0 and found nothing, {} times {RUN} in a row.", case.times)
        });
    }
}

//! Tasks that a listening socket wakes for nothing: the verdict of `eptrace herd`.

use tracer_common::Hook;

use super::cases::Judged;
use super::rule::{About, Rule, Scene, Severity};
use super::step::Step;
use crate::analysis::herd::herd;
use crate::analysis::source::sources;
use crate::analysis::verdict::Verdict;

/// Fewer source wakeups than this say nothing of a server.
const WAKEUPS: u64 = 8;

static ABOUT: About = About {
    id: "thundering-herd",
    severity: Severity::Warning,
    summary: "a connection wakes several tasks, and all but one find nothing",
    explain: "Every eventpoll that watches a listening socket without EPOLLEXCLUSIVE is called back by each connection, and wakes a \
              task. In one eventpoll that several tasks share, a level-triggered item goes back to the ready list with each delivery, \
              and the end of the scan wakes the next task. `eptrace herd` shows the fan-out of every socket.",
    cure: "EPOLLEXCLUSIVE, or a socket for each worker (SO_REUSEPORT); in a shared eventpoll EPOLLET or EPOLLONESHOT.",
    thresholds: &[("source wakeups of the socket at least; `eptrace herd --help` says what counts as a herd", WAKEUPS)],
    needs: &[Hook::Callback, Hook::Wake, Hook::WaitExit, Hook::Accept],
    // The verdict itself weighs what was lost.
    absence: false,
};

#[derive(Debug, Default)]
pub(super) struct ThunderingHerd;

impl Rule for ThunderingHerd {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn see(&mut self, _step: &Step, _scene: &Scene<'_>) {}

    fn judge(&mut self, scene: &Scene<'_>, judged: &mut Judged) {
        for row in herd(scene.model, scene.info, &sources(scene.model, scene.info)) {
            match row.verdict {
                Verdict::Herd if row.wakeups >= WAKEUPS => {
                    judged.found_of_source(row.sentence, row.wasted.total, row.source, vec![row.cure]);
                }
                Verdict::Incomplete => judged.cannot(format!("{}: {}", row.source, row.sentence)),
                Verdict::Herd | Verdict::NoHerd | Verdict::Idle => {}
            }
        }
    }
}

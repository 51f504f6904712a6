//! `EPOLLEXCLUSIVE` gives nearly all connections to one worker.

use tracer_common::Hook;

use super::cases::Judged;
use super::rule::{About, Rule, Scene, Severity};
use super::step::Step;
use crate::analysis::herd::herd;
use crate::analysis::source::sources;

/// Fewer connections than this say nothing of a server.
const ACCEPTS: u64 = 64;
/// One worker has at least this share of them, percent.
const SHARE: u64 = 90;

static ABOUT: About = About {
    id: "exclusive-imbalance",
    severity: Severity::Note,
    summary: "one worker takes nearly all connections of a socket under EPOLLEXCLUSIVE",
    explain: "EPOLLEXCLUSIVE items stand at the end of the socket's wait queue in the order in which they were added, and a wakeup \
              stops at the first whose eventpoll has a sleeping task. Nothing rotates them, so the worker that was added first takes \
              every connection that finds it asleep; the others only get what comes while it is busy.",
    cure: "Give each worker a socket of its own (SO_REUSEPORT), which spreads connections by hash, if the workers are to share the \
           load evenly. Where one worker can do it all, nothing need be done.",
    thresholds: &[("connections accepted at least", ACCEPTS), ("percent of them by one worker at least", SHARE)],
    needs: &[Hook::Callback, Hook::WaitExit, Hook::Accept],
    absence: false,
};

#[derive(Debug, Default)]
pub(super) struct ExclusiveImbalance;

impl Rule for ExclusiveImbalance {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn see(&mut self, _step: &Step, _scene: &Scene<'_>) {}

    fn judge(&mut self, scene: &Scene<'_>, judged: &mut Judged) {
        for row in herd(scene.model, scene.info, &sources(scene.model, scene.info)) {
            let all_exclusive = row.flags.items >= 2 && row.flags.exclusive == row.flags.items;
            if !all_exclusive || row.sockets != 1 || row.eventpolls < 2 || row.accepts < ACCEPTS {
                continue;
            }
            let Some(most) = row.tasks.iter().max_by_key(|task| task.accepts) else { continue };
            if most.accepts.saturating_mul(100) < row.accepts.saturating_mul(SHARE) {
                continue;
            }
            let others: Vec<String> = row.tasks.iter().map(|task| task.accepts.to_string()).collect();
            let sentence =
                format!("{} of {} connections went to one of {} workers.", most.accepts, row.accepts, row.tasks.len());
            let evidence = vec![format!("accepted by each worker: {}", others.join(", "))];
            judged.found_of_source(sentence, most.accepts, row.source, evidence);
        }
    }
}

//! DEL and ADD of the same descriptor where one MOD would do.

use std::collections::BTreeMap;

use tracer_common::Hook;

use super::cases::{Cases, Judged};
use super::rule::{About, Rule, Scene, Severity};
use super::step::{Step, Subject, What};
use super::table::Items;
use crate::model::{EpId, TaskId, op};

/// So many pairs in an eventpoll.
const PAIRS: u64 = 32;
/// And so large a share of its ADDs, percent.
const SHARE: u64 = 50;
/// Eventpolls whose ADDs are counted.
const MAX_COUNTS: usize = 65_536;

static ABOUT: About = About {
    id: "ctl-churn",
    severity: Severity::Warning,
    summary: "a descriptor is deleted from an eventpoll and added again at once",
    explain: "DEL takes the hook off the file's wait queue and frees the item, ADD allocates and hooks another: two system calls and \
              three locks for what one MOD does in place. MOD also looks whether the descriptor is ready, so an edge-triggered item is \
              reported again by it, as by ADD.",
    cure: "Call epoll_ctl(EPOLL_CTL_MOD) with the new mask or data. To pause a descriptor, MOD its mask to 0.",
    thresholds: &[
        ("times that a task deletes an item and adds it again without waiting between, in one eventpoll", PAIRS),
        ("percent of the eventpoll's ADDs at least", SHARE),
    ],
    needs: &[Hook::Ctl, Hook::WaitEnter, Hook::Release],
    absence: true,
};

#[derive(Debug, Default)]
pub(super) struct CtlChurn {
    /// Who deleted it last, and how many waits that task had begun.
    deleted: Items<Option<(TaskId, u64)>>,
    adds: BTreeMap<EpId, (u64, u64)>,
    cases: Cases,
}

impl CtlChurn {
    fn added(&mut self, item: &Subject, task: TaskId, step: &Step, scene: &Scene<'_>) {
        let again = self.deleted.forget(item).flatten() == Some((task, step.waits));
        if self.adds.len() >= MAX_COUNTS && !self.adds.contains_key(&item.ep) {
            return;
        }
        let (adds, pairs) = self.adds.entry(item.ep).or_default();
        *adds = adds.saturating_add(1);
        if again {
            *pairs = pairs.saturating_add(1);
            self.cases.note(item, (Some(task), step.row), scene, || "DEL and ADD with no wait between".to_owned());
        }
    }
}

impl Rule for CtlChurn {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn see(&mut self, step: &Step, scene: &Scene<'_>) {
        match step.what {
            What::Ctl { ep, file: Some(file), fd, op, ret: 0 } => {
                let (item, Some(task)) = (Subject { ep, file, fd }, step.task) else { return };
                match op {
                    op::DEL => {
                        if let Some(deleted) = self.deleted.at(&item) {
                            *deleted = Some((task, step.waits));
                        }
                    }
                    op::ADD => self.added(&item, task, step, scene),
                    _ => {}
                }
            }
            What::FileGone { file } => _ = self.deleted.forget_file(file),
            What::EventpollGone { ep } => _ = self.deleted.forget_ep(ep),
            _ => {}
        }
    }

    fn judge(&mut self, _scene: &Scene<'_>, judged: &mut Judged) {
        let (cases, adds) = (&self.cases, &self.adds);
        cases.accuse_some(
            judged,
            |ep, _| {
                adds.get(&ep).is_some_and(|&(adds, pairs)| {
                    pairs >= PAIRS && pairs.saturating_mul(100) >= adds.saturating_mul(SHARE)
                })
            },
            |case| format!("{} was deleted and added again at once, {} times in all.", case.subject(), case.times),
        );
    }
}

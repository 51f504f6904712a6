//! An `EPOLLONESHOT` item was delivered, something came since, and nobody armed it again.

use tracer_common::Hook;

use super::cases::{Cases, Judged};
use super::rule::{About, Rule, Scene, Severity};
use super::runs::ms;
use super::step::{Row, Step, Subject, What};
use super::table::{Items, Tasks};
use crate::model::{EPOLLONESHOT, Outcome, TaskId, op};

/// So long after the first unheard callback the item is still disabled, milliseconds.
const DISABLED_MS: u64 = 500;

static ABOUT: About = About {
    id: "oneshot-not-rearmed",
    severity: Severity::Error,
    summary: "an EPOLLONESHOT item was delivered and never armed again, though more came",
    explain: "EPOLLONESHOT disables an item when it is delivered: its mask loses all events, hangups included. It stays in the \
              eventpoll, and its source goes on calling it back, but each of these callbacks does nothing. Only EPOLL_CTL_MOD makes \
              it speak again; it looks by itself whether something is there, so nothing is lost by arming late.",
    cure: "Call epoll_ctl(EPOLL_CTL_MOD) with the mask once the descriptor has been dealt with, on every way out of the handler.",
    thresholds: &[(
        "milliseconds that the item stays disabled after a callback that it could not hear, while the task waits again",
        DISABLED_MS,
    )],
    needs: &[Hook::WaitExit, Hook::WaitEnter, Hook::Callback, Hook::Ctl, Hook::Release],
    absence: true,
};

/// An item that was delivered and is disabled.
#[derive(Debug, Clone, Copy, Default)]
struct Disabled {
    task: Option<TaskId>,
    /// How many waits its task had begun.
    waits: u64,
    row: Row,
    unheard: u64,
    first_unheard: Option<(Row, u64)>,
    /// When the process of its task ended.
    ended_ns: Option<u64>,
}

#[derive(Debug, Default)]
pub(super) struct OneshotNotRearmed {
    items: Items<Disabled>,
    waits: Tasks<u64>,
    last_ns: u64,
    cases: Cases,
}

impl OneshotNotRearmed {
    /// Notes an item that had been disabled for long at this time.
    fn weigh(&mut self, item: &Subject, disabled: &Disabled, end_ns: u64, scene: &Scene<'_>) {
        let Some((row, at_ns)) = disabled.first_unheard else { return };
        let since = end_ns.saturating_sub(at_ns);
        if since < DISABLED_MS * 1_000_000 || !self.left_alone(disabled) {
            return;
        }
        self.cases.note_called(item, (disabled.task, row, disabled.row), scene, || {
            format!(
                "delivered in row {}, then {} callbacks unheard, the first {} before the end",
                disabled.row,
                disabled.unheard,
                ms(since)
            )
        });
    }

    /// These items are no more. One that is closed need not be armed again; one whose process ended was forgotten.
    fn gone(&mut self, items: Vec<(Subject, Disabled)>, scene: &Scene<'_>) {
        for (item, disabled) in items {
            if let Some(end_ns) = disabled.ended_ns {
                self.weigh(&item, &disabled, end_ns, scene);
            }
        }
    }

    /// The process of whoever got them ends with its first task. Its files are closed after that.
    fn process_ends(&mut self, task_id: Option<TaskId>, at_ns: u64, scene: &Scene<'_>) {
        let task = |id: Option<TaskId>| id.and_then(|id| scene.model.tasks().get(id));
        let Some(first) = task(task_id).filter(|task| task.pid == task.tid) else { return };
        for disabled in self.items.values_mut() {
            if task(disabled.task).is_some_and(|task| task.pid == first.pid) {
                disabled.ended_ns.get_or_insert(at_ns);
            }
        }
    }

    /// Whoever got it has gone back to wait: it is not being dealt with any more, as far as that task goes.
    fn left_alone(&self, disabled: &Disabled) -> bool {
        disabled.task.and_then(|task| self.waits.known(task)).is_some_and(|waits| *waits > disabled.waits)
    }
}

impl Rule for OneshotNotRearmed {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn see(&mut self, step: &Step, scene: &Scene<'_>) {
        self.last_ns = self.last_ns.max(step.at_ns);
        match step.what {
            What::Waits { .. } => {
                if let Some(waits) = step.task.and_then(|task| self.waits.at(task)) {
                    *waits = step.waits;
                }
            }
            What::Delivered { item, mask, .. } if mask & EPOLLONESHOT != 0 => {
                if let Some(disabled) = self.items.at(&item) {
                    *disabled = Disabled { task: step.task, waits: step.waits, row: step.row, ..Disabled::default() };
                }
            }
            What::Called { item, outcome, key } => {
                if outcome != Outcome::Disabled {
                    // Armed again, whoever did it.
                    self.items.forget(&item);
                } else if let Some(disabled) = self.items.known(&item).filter(|_| key != 0) {
                    disabled.unheard = disabled.unheard.saturating_add(1);
                    disabled.first_unheard.get_or_insert((step.row, step.at_ns));
                }
            }
            What::Ctl { ep, file: Some(file), fd, op: op::MOD | op::DEL, ret: 0 } => {
                self.items.forget(&Subject { ep, file, fd });
            }
            What::TaskEnds => self.process_ends(step.task, step.at_ns, scene),
            What::FileGone { file } => {
                let gone = self.items.forget_file(file);
                self.gone(gone, scene);
            }
            What::EventpollGone { ep } => {
                let gone = self.items.forget_ep(ep);
                self.gone(gone, scene);
            }
            _ => {}
        }
    }

    fn judge(&mut self, scene: &Scene<'_>, judged: &mut Judged) {
        let end = scene.model.span().stopped.unwrap_or(self.last_ns).max(self.last_ns);
        for (item, disabled) in std::mem::take(&mut self.items).iter() {
            self.weigh(&item, disabled, disabled.ended_ns.unwrap_or(end), scene);
        }
        self.cases.accuse(judged, |case| {
            format!("{} was delivered with EPOLLONESHOT and not armed again, though its source called.", case.subject())
        });
    }
}

//! A program gets events for a descriptor that it has closed.

use tracer_common::Hook;

use super::cases::{Cases, Judged};
use super::rule::{About, Rule, Scene, Severity};
use super::step::{Did, Row, Step, Subject, What};
use super::table::{Items, Tasks};
use crate::model::op;

/// So many events come for the closed descriptor, of waits that began after the close.
const EVENTS: u64 = 8;

static ABOUT: About = About {
    id: "closed-registered",
    severity: Severity::Error,
    summary: "a descriptor was closed, a duplicate keeps its file open, and its events go on",
    explain: "An epoll item belongs to the open file, not to the descriptor: close removes it only with the last descriptor of that \
              file, in any process (dup, fork, SCM_RIGHTS). Until then its events go on under a number that is closed, or is \
              another file's by now, and epoll_ctl cannot reach the item any more (EBADF, ENOENT).",
    cure: "Call epoll_ctl(EPOLL_CTL_DEL) before close wherever a duplicate may live; open with O_CLOEXEC so that no child keeps one.",
    thresholds: &[("events for the closed descriptor, of waits that began after the close", EVENTS)],
    needs: &[Hook::WaitEnter, Hook::WaitExit, Hook::Io, Hook::Ctl, Hook::Release],
    absence: false,
};

/// A descriptor whose file lives on.
#[derive(Debug, Clone, Copy, Default)]
struct Closed {
    process: u32,
    row: Row,
    events: u64,
}

#[derive(Debug, Default)]
pub(super) struct ClosedRegistered {
    /// What was delivered, or closed.
    items: Items<Closed>,
    /// In which row each task's wait began.
    waits: Tasks<Row>,
    cases: Cases,
}

impl Rule for ClosedRegistered {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn see(&mut self, step: &Step, scene: &Scene<'_>) {
        match step.what {
            What::Waits { .. } => {
                if let Some(began) = step.task.and_then(|task| self.waits.at(task)) {
                    *began = step.row;
                }
            }
            What::Io { file, fd, did: Did::Close } => {
                let Some(process) = scene.process(step.task) else { return };
                for (_, closed) in self.items.of_file(file).filter(|(item, _)| item.fd == fd) {
                    *closed = Closed { process, row: step.row, events: 0 };
                }
            }
            What::Delivered { item, .. } => {
                let began = step.task.and_then(|task| self.waits.known(task)).copied().unwrap_or_default();
                let process = scene.process(step.task);
                let Some(closed) = self.items.at(&item) else { return };
                if closed.row == Row::default() || began < closed.row || process != Some(closed.process) {
                    return;
                }
                closed.events = closed.events.saturating_add(1);
                if closed.events == EVENTS {
                    let closed = *closed;
                    self.cases.note_called(&item, (step.task, step.row, closed.row), scene, || {
                        format!("closed in row {}, and {} events came since", closed.row, closed.events)
                    });
                }
            }
            What::Ctl { ep, file: Some(file), fd, op: op::ADD, ret: 0 } => {
                if let Some(closed) = self.items.at(&Subject { ep, file, fd }) {
                    *closed = Closed::default();
                }
            }
            What::Ctl { ep, file: Some(file), fd, op: op::DEL, ret: 0 } => {
                self.items.forget(&Subject { ep, file, fd });
            }
            What::FileGone { file } => _ = self.items.forget_file(file),
            What::EventpollGone { ep } => _ = self.items.forget_ep(ep),
            _ => {}
        }
    }

    fn judge(&mut self, _scene: &Scene<'_>, judged: &mut Judged) {
        self.cases.accuse(judged, |case| {
            format!("{} was closed while a duplicate lives, and its events go on.", case.subject())
        });
    }
}

//! A task sleeps in a read of an edge-triggered descriptor, where it should be told EAGAIN.

use tracer_common::Hook;

use super::cases::{Cases, Judged};
use super::rule::{About, Rule, Scene, Severity};
use super::runs::ms;
use super::step::{Did, Row, Step, Subject, What};
use super::table::{Items, Tasks};
use crate::model::{EPOLLET, EPOLLONESHOT, FileId, TaskId, op};

/// So long the task sleeps in the call, milliseconds.
const SLEPT_MS: u64 = 10;

static ABOUT: About = About {
    id: "et-blocking",
    severity: Severity::Error,
    summary: "the task that waits for events sleeps in a read or accept of an edge-triggered descriptor without O_NONBLOCK",
    explain: "An edge-triggered descriptor has to be read until nothing is left. Only O_NONBLOCK (or MSG_DONTWAIT) makes the last \
              read say so, with EAGAIN; without it the read sleeps until this one peer sends more, and every other descriptor of \
              the eventpoll has to wait.",
    cure: "Set O_NONBLOCK (SOCK_NONBLOCK in socket, accept4 or pipe2; fcntl(F_SETFL) later) on every descriptor with EPOLLET.",
    thresholds: &[(
        "milliseconds that the call sleeps, between an event of the descriptor and the task's next wait",
        SLEPT_MS,
    )],
    needs: &[Hook::WaitEnter, Hook::WaitExit, Hook::Io, Hook::Ctl, Hook::Release],
    absence: false,
};

/// Who got the last event, and how many waits that task had begun.
#[derive(Debug, Clone, Copy, Default)]
struct Got {
    task: Option<TaskId>,
    waits: u64,
}

/// A call that will sleep.
#[derive(Debug, Clone, Copy)]
struct Asleep {
    item: Subject,
    row: Row,
    since_ns: u64,
}

#[derive(Debug, Default)]
pub(super) struct EtBlocking {
    got: Items<Got>,
    asleep: Tasks<Option<Asleep>>,
    last_ns: u64,
    cases: Cases,
}

impl EtBlocking {
    /// The task's call has ended, or the trace has.
    fn awake(&mut self, task: TaskId, file: Option<FileId>, now_ns: u64, scene: &Scene<'_>) {
        let Some(asleep) = self.asleep.forget(task).flatten() else { return };
        let slept = now_ns.saturating_sub(asleep.since_ns);
        if file.is_some_and(|file| file != asleep.item.file) || slept < SLEPT_MS * 1_000_000 {
            return;
        }
        self.cases.note(&asleep.item, (Some(task), asleep.row), scene, || {
            let until = if file.is_some() { "" } else { " until the end" };
            format!("a call slept from row {} on for {}{until}", asleep.row, ms(slept))
        });
    }
}

impl Rule for EtBlocking {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn see(&mut self, step: &Step, scene: &Scene<'_>) {
        self.last_ns = self.last_ns.max(step.at_ns);
        match step.what {
            What::Delivered { item, mask, .. } => {
                if mask & (EPOLLET | EPOLLONESHOT) != EPOLLET {
                    self.got.forget(&item);
                } else if let Some(got) = self.got.at(&item) {
                    *got = Got { task: step.task, waits: step.waits };
                }
            }
            What::Io { file, did: Did::Sleeps, .. } => {
                let Some(task) = step.task else { return };
                let mine = self.got.of_file(file).find(|(_, got)| got.task == Some(task) && got.waits == step.waits);
                let Some((item, _)) = mine else { return };
                if let Some(asleep) = self.asleep.at(task) {
                    *asleep = Some(Asleep { item, row: step.row, since_ns: step.at_ns });
                }
            }
            What::Io { file, did: Did::Read { .. } | Did::Accept { .. }, .. } => {
                if let Some(task) = step.task {
                    self.awake(task, Some(file), step.at_ns, scene);
                }
            }
            What::TaskEnds => {
                if let Some(task) = step.task {
                    self.awake(task, None, step.at_ns, scene);
                }
            }
            What::Ctl { ep, file: Some(file), fd, op: op::MOD | op::DEL, ret: 0 } => {
                self.got.forget(&Subject { ep, file, fd });
            }
            What::FileGone { file } => _ = self.got.forget_file(file),
            What::EventpollGone { ep } => _ = self.got.forget_ep(ep),
            _ => {}
        }
    }

    fn judge(&mut self, scene: &Scene<'_>, judged: &mut Judged) {
        let end = scene.model.span().stopped.unwrap_or(self.last_ns).max(self.last_ns);
        for task in self.asleep.tasks() {
            self.awake(task, None, end, scene);
        }
        self.cases.accuse(judged, |case| {
            format!(
                "{} is edge-triggered and blocks: the task slept in a call where others had to wait.",
                case.subject()
            )
        });
    }
}

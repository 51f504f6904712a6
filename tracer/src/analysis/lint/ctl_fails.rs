//! `epoll_ctl` fails again and again with the same error.

use std::collections::BTreeMap;

use tracer_common::Hook;

use super::cases::{Cases, Judged};
use super::rule::{About, Rule, Scene, Severity};
use super::step::{Step, What};
use crate::model::{EpId, FileId};

/// So many failures of one operation with one error in an eventpoll.
const FAILURES: u64 = 32;
/// And so large a share of that operation's calls, percent.
const SHARE: u64 = 25;

/// Pairs of eventpoll and operation that are counted.
const MAX_COUNTS: usize = 4_096;

/// `-ENOENT`, `-EBADF`, `-EEXIST`: the program and the kernel disagree on what is registered.
const DISAGREE: [(i32, &str); 3] = [(-2, "ENOENT"), (-9, "EBADF"), (-17, "EEXIST")];

static ABOUT: About = About {
    id: "ctl-fails",
    severity: Severity::Warning,
    summary: "epoll_ctl fails again and again with EEXIST, ENOENT or EBADF",
    explain: "EEXIST to an ADD, ENOENT to a MOD or a DEL, and EBADF say that the program and the kernel disagree on what is \
              registered. A call now and then is a way to find out (ADD, and MOD if that fails); as a habit it is a system call for \
              nothing, or the sign of a descriptor that was closed, or used again, behind the loop's back.",
    cure: "Remember what is registered, and with which mask: ADD once, MOD only when the mask changes, DEL before close.",
    thresholds: &[
        ("failures of one operation with one error in one eventpoll", FAILURES),
        ("percent of that operation's calls at least", SHARE),
    ],
    needs: &[Hook::Ctl],
    absence: false,
};

/// What became of one operation in one eventpoll.
#[derive(Debug, Clone, Default)]
struct Count {
    calls: u64,
    failed: [u64; DISAGREE.len()],
    cases: [Cases; DISAGREE.len()],
}

#[derive(Debug, Default)]
pub(super) struct CtlFails {
    counts: BTreeMap<(EpId, i32), Count>,
}

impl Rule for CtlFails {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn see(&mut self, step: &Step, scene: &Scene<'_>) {
        let What::Ctl { ep, file, fd, op, ret } = step.what else { return };
        if self.counts.len() >= MAX_COUNTS && !self.counts.contains_key(&(ep, op)) {
            return;
        }
        let count = self.counts.entry((ep, op)).or_default();
        count.calls = count.calls.saturating_add(1);
        let Some(which) = DISAGREE.iter().position(|(errno, _)| *errno == ret) else { return };
        let (Some(failed), Some(cases)) = (count.failed.get_mut(which), count.cases.get_mut(which)) else { return };
        *failed = failed.saturating_add(1);
        if let Some(case) = cases.again(ep) {
            case.by(step.task, scene);
            case.on(file.unwrap_or(FileId(0)), fd, scene);
            case.at(step.row);
        }
    }

    fn judge(&mut self, _scene: &Scene<'_>, judged: &mut Judged) {
        for ((_, op), count) in &self.counts {
            for ((failed, cases), (_, errno)) in count.failed.iter().zip(&count.cases).zip(DISAGREE) {
                if *failed < FAILURES || failed.saturating_mul(100) < count.calls.saturating_mul(SHARE) {
                    continue;
                }
                let op = match op {
                    1 => "EPOLL_CTL_ADD",
                    2 => "EPOLL_CTL_DEL",
                    3 => "EPOLL_CTL_MOD",
                    _ => "another operation",
                };
                cases.accuse(judged, |_| format!("{failed} of {} calls of {op} failed with {errno}.", count.calls));
            }
        }
    }
}

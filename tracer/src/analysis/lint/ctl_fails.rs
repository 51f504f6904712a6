//! `epoll_ctl` fails again and again with the same error.

use std::collections::BTreeMap;

use tracer_common::Hook;

use super::cases::{Cases, Judged};
use super::rule::{About, Rule, Scene, Severity};
use super::step::{Step, What};
use crate::model::{EpId, FileId, op};

/// So many failures of one operation on one descriptor with one error in an eventpoll.
const FAILURES: u64 = 32;
/// And so large a share of that operation's calls on it, percent.
const SHARE: u64 = 25;

/// Triples of eventpoll, operation and descriptor that are counted.
const MAX_COUNTS: usize = 65_536;

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
        ("failures of one operation on one descriptor with one error in one eventpoll", FAILURES),
        ("percent of that operation's calls on it at least", SHARE),
    ],
    needs: &[Hook::Ctl],
    absence: false,
};

/// What became of one operation on one descriptor in one eventpoll.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    calls: u64,
    failed: [u64; DISAGREE.len()],
}

impl Count {
    /// Whether it failed too often in this way.
    fn is_habit(&self, which: usize) -> bool {
        let failed = self.failed.get(which).copied().unwrap_or(0);
        failed >= FAILURES && failed.saturating_mul(100) >= self.calls.saturating_mul(SHARE)
    }
}

#[derive(Debug, Default)]
pub(super) struct CtlFails {
    counts: BTreeMap<(EpId, i32, i32), Count>,
    /// By operation, and by place in [`DISAGREE`].
    cases: BTreeMap<(i32, usize), Cases>,
}

impl Rule for CtlFails {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn see(&mut self, step: &Step, scene: &Scene<'_>) {
        let What::Ctl { ep, file, fd, op: op @ (op::ADD | op::MOD | op::DEL), ret } = step.what else { return };
        if self.counts.len() >= MAX_COUNTS && !self.counts.contains_key(&(ep, op, fd)) {
            return;
        }
        let count = self.counts.entry((ep, op, fd)).or_default();
        count.calls = count.calls.saturating_add(1);
        let Some(which) = DISAGREE.iter().position(|(errno, _)| *errno == ret) else { return };
        let Some(failed) = count.failed.get_mut(which) else { return };
        *failed = failed.saturating_add(1);
        if *failed < FAILURES {
            return;
        }
        let (failed, calls) = (*failed, count.calls);
        let Some(case) = self.cases.entry((op, which)).or_default().again(ep) else { return };
        if failed == FAILURES {
            // Those before it count, too.
            case.times = case.times.saturating_add(FAILURES - 1);
        }
        case.by(step.task, scene);
        case.on(file.unwrap_or(FileId(0)), fd, scene);
        case.at(step.row);
        case.saying(|| format!("{failed} of {calls} calls for fd {fd} had failed by then"));
    }

    fn judge(&mut self, _scene: &Scene<'_>, judged: &mut Judged) {
        for ((operation, which), cases) in &self.cases {
            let errno = DISAGREE.get(*which).map_or("an error", |(_, name)| name);
            let op = match *operation {
                op::ADD => "EPOLL_CTL_ADD",
                op::DEL => "EPOLL_CTL_DEL",
                _ => "EPOLL_CTL_MOD",
            };
            let habit = |ep: EpId| {
                let counts = self.counts.range((ep, *operation, i32::MIN)..=(ep, *operation, i32::MAX));
                counts.map(|(_, count)| count).any(|count| count.is_habit(*which))
            };
            cases.accuse_some(
                judged,
                |ep, _| habit(ep),
                |case| format!("{op} failed with {errno}, {} times in all, of {}.", case.times, case.subject()),
            );
        }
    }
}

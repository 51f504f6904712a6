//! Is there a thundering herd, why, and what would cure it.

use std::fmt::Write as _;

use serde::Serialize;

/// There is a herd when at least this many tasks per source wakeup are woken for nothing, in the mean.
pub const HERD_MEAN_WASTED: f64 = 0.5;

/// A herd takes at least this many tasks that wait for one and the same socket.
pub const HERD_MIN_WORKERS: usize = 2;

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Tasks are woken for nothing: [`HERD_MEAN_WASTED`], [`HERD_MIN_WORKERS`].
    Herd,
    /// They are not.
    NoHerd,
    /// Nothing came.
    Idle,
    /// What was lost, or could not be seen, could change the answer.
    Incomplete,
}

impl Verdict {
    /// The name that outputs use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Herd => "herd",
            Self::NoHerd => "no herd",
            Self::Idle => "idle",
            Self::Incomplete => "incomplete",
        }
    }
}

/// What a verdict is drawn from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Evidence {
    pub(crate) sockets: usize,
    pub(crate) workers: usize,
    pub(crate) workers_of_a_socket: usize,
    pub(crate) eventpolls_of_a_socket: usize,
    pub(crate) wakeups: u64,
    pub(crate) called: f64,
    pub(crate) woken: f64,
    pub(crate) useful: f64,
    pub(crate) wasted: f64,
    pub(crate) wasted_total: u64,
    pub(crate) woken_total: u64,
    pub(crate) chained: u64,
    pub(crate) swallowed: u64,
    pub(crate) accepts: u64,
    pub(crate) accept_eagain: u64,
    pub(crate) items: u64,
    pub(crate) exclusive: u64,
    pub(crate) et: u64,
    pub(crate) oneshot: u64,
    /// Events that are missing from the trace, things that did not fit the model included.
    pub(crate) lost: u64,
    /// What could not be seen at all.
    pub(crate) blind: Option<String>,
}

/// A verdict with its reasons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Judgement {
    pub(crate) verdict: Verdict,
    pub(crate) sentence: String,
    pub(crate) cure: String,
}

/// Draws the verdict.
pub(crate) fn judge(evidence: &Evidence) -> Judgement {
    if let Some(blind) = &evidence.blind {
        return Judgement { verdict: Verdict::Incomplete, sentence: blind.clone(), cure: String::new() };
    }
    if evidence.wakeups == 0 && evidence.lost == 0 {
        let sentence = format!("No wakeup came from this source while {} waited.", tasks(evidence.workers));
        return Judgement { verdict: Verdict::Idle, sentence, cure: String::new() };
    }
    if evidence.accepts == 0 && evidence.accept_eagain == 0 && evidence.lost == 0 {
        let sentence = format!(
            "{} woke {}, but no accept was seen on this socket: whether a wake was of use is not known.",
            wakeups(evidence.wakeups),
            tasks(usize::try_from(evidence.woken_total).unwrap_or(usize::MAX)),
        );
        return Judgement { verdict: Verdict::Incomplete, sentence, cure: String::new() };
    }
    let herd = is_herd(evidence, evidence.wasted_total, evidence.wakeups);
    if could_differ(evidence, herd) {
        return incomplete(evidence, herd);
    }
    if herd { explain_herd(evidence) } else { explain_no_herd(evidence) }
}

#[expect(clippy::cast_precision_loss, reason = "a mean is compared with a threshold of one digit")]
fn is_herd(evidence: &Evidence, wasted: u64, wakeups: u64) -> bool {
    evidence.workers_of_a_socket >= HERD_MIN_WORKERS && wasted as f64 >= HERD_MEAN_WASTED * wakeups.max(1) as f64
}

/// Whether the verdict would be another if each event that was lost had told against it.
fn could_differ(evidence: &Evidence, herd: bool) -> bool {
    let lost = evidence.lost;
    if lost == 0 {
        return false;
    }
    if herd {
        !is_herd(evidence, evidence.wasted_total.saturating_sub(lost), evidence.wakeups.saturating_add(lost))
    } else {
        let shared = Evidence { workers_of_a_socket: HERD_MIN_WORKERS, ..evidence.clone() };
        is_herd(&shared, evidence.wasted_total.saturating_add(lost), evidence.wakeups)
    }
}

fn incomplete(evidence: &Evidence, herd: bool) -> Judgement {
    let seen = if herd { "a herd" } else { "no herd" };
    let sentence = format!(
        "What was seen is {seen}: {}, {:.2} tasks woken for nothing each; but {} lost, enough to change that.",
        wakeups(evidence.wakeups),
        evidence.wasted,
        plural(evidence.lost, "event was", "events were"),
    );
    let cure = "Record again with a larger ring buffer or for fewer processes.".to_owned();
    Judgement { verdict: Verdict::Incomplete, sentence, cure }
}

fn explain_herd(evidence: &Evidence) -> Judgement {
    let mut sentence = format!(
        "Each wakeup of the socket called back {:.2} items and woke {:.2} tasks; {:.2} of them got a connection, {:.2} woke \
         for nothing ({} wakes in all).",
        evidence.called, evidence.woken, evidence.useful, evidence.wasted, evidence.wasted_total,
    );
    let many_calls = evidence.eventpolls_of_a_socket >= 2 && evidence.exclusive < evidence.items;
    let mut cures = Vec::new();
    if many_calls {
        let missing = if evidence.exclusive == 0 {
            "without EPOLLEXCLUSIVE".to_owned()
        } else {
            format!("and only {} of {} items have EPOLLEXCLUSIVE", evidence.exclusive, evidence.items)
        };
        let _ = write!(
            sentence,
            " Why: {} eventpolls share one socket {missing}, so each wakeup calls all of them.",
            evidence.eventpolls_of_a_socket
        );
        cures.push("ADD the socket with EPOLLEXCLUSIVE in every eventpoll, or give each worker a socket of its own (SO_REUSEPORT).");
    }
    if evidence.chained > 0 {
        let _ = write!(
            sentence,
            " {} of {} wakes came by the wake chain: the socket is level-triggered in an eventpoll that several tasks wait on, \
             so each delivery puts it back on the ready list and the end of the scan wakes the next waiter (ep_done_scan).",
            evidence.chained, evidence.woken_total
        );
        cures.push("Register the socket with EPOLLET (and accept until EAGAIN) or EPOLLONESHOT (and re-arm with MOD) in the shared eventpoll.");
    }
    if cures.is_empty() {
        sentence += if evidence.exclusive > 0 {
            " Why: with EPOLLEXCLUSIVE the kernel wakes at least one task, and others had taken the connections before it ran."
        } else {
            " Why: others had taken the connections before the woken tasks ran."
        };
        cures.push("Give each worker a socket of its own (SO_REUSEPORT), or accept one connection per wait.");
    }
    if evidence.swallowed > 0 {
        let _ = write!(
            sentence,
            " {} slept on inside the same epoll_wait, where no system call shows it.",
            plural(evidence.swallowed, "woken task", "woken tasks")
        );
    }
    Judgement { verdict: Verdict::Herd, sentence, cure: cures.join(" ") }
}

fn explain_no_herd(evidence: &Evidence) -> Judgement {
    let alone = evidence.workers_of_a_socket < HERD_MIN_WORKERS;
    let why = if alone && evidence.lost > 0 {
        "the woken tasks nearly always got something; whether others wait for it is not known, since not everything was seen".to_owned()
    } else if alone && evidence.sockets >= 2 {
        format!("each of the {} workers waits for a socket of its own", evidence.workers)
    } else if alone {
        "a single task waits for the socket".to_owned()
    } else if evidence.items > 0 && evidence.exclusive == evidence.items {
        "every item has EPOLLEXCLUSIVE, so a wakeup stops at the first eventpoll with a sleeping task".to_owned()
    } else if evidence.eventpolls_of_a_socket < 2 && evidence.oneshot > 0 {
        "the tasks share one eventpoll and EPOLLONESHOT disables the item with its first delivery".to_owned()
    } else if evidence.eventpolls_of_a_socket < 2 && evidence.et > 0 {
        "the tasks share one eventpoll, and with EPOLLET nothing is put back that would wake the next".to_owned()
    } else {
        "the woken tasks nearly always got something, since the others were seldom asleep".to_owned()
    };
    let sentence = format!(
        "Each wakeup of the socket woke {:.2} tasks, {:.2} of them got a connection and {:.2} woke for nothing: {why}.",
        evidence.woken, evidence.useful, evidence.wasted,
    );
    Judgement { verdict: Verdict::NoHerd, sentence, cure: String::new() }
}

fn wakeups(count: u64) -> String {
    plural(count, "source wakeup", "source wakeups")
}

fn tasks(count: usize) -> String {
    plural(u64::try_from(count).unwrap_or(u64::MAX), "task", "tasks")
}

/// `1 task`, `2 tasks`.
pub(crate) fn plural(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

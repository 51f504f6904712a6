//! What a demo knows of itself.
//!
//! In: the counts that each worker kept while it ran. Out: one [`Truth`], the same for every demo, as JSON or as a
//! table.

use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};

/// Calls made by one task, counted by the code that made them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) ctl_add: u64,
    pub(crate) ctl_mod: u64,
    pub(crate) ctl_del: u64,
    /// Those that ask for none of the three.
    pub(crate) ctl_other: u64,
    /// Those of the four above that failed.
    pub(crate) ctl_failed: u64,
    /// `epoll_wait` calls that came back, whatever they returned.
    pub(crate) waits: u64,
    /// Those of `waits` that returned at least one event.
    pub(crate) waits_returned: u64,
    pub(crate) events: u64,
    /// Those of `waits` that ended without events when their time was over.
    pub(crate) timeouts: u64,
    /// Those of `waits` that a signal ended.
    pub(crate) interrupted: u64,
    /// Those of `waits` that failed otherwise.
    pub(crate) wait_errors: u64,
    /// `EPOLL_WAIT` operations of io_uring that completed; their events are among `events`.
    pub(crate) uring_waits: u64,
    /// `accept4` calls that returned a connection.
    pub(crate) accepts: u64,
    /// `accept4` calls that found no connection.
    pub(crate) accept_eagain: u64,
}

/// The part of a worker's counts that is shown by task.
#[derive(Clone, Copy, Debug, Serialize)]
struct WorkerTruth {
    tid: i32,
    /// Its number in its own pid namespace, where that is another than its maker's.
    ns_tid: Option<i32>,
    waits: u64,
    waits_returned: u64,
    events: u64,
    accepts: u64,
    accept_eagain: u64,
}

/// The counts of a whole demo, and of each of its workers.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Truth {
    #[serde(flatten)]
    total: Counts,
    /// In order of `tid`.
    workers: Vec<WorkerTruth>,
}

impl Truth {
    /// `master` is what the task that is no worker did: it is part of the totals only.
    pub(crate) fn new(master: Counts, workers: impl IntoIterator<Item = (i32, Counts)>) -> Self {
        let mut truth = Self { total: master, workers: Vec::new() };
        for (tid, counts) in workers {
            truth.total.add(&counts);
            truth.workers.push(WorkerTruth {
                tid,
                ns_tid: None,
                waits: counts.waits,
                waits_returned: counts.waits_returned,
                events: counts.events,
                accepts: counts.accepts,
                accept_eagain: counts.accept_eagain,
            });
        }
        truth.workers.sort_by_key(|worker| worker.tid);
        truth
    }

    /// A worker is in a pid namespace of its own.
    pub(crate) fn in_namespace(&mut self, tid: i32, ns_tid: i32) {
        if let Some(worker) = self.workers.iter_mut().find(|worker| worker.tid == tid) {
            worker.ns_tid = Some(ns_tid);
        }
    }
}

impl Counts {
    /// What was counted since these counts.
    pub(crate) fn since(&self, before: &Self) -> Self {
        Self {
            ctl_add: self.ctl_add - before.ctl_add,
            ctl_mod: self.ctl_mod - before.ctl_mod,
            ctl_del: self.ctl_del - before.ctl_del,
            ctl_other: self.ctl_other - before.ctl_other,
            ctl_failed: self.ctl_failed - before.ctl_failed,
            waits: self.waits - before.waits,
            uring_waits: self.uring_waits - before.uring_waits,
            waits_returned: self.waits_returned - before.waits_returned,
            events: self.events - before.events,
            timeouts: self.timeouts - before.timeouts,
            interrupted: self.interrupted - before.interrupted,
            wait_errors: self.wait_errors - before.wait_errors,
            accepts: self.accepts - before.accepts,
            accept_eagain: self.accept_eagain - before.accept_eagain,
        }
    }

    fn add(&mut self, other: &Self) {
        self.ctl_add += other.ctl_add;
        self.ctl_mod += other.ctl_mod;
        self.ctl_del += other.ctl_del;
        self.ctl_other += other.ctl_other;
        self.ctl_failed += other.ctl_failed;
        self.timeouts += other.timeouts;
        self.interrupted += other.interrupted;
        self.wait_errors += other.wait_errors;
        self.uring_waits += other.uring_waits;
        self.waits += other.waits;
        self.waits_returned += other.waits_returned;
        self.events += other.events;
        self.accepts += other.accepts;
        self.accept_eagain += other.accept_eagain;
    }
}

impl fmt::Display for Truth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:>10} {:>10} {:>10} {:>10} {:>10} {:>10}",
            "tid", "waits", "returned", "events", "accepts", "EAGAIN"
        )?;
        for w in &self.workers {
            row(f, &w.tid.to_string(), [w.waits, w.waits_returned, w.events, w.accepts, w.accept_eagain])?;
        }
        let t = &self.total;
        row(f, "total", [t.waits, t.waits_returned, t.events, t.accepts, t.accept_eagain])?;
        writeln!(f, "epoll_ctl: {} ADD, {} MOD, {} DEL", t.ctl_add, t.ctl_mod, t.ctl_del)
    }
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, numbers: [u64; 5]) -> fmt::Result {
    write!(f, "{name:>10}")?;
    for number in numbers {
        write!(f, " {number:>10}")?;
    }
    f.write_char('\n')
}

#[cfg(test)]
mod tests {
    use super::{Counts, Truth};

    fn counts(waits: u64, ctl_add: u64) -> Counts {
        Counts { ctl_add, waits, ..Counts::default() }
    }

    #[test]
    fn workers_are_in_order_of_tid_and_totals_include_the_master() {
        let truth = Truth::new(counts(0, 2), [(9, counts(3, 1)), (4, counts(5, 1))]);
        let json = serde_json::to_value(&truth).unwrap();
        assert_eq!(json["waits"], 8);
        assert_eq!(json["ctl_add"], 4);
        assert_eq!(json["workers"][0]["tid"], 4);
        assert_eq!(json["workers"][1]["waits"], 3);
        assert!(json["workers"][0].get("ctl_add").is_none());
    }

    #[test]
    fn what_was_counted_since_then_and_what_was_counted_before_are_the_whole() {
        let before = Counts { ctl_add: 2, waits: 3, events: 1, ..Counts::default() };
        let now = Counts { ctl_add: 5, waits: 3, events: 4, accepts: 1, ..Counts::default() };
        let mut sum = before;
        sum.add(&now.since(&before));
        assert_eq!(sum, now);
    }

    #[test]
    fn the_table_ends_in_the_totals() {
        let table = Truth::new(counts(0, 2), [(9, counts(3, 1))]).to_string();
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(lines.len(), 4);
        assert!(lines[2].trim_start().starts_with("total          3"), "{table}");
        assert_eq!(lines[3], "epoll_ctl: 3 ADD, 0 MOD, 0 DEL");
    }
}

//! Servers of Debian: nginx with worker processes, memcached with worker threads. strace counts every thread's calls, the
//! client its connections, and the server has statistics of its own; eptrace must arrive at the same numbers.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::strace::{self, CALLS, WATCHED};
use super::witnessed::{self, ACCEPT, EPOLL, number};
use crate::herd::outcome::{json, lines, succeeded};
use crate::herd::spec::{Backend, word};
use crate::setup::foreign::Server;
use crate::vm::plan::Job;
use crate::vm::session::JobResult;
use crate::vmtest::again::{self, Run};
use crate::vmtest::{Case, calls, herd, lint};

const NGINX: Server = Server { name: "nginx", path: "usr/sbin/nginx" };
const MEMCACHED: Server = Server { name: "memcached", path: "usr/bin/memcached" };
pub(super) const SERVERS: [Server; 2] = [NGINX, MEMCACHED];

const NGINX_SCRIPT: &str = include_str!("nginx.sh");
const MEMCACHED_SCRIPT: &str = include_str!("memcached.sh");
/// Requests that the client makes before it asks for the statistics, which takes one more connection.
const REQUESTS: u64 = 20;
const WORKERS: u64 = 3;

pub(super) fn cases() -> Vec<Case> {
    vec![
        // Without its mutex nginx registers the shared socket with EPOLLEXCLUSIVE.
        nginx(Backend::Fentry, "EPOLLEXCLUSIVE", "", "off"),
        nginx(Backend::Kprobe, "a socket per worker", "reuseport", "off"),
        memcached(Backend::Kprobe, true),
    ]
}

pub(super) fn others() -> Vec<Case> {
    vec![nginx(Backend::Kprobe, "a mutex around accept", "", "on"), memcached(Backend::Fentry, false)]
}

fn nginx(backend: Backend, what: &str, listen: &str, mutex: &str) -> Case {
    let env = [("LISTEN", listen), ("MUTEX", mutex), ("WORKERS", &WORKERS.to_string())];
    // The mutex moves the socket from one worker's eventpoll to another's: no wakeup need find a worker there.
    let each_wakes_one = mutex == "off";
    Case {
        name: format!("nginx with {what}: all counts are its own and all calls strace's with {}", word(backend)),
        jobs: again::jobs(1, REPORT, |_| jobs(&NGINX, NGINX_SCRIPT, backend, &env)),
        check: Box::new(move |results| {
            again::judge(results, |results| {
                let (said, report) = outcome(results, backend)?;
                for count in ["accepts", "handled", "requests"] {
                    ensure!(number(&said, count)? == REQUESTS + 1, "nginx counts other {count}: {said}");
                }
                Run::of(&report, || {
                    strace_agrees(results, &report)?;
                    accepted_all(&said, &report)?;
                    if each_wakes_one { each_connection_wakes_one(&report) } else { Ok(()) }
                })
            })
        }),
    }
}

fn memcached(backend: Backend, attached: bool) -> Case {
    let (how, what) = if attached { ("pid", "attached to while it sleeps") } else { ("command", "from its start") };
    let env = [("HOW", how), ("THREADS", &WORKERS.to_string())];
    Case {
        name: format!("memcached {what}: all counts are its own with {}", word(backend)),
        jobs: again::jobs(1, REPORT, |_| jobs(&MEMCACHED, MEMCACHED_SCRIPT, backend, &env)),
        check: Box::new(move |results| {
            again::judge(results, |results| {
                let (said, report) = outcome(results, backend)?;
                // It counts the socket that it listens on as a connection.
                let connections = number(&said, "total_connections")?;
                ensure!(connections == REQUESTS + 2, "memcached counts other connections: {said}");
                for count in ["cmd_get", "cmd_set"] {
                    ensure!(number(&said, count)? == REQUESTS, "memcached counts other {count}: {said}");
                }
                Run::of(&report, || {
                    if !attached {
                        strace_agrees(results, &report)?;
                    }
                    accepted_all(&said, &report)?;
                    each_connection_wakes_one_that_sleeps(&report)
                })
            })
        }),
    }
}

/// Which of these jobs prints the report, and which the events.
const REPORT: usize = 2;
const EVENTS: usize = 4;

/// The script, what strace saw, the report, what lint finds, the events, and the folder's end.
fn jobs(server: &Server, script: &str, backend: Backend, env: &[(&str, &str)]) -> Vec<Job> {
    let trace = format!("{}.arrow", server.name);
    let mut run = Job::new(server.name, &["sh", "-c", script], 90);
    let common = [("BACKEND", &*word(backend)), ("REQUESTS", &*REQUESTS.to_string()), (CALLS, WATCHED)]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    run.env.extend(env.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).chain(common));
    let place = format!("/work/{}", server.name);
    let jobs = [
        run,
        Job::new("what strace saw", &["sh", "-c", "ls | grep -q '^strace' || exit 0; grep -H '' strace.*"], 10),
        Job::new("the report", &["eptrace", "report", "--json", &trace], 30),
        Job::new("what lint finds", &["eptrace", "lint", "--json", &trace], 30),
        Job::new("the events", &["eptrace", "export", "--format", "jsonl", &trace], 30),
        Job::new("the removal", &["sh", "-c", "rm -rf ./*"], 10),
    ];
    jobs.into_iter().map(|job| Job { cwd: place.clone(), ..job }).collect()
}

/// What client and server counted, and the report. Nothing is to be found wrong with these servers.
fn outcome(results: &[JobResult], backend: Backend) -> Result<(Value, Value)> {
    let said = json(&results[0], "the server under eptrace")?;
    let report = json(&results[REPORT], "eptrace report --json")?;
    lint::finds(&json(&results[3], "eptrace lint --json")?, &[]).context("what lint finds")?;
    ensure!(report["backend"] == word(backend).as_str(), "the backend is {}", report["backend"]);
    ensure!(number(&said, "connections")? == REQUESTS + 1, "the client made other connections: {said}");
    Ok((said, report))
}

/// Every count is strace's, and every call is as strace saw it, with all that was asked and all that was returned.
fn strace_agrees(results: &[JobResult], report: &Value) -> Result<()> {
    succeeded(&results[1], "reading what strace saw")?;
    let seen = strace::calls(&results[1].out())?;
    witnessed::equal(&strace::threads(&seen), report, &[EPOLL.as_slice(), &ACCEPT].concat())?;
    calls::equal(&seen, &calls::traced(&lines(&results[EVENTS], "eptrace export --format jsonl")?)?)
}

/// Each connection of the client is one accept, and one of the only listening socket.
fn accepted_all(said: &Value, report: &Value) -> Result<()> {
    witnessed::nothing_lost(report)?;
    let made = number(said, "connections")?;
    for (what, from) in [("totals", &report["totals"]), ("herd", row(report)?)] {
        let accepts = number(from, "accepts")?;
        ensure!(accepts == made, "{made} connections were made, and the report's {what} count {accepts}");
    }
    Ok(())
}

/// Every thread that could take the connection slept when it came, so the kernel had no choice: one callback, one wake, and it
/// was of use.
fn each_connection_wakes_one(report: &Value) -> Result<()> {
    let row = row(report)?;
    let made = wakeups(row)?;
    for (what, each) in [("called", 1), ("woken", 1), ("returned", 1), ("useful", 1), ("wasted", 0)] {
        let found = herd::histogram(row, what)?;
        ensure!(found == BTreeMap::from([(each, made)]), "{what} is not {each} each time but {found:?}");
    }
    herd::every_wake_has_an_end(row)
}

/// memcached's listening thread leaves its sleep every second by itself, for its clock: a connection that comes just then is one
/// callback and no wake, and the thread finds it when it waits again.
fn each_connection_wakes_one_that_sleeps(report: &Value) -> Result<()> {
    let row = row(report)?;
    let made = wakeups(row)?;
    let called = herd::histogram(row, "called")?;
    ensure!(called == BTreeMap::from([(1, made)]), "called is not 1 each time but {called:?}");
    let woken = herd::histogram(row, "woken")?;
    let awake = woken.get(&0).copied().unwrap_or(0);
    ensure!(woken.keys().all(|&woken| woken <= 1) && awake <= made / 4, "woken is not 1 but {woken:?}");
    for what in ["returned", "useful"] {
        let found = herd::histogram(row, what)?;
        ensure!(found == woken, "{woken:?} were woken, but {what} is {found:?}");
    }
    let wasted = herd::histogram(row, "wasted")?;
    ensure!(wasted == BTreeMap::from([(0, made)]), "wasted is not 0 each time but {wasted:?}");
    herd::every_wake_has_an_end(row)
}

/// As many as connections were made.
fn wakeups(row: &Value) -> Result<u64> {
    let made = REQUESTS + 1;
    ensure!(number(row, "wakeups")? == made, "not {made} wakeups: {row}");
    Ok(made)
}

fn row(report: &Value) -> Result<&Value> {
    let rows = report.get("herd").and_then(Value::as_array).context("the report has no herd")?;
    ensure!(rows.len() == 1, "the report has {} listening sockets, not one", rows.len());
    Ok(&rows[0])
}

#[cfg(test)]
mod tests {
    use super::{REQUESTS, accepted_all, each_connection_wakes_one, each_connection_wakes_one_that_sleeps};
    use serde_json::{Value, json};

    fn report(woken: u64) -> Value {
        let made = REQUESTS + 1;
        let spread = |each: u64| json!({"total": each * made, "histogram": {each.to_string(): made}});
        json!({"lost": {"events": 0}, "totals": {"accepts": made}, "herd": [{"wakeups": made, "accepts": made,
            "called": spread(1), "woken": spread(woken), "returned": spread(1), "useful": spread(1), "wasted": spread(0),
            "swallowed": 0, "unfinished": 0}]})
    }

    #[test]
    fn a_thread_that_just_woke_for_its_clock_need_not_be_woken() {
        let with = |woken: &Value| {
            let mut report = report(1);
            let total: u64 = 20;
            for what in ["woken", "returned", "useful"] {
                report["herd"][0][what] = json!({"total": total, "histogram": woken});
            }
            each_connection_wakes_one_that_sleeps(&report)
        };
        assert!(each_connection_wakes_one_that_sleeps(&report(1)).is_ok());
        assert!(with(&json!({"0": 1, "1": 20})).is_ok());
        assert!(with(&json!({"1": 20, "2": 1})).is_err());
        assert!(with(&json!({"0": 20, "1": 1})).is_err());
        assert!(each_connection_wakes_one_that_sleeps(&report(2)).is_err());
    }

    #[test]
    fn a_second_wake_or_a_connection_missed_is_an_error() {
        let said = |made: u64| json!({"connections": made});
        assert!(each_connection_wakes_one(&report(1)).is_ok());
        assert!(each_connection_wakes_one(&report(2)).is_err());
        assert!(each_connection_wakes_one(&json!({"herd": []})).is_err());
        assert!(accepted_all(&said(REQUESTS + 1), &report(1)).is_ok());
        assert!(accepted_all(&said(REQUESTS), &report(1)).is_err());
    }
}

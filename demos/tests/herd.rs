//! The herd demo on this machine's kernel: each mode, each rhythm, threads and processes.
//!
//! The truth must agree with itself and with what the kernel promises for the mode.

#![expect(clippy::unwrap_used, reason = "clippy knows #[test] functions as tests, but not their helpers")]

mod common;

use common::{json, number};
use serde_json::Value;

const WORKERS: u64 = 3;
const CONNECTIONS: u64 = 40;

fn herd(mode: &str, rhythm: &str, processes: bool) -> Value {
    let (workers, connections) = (WORKERS.to_string(), CONNECTIONS.to_string());
    let mut args = vec!["herd", "--mode", mode, "--rhythm", rhythm, "--json"];
    args.extend(["--workers", &workers, "--connections", &connections]);
    if processes {
        args.push("--processes");
    }
    let outcome = json(&args);
    assert_eq!(outcome["demo"], "herd");
    assert_eq!(outcome["mode"], mode);
    assert_eq!(outcome["rhythm"], rhythm);
    assert_eq!(outcome["processes"], processes);
    assert_eq!(number(&outcome, "workers"), WORKERS);
    assert_eq!(number(&outcome, "connections"), CONNECTIONS);
    assert!(outcome["listen"].as_str().unwrap().starts_with("127.0.0.1:"));
    outcome
}

/// What holds for every mode and rhythm.
fn check_sums(outcome: &Value) {
    let truth = &outcome["truth"];
    let workers = truth["workers"].as_array().unwrap();
    assert_eq!(workers.len() as u64, WORKERS);
    let tids: Vec<_> = workers.iter().map(|worker| number(worker, "tid")).collect();
    assert!(tids.is_sorted_by(|a, b| a < b), "{tids:?}");
    assert!(!tids.contains(&number(outcome, "pid")), "the master is no worker");
    for key in ["waits", "waits_returned", "events", "accepts", "accept_eagain"] {
        let sum: u64 = workers.iter().map(|worker| number(worker, key)).sum();
        assert_eq!(sum, number(truth, key), "{key} in {truth}");
    }
    assert_eq!(number(truth, "accepts"), CONNECTIONS, "{truth}");
    assert!(number(truth, "events") >= number(truth, "waits_returned"), "{truth}");
    assert!(number(truth, "waits") >= number(truth, "waits_returned"), "{truth}");
}

fn check_ctl(truth: &Value, add: u64, modify: u64, delete: u64) {
    let calls = ["ctl_add", "ctl_mod", "ctl_del"].map(|key| number(truth, key));
    assert_eq!(calls, [add, modify, delete], "{truth}");
}

/// Every event but the one that stops a worker leads to one `accept4`.
fn check_one_accept_for_each_event(truth: &Value) {
    let accepts = number(truth, "accepts") + number(truth, "accept_eagain");
    assert_eq!(number(truth, "events"), accepts + WORKERS, "{truth}");
}

/// The only events are the connections and each worker's stop, one for each wait.
fn check_no_wait_in_vain(truth: &Value) {
    assert_eq!(number(truth, "accept_eagain"), 0, "{truth}");
    assert_eq!(number(truth, "waits_returned"), CONNECTIONS + WORKERS, "{truth}");
    assert_eq!(number(truth, "events"), CONNECTIONS + WORKERS, "{truth}");
}

fn check(mode: &str, rhythm: &str, processes: bool) {
    let outcome = herd(mode, rhythm, processes);
    let truth = &outcome["truth"];
    check_sums(&outcome);
    match mode {
        "oneshot" => {
            check_ctl(truth, 2, CONNECTIONS, 1);
            // One worker at a time holds the socket, so in neither rhythm does one come too late.
            check_no_wait_in_vain(truth);
        }
        "et" => {
            check_ctl(truth, 2 * WORKERS, 0, WORKERS);
            // Each event is accepted until EAGAIN.
            assert_eq!(number(truth, "events"), number(truth, "accept_eagain") + WORKERS, "{truth}");
        }
        _ => {
            check_ctl(truth, 2 * WORKERS, 0, WORKERS);
            check_one_accept_for_each_event(truth);
            if mode == "reuseport" || (mode == "exclusive" && rhythm == "step") {
                check_no_wait_in_vain(truth);
            }
        }
    }
    if rhythm == "step" {
        // All slept when they were told to stop, so that nothing came together with the word to stop.
        assert_eq!(number(truth, "events"), number(truth, "waits_returned"), "{truth}");
    }
}

macro_rules! in_both_rhythms_and_kinds {
    ($($mode:ident)*) => {$(
        mod $mode {
            #[test]
            fn step_threads() {
                super::check(stringify!($mode), "step", false);
            }

            #[test]
            fn step_processes() {
                super::check(stringify!($mode), "step", true);
            }

            #[test]
            fn burst_threads() {
                super::check(stringify!($mode), "burst", false);
            }

            #[test]
            fn burst_processes() {
                super::check(stringify!($mode), "burst", true);
            }
        }
    )*};
}

in_both_rhythms_and_kinds!(lt et exclusive oneshot reuseport);

#[test]
fn with_exclusive_in_step_the_first_worker_gets_all() {
    let outcome = herd("exclusive", "step", true);
    let mut accepts: Vec<_> =
        outcome["truth"]["workers"].as_array().unwrap().iter().map(|worker| number(worker, "accepts")).collect();
    // By count and not by place: the lowest tid need not be the first worker's.
    accepts.sort_unstable();
    assert_eq!(accepts, [0, 0, CONNECTIONS]);
}

#[test]
fn one_worker_is_no_herd() {
    let outcome = json(&["herd", "--mode", "lt", "--workers", "1", "--connections", "5", "--json"]);
    assert_eq!(number(&outcome["truth"], "accept_eagain"), 0);
    assert_eq!(number(&outcome["truth"], "waits_returned"), 6);
}

#[test]
fn in_a_burst_2000_connections_reach_8_workers() {
    let args = ["herd", "--mode", "lt", "--workers", "8", "--connections", "2000", "--rhythm", "burst", "--json"];
    assert_eq!(number(&json(&args)["truth"], "accepts"), 2000);
}

//! The pitfalls demo on this machine's kernel: each way makes the calls that it is made of, and so does its twin.

mod common;

use common::{json, number, run};
use serde_json::{Value, json as value};

/// Calls of one way: waits that returned something, events, waits that ended without.
type Calls = (u64, u64, u64);

/// Each pitfall, its calls, and those of its twin.
const MODES: [(&str, Calls, Calls); 14] = [
    ("hangup-ignored", (200, 200, 0), (1, 1, 0)),
    ("accept-fails", (48, 48, 0), (2, 2, 0)),
    ("zero-timeout-spin", (0, 0, 4096), (0, 0, 1)),
    ("ctl-fails", (0, 0, 0), (0, 0, 0)),
    ("ctl-churn", (0, 0, 0), (0, 0, 0)),
    ("small-maxevents", (200, 800, 0), (25, 800, 0)),
    ("et-not-drained", (3, 3, 3), (3, 3, 3)),
    ("et-accept-once", (1, 1, 1), (1, 1, 1)),
    ("et-blocking", (1, 1, 0), (1, 1, 0)),
    ("epollout-always-ready", (200, 200, 0), (0, 0, 1)),
    ("level-ignored", (400, 400, 0), (1, 1, 1)),
    ("self-pipe", (64, 64, 0), (64, 64, 0)),
    ("closed-registered", (20, 20, 0), (0, 0, 1)),
    ("oneshot-not-rearmed", (1, 1, 1), (2, 2, 0)),
];

fn truth(args: &[&str]) -> Value {
    let outcome = json(&[&["pitfalls", "--json"], args].concat());
    assert_eq!(outcome["demo"], "pitfalls");
    assert_eq!(outcome["correct"], args.contains(&"--correct"));
    outcome["truth"].clone()
}

fn calls(truth: &Value) -> Calls {
    let calls = ["waits_returned", "events", "timeouts"].map(|key| number(truth, key));
    assert_eq!(number(truth, "waits"), calls[0] + calls[2], "{truth}");
    calls.into()
}

#[test]
fn each_pitfall_and_its_twin_make_the_calls_they_are_made_of() {
    for (mode, pitfall, twin) in MODES {
        assert_eq!(calls(&truth(&["--mode", mode])), pitfall, "{mode}");
        assert_eq!(calls(&truth(&["--mode", mode, "--correct"])), twin, "{mode} --correct");
    }
}

#[test]
fn without_a_mode_every_pitfall_is_shown_in_order() {
    let outcome = json(&["pitfalls", "--correct", "--json"]);
    assert_eq!(outcome["modes"], value!(MODES.map(|(mode, _, _)| mode)));
    let sum = |of: fn(Calls) -> u64| MODES.map(|(_, _, twin)| of(twin)).iter().sum::<u64>();
    let expected = (sum(|calls| calls.0), sum(|calls| calls.1), sum(|calls| calls.2));
    assert_eq!(calls(&outcome["truth"]), expected);
}

#[test]
fn one_accept_leaves_connections_and_a_loop_does_not() {
    let accepts = |args: &[&str]| {
        let truth = truth(args);
        ["accepts", "accept_eagain"].map(|key| number(&truth, key))
    };
    assert_eq!(accepts(&["--mode", "et-accept-once"]), [1, 0]);
    assert_eq!(accepts(&["--mode", "et-accept-once", "--correct"]), [3, 1]);
}

#[test]
fn only_the_correct_way_deletes_the_descriptor_that_it_closes() {
    for (args, deleted) in
        [(&["--mode", "closed-registered"][..], 0), (&["--mode", "closed-registered", "--correct"], 1)]
    {
        let truth = truth(args);
        assert_eq!(["ctl_add", "ctl_del", "ctl_failed"].map(|key| number(&truth, key)), [1, deleted, 0], "{args:?}");
    }
}

#[test]
fn help_names_every_pitfall() {
    let help = String::from_utf8(run(&["pitfalls", "--help"]).stdout).unwrap();
    for (mode, _, _) in MODES {
        assert!(help.contains(&format!("- {mode}:")), "{mode} is not in {help}");
    }
}

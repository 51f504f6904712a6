//! How the demos begin and end: help, bad input, signals, workers that die, a reader that goes away.

#![expect(clippy::unwrap_used, reason = "clippy knows #[test] functions as tests, but not their helpers")]

mod common;

use std::fs;
use std::io::{Read as _, pipe};
use std::process::{Child, Stdio};
use std::thread::yield_now;

use common::{command, json, number, run};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A herd that does not end by itself within the test.
fn endless(processes: bool) -> Child {
    let mut args = vec!["herd", "--mode", "lt", "--workers", "2", "--connections", "1000000"];
    if processes {
        args.push("--processes");
    }
    command(&args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("start demos")
}

/// State and parent of a process; None if it is gone.
fn stat(pid: i32) -> Option<(char, i32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

fn children(parent: &Child) -> Vec<i32> {
    let parent = i32::try_from(parent.id()).unwrap();
    let pids = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| stat(*pid).is_some_and(|(_, of)| of == parent)).collect()
}

fn comm(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim_end().to_owned()
}

/// The children of a herd once its client runs, which is started last.
fn children_at_work(herd: &mut Child) -> Vec<i32> {
    loop {
        assert!(herd.try_wait().unwrap().is_none(), "the herd ended by itself");
        let children = children(herd);
        if children.iter().any(|pid| comm(*pid) == "herd-client") {
            return children;
        }
        yield_now();
    }
}

fn wait_until_gone(pids: &[i32]) {
    // Where nobody reaps orphans, one that ended stays as a zombie.
    while pids.iter().any(|pid| stat(*pid).is_some_and(|(state, _)| state != 'Z')) {
        yield_now();
    }
}

fn stderr(child: &mut Child) -> String {
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_signal_ends_the_herd_and_all_its_processes() {
    for (signal, processes) in [(Signal::SIGINT, true), (Signal::SIGTERM, true), (Signal::SIGTERM, false)] {
        let mut herd = endless(processes);
        let children = children_at_work(&mut herd);
        assert_eq!(children.len(), if processes { 3 } else { 1 });
        kill(Pid::from_raw(i32::try_from(herd.id()).unwrap()), signal).unwrap();
        assert!(!herd.wait().unwrap().success());
        wait_until_gone(&children);
    }
}

#[test]
fn a_worker_that_dies_ends_the_herd_with_its_name() {
    let mut herd = endless(true);
    let children = children_at_work(&mut herd);
    let victim = children.iter().find(|pid| comm(**pid) == "herd-w1").unwrap();
    kill(Pid::from_raw(*victim), Signal::SIGKILL).unwrap();
    let said = stderr(&mut herd);
    assert_eq!(herd.wait().unwrap().code(), Some(2), "{said}");
    let expected = format!("demos: worker 1 (pid {victim}) was killed by SIGKILL without a report\n");
    assert!(said.ends_with(&expected), "{said}");
    wait_until_gone(&children);
}

#[test]
fn a_client_that_dies_ends_the_herd() {
    let mut herd = endless(false);
    let children = children_at_work(&mut herd);
    kill(Pid::from_raw(children[0]), Signal::SIGKILL).unwrap();
    let said = stderr(&mut herd);
    assert_eq!(herd.wait().unwrap().code(), Some(2), "{said}");
    assert!(said.starts_with("demos: "), "{said}");
}

#[test]
fn bad_input_is_refused_with_one_clear_sentence() {
    for (args, expected) in [
        (&["herd"][..], "--mode"),
        (&["herd", "--mode", "wild"], "invalid value 'wild'"),
        (&["herd", "--mode", "lt", "--workers", "0"], "0 is not in 1..=128"),
        (&["herd", "--mode", "lt", "--workers", "129"], "129 is not in 1..=128"),
        (&["herd", "--mode", "lt", "--connections", "0"], "0 is not in 1..=1000000"),
        (&["cycle", "--iterations", "none"], "invalid value 'none'"),
        (&["dance"], "unrecognized subcommand 'dance'"),
    ] {
        let output = run(args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains(expected), "{args:?}: {said}");
        assert_eq!(output.stdout, b"", "{args:?}");
    }
}

#[test]
fn help_has_examples_and_hides_the_client() {
    for demo in ["herd", "cycle"] {
        let output = run(&[demo, "--help"]);
        assert!(output.status.success());
        assert!(String::from_utf8_lossy(&output.stdout).contains(&format!("Examples:\n  demos {demo} ")));
    }
    assert!(!String::from_utf8_lossy(&run(&["--help"]).stdout).contains("client"));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let status = command(&["cycle", "--iterations", "1"]).stdout(writer).status().unwrap();
    assert!(status.success(), "{status}");
}

#[test]
fn cycle_waits_once_for_each_iteration() {
    let outcome = json(&["cycle", "--iterations", "1000", "--json"]);
    assert_eq!(outcome["demo"], "cycle");
    assert!(outcome["ns_per_iteration"].as_f64().unwrap() > 0.0);
    let (truth, turns) = (&outcome["truth"], 1000 + number(&outcome, "warm_up"));
    for key in ["waits", "waits_returned", "events"] {
        assert_eq!(number(truth, key), turns, "{truth}");
        assert_eq!(number(&truth["workers"][0], key), turns, "{truth}");
    }
    assert_eq!(number(truth, "ctl_add"), 1);
}

#[test]
fn without_json_the_result_is_a_table() {
    let output = run(&["herd", "--mode", "exclusive", "--workers", "2", "--connections", "3"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.starts_with("herd exclusive, step: 3 connections to 127.0.0.1:"), "{text}");
    assert!(text.ends_with("epoll_ctl: 4 ADD, 0 MOD, 2 DEL\n"), "{text}");
}

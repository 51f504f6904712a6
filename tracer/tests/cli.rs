//! What the program says of bad input: one sentence, the right exit code, and nothing half-written. None of it needs a kernel that
//! can be traced.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use eptrace::event::{Event, Mark, MarkKind, TraceInfo};
use eptrace::trace_file::Writer;

fn eptrace(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_eptrace"));
    command.args(arguments).stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    eptrace(arguments).output().expect("eptrace starts")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// One sentence on standard error, nothing on standard output.
fn refused(output: &Output, code: i32, words: &str) {
    let said = said(output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.contains(words), "{said}");
    assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    assert!(said.starts_with("eptrace: "), "{said}");
    assert!(output.stdout.is_empty());
}

fn is_root() -> bool {
    // SAFETY: a system call without arguments.
    unsafe { libc::geteuid() == 0 }
}

/// Root without its powers: what may not trace.
fn without_capabilities(arguments: &[&str]) -> Command {
    let mut command = eptrace(arguments);
    // SAFETY: only a system call without pointers between fork and exec.
    unsafe {
        command.pre_exec(|| {
            for capability in 0..64 {
                // Numbers that the kernel does not know are refused.
                libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0);
            }
            Ok(())
        });
    }
    command
}

/// What comes before the tracing itself is the same for a user who may trace; others are told first that they may not.
fn as_root(arguments: &[&str], words: &str) {
    if is_root() {
        refused(&run(arguments), 2, words);
    } else {
        refused(&run(arguments), 2, "run it as root");
    }
}

fn trace(path: &Path) -> Vec<u8> {
    let mut writer = Writer::create(path, &TraceInfo::default()).expect("a writable folder");
    for (ts_ns, what) in [(1, MarkKind::Started), (2, MarkKind::Stopped)] {
        writer.push(&Event::Mark(Mark { ts_ns, what })).expect("a row");
    }
    writer.finish().expect("an end");
    fs::read(path).expect("the file")
}

#[test]
fn a_pid_that_does_not_exist_is_named() {
    as_root(&["trace", "-p", "4194304999"], "no process");
    as_root(&["herd", "-p", "4000000000"], "there is no process 4000000000");
}

#[test]
fn its_own_parent_is_a_process_but_a_thread_is_not() {
    let tid = {
        let (send, receive) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            // SAFETY: a system call without arguments.
            send.send(unsafe { libc::gettid() }).expect("the test waits");
            let _ = ended.recv();
        });
        let tid = receive.recv().expect("a thread");
        as_root(&["trace", "-p", &tid.to_string()], "a thread of process");
        drop(end);
        thread.join().expect("it ends");
        tid
    };
    assert!(tid > 0);
}

#[test]
fn a_command_that_does_not_exist_is_named() {
    as_root(&["herd", "--", "no-such-command-at-all"], "there is no command `no-such-command-at-all` in PATH");
    as_root(&["trace", "--", "/no/such/command"], "cannot run `/no/such/command`");
    let file = tempfile::NamedTempFile::new().expect("a file that nobody may execute");
    as_root(&["trace", "--", file.path().to_str().expect("a plain path")], "not an executable file");
}

#[test]
fn a_user_who_may_not_trace_is_told_what_to_do() {
    if !is_root() {
        return refused(&run(&["trace", "--", "true"]), 2, "run it as root");
    }
    let output = without_capabilities(&["trace", "--", "true"]).output().expect("it starts");
    refused(&output, 2, "run it as root");
}

#[test]
fn an_output_path_that_cannot_be_written_is_found_before_anything_is_attached() {
    let output = run(&["record", "-o", "/no/such/folder/x.eptrace", "--", "true"]);
    refused(&output, 2, "/no/such/folder/x.eptrace");
}

#[test]
fn a_recording_that_never_began_leaves_no_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("x.eptrace");
    let output = run(&["record", "-o", path.to_str().expect("a plain path"), "--", "no-such-command-at-all"]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(!path.exists());
}

#[test]
fn a_file_that_is_not_a_trace_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("foreign");
    for bytes in [&b""[..], b"hello", &[0; 4096], b"PK\x03\x04 not a trace either"] {
        fs::write(&path, bytes).expect("a file");
        let output = run(&["report", path.to_str().expect("a plain path")]);
        refused(&output, 2, "foreign");
    }
    refused(&run(&["report", folder.path().to_str().expect("a plain path")]), 2, "directory");
    refused(&run(&["report", "/no/such/file"]), 2, "/no/such/file");
}

#[test]
fn a_torn_trace_is_reported_up_to_the_tear_and_said_to_be_torn() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("torn");
    let whole = trace(&path);
    let output = run(&["report", path.to_str().expect("a plain path")]);
    assert!(output.status.success() && output.stderr.is_empty(), "{}", said(&output));
    fs::write(&path, &whole[..whole.len() - 20]).expect("a file");
    let output = run(&["report", path.to_str().expect("a plain path")]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("ended without its end"), "{}", said(&output));
    assert!(!output.stdout.is_empty());
}

#[test]
fn a_report_is_read_without_privilege() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("trace");
    trace(&path);
    let output = without_capabilities(&["report", "--json", path.to_str().expect("a plain path")]).output();
    let output = output.expect("it starts");
    assert!(output.status.success(), "{}", said(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!(report["schema_version"], 1);
}

#[test]
fn a_page_is_written_whole_where_it_was_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, page) = (folder.path().join("trace"), folder.path().join("page.html"));
    trace(&path);
    let (path, to) = (path.to_str().expect("a plain path"), page.to_str().expect("a plain path"));
    let output = run(&["report", "--format", "html", "-o", to, path]);
    assert!(output.status.success() && output.stdout.is_empty(), "{}", said(&output));
    let written = fs::read_to_string(&page).expect("the page");
    assert!(written.starts_with("<!DOCTYPE html>") && written.ends_with("</html>\n"));
    let output = run(&["compare", "--format", "html", path, path]);
    assert!(output.status.success() && output.stdout.starts_with(b"<!DOCTYPE html>"), "{}", said(&output));
    let names = fs::read_dir(folder.path()).expect("the folder").count();
    assert_eq!(names, 2, "nothing else is left in the folder");
}

#[test]
fn a_report_that_cannot_be_written_is_refused_before_the_trace_is_read_and_leaves_what_was_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let page = folder.path().join("page.html");
    fs::write(&page, "before").expect("a file");
    let to = page.to_str().expect("a plain path");
    refused(
        &run(&["report", "--format", "html", "-o", "/no/such/folder/x.html", "/no/such/file"]),
        2,
        "/no/such/folder/x.html",
    );
    refused(
        &run(&["record", "-o", "/dev/null", "--report", "/no/such/folder/x.html", "--", "true"]),
        2,
        "/no/such/folder/x.html",
    );
    refused(&run(&["report", "--format", "html", "-o", to, "/no/such/file"]), 2, "/no/such/file");
    assert_eq!(fs::read_to_string(&page).expect("the file"), "before");
}

#[test]
fn whoever_stops_reading_the_output_causes_no_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("trace");
    trace(&path);
    let mut child = eptrace(&["report", path.to_str().expect("a plain path")])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", said(&output));
    assert!(output.stderr.is_empty(), "{}", said(&output));
}

#[test]
fn escape_sequences_in_what_the_user_typed_do_not_reach_the_terminal() {
    let output = run(&["report", "/no/such/\u{1b}[31mfile"]);
    assert!(!output.stderr.contains(&0x1b), "{}", said(&output));
}

#[test]
fn a_check_ends_in_a_sentence_and_an_exit_code_that_agree() {
    let output = run(&["check", "--json"]);
    let check: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!(check["kind"], "check");
    let code = if check["traceable"] == true { 0 } else { 3 };
    assert_eq!(output.status.code(), Some(code), "{check}");
    assert!(!check["facts"].as_array().expect("facts").is_empty());
}

#[test]
fn every_command_shows_examples_in_its_help() {
    for command in ["check", "trace", "record", "report", "herd", "lint", "compare", "export", "top"] {
        let output = run(&[command, "--help"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success());
        assert!(text.contains("Examples:") && text.contains(&format!("eptrace {command}")), "{command}: {text}");
    }
}

#[test]
fn every_rule_of_lint_is_listed_and_explained() {
    let list = run(&["lint", "--list"]);
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    let ids: Vec<&str> = list.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(ids.contains(&"thundering-herd"), "{list}");
    for id in ids {
        let output = run(&["lint", "--explain", id]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && text.starts_with(id) && text.contains("What to do"), "{text}");
    }
    let output = run(&["lint", "--explain", "no-such-rule"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("possible values"), "{}", said(&output));
}

#[test]
fn lint_reads_a_recording_without_privilege_and_exits_by_what_it_finds() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("trace");
    trace(&path);
    let path = path.to_str().expect("a plain path");
    let output = if is_root() {
        without_capabilities(&["lint", "--json", "--fail-on", "note", path]).output().expect("it starts")
    } else {
        run(&["lint", "--json", "--fail-on", "note", path])
    };
    assert!(output.status.success(), "{}", said(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!((report["schema_version"].as_u64(), report["kind"].as_str()), (Some(1), Some("lint")));
    assert_eq!(run(&["lint", "-p", "1", path]).status.code(), Some(2), "a file or a process, not both");
    refused(&run(&["lint", "/no/such/file"]), 2, "/no/such/file");
    refused(&run(&["lint", "--format", "html", path]), 2, "no page");
    as_root(&["lint", "--", "no-such-command-at-all", "with", "words"], "there is no command `no-such-command-at-all`");
}

#[test]
fn a_wrong_option_is_an_error() {
    assert_eq!(run(&["herd", "--duration", "0", "--", "true"]).status.code(), Some(2));
    assert_eq!(run(&["herd", "--no-such-option"]).status.code(), Some(2));
    as_root(&["trace", "--buffer", "3", "--", "true"], "not a power of two");
}

//! A long read says on a terminal how far it is, and nowhere else.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use eptrace::event::{Event, Mark, MarkKind, TraceInfo};
use eptrace::trace_file::Writer;

/// A report of what is written to its standard input.
fn report(stderr: impl Into<Stdio>) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_eptrace"));
    command.args(["report", "/dev/stdin"]).env("TERM", "xterm").env_remove("NO_COLOR");
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(stderr).spawn().expect("eptrace starts")
}

/// Writes a recording that goes on for as long as it is to.
fn record_while(child: &mut Child, goes_on: impl Fn() -> bool) {
    let stdin = child.stdin.take().expect("a pipe");
    let mut writer = Writer::new(stdin, "a pipe", &TraceInfo::default()).expect("a reader");
    let mut ts_ns = 0;
    while goes_on() {
        for _ in 0..1_000 {
            ts_ns += 1;
            writer.push(&Event::Mark(Mark { ts_ns, what: MarkKind::Started })).expect("a reader");
        }
        writer.flush().expect("a reader");
    }
    writer.push(&Event::Mark(Mark { ts_ns, what: MarkKind::Stopped })).expect("a reader");
    writer.finish().expect("a reader");
}

#[test]
fn a_long_read_is_seen_on_a_terminal_and_leaves_no_trace_there() {
    let (mut ours, mut theirs) = (-1, -1);
    let null = std::ptr::null_mut();
    // SAFETY: two places for descriptors; no name, no settings, no size.
    let made = unsafe { libc::openpty(&raw mut ours, &raw mut theirs, null, null.cast(), null.cast()) };
    assert_eq!(made, 0, "no pseudo-terminal");
    // SAFETY: openpty has just made both for us.
    let (mut ours, theirs) = unsafe { (File::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs)) };
    let mut child = report(theirs);
    let seen = Arc::new(AtomicBool::new(false));
    let reader = std::thread::spawn({
        let seen = Arc::clone(&seen);
        move || {
            let (mut text, mut bytes) = (String::new(), [0; 4_096]);
            // It fails when nobody holds the terminal any more.
            while let Ok(count @ 1..) = ours.read(&mut bytes) {
                text.push_str(&String::from_utf8_lossy(&bytes[..count]));
                seen.store(text.contains("reading: "), Ordering::Relaxed);
            }
            text
        }
    });
    let begun = Instant::now();
    record_while(&mut child, || !seen.load(Ordering::Relaxed) && begun.elapsed() < Duration::from_mins(2));
    assert!(child.wait().expect("it ends").success());
    let text = reader.join().expect("it ends");
    let last = text.rfind("reading: ").expect("progress");
    assert!(text[last..].contains("\u{1b}[2K"), "the line was left there: {text:?}");
}

#[test]
fn a_long_read_is_silent_where_there_is_no_terminal() {
    let mut child = report(Stdio::piped());
    let begun = Instant::now();
    record_while(&mut child, || begun.elapsed() < Duration::from_millis(800));
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

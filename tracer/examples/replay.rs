//! What `cargo xtask bench replay` needs: a recording made longer, and a program measured.
//!
//! `replay repeat IN OUT TIMES` writes the events of IN so often, one after another in time. `replay unpack IN` has Arrow's own reader
//! unpack IN, and counts its rows: the least that any reader does. `replay measure PROGRAM ARGUMENT...` runs a program, throws away
//! what it prints, and prints `{"cpu_ns", "peak_bytes"}` of it alone.

use std::fs::File;
use std::io::BufReader;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use arrow_ipc::reader::StreamReader;
use eptrace::event::{Event, MarkKind};
use eptrace::trace_file::{Reader, Writer};

/// Nanoseconds between two repetitions.
const BETWEEN_NS: u64 = 1_000_000;

/// The same event, later.
fn later(event: Event, by: u64) -> Event {
    macro_rules! shift {
        ($($kind:ident),*) => {
            match event {
                $(Event::$kind(mut event) => {
                    event.header.ts_ns += by;
                    Event::$kind(event)
                })*
                Event::Loss(mut loss) => {
                    loss.ts_ns += by;
                    Event::Loss(loss)
                }
                Event::Mark(mut mark) => {
                    mark.ts_ns += by;
                    Event::Mark(mark)
                }
            }
        };
    }
    shift!(
        Ctl,
        Hooked,
        Callback,
        Wake,
        WaitEnter,
        WaitExit,
        Returned,
        Scan,
        Accept,
        Fork,
        TaskName,
        TaskExit,
        FileGone,
        EventpollGone,
        FileInfo,
        EventpollSeen,
        ItemSeen,
        Raced,
        Audited,
        AuditedItem,
        FileEnds,
        TaskPid,
        Io,
        Path,
        Stack,
        Frame,
        Symbol
    )
}

/// Tracing begins once and ends once, however often its events come.
fn kept(event: &Event, time: u64, times: u64) -> bool {
    match event {
        Event::Mark(mark) if mark.what == MarkKind::Started => time == 0,
        Event::Mark(_) => time + 1 == times,
        _ => true,
    }
}

fn repeat(from: &str, to: &str, times: u64) -> Result<()> {
    let mut reader = Reader::open(from)?;
    let (mut events, mut batch) = (Vec::new(), Vec::new());
    while reader.next_batch(&mut batch)? {
        events.append(&mut batch);
    }
    events.append(&mut batch);
    ensure!(reader.torn().is_none(), "{from} is torn");
    let first = events.first().context("the recording is empty")?.ts_ns();
    let last = events.iter().map(Event::ts_ns).max().unwrap_or(first);
    let step = last - first + BETWEEN_NS;
    let mut writer = Writer::create(to, reader.info())?;
    let mut written = 0_u64;
    for time in 0..times {
        for event in events.iter().filter(|event| kept(event, time, times)) {
            writer.push(&later(*event, time * step))?;
            written += 1;
        }
    }
    let bytes = writer.finish()?.bytes;
    println!("{}", serde_json::json!({"events": written, "bytes": bytes}));
    Ok(())
}

fn unpack(from: &str) -> Result<()> {
    let file = File::open(from).with_context(|| format!("cannot open {from}"))?;
    let mut rows = 0;
    for batch in StreamReader::try_new(BufReader::new(file), None)? {
        rows += batch?.num_rows();
    }
    println!("{}", serde_json::json!({"rows": rows}));
    Ok(())
}

fn measure(program: &str, arguments: &[String]) -> Result<()> {
    let child = Command::new(program).args(arguments).stdout(Stdio::null()).spawn().context("cannot start it")?;
    let pid = i32::try_from(child.id())?;
    let mut status = 0;
    // SAFETY: `rusage` is of integers only, for which zeros are a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to values that live until the call ends; the child is ours and nobody else waits for it.
    let waited = unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) };
    ensure!(waited == pid, "wait4 failed: {}", std::io::Error::last_os_error());
    ensure!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "{program} failed ({status})");
    let ns = |time: libc::timeval| time.tv_sec * 1_000_000_000 + time.tv_usec * 1_000;
    // getrusage(2): ru_maxrss is in KiB.
    let peak_bytes = usage.ru_maxrss * 1024;
    println!("{}", serde_json::json!({"cpu_ns": ns(usage.ru_utime) + ns(usage.ru_stime), "peak_bytes": peak_bytes}));
    Ok(())
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["repeat", from, to, times] => repeat(from, to, times.parse()?),
        ["unpack", from] => unpack(from),
        ["measure", program, ..] => measure(program, arguments.get(2..).unwrap_or_default()),
        _ => bail!("replay repeat IN OUT TIMES, replay unpack IN, or replay measure PROGRAM ARGUMENT..."),
    }
}

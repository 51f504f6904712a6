//! What eptrace says of a file is what the kernel says of it to whoever has it open: the demo `sources` asks of one file of each kind, and of
//! sockets of each family and state, what they are; then each must call back. Under trace from the beginning, and registered before.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::again::{self, Run};
use super::recorded::{self, REPORT, Said, TRACE, events};
use super::version;
use crate::herd::outcome::{json, lines, succeeded};
use crate::vm::plan::Job;
use crate::vmtest::Case;

const TIMEOUT_S: u64 = 60;

/// In: `$BACKEND`. Out: `said` (what the demo says, its end last), and the trace.
const SCRIPT: &str = "
rm -f go ready said
mkfifo go
demos sources --held --json < go > said & demo=$!
exec 3> go
until [ -s said ]; do kill -0 $demo || exit 1; usleep 10000; done
eptrace record -o recorded.arrow --backend $BACKEND -p $demo --ready-file ready 2> err & tracer=$!
until [ -e ready ]; do kill -0 $tracer || { cat err; exit 1; }; usleep 20000; done
echo >&3
wait $demo || exit 1
wait $tracer || { cat err; exit 1; }
";

pub(super) fn cases() -> Vec<Case> {
    let demo: (&[&str], &[&str]) = (&[], &["demos", "sources", "--json"]);
    let what = "what is registered is told as the kernel tells its owner";
    let mut cases = recorded::cases(what, demo, None, |Said { demo, report, .. }, events| {
        whole(demo, report)?;
        judge(demo, events, "hooked")
    });
    cases.extend(["fentry", "kprobe"].map(before));
    cases
}

fn before(backend: &'static str) -> Case {
    let run = || {
        let mut script = Job::new("the demo under trace", &["sh", "-c", SCRIPT], TIMEOUT_S);
        script.env.push(("BACKEND".to_owned(), backend.to_owned()));
        let report = Job::new("the report", &["eptrace", "report", "--json", TRACE], TIMEOUT_S);
        let said = Job::new("what the demo said", &["tail", "-n", "1", "said"], TIMEOUT_S);
        let removal = Job::new("the removal", &["rm", "-f", "go", "said", "ready", "err", TRACE], 10);
        vec![script, report, events(None), said, removal]
    };
    Case {
        name: format!("what was registered before is told as the kernel tells its owner with {backend}"),
        jobs: again::jobs(1, REPORT, |_| run()),
        check: Box::new(move |results| {
            again::judge(results, |results| {
                let [script, report, events, said, ..] = results else { bail!("not the results of a run") };
                succeeded(script, "the demo under trace")?;
                let (demo, report) = (json(said, "the demo")?, json(report, "the report")?);
                ensure!(report["backend"] == backend, "the report says backend {}", report["backend"]);
                let events = lines(events, "the events")?;
                whole(&demo, &report)?;
                Run::of(&report, || judge(&demo, &events, "item-seen"))
            })
        }),
    }
}

/// What both sides say of a file in the same words.
const SAID: [&str; 8] =
    ["ino", "family", "sock_type", "sock_state", "local_addr", "local_port", "remote_addr", "remote_port"];

/// Each source was found by the rows `how`, is what it is, and called back.
fn judge(demo: &Value, events: &[Value], how: &str) -> Result<()> {
    let sources =
        demo["sources"].as_array().filter(|sources| !sources.is_empty()).context("the demo has no sources")?;
    let own = |row: &&Value| row["epfd"] == demo["epfd"] && row["ep"].is_string() && row["pid"] == demo["pid"];
    let seen = |row: &&Value| row["event"] == "eventpoll-seen" || row["event"] == "ctl";
    let ep = &events.iter().find(|row| seen(row) && own(row)).context("the eventpoll was not seen")?["ep"];
    let wrong = sources.iter().filter_map(|source| {
        let of = |row: &Value, event: &str| row["event"] == event && row["ep"] == *ep && row["fd"] == source["fd"];
        let error = one(source, events, how, of).err()?;
        Some(format!("{}, fd {}: {error}", source["name"], source["fd"]))
    });
    let wrong: Vec<String> = wrong.collect();
    ensure!(wrong.is_empty(), "{} of {} sources are told wrong:\n{}", wrong.len(), sources.len(), wrong.join("\n"));
    Ok(())
}

/// `of`: whether a row is an event of this source.
fn one(source: &Value, events: &[Value], how: &str, of: impl Fn(&Value, &str) -> bool) -> Result<()> {
    let first = events.iter().position(|row| of(row, how)).context("it was not seen")?;
    let file = &events[first]["file"];
    told(source, file, &events[first..])?;
    let of_it = events.iter().filter(|row| of(row, how) || of(row, "callback"));
    let others: BTreeSet<_> = of_it.filter(|row| row["file"] != *file).map(Value::to_string).collect();
    ensure!(others.is_empty(), "its file is {file}, and there are {others:?}");
    let called = events.iter().any(|row| of(row, "callback"));
    ensure!(called || source["ready"] == true, "it became ready, and there is no callback");
    Ok(())
}

/// The demo did all that there is on its kernel: Debian's 5.10 has no multipath TCP.
fn whole(demo: &Value, report: &Value) -> Result<()> {
    let kernel = report["kernel"].as_str().context("the report names no kernel")?;
    let expected: &[Value] = if version(kernel)? < (6, 1) { &["multipath TCP".into()] } else { &[] };
    let missing = demo["missing"].as_array().context("the demo does not say what is missing")?;
    ensure!(missing == expected, "{kernel} should be without {expected:?}, the demo was without {missing:?}");
    Ok(())
}

/// Whenever it was told what the file is, it was told so.
fn told(source: &Value, file: &Value, events: &[Value]) -> Result<()> {
    let kind = kind(source["link"].as_str().unwrap_or_default())?;
    let mut told = events.iter().filter(|row| row["event"] == "file-info" && row["file"] == *file).peekable();
    ensure!(told.peek().is_some(), "it was not told what it is");
    for row in told {
        ensure!(row["file_kind"] == kind, "it is a {kind}, and was told as {row}");
        for key in SAID {
            ensure!(row[key] == source[key], "its {key} is {}, and was told as {} in {row}", source[key], row[key]);
        }
    }
    Ok(())
}

/// The kind of file that a link in `/proc/self/fd` leads to. Kernels before 6.9 have no file system for pidfds.
fn kind(link: &str) -> Result<&'static str> {
    let known = [
        ("socket:[", "socket"),
        ("pipe:[", "pipe"),
        ("anon_inode:[eventfd]", "eventfd"),
        ("anon_inode:[timerfd]", "timerfd"),
        ("anon_inode:[signalfd]", "signalfd"),
        ("anon_inode:[pidfd]", "pidfd"),
        ("pidfd:[", "pidfd"),
        ("anon_inode:inotify", "inotify"),
        ("anon_inode:[eventpoll]", "epoll"),
        ("anon_inode:[io_uring]", "io_uring"),
        ("/dev/ptmx", "terminal"),
    ];
    if link.ends_with("/fifo") {
        return Ok("pipe");
    }
    let found = known.into_iter().find(|(start, _)| link.starts_with(start));
    found.map(|(_, kind)| kind).with_context(|| format!("{link} is no known kind of file"))
}

#[cfg(test)]
mod tests {
    use super::{judge, whole};
    use serde_json::{Value, json};

    fn socket() -> Value {
        json!({"ino": 7, "family": 2, "sock_type": 1, "sock_state": 10, "local_addr": "127.0.0.1", "local_port": 80,
            "remote_addr": null, "remote_port": 0})
    }

    fn with(mut value: Value, more: Value) -> Value {
        let Value::Object(more) = more else { panic!() };
        value.as_object_mut().unwrap().extend(more);
        value
    }

    fn demo() -> Value {
        let ready = json!({"name": "ready", "fd": 6, "ready": true, "link": "/tmp/fifo", "ino": 9});
        let listener = json!({"name": "listening", "fd": 5, "ready": false, "link": "socket:[7]"});
        json!({"pid": 4, "epfd": 3, "missing": [], "sources": [with(socket(), listener), ready]})
    }

    fn trace() -> Vec<Value> {
        let row = |event: &str, fd: u32, file: &str| json!({"event": event, "ep": "0xe", "fd": fd, "file": file});
        vec![
            json!({"event": "file-info", "file": "0x5", "file_kind": "pipe", "ino": 1}),
            row("hooked", 5, "0x5"),
            with(socket(), json!({"event": "file-info", "file": "0x5", "file_kind": "socket"})),
            json!({"event": "ctl", "ep": "0xe", "epfd": 3, "pid": 4, "fd": 5, "file": "0x5"}),
            row("hooked", 6, "0x6"),
            json!({"event": "file-info", "file": "0x6", "file_kind": "pipe", "ino": 9}),
            row("callback", 5, "0x5"),
        ]
    }

    #[test]
    fn a_source_that_is_told_otherwise_or_not_at_all_or_never_calls_back_is_a_failure() {
        judge(&demo(), &trace(), "hooked").unwrap();
        assert!(judge(&demo(), &trace(), "item-seen").is_err());
        for (row, key, value) in [
            (1, "event", json!("other")),
            (2, "event", json!("other")),
            (2, "file_kind", json!("epoll")),
            (2, "ino", json!(8)),
            (2, "sock_state", json!(1)),
            (2, "local_addr", json!("127.0.0.2")),
            (2, "local_port", json!(0)),
            (2, "remote_addr", json!("0.0.0.0")),
            (3, "pid", json!(5)),
            (5, "family", json!(1)),
            (6, "fd", json!(6)),
            (6, "file", json!("0x6")),
        ] {
            let mut trace = trace();
            trace[row][key] = value;
            assert!(judge(&demo(), &trace, "hooked").is_err(), "{key} of row {row}");
        }
        assert!(judge(&with(demo(), json!({"sources": []})), &trace(), "hooked").is_err());
    }

    #[test]
    fn what_a_kernel_has_may_not_be_left_out() {
        let of = |missing: Value, kernel: &str| whole(&json!({"missing": missing}), &json!({"kernel": kernel}));
        assert!(of(json!(["multipath TCP"]), "5.10.0-46-cloud-amd64").is_ok());
        assert!(of(json!([]), "6.1.0-56-cloud-amd64").is_ok());
        assert!(of(json!(["multipath TCP"]), "6.1.0-56-cloud-amd64").is_err());
        assert!(of(json!(["io_uring"]), "7.3.4+deb13-cloud-amd64").is_err());
    }
}

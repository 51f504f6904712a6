//! A program that registered one file of each kind before eptrace came, a child of it, and an interest list that is longer than the kernel's
//! buffer for it: every item must be found once, as it is, on every kernel; and the first event that comes then names its source.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::skipped;
use crate::herd::outcome::{json, succeeded};
use crate::vm::plan::Job;
use crate::vm::session::JobResult;
use crate::vmtest::Case;

const TIMEOUT_S: u64 = 60;

/// In: `$BACKEND`. Out: `said` (what the demo says before eptrace comes, and after), `found.arrow` and `text` (what eptrace recorded, and
/// printed meanwhile).
const SCRIPT: &str = "
rm -f go ready again
mkfifo go
demos registered --json --child --many 500 < go > said & demo=$!
exec 3> go
until [ -s said ]; do kill -0 $demo || exit 1; usleep 10000; done
eptrace record -o found.arrow --backend $BACKEND -p $demo --ready-file ready 2> err & tracer=$!
until [ -e ready ]; do kill -0 $tracer || { cat err; exit 1; }; usleep 20000; done
eptrace trace --backend $BACKEND -p $demo --ready-file again > text 2> err & printer=$!
until [ -e again ]; do kill -0 $printer || { cat err; exit 1; }; usleep 20000; done
echo >&3
wait $demo || exit 1
wait $tracer || { cat err; exit 1; }
wait $printer || { cat err; exit 1; }
";

pub(super) fn cases() -> Vec<Case> {
    ["fentry", "kprobe"].map(case).into()
}

fn case(backend: &'static str) -> Case {
    let mut run = Job::new("the demo under trace", &["sh", "-c", SCRIPT], TIMEOUT_S);
    run.env.push(("BACKEND".to_owned(), backend.to_owned()));
    let jobs = vec![
        run,
        Job::new("what the demo said", &["cat", "said"], TIMEOUT_S),
        Job::new("the events", &["eptrace", "export", "found.arrow", "--format", "jsonl"], TIMEOUT_S),
        Job::new("the report", &["eptrace", "report", "--json", "found.arrow"], TIMEOUT_S),
        Job::new("the text", &["cat", "text"], TIMEOUT_S),
        Job::new("the removal", &["rm", "-f", "go", "said", "ready", "again", "err", "text", "found.arrow"], 10),
    ];
    Case {
        name: format!("what was registered before is found, with its files and whether it is ready, with {backend}"),
        jobs,
        check: Box::new(|results| {
            succeeded(&results[0], "the demo under trace")?;
            let said = objects(&results[1])?;
            let demo = said.first().context("the demo said nothing")?;
            let report = json(&results[3], "the report")?;
            let events = objects(&results[2])?;
            judge(demo, &events)?;
            // A record that is missing can be the first callback's.
            if skipped::lost(&report)? > 0 {
                return Ok(());
            }
            waits(demo, &events)?;
            first_callback(demo, &events, &results[4].out())?;
            ready_before(demo, &report)
        }),
    }
}

fn objects(result: &JobResult) -> Result<Vec<Value>> {
    let out = result.out();
    out.lines().map(|line| serde_json::from_str(line).with_context(|| format!("no JSON: {line}"))).collect()
}

/// The demo's eventpolls: first the one with a file of each kind.
fn eventpolls(demo: &Value) -> impl Iterator<Item = &Value> {
    std::iter::once(demo).chain(demo["others"].as_array().into_iter().flatten())
}

fn items(eventpoll: &Value) -> Result<&Vec<Value>> {
    eventpoll["items"].as_array().context("the demo names no items")
}

fn of<'a>(events: &'a [Value], event: &'static str) -> impl Iterator<Item = &'a Value> {
    events.iter().filter(move |line| line["event"] == event)
}

fn judge(demo: &Value, events: &[Value]) -> Result<()> {
    ensure!(demo["others"].as_array().is_some_and(|others| others.len() == 2), "not a child and many items: {demo}");
    for eventpoll in eventpolls(demo) {
        let name = format!("demos/{}:{}", eventpoll["pid"], eventpoll["epfd"]);
        found(eventpoll, &name, events).with_context(|| format!("eventpoll {name}"))?;
    }
    Ok(())
}

/// What the demo and its child do once they may, by what their waits return.
fn waits(demo: &Value, events: &[Value]) -> Result<()> {
    for (pid, ret) in [(&demo["pid"], 2), (&demo["others"][0]["pid"], 2)] {
        let exit = of(events, "wait-exit").find(|exit| exit["pid"] == *pid);
        ensure!(exit.is_some_and(|exit| exit["ret"] == ret), "the wait of process {pid} was seen as {exit:?}");
    }
    Ok(())
}

/// The first callback says on what it comes, in JSON and in text.
fn first_callback(demo: &Value, events: &[Value], text: &str) -> Result<()> {
    let listener = items(demo)?.iter().find(|item| item["kind"] == "socket").context("the demo has no socket")?;
    let (fd, address) = (&listener["fd"], listener["address"].as_str().unwrap_or_default());
    let source = format!("tcp {address} listening");
    let name = format!("demos/{}:{}", demo["pid"], demo["epfd"]);
    let first = of(events, "callback").next().context("there was no callback")?;
    let same = first["fd"] == *fd && first["source"] == source && first["eventpoll"] == name;
    ensure!(same, "the first callback was told as {first}, not of {source}");
    let line = text.lines().find(|line| line.contains(": callback ")).context("no line tells of a callback")?;
    let words = format!(": callback fd {fd} ({source}) of {name}: ");
    ensure!(line.contains(&words), "the first callback was told as `{line}`, not `{words}`");
    Ok(())
}

/// What was on a ready list before is counted as such.
fn ready_before(demo: &Value, report: &Value) -> Result<()> {
    let ready = eventpolls(demo).map(items).collect::<Result<Vec<_>>>()?;
    let ready = ready.into_iter().flatten().filter(|item| item["ready"] == true).count();
    let before = &report["ready_list"]["came"]["before"];
    ensure!(*before == ready, "{before} stays began before, not {ready}: {}", report["ready_list"]);
    Ok(())
}

/// An item as both sides can tell it: mask, data, readiness, kind of file, and the ports of an internet socket.
type Item = (u64, u64, bool, String, Vec<u64>);

/// Every item of an eventpoll, once.
fn found(eventpoll: &Value, name: &str, events: &[Value]) -> Result<()> {
    let seen = of(events, "eventpoll-seen").find(|seen| seen["eventpoll"] == name).context("it was not found")?;
    let files: BTreeMap<&str, &Value> =
        of(events, "file-info").filter_map(|info| Some((info["file"].as_str()?, info))).collect();

    let mut found = BTreeMap::new();
    for seen in of(events, "item-seen").filter(|item| item["ep"] == seen["ep"]) {
        let fd = seen["fd"].as_u64().with_context(|| format!("an item without a descriptor: {seen}"))?;
        let file = seen["file"].as_str().and_then(|file| files.get(file));
        let file = file.with_context(|| format!("nothing is said of the file of {seen}"))?;
        let ports = ["local_port", "remote_port"].iter().filter_map(|port| file[port].as_u64()).collect();
        let item: Item = (
            mask(seen["events"].as_str().unwrap_or_default())?,
            hex(seen["data"].as_str().unwrap_or_default())?,
            seen["ready"] == true,
            file["file_kind"].as_str().unwrap_or_default().to_owned(),
            ports,
        );
        ensure!(found.insert(fd, item).is_none(), "the item of descriptor {fd} was told twice");
    }

    let items = items(eventpoll)?;
    ensure!(found.len() == items.len(), "{} items were found, not {}: {found:?}", found.len(), items.len());
    for item in items {
        let number = |key: &str| item[key].as_u64().with_context(|| format!("no {key} in {item}"));
        let fd = number("fd")?;
        let (events, data, ready, kind, ports) =
            found.get(&fd).with_context(|| format!("the item of descriptor {fd} was not found"))?;
        let same = *events == number("events")? && *data == number("data")?;
        ensure!(same && item["ready"] == *ready && item["kind"] == *kind, "{item} was found as {:?}", found[&fd]);
        if let Some(address) = item["address"].as_str() {
            let port = address.rsplit(':').next().and_then(|port| port.parse().ok());
            ensure!(port.is_some_and(|port| ports.contains(&port)), "{address} was found with the ports {ports:?}");
        }
    }
    Ok(())
}

/// The bits behind the names of a mask (uapi/linux/eventpoll.h).
fn mask(names: &str) -> Result<u64> {
    names.split('|').try_fold(0, |bits, name| {
        Ok(bits
            | match name {
                "EPOLLIN" => 0x1,
                "EPOLLERR" => 0x8,
                "EPOLLHUP" => 0x10,
                "EPOLLRDHUP" => 0x2000,
                "EPOLLEXCLUSIVE" => 1 << 28,
                "EPOLLONESHOT" => 1 << 30,
                "EPOLLET" => 1 << 31,
                _ => anyhow::bail!("the demo asks for no {name}"),
            })
    })
}

fn hex(text: &str) -> Result<u64> {
    let digits = text.strip_prefix("0x").with_context(|| format!("no hexadecimal number: {text}"))?;
    u64::from_str_radix(digits, 16).with_context(|| format!("no hexadecimal number: {text}"))
}

#[cfg(test)]
mod tests {
    use super::{first_callback, judge, ready_before, waits};
    use serde_json::{Value, json};

    fn demo() -> Value {
        let eventfd = |ready: bool| json!({"fd": 5, "events": 0x19, "data": 7, "kind": "eventfd", "ready": ready});
        json!({"epfd": 3, "pid": 9,
            "items": [{"fd": 5, "events": 0x1000_0019, "data": 7, "kind": "socket", "address": "127.0.0.1:80", "ready": true}],
            "others": [{"epfd": 3, "pid": 10, "items": [eventfd(true)]}, {"epfd": 4, "pid": 9, "items": [eventfd(false)]}]})
    }

    fn events() -> Vec<Value> {
        let seen = |ep: &str, name: &str| json!({"event": "eventpoll-seen", "ep": ep, "eventpoll": name});
        let item = |ep: &str, file: &str, ready: bool, events: &str| json!({"event": "item-seen", "ep": ep, "fd": 5, "file": file, "data": "0x7", "ready": ready, "events": events});
        let eventfd = |file: &str| json!({"event": "file-info", "file": file, "file_kind": "eventfd"});
        let always = "EPOLLIN|EPOLLERR|EPOLLHUP";
        vec![
            seen("0xe", "demos/9:3"),
            item("0xe", "0xf", true, "EPOLLIN|EPOLLERR|EPOLLHUP|EPOLLEXCLUSIVE"),
            json!({"event": "file-info", "file": "0xf", "file_kind": "socket", "local_port": 80, "remote_port": 0}),
            seen("0xd", "demos/10:3"),
            item("0xd", "0x1", true, always),
            eventfd("0x1"),
            seen("0xc", "demos/9:4"),
            item("0xc", "0x2", false, always),
            eventfd("0x2"),
            json!({"event": "callback", "fd": 5, "source": "tcp 127.0.0.1:80 listening", "eventpoll": "demos/9:3"}),
            json!({"event": "wait-exit", "pid": 9, "ret": 2}),
            json!({"event": "wait-exit", "pid": 10, "ret": 2}),
        ]
    }

    const TEXT: &str =
        "1 [000] a/1: is named a\n2 [000] a/1: callback fd 5 (tcp 127.0.0.1:80 listening) of demos/9:3: EPOLLIN\n";

    #[test]
    fn an_item_that_is_missing_or_told_otherwise_is_a_failure() {
        judge(&demo(), &events()).unwrap();
        for (line, key, value) in [
            (0, "eventpoll", json!("?/9:3")),
            (1, "fd", json!(6)),
            (1, "events", json!("EPOLLIN")),
            (1, "ready", json!(false)),
            (1, "data", json!("0x8")),
            (1, "event", json!("other")),
            (2, "file_kind", json!("pipe")),
            (2, "local_port", json!(81)),
            (4, "ep", json!("0xe")),
            (6, "event", json!("other")),
        ] {
            let mut events = events();
            events[line][key] = value;
            assert!(judge(&demo(), &events).is_err(), "{key} of line {line}");
        }
        let twice: Vec<Value> = events().into_iter().chain([events()[7].clone()]).collect();
        assert!(judge(&demo(), &twice).is_err());
    }

    #[test]
    fn the_wait_of_each_process_has_to_be_there() {
        waits(&demo(), &events()).unwrap();
        for (line, key, value) in [(10, "ret", json!(0)), (11, "pid", json!(9)), (11, "event", json!("other"))] {
            let mut events = events();
            events[line][key] = value;
            assert!(waits(&demo(), &events).is_err(), "{key} of line {line}");
        }
    }

    #[test]
    fn the_first_callback_has_to_name_its_source_in_json_and_in_text() {
        first_callback(&demo(), &events(), TEXT).unwrap();
        assert!(first_callback(&demo(), &events(), &TEXT.replace(" listening", "")).is_err());
        assert!(first_callback(&demo(), &events(), "").is_err());
        for key in ["fd", "source", "eventpoll"] {
            let mut events = events();
            events[9][key] = Value::Null;
            assert!(first_callback(&demo(), &events, TEXT).is_err(), "{key}");
        }
    }

    #[test]
    fn what_was_ready_before_has_to_be_counted() {
        let report = |before: u64| json!({"ready_list": {"came": {"before": before}}});
        assert!(ready_before(&demo(), &report(2)).is_ok());
        assert!(ready_before(&demo(), &report(1)).is_err());
    }
}

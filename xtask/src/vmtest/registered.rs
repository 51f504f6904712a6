//! A program that registered one file of each kind before eptrace came: every item must be found, as it is, on every kernel.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::herd::outcome::succeeded;
use crate::vm::plan::Job;
use crate::vmtest::Case;

const TIMEOUT_S: u64 = 60;

/// In: `$BACKEND`. Out: what the demo says before eptrace comes, and after; then eptrace's lines of JSON.
const SCRIPT: &str = "
rm -f go said lines ready
mkfifo go
demos registered --json < go > said & demo=$!
exec 3> go
until [ -s said ]; do kill -0 $demo || exit 1; usleep 10000; done
eptrace trace --json --backend $BACKEND -p $demo --ready-file ready > lines 2> err & tracer=$!
until [ -e ready ]; do kill -0 $tracer || { cat err; exit 1; }; usleep 20000; done
echo >&3
wait $demo || exit 1
wait $tracer || { cat err; exit 1; }
cat said lines
";

pub(super) fn cases() -> Vec<Case> {
    ["fentry", "kprobe"].map(case).into()
}

fn case(backend: &'static str) -> Case {
    let mut run = Job::new("the demo under trace", &["sh", "-c", SCRIPT], TIMEOUT_S);
    run.env.push(("BACKEND".to_owned(), backend.to_owned()));
    Case {
        name: format!("what was registered before is found, with its files and whether it is ready, with {backend}"),
        jobs: vec![run],
        check: Box::new(|results| {
            succeeded(&results[0], "the demo under trace")?;
            let out = results[0].out();
            let lines = out.lines().map(|line| serde_json::from_str(line).with_context(|| format!("no JSON: {line}")));
            judge(&lines.collect::<Result<Vec<Value>>>()?)
        }),
    }
}

/// An item as both sides can tell it: mask, data, readiness, kind of file, and the ports of an internet socket.
type Item = (u64, u64, bool, String, Vec<u64>);

fn judge(lines: &[Value]) -> Result<()> {
    let [demo, _, events @ ..] = lines else { anyhow::bail!("the demo said too little: {lines:?}") };
    let of = |event: &'static str| events.iter().filter(move |line| line["event"] == event);
    let epfd = demo["epfd"].as_u64().context("the demo names no eventpoll")?;
    let ep = of("eventpoll-seen").find(|seen| seen["epfd"] == epfd).context("the eventpoll was not found")?;
    let files: BTreeMap<&str, &Value> =
        of("file-info").filter_map(|info| Some((info["file"].as_str()?, info))).collect();

    let mut found = BTreeMap::new();
    for seen in of("item-seen").filter(|seen| seen["ep"] == ep["ep"]) {
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

    let items = demo["items"].as_array().context("the demo names no items")?;
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
    // The first thing that happens is a wait, of a task and on an eventpoll that have their names already.
    ensure!(ep["eventpoll"] == format!("demos/{}:{epfd}", demo["pid"]), "the eventpoll's name is {}", ep["eventpoll"]);
    ensure!(of("wait-exit").next().is_some_and(|exit| exit["ret"] == 1), "the demo's wait was not seen");
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
    use super::judge;
    use serde_json::{Value, json};

    fn lines() -> Vec<Value> {
        vec![
            json!({"epfd": 3, "pid": 9, "items": [
                {"fd": 5, "events": 0x1000_0019, "data": 7, "kind": "socket", "address": "127.0.0.1:80", "ready": true}]}),
            json!({"truth": {}}),
            json!({"event": "eventpoll-seen", "ep": "0xe", "epfd": 3, "eventpoll": "demos/9:3"}),
            json!({"event": "item-seen", "ep": "0xe", "fd": 5, "file": "0xf", "data": "0x7", "ready": true,
                "events": "EPOLLIN|EPOLLERR|EPOLLHUP|EPOLLEXCLUSIVE"}),
            json!({"event": "file-info", "file": "0xf", "file_kind": "socket", "local_port": 80, "remote_port": 0}),
            json!({"event": "wait-exit", "ret": 1}),
        ]
    }

    #[test]
    fn an_item_that_is_missing_or_told_otherwise_is_a_failure() {
        assert!(judge(&lines()).is_ok());
        for (line, key, value) in [
            (3, "fd", json!(6)),
            (3, "events", json!("EPOLLIN")),
            (3, "ready", json!(false)),
            (3, "data", json!("0x8")),
            (3, "event", json!("other")),
            (4, "file_kind", json!("pipe")),
            (4, "local_port", json!(81)),
            (2, "eventpoll", json!("?/9:3")),
            (5, "ret", json!(0)),
        ] {
            let mut lines = lines();
            lines[line][key] = value;
            assert!(judge(&lines).is_err(), "{key} of line {line}");
        }
    }
}

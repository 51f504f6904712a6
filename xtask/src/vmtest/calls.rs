//! Every call of every thread, argument by argument: as strace printed it, and as eptrace traced it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

/// One call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::vmtest) enum Call {
    Ctl {
        epfd: i64,
        op: String,
        fd: i64,
        event: Option<Event>,
        end: End,
    },
    Wait {
        epfd: i64,
        timeout_ns: i64,
        maxevents: i64,
        returned: Vec<Event>,
        end: End,
    },
    Accept {
        fd: i64,
        end: End,
    },
    /// A wait in which the thread was killed: strace says no more of it. The kernel ends it with -EINTR.
    Killed {
        epfd: i64,
    },
}

/// An `epoll_event`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::vmtest) struct Event {
    events: BTreeSet<String>,
    data: u64,
}

/// What a call returned: a number, or the name of an error.
type End = Result<i64, String>;

/// Calls by thread, each thread's in their order.
pub(in crate::vmtest) type Calls = BTreeMap<u64, Vec<Call>>;

/// Every call that strace saw was traced as it was, and no other.
pub(in crate::vmtest) fn equal(seen: &Calls, traced: &Calls) -> Result<()> {
    ensure!(seen.values().any(|calls| !calls.is_empty()), "strace saw no call");
    let tids: BTreeSet<&u64> = seen.keys().chain(traced.keys()).collect();
    for tid in tids {
        let [seen, traced] = [seen, traced].map(|calls| calls.get(tid).map_or(&[][..], Vec::as_slice));
        for (number, (seen, traced)) in seen.iter().zip(traced).enumerate() {
            ensure!(is(seen, traced), "call {number} of thread {tid} was\n{seen:?}, and was traced as\n{traced:?}");
        }
        ensure!(
            seen.len() == traced.len(),
            "thread {tid} made {} calls, of which {} were traced",
            seen.len(),
            traced.len()
        );
    }
    Ok(())
}

/// Whether a call was traced as it was seen.
fn is(seen: &Call, traced: &Call) -> bool {
    match (seen, traced) {
        (Call::Killed { epfd }, Call::Wait { epfd: found, returned, end, .. }) => {
            epfd == found && returned.is_empty() && *end == Err("EINTR".to_owned())
        }
        (seen, traced) => seen == traced,
    }
}

/// The call of a line that strace printed; `None` for signals and exits.
pub(in crate::vmtest) fn of_strace(line: &str) -> Result<Option<Call>> {
    if line.starts_with("---") || line.starts_with("+++") {
        return Ok(None);
    }
    let (name, rest) = line.split_once('(').context("no call")?;
    let (arguments, result) = rest.rsplit_once(" = ").context("no result")?;
    let arguments = split(arguments.trim().strip_suffix(')').context("no end of the arguments")?);
    let at = |index: usize| arguments.get(index).copied().with_context(|| format!("no argument {index}"));
    if result.trim() == "?" {
        ensure!(WAITS.contains(&name), "the thread was killed in {name}");
        return Ok(Some(Call::Killed { epfd: number(at(0)?)? }));
    }
    let end = end(result)?;
    Ok(Some(match name {
        "epoll_ctl" => Call::Ctl {
            epfd: number(at(0)?)?,
            op: operation(at(1)?),
            fd: number(at(2)?)?,
            event: at(3)?.starts_with('{').then(|| event(at(3)?)).transpose()?,
            end,
        },
        name if WAITS.contains(&name) => Call::Wait {
            epfd: number(at(0)?)?,
            timeout_ns: if name == WAITS[2] { timespec(at(3)?)? } else { milliseconds(at(3)?)? },
            maxevents: number(at(2)?)?,
            returned: if end.as_ref().is_ok_and(|events| *events > 0) { array(at(1)?)? } else { Vec::new() },
            end,
        },
        "accept" | "accept4" => Call::Accept { fd: number(at(0)?)?, end },
        other => bail!("strace was not asked for {other}"),
    }))
}

const WAITS: [&str; 3] = ["epoll_wait", "epoll_pwait", "epoll_pwait2"];

fn operation(name: &str) -> String {
    name.trim_start_matches("EPOLL_CTL_").to_owned()
}

/// Arguments, or members: what stands between commas that are within no bracket.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_i32, 0);
    for (at, letter) in text.char_indices() {
        match letter {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    parts.retain(|part| !part.is_empty());
    parts
}

/// `7`, or `-1 EAGAIN (Resource temporarily unavailable)`.
fn end(result: &str) -> Result<End> {
    let mut words = result.split_whitespace();
    match (words.next(), words.next()) {
        (Some("-1"), Some(error)) => Ok(Err(error.to_owned())),
        (Some(value), _) => number(value).map(Ok),
        _ => bail!("no result"),
    }
}

fn number(text: &str) -> Result<i64> {
    text.parse().with_context(|| format!("{text} is no number"))
}

fn milliseconds(text: &str) -> Result<i64> {
    Ok(match number(text)? {
        ms if ms < 0 => -1,
        ms => ms * 1_000_000,
    })
}

/// `{tv_sec=0, tv_nsec=700000}`, or `NULL`.
fn timespec(text: &str) -> Result<i64> {
    if text == "NULL" {
        return Ok(-1);
    }
    Ok(number(member(text, "tv_sec")?)? * 1_000_000_000 + number(member(text, "tv_nsec")?)?)
}

/// `[{events=EPOLLIN, data={u32=1, u64=1}}, ...]`.
fn array(text: &str) -> Result<Vec<Event>> {
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).context("no array of events")?;
    split(inner).into_iter().map(event).collect()
}

/// `{events=EPOLLIN|EPOLLET, data={u32=1, u64=1}}`, or with `data=0x1`.
fn event(text: &str) -> Result<Event> {
    let data = member(text, "data")?;
    let data = if data.starts_with('{') { member(data, "u64")? } else { data };
    Ok(Event { events: flags(member(text, "events")?), data: unsigned(data)? })
}

fn flags(text: &str) -> BTreeSet<String> {
    text.split('|').filter(|flag| !matches!(*flag, "" | "0")).map(str::to_owned).collect()
}

fn unsigned(text: &str) -> Result<u64> {
    let parsed = text.strip_prefix("0x").map_or_else(|| text.parse(), |hex| u64::from_str_radix(hex, 16));
    parsed.with_context(|| format!("{text} is no number"))
}

fn member<'a>(text: &'a str, name: &str) -> Result<&'a str> {
    let inner = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).context("no structure")?;
    let found = split(inner).into_iter().find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
    found.with_context(|| format!("no {name} in {text}"))
}

/// The calls among the events of a trace, as `eptrace export --format jsonl` prints them.
pub(in crate::vmtest) fn traced(events: &[Value]) -> Result<Calls> {
    let mut calls = Calls::new();
    let mut begun: BTreeMap<u64, &Value> = BTreeMap::new();
    let further = further(events)?;
    for event in events {
        let Some(tid) = event["tid"].as_u64() else { continue };
        let call = match event["event"].as_str() {
            Some("wait-enter") => {
                begun.insert(tid, event);
                continue;
            }
            Some("wait-exit") => {
                let enter = begun.remove(&tid).with_context(|| format!("a wait ended that had not begun: {event}"))?;
                let mut returned = Vec::from_iter(event_of(event)?);
                returned.extend(further.get(&place(event)).into_iter().flatten().cloned());
                Call::Wait {
                    epfd: signed(&enter["epfd"])?,
                    timeout_ns: signed(&enter["timeout_ns"])?,
                    maxevents: signed(&enter["maxevents"])?,
                    returned,
                    end: traced_end(event)?,
                }
            }
            Some("ctl") => Call::Ctl {
                epfd: signed(&event["epfd"])?,
                op: operation(event["op"].as_str().context("no operation")?),
                fd: signed(&event["fd"])?,
                event: event_of(event)?,
                end: traced_end(event)?,
            },
            Some("accept") => Call::Accept { fd: signed(&event["fd"])?, end: traced_end(event)? },
            _ => continue,
        };
        calls.entry(tid).or_default().push(call);
    }
    Ok(calls)
}

/// The events that waits returned behind their first, by the time, processor and thread that they share with it.
fn further(events: &[Value]) -> Result<BTreeMap<String, Vec<Event>>> {
    let mut found: BTreeMap<String, Vec<Event>> = BTreeMap::new();
    for event in events.iter().filter(|event| event["event"] == "returned") {
        found.entry(place(event)).or_default().extend(event_of(event)?);
    }
    Ok(found)
}

fn place(event: &Value) -> String {
    format!("{} {} {}", event["ts_ns"], event["cpu"], event["tid"])
}

/// The `epoll_event` that a row has, if it has one.
fn event_of(row: &Value) -> Result<Option<Event>> {
    let (Some(events), Some(data)) = (row["events"].as_str(), row["data"].as_str()) else { return Ok(None) };
    Ok(Some(Event { events: flags(events), data: unsigned(data)? }))
}

fn traced_end(row: &Value) -> Result<End> {
    match signed(&row["ret"])? {
        ret if ret < 0 => Ok(Err(row["errno"].as_str().with_context(|| format!("no error in {row}"))?.to_owned())),
        ret => Ok(Ok(ret)),
    }
}

fn signed(value: &Value) -> Result<i64> {
    value.as_i64().with_context(|| format!("{value} is no number"))
}

#[cfg(test)]
mod tests {
    use super::{Call, Calls, equal, of_strace, traced};
    use serde_json::{Value, json};

    const SAID: [&str; 6] = [
        "epoll_ctl(6, EPOLL_CTL_ADD, 3, {events=EPOLLIN|EPOLLEXCLUSIVE, data={u32=1, u64=4294967297}}) = 0",
        "epoll_ctl(6, EPOLL_CTL_DEL, 9, 0x7fff) = -1 ENOENT (No such file or directory)",
        "epoll_wait(6, [{events=EPOLLIN, data={u32=1, u64=1}}, {events=EPOLLHUP|EPOLLIN, data=0x2}], 512, 60) = 2",
        "--- SIGIO {si_signo=SIGIO, si_code=SI_KERNEL} ---",
        "epoll_pwait2(6, 0x7f, 1, {tv_sec=1, tv_nsec=7}, NULL, 8) = -1 EINTR (Interrupted system call)",
        "accept4(3, {sa_family=AF_INET, sin_addr=inet_addr(\"127.0.0.1\")}, [112 => 16], SOCK_NONBLOCK) = 9",
    ];

    fn seen() -> Calls {
        Calls::from([(7, SAID.iter().filter_map(|line| of_strace(line).unwrap()).collect())])
    }

    fn events() -> Vec<Value> {
        let of = |mut event: Value| {
            event["tid"] = json!(7);
            event
        };
        [
            json!({"event": "ctl", "epfd": 6, "op": "EPOLL_CTL_ADD", "fd": 3, "events": "EPOLLIN|EPOLLEXCLUSIVE", "data": "0x100000001", "ret": 0}),
            json!({"event": "ctl", "epfd": 6, "op": "EPOLL_CTL_DEL", "fd": 9, "events": null, "data": null, "ret": -2, "errno": "ENOENT"}),
            json!({"event": "wait-enter", "epfd": 6, "timeout_ns": 60_000_000, "maxevents": 512}),
            json!({"event": "wait-exit", "ts_ns": 5, "cpu": 0, "ret": 2, "events": "EPOLLIN", "data": "0x1"}),
            json!({"event": "returned", "ts_ns": 5, "cpu": 0, "events": "EPOLLIN|EPOLLHUP", "data": "0x2"}),
            json!({"event": "wait-enter", "epfd": 6, "timeout_ns": 1_000_000_007, "maxevents": 1}),
            json!({"event": "wait-exit", "ts_ns": 6, "cpu": 0, "ret": -4, "errno": "EINTR", "events": null, "data": null}),
            json!({"event": "accept", "fd": 3, "ret": 9}),
        ]
        .map(of)
        .into()
    }

    #[test]
    fn calls_are_equal_argument_by_argument_or_not_at_all() {
        equal(&seen(), &traced(&events()).unwrap()).unwrap();
        for (at, key, other) in [
            (0, "data", json!("0x1")),
            (0, "events", json!("EPOLLIN")),
            (1, "errno", json!("EBADF")),
            (2, "timeout_ns", json!(59_999_000)),
            (2, "maxevents", json!(511)),
            (3, "events", json!("EPOLLOUT")),
            (4, "data", json!("0x3")),
            (4, "ts_ns", json!(4)),
            (7, "fd", json!(4)),
        ] {
            let mut events = events();
            events[at][key] = other;
            assert!(equal(&seen(), &traced(&events).unwrap()).is_err(), "{key}");
        }
        let all = events();
        assert!(equal(&seen(), &traced(&all[..7]).unwrap()).is_err());
        assert!(equal(&Calls::new(), &Calls::new()).is_err());
        assert!(traced(&all[3..4]).is_err());
    }

    #[test]
    fn a_thread_that_was_killed_in_a_wait_may_have_waited_for_anything() {
        let killed = of_strace("epoll_wait(6,  <unfinished ...>) = ?").unwrap();
        assert_eq!(killed, Some(Call::Killed { epfd: 6 }));
        let seen = Calls::from([(7, killed.into_iter().collect())]);
        let wait = |epfd: i32, ret: i32, errno: Value| {
            let of = |kind: &str| json!({"event": kind, "tid": 7, "epfd": epfd, "timeout_ns": -1, "maxevents": 1, "ret": ret, "errno": errno});
            equal(&seen, &traced(&["wait-enter", "wait-exit"].map(of)).unwrap()).is_ok()
        };
        assert!(wait(6, -4, json!("EINTR")));
        assert!(!wait(7, -4, json!("EINTR")));
        assert!(!wait(6, 0, Value::Null));
        let ctl = json!({"event": "ctl", "tid": 7, "epfd": 6, "op": "EPOLL_CTL_DEL", "fd": 1, "ret": 0});
        assert!(equal(&seen, &traced(&[ctl]).unwrap()).is_err());
        assert!(of_strace("accept(3,  <unfinished ...>) = ?").is_err());
    }
}

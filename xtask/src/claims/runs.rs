//! What runs on a kernel for the verdicts, and what is made of its output.
//!
//! In: nothing but the demos' table. Out: the jobs of one boot, and their results as [`Measured`].

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::claims::facts::Measured;
use crate::demos::story::{self, Run};
use crate::demos::{ALL, Kind, steps};
use crate::herd::outcome::succeeded;
use crate::vm::plan::Job;
use crate::vm::session::JobResult;

const TIMEOUT_S: u64 = 300;
/// The kernel's structures, as its BTF has them.
const TYPES: [&str; 2] = ["eventpoll", "epitem"];
/// What bpftrace counts beside the demo `ready`: how many eventfds each system call asks whether they are ready, and through whom
/// callbacks come; and where the memory comes from that `epoll_ctl` (233 on x86-64) takes.
const SCRIPT: &str = r#"
tracepoint:raw_syscalls:sys_enter /comm == "demos"/ { @call[tid] = args->id + 1; @asked[tid] = 0; }
kprobe:eventfd_poll /@call[tid]/ { @asked[tid] = @asked[tid] + 1; }
tracepoint:raw_syscalls:sys_exit /@call[tid]/ { @looks[args->id, @asked[tid]] = count(); delete(@call[tid]); }
tracepoint:kmem:kmalloc /@call[tid] == 234/ { @kmallocs = count(); }
tracepoint:kmem:kmem_cache_alloc /@call[tid] == 234/ { @cached = count(); }
kprobe:ep_poll_callback { @stacks[comm, kstack(64)] = count(); }
END { clear(@call); clear(@asked); }
"#;
/// How often the demo `ready` makes each call.
const CALLS: u64 = 20;

/// The jobs of one boot, in the order in which [`measured`] takes their results.
pub(crate) fn jobs() -> Vec<Job> {
    let demos: Vec<Vec<String>> =
        ALL.iter().filter(|demo| demo.kind == Kind::Steps).map(|demo| demo.argv(&[])).collect();
    let list: Vec<String> = TYPES.iter().map(|name| format!("bpftrace -lv 'struct {name}'")).collect();
    let ready = format!("demos ready --json --registered 10,1000 --calls {CALLS}");
    let beside = ["bpftrace", "-f", "json", "-o", "counts", "-c", &ready, "-e", SCRIPT];
    let mut jobs = vec![
        story::job("auto", &[], &demos, TIMEOUT_S),
        Job::new("uname -v", &["uname", "-v"], 10),
        Job::new("the kernel's types", &["sh", "-c", &list.join("; ")], TIMEOUT_S),
        Job::new("bpftrace beside the demo ready", &beside, TIMEOUT_S).returning(&["counts"]),
    ];
    for job in &mut jobs {
        // Else bpftrace looks for headers on 5.10.
        job.env.push(("BPFTRACE_BTF".to_owned(), "/sys/kernel/btf/vmlinux".to_owned()));
    }
    jobs
}

/// What a kernel gave, and what it could not give and why.
#[derive(Debug)]
pub(crate) struct Kernel {
    pub(crate) version: String,
    pub(crate) measured: Measured,
    pub(crate) lost: u64,
    pub(crate) troubles: Vec<String>,
}

/// Reads the results of [`jobs`]. The traced demos must have run; without the other tools, what they tell is missing.
pub(crate) fn measured(results: &[JobResult], release: &str) -> Result<Kernel> {
    let [traced, uname, types, counts] = results else {
        anyhow::bail!("{} of 4 jobs gave results", results.len());
    };
    let run = Run::of(traced)?;
    let mut measured = of_run(&run);
    let mut troubles = Vec::new();
    let mut take = |what: &str, told: Result<BTreeMap<String, Value>>| match told {
        Ok(told) => measured.others.extend(told),
        Err(error) => troubles.push(format!("{what}: {error:#}")),
    };
    take("the kernel's types", succeeded(types, "bpftrace -lv").and_then(|()| of_types(&types.out())));
    take("bpftrace beside the demo ready", counted(counts));
    let version = debian(&uname.out()).unwrap_or_else(|| super::judge::version(release).to_owned());
    let lost = run.losses()["lost"]["events"].as_u64().unwrap_or(0);
    Ok(Kernel { version, measured, lost, troubles })
}

/// The upstream version in what `uname -v` says: `#1 SMP Debian 6.1.192-1 (2026-11-02)`. The release has only Debian's ABI.
fn debian(uname: &str) -> Option<String> {
    let version = uname.split_once("Debian ")?.1.split(['-', '~', ' ']).next()?.trim();
    version.starts_with(|c: char| c.is_ascii_digit()).then(|| version.to_owned())
}

/// What the traced demos gave alone.
pub(crate) fn of_run(run: &Run) -> Measured {
    let told = |story: &story::Story| -> Vec<Value> {
        let step = |step: &story::Step| {
            json!({"scene": step.scene, "did": step.did, "saw": step.saw,
                "kernel": steps::kernel(steps::within(step, &run.events))})
        };
        story.steps.iter().map(step).collect()
    };
    let demos = run.stories.iter().map(|story| (story.demo.clone(), told(story))).collect();
    Measured { demos, others: of_events(&run.events) }
}

/// What shows in the trace as a whole.
fn of_events(events: &[Value]) -> BTreeMap<String, Value> {
    let of = |kind: &'static str| events.iter().filter(move |event| event["event"] == kind);
    let place = |event: &Value| (event["epi"].to_string(), event["whead"].to_string());
    let hooked: BTreeSet<(String, String)> = of("hooked").map(place).collect();
    let item = |event: &Value| (event["ep"].to_string(), event["file"].to_string(), event["fd"].to_string());
    let added: BTreeSet<(String, String, String)> =
        of("ctl").filter(|ctl| ctl["op"] == "EPOLL_CTL_ADD").map(item).collect();
    let taken = of("ctl").filter(|ctl| ctl["op"] == "EPOLL_CTL_ADD" && ctl["ret"].as_i64().is_some_and(|ret| ret >= 0));
    let effect = |callback: &&Value| callback["outcome"] == "linked" || callback["outcome"] == "already linked";
    let exclusive = || {
        of("callback")
            .filter(|callback| callback["events"].as_str().is_some_and(|mask| mask.contains("EPOLLEXCLUSIVE")))
    };
    [
        ("items hung into a wait queue", of("hooked").count()),
        ("ADDs that the kernel took", taken.count()),
        ("callbacks", of("callback").count()),
        (
            "callbacks where an ADD had hung the item",
            of("callback").filter(|callback| hooked.contains(&place(callback))).count(),
        ),
        (
            "callbacks whose item points to the eventpoll of its ADD",
            of("callback").filter(|callback| added.contains(&item(callback))).count(),
        ),
        (
            "callbacks with key 0 that took effect",
            of("callback").filter(|callback| callback["key"] == "0").filter(effect).count(),
        ),
        ("exclusive callbacks", exclusive().count()),
        (
            "exclusive callbacks with WQ_FLAG_EXCLUSIVE",
            exclusive().filter(|callback| callback["exclusive"] == true).count(),
        ),
    ]
    .into_iter()
    .map(|(name, number)| (name.to_owned(), json!(number)))
    .collect()
}

/// Members that the statements speak of; one that is not there is said not to be.
const MEMBERS: [&str; 10] = [
    "eventpoll.rbr",
    "eventpoll.lock",
    "eventpoll.sem",
    "eventpoll.mtx",
    "eventpoll.wq",
    "eventpoll.poll_wait",
    "eventpoll.rdllist",
    "epitem.ep",
    "epitem.rdllink",
    "epitem.pwqlist",
];

fn of_types(listed: &str) -> Result<BTreeMap<String, Value>> {
    let mut types: BTreeMap<String, String> = BTreeMap::new();
    let mut structure = "";
    for line in listed.lines() {
        let words = line.trim().trim_end_matches(';');
        if let Some(name) = line.strip_prefix("struct ").and_then(|rest| rest.strip_suffix(" {")) {
            structure = name;
        } else if let Some((kind, name)) = words.rsplit_once(' ') {
            let stars = name.len() - name.trim_start_matches('*').len();
            let stars = if stars > 0 { format!(" {}", "*".repeat(stars)) } else { String::new() };
            let name = name.trim_start_matches('*');
            types.insert(format!("{structure}.{name}"), format!("{kind}{stars}"));
        }
    }
    ensure!(!types.is_empty(), "bpftrace lists no types:\n{listed}");
    // A structure that bpftrace cannot list is not one without members.
    let known = |member: &&&str| {
        let structure = member.split('.').next().unwrap_or(member);
        types.keys().any(|key| key.split('.').next() == Some(structure))
    };
    let told = |member: &str| types.get(member).map_or("no such member", String::as_str).to_owned();
    Ok(MEMBERS.iter().filter(known).map(|member| (format!("type of {member}"), json!(told(member)))).collect())
}

fn counted(result: &JobResult) -> Result<BTreeMap<String, Value>> {
    succeeded(result, "bpftrace")?;
    let lines = String::from_utf8_lossy(result.files.get("counts").context("bpftrace wrote no counts")?).into_owned();
    let maps: BTreeMap<String, Value> = lines
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| line["type"] == "map")
        .filter_map(|line| line["data"].as_object().cloned())
        .flatten()
        .collect();
    let mut told = looks(maps.get("@looks").context("bpftrace counted no looks")?);
    let number = |name: &str| maps.get(name).cloned().unwrap_or(json!(0));
    told.insert("kmalloc calls of epoll_ctl".to_owned(), number("@kmallocs"));
    told.insert("allocations of epoll_ctl from caches of their own".to_owned(), number("@cached"));
    told.extend(stacks(maps.get("@stacks").context("bpftrace counted no callbacks")?));
    Ok(told)
}

/// `CALL,DESCRIPTORS` to how often. What happened in fewer calls than the demo makes of a kind is of something else.
fn looks(map: &Value) -> BTreeMap<String, Value> {
    let calls = [
        ("poll", libc::SYS_poll),
        ("select", libc::SYS_pselect6),
        ("epoll_wait", libc::SYS_epoll_wait),
        ("epoll_ctl", libc::SYS_epoll_ctl),
    ];
    let often: Vec<(i64, u64)> = map
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, times)| times.as_u64().is_some_and(|times| times >= CALLS))
        .filter_map(|(key, _)| {
            let (call, looked) = key.split_once(',')?;
            Some((call.trim().parse().ok()?, looked.trim().parse().ok()?))
        })
        .collect();
    calls
        .into_iter()
        .map(|(name, number)| {
            let looked: BTreeSet<u64> =
                often.iter().filter(|(call, _)| *call == number).map(|(_, looked)| *looked).collect();
            (format!("descriptors that {name} looks at"), json!(looked))
        })
        .collect()
}

/// Who calls back: the function by which each source is known, and the name that the judges use.
const SOURCES: [(&str, &str); 4] = [
    ("tcp_v4_rcv", "a TCP byte"),
    ("unix_stream_sendmsg", "a unix socket write"),
    ("pipe_write", "a pipe write"),
    ("timerfd_tmrproc", "a timer"),
];

fn stacks(map: &Value) -> BTreeMap<String, Value> {
    let mut told: BTreeMap<String, u64> = BTreeMap::new();
    for (_, source) in SOURCES {
        for context in ["a process", "a softirq", "an interrupt"] {
            told.insert(format!("stacks of {source} in {context}"), 0);
        }
        told.insert(format!("stacks of {source} with sock_def_readable"), 0);
    }
    for (stack, times) in map.as_object().into_iter().flatten() {
        let Some((_, source)) = SOURCES.iter().find(|(function, _)| stack.contains(function)) else { continue };
        // A pipe may be anybody's; a timer finds anybody running.
        if *source != "a timer" && !stack.starts_with("demos,") {
            continue;
        }
        let times = times.as_u64().unwrap_or(0);
        let mut add = |name: String| *told.entry(name).or_default() += times;
        add(format!("stacks of {source} in {}", context(stack)));
        if stack.contains("sock_def_readable") {
            add(format!("stacks of {source} with sock_def_readable"));
        }
    }
    told.into_iter().map(|(name, number)| (name, json!(number))).collect()
}

/// The innermost of what a function was called in.
fn context(stack: &str) -> &'static str {
    let innermost = stack.lines().find_map(|function| {
        if function.contains("hrtimer_interrupt") || function.contains("sysvec") {
            Some("an interrupt")
        } else if function.contains("softirq") {
            Some("a softirq")
        } else {
            None
        }
    });
    innermost.unwrap_or("a process")
}

#[cfg(test)]
mod tests {
    use super::{context, debian, looks, of_events, of_types, stacks};
    use serde_json::json;

    #[test]
    fn members_have_the_type_that_is_listed_or_are_not_there() {
        let listed = "struct eventpoll {\n\tstruct mutex mtx;\n\tstruct rb_root_cached rbr;\n\trwlock_t lock;\n};\n\
                      struct epitem {\n\tunion {\n\t\tstruct rb_node rbn;\n\t};\n\tstruct eventpoll *ep;\n};\n";
        let types = of_types(listed).unwrap();
        assert_eq!(types["type of eventpoll.lock"], "rwlock_t");
        assert_eq!(types["type of eventpoll.sem"], "no such member");
        assert_eq!(types["type of epitem.ep"], "struct eventpoll *");
        let half = of_types("struct eventpoll {\n\tstruct mutex mtx;\n};\n").unwrap();
        assert!(half.contains_key("type of eventpoll.sem") && !half.contains_key("type of epitem.ep"));
        assert!(of_types("").is_err());
    }

    #[test]
    fn looks_are_those_that_happened_in_every_call_of_a_kind() {
        let map = json!({"7,0": 1, "7,10": 20, "7,1000": 20, "232,3": 44, "232,0": 6, "233,1": 1010});
        let looks = looks(&map);
        assert_eq!(looks["descriptors that poll looks at"], json!([10, 1000]));
        assert_eq!(looks["descriptors that epoll_wait looks at"], json!([3]));
        assert_eq!(looks["descriptors that select looks at"], json!([]));
    }

    #[test]
    fn a_callback_is_of_its_source_in_the_innermost_context() {
        let map = json!({
            "demos,\n ep_poll_callback+1\n tcp_data_queue+1\n tcp_v4_rcv+3\n handle_softirqs+2\n do_syscall_64+9\n": 1,
            "demos,\n ep_poll_callback+1\n anon_pipe_write+1\n do_syscall_64+9\n": 2,
            "swapper/0,\n ep_poll_callback+1\n timerfd_tmrproc+1\n hrtimer_interrupt+4\n": 1,
            "sh,\n ep_poll_callback+1\n pipe_write+1\n": 7,
        });
        let stacks = stacks(&map);
        assert_eq!(stacks["stacks of a TCP byte in a softirq"], 1);
        assert_eq!(stacks["stacks of a TCP byte in a process"], 0);
        assert_eq!(stacks["stacks of a pipe write in a process"], 2);
        assert_eq!(stacks["stacks of a timer in an interrupt"], 1);
        assert_eq!(context("a\nsysvec_apic_timer_interrupt+1\nhandle_softirqs+1"), "an interrupt");
    }

    #[test]
    fn callbacks_are_counted_by_key_flag_and_place() {
        let callback = |epi: &str, key: &str, events: &str, exclusive: bool| {
            json!({"event": "callback", "epi": epi, "whead": "0x9", "key": key, "events": events, "exclusive": exclusive,
                "outcome": "linked"})
        };
        let told = of_events(&[
            json!({"event": "hooked", "epi": "0x1", "whead": "0x9"}),
            json!({"event": "ctl", "op": "EPOLL_CTL_ADD", "ret": 0}),
            json!({"event": "ctl", "op": "EPOLL_CTL_ADD", "ret": -17}),
            callback("0x1", "0", "EPOLLIN", false),
            callback("0x2", "EPOLLIN", "EPOLLIN|EPOLLEXCLUSIVE", true),
        ]);
        assert_eq!(told["ADDs that the kernel took"], 1);
        assert_eq!(told["callbacks where an ADD had hung the item"], 1);
        assert_eq!(told["callbacks with key 0 that took effect"], 1);
        assert_eq!(told["exclusive callbacks with WQ_FLAG_EXCLUSIVE"], 1);
    }

    #[test]
    fn debian_tells_the_upstream_version() {
        assert_eq!(debian("#1 SMP PREEMPT_DYNAMIC Debian 6.1.192-1 (2026-11-02)\n").unwrap(), "6.1.192");
        assert_eq!(debian("#1 SMP Debian 7.3.4-1~bpo13+1 (2026-11-02)").unwrap(), "7.3.4");
        assert!(debian("#1 SMP").is_none());
    }
}

//! The ways of events to the tasks that they wake, side by side.
//!
//! In: a story and its trace, made with `--path`. Out: for each task that a callback woke out of an `epoll_wait`, the [`Way`]; and a
//! table of them.

use anyhow::{Context as _, Result, ensure};

use crate::demos::steps::{time, within};
use crate::demos::story::{Run, Story, Table};

/// When an event was where, nanoseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Way {
    /// The scene of the story.
    pub(crate) scene: String,
    /// The softirq that the callback ran in: its name and its begin.
    pub(crate) softirq: Option<(String, u64)>,
    /// Begin of the interrupt that the callback ran in.
    pub(crate) interrupt: Option<u64>,
    /// Begin of `sock_def_readable`.
    pub(crate) sock: Option<u64>,
    pub(crate) callback: u64,
    pub(crate) wake: u64,
    pub(crate) on_cpu: u64,
    pub(crate) returned: u64,
}

/// The ways of a story, in its order: a task whose way was not seen to its end is an error.
pub(crate) fn ways(run: &Run, story: &Story) -> Result<Vec<Way>> {
    let mut ways = Vec::new();
    for step in &story.steps {
        let events = || within(step, &run.events);
        for path in events().filter(|event| event["event"] == "path") {
            let returned = events().find(|event| {
                event["event"] == "wait-exit" && event["tid"] == path["tid"] && time(event) >= time(path)
            });
            let number = |key: &str| path[key].as_u64();
            let needed = |key: &str| number(key).with_context(|| format!("no {key} in {path}"));
            ways.push(Way {
                scene: step.scene.clone(),
                softirq: path["softirq"].as_str().map(str::to_owned).zip(number("softirq_ts_ns")),
                interrupt: number("interrupt_ts_ns"),
                sock: number("sock_ts_ns"),
                callback: needed("cause_ts_ns")?,
                wake: needed("wake_ts_ns")?,
                on_cpu: time(path),
                returned: returned.map(time).with_context(|| format!("no wait returned after {path}"))?,
            });
        }
    }
    Ok(ways)
}

impl Way {
    /// Every time of it, in the order that the kernel must keep; an interrupt begins in place of a softirq or in one.
    fn times(&self) -> impl Iterator<Item = u64> {
        let softirq = self.softirq.as_ref().map(|(_, ns)| *ns);
        let before = [softirq, self.interrupt, self.sock].into_iter().flatten();
        before.chain([self.callback, self.wake, self.on_cpu, self.returned])
    }

    /// Nothing is earlier than what it follows.
    pub(crate) fn in_order(&self) -> Result<()> {
        ensure!(self.times().is_sorted(), "the times are not in order: {self:?}");
        Ok(())
    }

    fn row(&self) -> Vec<String> {
        let begin = self.times().min().unwrap_or(0);
        let since = |ns: u64| ns.saturating_sub(begin).to_string();
        let maybe = |ns: Option<u64>| ns.map_or_else(|| "-".to_owned(), since);
        let context = match (&self.softirq, self.interrupt) {
            (Some((name, _)), None) => format!("softirq {name}"),
            (Some((name, _)), Some(_)) => format!("timer in softirq {name}"),
            (None, Some(_)) => "interrupt".to_owned(),
            (None, None) => "system call".to_owned(),
        };
        vec![
            source(&self.scene).to_owned(),
            maybe(self.softirq.as_ref().map(|(_, ns)| *ns)),
            maybe(self.interrupt),
            maybe(self.sock),
            since(self.callback),
            since(self.wake),
            since(self.on_cpu),
            since(self.returned),
            context,
        ]
    }
}

/// What the scene says that the event came by.
fn source(scene: &str) -> &str {
    let scene = scene.strip_prefix("the way of ").unwrap_or(scene);
    let scene = scene.strip_suffix(" to a thread that sleeps").unwrap_or(scene);
    scene.strip_prefix("one byte through ").unwrap_or(scene)
}

/// The ways as a table, if there are any.
pub(crate) fn table(ways: &[Way]) -> Option<Table> {
    let columns = [
        "source",
        "softirq",
        "interrupt",
        "sock_def_readable",
        "callback",
        "wakeup",
        "on CPU",
        "epoll_wait returns",
        "the callback ran in",
    ];
    (!ways.is_empty()).then(|| Table {
        title: "The way of an event to a task that sleeps in epoll_wait: nanoseconds since its first step".to_owned(),
        columns: columns.map(str::to_owned).to_vec(),
        rows: ways.iter().map(Way::row).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::{Way, table, ways};
    use crate::demos::story::{Run, Story};
    use serde_json::{Value, json};

    fn run(events: Vec<Value>) -> (Run, Story) {
        let story: Story =
            serde_json::from_value(json!({"demo": "ready", "pid": 5, "tid": 5, "options": {}, "missing": [],
            "steps": [{"scene": "the way of one byte through a pipe to a thread that sleeps", "did": "send a byte",
                "from_ns": 10, "to_ns": 100, "saw": {}, "kernel": {}}], "truth": {}}))
            .unwrap();
        (Run { stories: Vec::new(), events, kernel: String::new(), backend: String::new() }, story)
    }

    fn path() -> Value {
        json!({"event": "path", "ts_ns": 50, "tid": 6, "cause_ts_ns": 30, "wake_ts_ns": 40, "softirq": null,
            "softirq_ts_ns": null, "interrupt_ts_ns": null, "sock_ts_ns": null})
    }

    fn returns(ts_ns: u64) -> Value {
        json!({"event": "wait-exit", "ts_ns": ts_ns, "tid": 6})
    }

    #[test]
    fn a_way_has_the_times_of_its_path_and_the_return_of_the_wait() {
        let (run, story) = run(vec![path(), returns(60)]);
        let ways = ways(&run, &story).unwrap();
        assert!(ways[0].in_order().is_ok());
        let table = table(&ways).unwrap();
        assert_eq!(table.rows, [["a pipe", "-", "-", "-", "0", "10", "20", "30", "system call"]]);
        assert!(super::table(&[]).is_none());
    }

    #[test]
    fn a_softirq_is_told_with_its_name_and_comes_first() {
        let mut tcp = path();
        tcp["softirq"] = json!("NET_RX");
        tcp["softirq_ts_ns"] = json!(12);
        tcp["sock_ts_ns"] = json!(20);
        let (run, story) = run(vec![tcp, returns(60)]);
        let ways = ways(&run, &story).unwrap();
        assert!(ways[0].in_order().is_ok());
        let row = ["a pipe", "0", "-", "8", "18", "28", "38", "48", "softirq NET_RX"];
        assert_eq!(table(&ways).unwrap().rows, [row]);
    }

    #[test]
    fn a_time_that_is_too_early_and_a_wait_that_does_not_return_are_told() {
        let (early, story) = run(vec![path(), returns(60)]);
        let way = Way { wake: 20, ..ways(&early, &story).unwrap().remove(0) };
        assert!(way.in_order().is_err());
        let (lost, story) = run(vec![path()]);
        assert!(ways(&lost, &story).is_err());
    }
}

//! Two herds at one address, each in a network namespace of its own: two sources, not one.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::again::{self, Run};
use super::recorded::{self, MORE};
use crate::herd::outcome::{json, lines};
use crate::vmtest::Case;

/// A herd in the first namespace and none in a new one: each says where it is, and what it did.
const SCRIPT: &str = "\
readlink /proc/self/ns/net && demos herd --mode lt --port 8099 --connections 20 --json && \
unshare -n sh -c 'readlink /proc/self/ns/net && ip link set lo up && demos herd --mode exclusive --port 8099 --connections 30 --json'";

pub(super) fn cases() -> Vec<Case> {
    let case = |backend: &'static str| Case {
        name: format!("herds at one address in two network namespaces are told apart with {backend}"),
        jobs: again::jobs(1, recorded::REPORT, |_| {
            let told = recorded::events(Some("\"file-info\""));
            recorded::jobs(backend, &[], &["sh", "-c", SCRIPT], [told])
        }),
        check: Box::new(move |results| {
            again::judge(results, |results| {
                let report = json(&results[recorded::REPORT], "eptrace report --json")?;
                ensure!(report["backend"] == backend, "the report says backend {}", report["backend"]);
                let said = results[0].out();
                lines(&results[0], "the herds")?;
                let told = lines(&results[MORE], "the events")?;
                Run::of(&report, || judge(&said, &report, &told))
            })
        }),
    };
    ["fentry", "kprobe"].map(case).into()
}

/// The wakeups of each herd, and how many tasks each woke.
const HERDS: [(u64, u64); 2] = [(20, 4), (30, 1)];

/// `said` has a namespace and a herd's truth in turn; `told` are the rows of files.
fn judge(said: &str, report: &Value, told: &[Value]) -> Result<()> {
    let namespaces: Vec<u32> = said.lines().filter_map(number).collect();
    ensure!(namespaces.len() == 2 && namespaces[0] != namespaces[1], "not two network namespaces: {said}");
    let rows = report["herd"].as_array().context("the report has no herd")?;
    ensure!(rows.len() == 2, "the report has {} listening sockets, not two: {rows:?}", rows.len());
    for ((wakeups, each), netns) in HERDS.into_iter().zip(namespaces) {
        let name = format!("tcp 127.0.0.1:8099 in net:[{netns}]");
        let row = rows.iter().find(|row| row["source"] == name.as_str());
        let row = row.with_context(|| format!("no listening socket is called {name}: {rows:?}"))?;
        let found = json!([row["wakeups"], row["woken"]["total"], row["workers"]]);
        let expected = json!([wakeups, wakeups * each, 4]);
        ensure!(found == expected, "wakeups, woken tasks and workers of {name} are {found}, not {expected}");
        let listens = |file: &&Value| file["local_port"] == 8099 && file["sock_state"] == 10 && file["netns"] == netns;
        ensure!(told.iter().any(|file| listens(&file)), "no row tells of a socket that listens in {netns}: {told:?}");
    }
    Ok(())
}

/// The number in a line such as `net:[4026531840]`.
fn number(line: &str) -> Option<u32> {
    line.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::judge;
    use serde_json::{Value, json};

    const SAID: &str = "net:[5]\n{\"truth\": 1}\nnet:[9]\n{\"truth\": 2}\n";

    fn row(netns: u32, wakeups: u64, woken: u64) -> Value {
        let name = format!("tcp 127.0.0.1:8099 in net:[{netns}]");
        json!({"source": name, "wakeups": wakeups, "woken": {"total": woken}, "workers": 4})
    }

    #[test]
    fn herds_that_are_joined_or_counted_for_each_other_are_failures() {
        let told = [5, 9].map(|netns| json!({"local_port": 8099, "sock_state": 10, "netns": netns}));
        let judged = |rows: &[Value], told: &[Value]| judge(SAID, &json!({"herd": rows}), told).is_ok();
        assert!(judged(&[row(9, 30, 30), row(5, 20, 80)], &told));
        assert!(!judged(&[row(5, 50, 110)], &told));
        assert!(!judged(&[row(5, 30, 30), row(9, 20, 80)], &told));
        assert!(!judged(&[row(9, 30, 30), row(5, 20, 80)], &told[..1]));
        assert!(judge("net:[5]\nnet:[5]\n", &json!({"herd": [row(5, 20, 80)]}), &told).is_err());
    }
}

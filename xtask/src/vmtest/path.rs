//! The way of an event to the task that it wakes (`--path`): every time is there where the kernel goes that way, and in order. A TCP
//! packet comes by a softirq and `sock_def_readable`, a byte through a unix socket by that alone, one through a pipe by neither, a timer by
//! an interrupt.

use anyhow::{Context as _, Result, ensure};

use super::again;
use crate::demos::path::{Way, ways};
use crate::demos::story::{Run, job};
use crate::vmtest::Case;

const TIMEOUT_S: u64 = 120;

/// The scenes, and what the way of each has: the softirq, whether an interrupt, whether `sock_def_readable`.
const WAYS: [(&str, Option<&str>, bool, bool); 4] = [
    ("TCP", Some("NET_RX"), false, true),
    ("unix", None, false, true),
    ("pipe", None, false, false),
    ("timer", None, true, false),
];

pub(super) fn cases() -> Vec<Case> {
    ["fentry", "kprobe"].map(case).into()
}

fn case(backend: &'static str) -> Case {
    let demo = ["demos", "ready", "--json", "--registered", "10", "--calls", "1"].map(str::to_owned).to_vec();
    Case {
        name: format!("the way of an event to the task that it wakes is told step by step with {backend}"),
        jobs: again::jobs(1, 0, |_| vec![job(backend, &["--path"], std::slice::from_ref(&demo), TIMEOUT_S)]),
        check: Box::new(move |results| {
            again::judge(results, |results| {
                let run = Run::of(&results[0])?;
                ensure!(run.backend == backend, "the trace says backend {}", run.backend);
                let story = run.stories.first().context("no demo told its truth")?;
                let ways = || judge(&ways(&run, story)?).with_context(|| format!("on {}", run.kernel));
                again::Run::of(&run.losses(), ways)
            })
        }),
    }
}

fn judge(ways: &[Way]) -> Result<()> {
    ensure!(ways.len() == WAYS.len(), "{} ways were told, not {}: {ways:?}", ways.len(), WAYS.len());
    for (way, (source, softirq, interrupt, sock)) in ways.iter().zip(WAYS) {
        way.in_order()?;
        let found = (way.softirq.as_ref().map(|(name, _)| name.as_str()), way.interrupt.is_some(), way.sock.is_some());
        ensure!(
            way.scene.contains(source) && found == (softirq, interrupt, sock),
            "the way of {source} is another (softirq, interrupt, sock_def_readable should be {softirq:?}, {interrupt}, {sock}): {way:?}"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{WAYS, judge};
    use crate::demos::path::Way;

    fn all() -> Vec<Way> {
        let way = |(source, softirq, interrupt, sock): (&str, Option<&str>, bool, bool)| Way {
            scene: format!("the way of a {source}"),
            softirq: softirq.map(|name| (name.to_owned(), 1)),
            interrupt: interrupt.then_some(1),
            sock: sock.then_some(2),
            callback: 3,
            wake: 4,
            on_cpu: 5,
            returned: 6,
        };
        WAYS.map(way).into()
    }

    #[test]
    fn each_source_has_its_own_way() {
        assert!(judge(&all()).is_ok());
        let mut pipe = all();
        pipe[2].sock = Some(2);
        assert!(judge(&pipe).is_err());
        let mut tcp = all();
        tcp[0].softirq = Some(("TIMER".to_owned(), 1));
        assert!(judge(&tcp).is_err());
        assert!(judge(&all()[1..]).is_err());
        let mut early = all();
        early[3].on_cpu = 1;
        assert!(judge(&early).is_err());
    }
}

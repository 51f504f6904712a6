//! The kernel's own epoll test. Each of its tests draws eventpolls, items and threads, makes something ready, and states
//! who must come back from which call with how many events. Its verdicts are its expectations; the witness linked into it
//! counts every thread's calls; eptrace must arrive at the same counts, and wake whom the witness saw come back.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::witnessed::{self, Difference, Thread, number};
use crate::herd::outcome::{json, succeeded};
use crate::herd::spec::{Backend, word};
use crate::vm::plan::Job;
use crate::vm::session::JobResult;
use crate::vmtest::{Case, skipped};

pub(super) const PROGRAM: &str = "epoll_wakeup_test";

/// Tests that race on purpose, a hundred thousand, three hundred and a thousand times over: `epoll_ctl` against a wait, ten
/// waiters against ten writers, a wakeup against a timeout. There a thread can be taken off the wait queue before it has gone
/// to sleep, or when its time has passed anyway.
const RACING: [u32; 3] = [59, 60, 61];

/// Tests that make two sources ready one after the other and expect an event for each of two threads. They hold only when the
/// second write is faster than the woken threads: one that looks before it finds nothing. Each of them may fail for this
/// reason, and for no other: then one thread came back with events, not two.
const HURRIED: [u32; 10] = [11, 12, 15, 16, 53, 54, 55, 56, 57, 58];

pub(super) fn case(backend: Backend) -> Case {
    let record = format!(
        "eptrace record -o wakeup.arrow --backend {} -- {PROGRAM} > verdicts || {{ cat verdicts; exit 1; }}; cat verdicts",
        word(backend)
    );
    let mut record = Job::new("the kernel's epoll test", &["sh", "-c", &record], 300).returning(&["witness.json"]);
    record.env.push(("WITNESS".to_owned(), "witness.json".to_owned()));
    // A test that fails under eptrace must fail without it too, unless it may fail anyway.
    let excused: Vec<String> = HURRIED.iter().chain(&RACING).map(u32::to_string).collect();
    let again = format!(
        "if grep '^not ok' verdicts | grep -qvE 'global[.]epoll({})( |$)'; then {PROGRAM}; else cat verdicts; fi
        rm -f wakeup.arrow verdicts",
        excused.join("|")
    );
    Case {
        name: format!("{PROGRAM} of the kernel: verdicts, counts and wakes are its own with {}", word(backend)),
        jobs: vec![
            record,
            Job::new("the report", &["eptrace", "report", "--json", "wakeup.arrow"], 60),
            Job::new("the same without eptrace, if a test failed that may not", &["sh", "-c", &again], 300),
        ],
        check: Box::new(move |results| check(results, backend)),
    }
}

fn check(results: &[JobResult], backend: Backend) -> Result<()> {
    let [record, report, untraced] = results else { anyhow::bail!("three jobs have {} results", results.len()) };
    succeeded(record, "the recording of the kernel's epoll test")?;
    let report = json(report, "eptrace report --json")?;
    ensure!(report["backend"] == word(backend).as_str(), "the backend is {}", report["backend"]);
    let verdicts = verdicts(&record.out());
    ensure!(!verdicts.is_empty(), "the kernel's epoll test gave no verdict: {}", record.out());
    let failed = |verdicts: &[Verdict]| -> BTreeSet<String> {
        verdicts
            .iter()
            .filter(|verdict| !verdict.ok && !verdict.is(&HURRIED))
            .map(|verdict| verdict.name.clone())
            .collect()
    };
    let (with, without) = (failed(&verdicts), failed(&self::verdicts(&untraced.out())));
    // The racing ones have deadlines that a busy machine misses now and then.
    let racing = |name: &&String| Verdict { name: (*name).clone(), ok: false }.is(&RACING);
    let only: Vec<&String> = with.difference(&without).filter(|name| !racing(name)).collect();
    ensure!(only.is_empty(), "failing under eptrace: {with:?}, failing without: {without:?}");
    let witness = record.files.get("witness.json").context("the witness wrote nothing")?;
    let tests = tests(&serde_json::from_slice(witness).context("the witness wrote no JSON")?)?;
    ensure!(tests.len() == verdicts.len(), "{} tests called epoll, {} gave a verdict", tests.len(), verdicts.len());
    for (verdict, threads) in verdicts.iter().zip(&tests).filter(|(verdict, _)| verdict.is(&HURRIED)) {
        hurried(verdict, threads)?;
    }
    let rows = witnessed::rows(&report)?;
    let each =
        verdicts.iter().zip(&tests).flat_map(|(verdict, threads)| threads.iter().map(move |thread| (verdict, thread)));
    let threads: Vec<Thread> = each
        .map(|(verdict, thread)| match rows.get(&thread.tid) {
            Some(row) => killed(thread.clone(), row, verdict.is(&RACING)),
            None => Ok(thread.clone()),
        })
        .collect::<Result<_>>()?;
    let mut found = witnessed::differences(&threads, &report, &witnessed::EPOLL)?;
    for (verdict, threads) in verdicts.iter().zip(&tests) {
        for thread in threads {
            // A thread without a row has counts of zero, which are compared above.
            let Some(row) = rows.get(&thread.tid) else { continue };
            if let Err(error) = wakes(thread, row, verdict.is(&RACING)) {
                found.push((1, format!("{}, thread {}: {error:#}", verdict.name, thread.tid)));
            }
        }
    }
    within_losses(&found, &report)
}

/// A thread that is killed in the middle of a wait leaves it with EINTR (`ep_poll`, 5.10 to 7.3), which only the kernel sees: for
/// the witness the wait never ended. A test that races can be killed at its deadline while its threads call, and then what
/// the last of them was answered is the kernel's alone too: events of a wait, or the end of an `epoll_ctl`.
fn killed(mut thread: Thread, row: &Value, racing: bool) -> Result<Thread> {
    for column in ["ctl_add", "ctl_mod", "ctl_del"].into_iter().filter(|_| racing) {
        let seen = number(row, column)?;
        if seen == thread.count(column) + 1 {
            thread.counts.insert(column.to_owned(), seen);
            break;
        }
    }
    if thread.count("waits_open") != 1 || number(row, "waits_open")? != 0 {
        return Ok(thread);
    }
    let ends = ["interrupted", "timeouts", "waits_returned"];
    for end in ends.into_iter().filter(|&end| racing || end == "interrupted") {
        if number(row, end)? != thread.count(end) + 1 {
            continue;
        }
        thread.counts.insert("waits_open".to_owned(), 0);
        for column in ["waits", end] {
            *thread.counts.entry(column.to_owned()).or_default() += 1;
        }
        // Every wait of the tests that race takes one event.
        if end == "waits_returned" {
            *thread.counts.entry("events".to_owned()).or_default() += 1;
        }
        break;
    }
    Ok(thread)
}

/// Without losses nothing may differ; with them, no more than was lost.
fn within_losses(found: &[Difference], report: &Value) -> Result<()> {
    let events = skipped::lost(report)?;
    let differs: u64 = found.iter().map(|(by, _)| by).sum();
    ensure!(
        differs <= events,
        "the counts are not the witness's, with {events} events lost:\n{}",
        witnessed::words(found)
    );
    Ok(())
}

/// Two threads came back with events when the test says so, else one.
fn hurried(verdict: &Verdict, threads: &[Thread]) -> Result<()> {
    let returned = threads.iter().filter(|thread| thread.count("waits_returned") > 0).count();
    let expected = if verdict.ok { 2 } else { 1 };
    ensure!(returned == expected, "{}: {returned} threads came back with events, not {expected}", verdict.name);
    Ok(())
}

/// Who was woken. `ep_poll` puts a thread on the eventpoll's wait queue before it sleeps, and a wake takes it off again
/// (`ep_autoremove_wake_function`, 5.10 to 7.3). So a wait that never could sleep is never woken; and each wake is the last of
/// its wait, or one that found nothing and was followed by another sleep. Where nothing races, a wait that slept and came
/// back with events was woken, and one that a signal or the time ended was not. A busy machine can start a thread so late that
/// all is ready already; then it may have slept for the eventpoll's mutex (`ep_send_events`), which is no wake.
fn wakes(thread: &Thread, row: &Value, racing: bool) -> Result<()> {
    let taken = number(row, "woken")? + number(row, "already_running")?;
    let swallowed = number(row, "swallowed")?;
    if thread.count("could_sleep") == 0 {
        ensure!(taken == 0 && swallowed == 0, "it never could sleep, and is said to be woken {taken} times");
    }
    let most = thread.count("could_sleep") + swallowed;
    ensure!(taken <= most, "{taken} wakes, when there can be {most} at most: {row}");
    let least = thread.count("slept_before_write") + swallowed;
    let most = thread.count("slept_and_returned") + swallowed;
    ensure!(racing || (least..=most).contains(&taken), "{taken} wakes, not {least} to {most}: {row}");
    Ok(())
}

/// What the harness says of one test.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Verdict {
    name: String,
    ok: bool,
}

impl Verdict {
    /// Whether it is one of these tests, which the kernel calls epoll1 and so on.
    fn is(&self, numbers: &[u32]) -> bool {
        let number = self.name.strip_prefix("global.epoll").and_then(|number| number.parse().ok());
        number.is_some_and(|number| numbers.contains(&number))
    }
}

/// Lines of `ok N NAME` and `not ok N NAME`, in the order in which the tests ran.
fn verdicts(said: &str) -> Vec<Verdict> {
    let verdict = |line: &str| {
        let (ok, rest) = match line.strip_prefix("not ok ") {
            Some(rest) => (false, rest),
            None => (true, line.strip_prefix("ok ")?),
        };
        Some(Verdict { name: rest.split_whitespace().nth(1)?.to_owned(), ok })
    };
    said.lines().filter_map(verdict).collect()
}

/// The witness's threads, test by test: the harness forks a process for each, one after another.
fn tests(witness: &Value) -> Result<Vec<Vec<Thread>>> {
    let mut pids: Vec<u64> = Vec::new();
    let mut tests: Vec<Vec<Thread>> = Vec::new();
    for task in witness.get("tasks").and_then(Value::as_array).context("the witness names no tasks")? {
        let counts = task.as_object().context("the witness's task is no object")?;
        let counts = counts.iter().filter_map(|(name, value)| Some((name.clone(), value.as_u64()?))).collect();
        let thread = Thread { tid: number(task, "tid")?, counts };
        let pid = number(task, "pid")?;
        if let Some(at) = pids.iter().position(|known| *known == pid) {
            tests[at].push(thread);
        } else {
            pids.push(pid);
            tests.push(vec![thread]);
        }
    }
    Ok(tests)
}

#[cfg(test)]
mod tests {
    use super::{HURRIED, Verdict, hurried, killed, tests, verdicts, wakes, within_losses};
    use crate::vmtest::foreign::witnessed::Thread;
    use serde_json::json;

    #[test]
    fn verdicts_keep_the_order_of_the_tests() {
        let said = "TAP version 13\n# ok so\nok 1 global.epoll1\nnot ok 2 global.epoll2\nok 3 global.epoll3 # SKIP\n";
        let verdict = |name: &str, ok| Verdict { name: name.into(), ok };
        assert_eq!(
            verdicts(said),
            [verdict("global.epoll1", true), verdict("global.epoll2", false), verdict("global.epoll3", true)]
        );
    }

    #[test]
    fn threads_are_gathered_by_process() {
        let witness = json!({"tasks": [{"pid": 5, "tid": 5, "waits": 1}, {"pid": 7, "tid": 7}, {"pid": 5, "tid": 6}]});
        let tids: Vec<Vec<u64>> =
            tests(&witness).unwrap().iter().map(|test| test.iter().map(|thread| thread.tid).collect()).collect();
        assert_eq!(tids, [vec![5, 6], vec![7]]);
        assert!(tests(&json!({})).is_err());
    }

    #[test]
    fn a_wake_too_many_or_too_few_is_an_error() {
        let thread = |could: u64, slept: u64| Thread {
            tid: 1,
            counts: [("could_sleep", could), ("slept_and_returned", slept), ("slept_before_write", slept)]
                .map(|(name, count)| (name.to_owned(), count))
                .into(),
        };
        let row = |woken: u64, swallowed: u64| json!({"woken": woken, "already_running": 0, "swallowed": swallowed});
        assert!(wakes(&thread(1, 1), &row(1, 0), false).is_ok());
        assert!(wakes(&thread(1, 1), &row(3, 2), false).is_ok());
        assert!(wakes(&thread(1, 1), &row(0, 0), false).is_err());
        assert!(wakes(&thread(1, 0), &row(1, 0), false).is_err());
        let mut late = thread(1, 1);
        late.counts.insert("slept_before_write".to_owned(), 0);
        assert!(wakes(&late, &row(0, 0), false).is_ok() && wakes(&late, &row(1, 0), false).is_ok());
        assert!(wakes(&late, &row(2, 1), true).is_ok() && wakes(&late, &row(3, 1), false).is_err());
        assert!(wakes(&thread(1, 0), &row(1, 0), true).is_ok());
        assert!(wakes(&thread(1, 0), &row(2, 0), true).is_err());
        assert!(wakes(&thread(0, 0), &row(1, 1), true).is_err());
    }

    #[test]
    fn a_hurried_test_fails_only_because_one_thread_came_too_early() {
        let verdict = |ok| Verdict { name: "global.epoll16".into(), ok };
        let thread = |returned| Thread { tid: 1, counts: [("waits_returned".to_owned(), returned)].into() };
        assert!(verdict(true).is(&HURRIED) && !verdict(true).is(&[1]));
        assert!(hurried(&verdict(true), &[thread(1), thread(1)]).is_ok());
        assert!(hurried(&verdict(true), &[thread(1), thread(0)]).is_err());
        assert!(hurried(&verdict(false), &[thread(1), thread(0)]).is_ok());
        assert!(hurried(&verdict(false), &[thread(0), thread(0)]).is_err());
    }

    /// A thread whose last wait the witness saw begin and not end.
    fn in_its_wait() -> Thread {
        Thread { tid: 1, counts: [("waits".to_owned(), 7), ("waits_open".to_owned(), 1)].into() }
    }

    #[test]
    fn a_thread_that_was_killed_in_its_wait_came_back_with_eintr_for_the_kernel_alone() {
        let thread = in_its_wait();
        let row = |open: u64, interrupted: u64| json!({"waits_open": open, "interrupted": interrupted});
        let seen = killed(thread.clone(), &row(0, 1), false).unwrap();
        assert_eq!((seen.count("waits"), seen.count("waits_open"), seen.count("interrupted")), (8, 0, 1));
        assert_eq!(killed(thread.clone(), &row(0, 0), false).unwrap(), thread);
        assert_eq!(killed(thread.clone(), &row(1, 0), false).unwrap(), thread);
        let ctl = json!({"waits_open": 1, "interrupted": 0, "ctl_add": 0, "ctl_mod": 1, "ctl_del": 0});
        assert_eq!(killed(thread.clone(), &ctl, true).unwrap().count("ctl_mod"), 1);
        assert_eq!(killed(thread.clone(), &ctl, false).unwrap(), thread);
    }

    #[test]
    fn what_a_racing_thread_was_answered_as_it_was_killed_is_known_to_the_kernel_alone() {
        let thread = in_its_wait();
        let row = |returned: u64| {
            json!({"waits_open": 0, "interrupted": 0, "timeouts": 0, "waits_returned": returned, "events": returned,
                   "ctl_add": 0, "ctl_mod": 0, "ctl_del": 0})
        };
        let seen = killed(thread.clone(), &row(1), true).unwrap();
        assert_eq!((seen.count("waits"), seen.count("waits_open")), (8, 0));
        assert_eq!((seen.count("waits_returned"), seen.count("events")), (1, 1));
        assert_eq!(killed(thread.clone(), &row(2), true).unwrap(), thread);
        assert_eq!(killed(thread.clone(), &row(1), false).unwrap(), thread);
    }

    #[test]
    fn no_more_may_differ_than_was_lost_to_recursion() {
        let report = |lost: u64, reason: &str| {
            json!({"kernel": "7.2.12+deb13-cloud-amd64", "events": 400_000, "lost": {"events": lost, "by": [
                {"reason": reason, "count": lost, "loses_events": lost > 0}]}})
        };
        let differ = |by: u64| [(by, "waits".to_owned())];
        assert!(within_losses(&[], &report(0, "recursion")).is_ok());
        assert!(within_losses(&differ(1), &report(0, "recursion")).is_err());
        assert!(within_losses(&differ(2), &report(2, "recursion")).is_ok());
        assert!(within_losses(&differ(3), &report(2, "recursion")).is_err());
        assert!(within_losses(&[], &report(2, "ring-full")).is_err());
        assert!(within_losses(&[], &report(801, "recursion")).is_err());
    }
}

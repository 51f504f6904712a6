//! Every callback, row by row, beside bpftrace: which entry of which wait queue was called, with which mask, and what stood before it there.
//! The demos are `life --only shared`, where four eventpolls watch one eventfd, and `sources`, where one of each kind becomes ready.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail, ensure};

use super::again::{self, Run};
use super::recorded::{REPORT, TRACE};
use crate::herd::outcome::{json, succeeded};
use crate::vm::plan::Job;
use crate::vmtest::Case;

const TIMEOUT_S: u64 = 120;

/// Each hook and each callback of the demos' files, by its time, told at the end: whatever bpftrace prints meanwhile makes callbacks of its own.
/// In `struct eppoll_entry`, `wait` begins 8 bytes in: its `entry.prev` lies 32 bytes behind that, `whead` 40.
const WITNESS: &str = r#"
kprobe:ep_ptable_queue_proc /comm == "demos"/ { @head[arg1] = 1; @hooked[nsecs] = arg1; }
kprobe:ep_poll_callback /@head[*(uint64 *)(arg0 + 40)] == 1/ {
    @callback[nsecs] = (*(uint64 *)(arg0 + 40), arg0, *(uint64 *)(arg0 + 32), arg3);
}
END { clear(@head); }
"#;

/// In: `$WITNESS`, `$BACKEND`. Out: `rows` (what bpftrace saw), and the trace.
const SCRIPT: &str = "
echo 'demos life --only shared && demos sources' > both
bpftrace -o rows -c \"eptrace record --backend $BACKEND -o recorded.arrow -- sh both\" -e \"$WITNESS\"
";

pub(super) fn cases() -> Vec<Case> {
    ["fentry", "kprobe"].map(case).into()
}

fn case(backend: &'static str) -> Case {
    let run = || {
        let mut script =
            Job::new("bpftrace around the recording", &["sh", "-c", SCRIPT], TIMEOUT_S).returning(&["rows"]);
        // Else it looks for headers on 5.10.
        let variables = [("BPFTRACE_BTF", "/sys/kernel/btf/vmlinux"), ("WITNESS", WITNESS), ("BACKEND", backend)];
        script.env.extend(variables.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let report = Job::new("the report", &["eptrace", "report", "--json", TRACE], TIMEOUT_S);
        let table = format!("eptrace export --format csv {TRACE} | grep -E '^(ts_ns|[0-9]+,(hooked|callback)),'");
        let table = Job::new("the rows", &["sh", "-c", &table], TIMEOUT_S);
        vec![script, report, table, Job::new("the removal", &["rm", "-f", "both", TRACE], 10)]
    };
    Case {
        name: format!("bpftrace sees each callback's entry, wait queue and mask as eptrace does with {backend}"),
        jobs: again::jobs(1, REPORT, |_| run()),
        check: Box::new(move |results| {
            again::judge(results, |results| {
                let [script, report, table, ..] = results else { bail!("not the results of a run") };
                succeeded(script, "bpftrace around eptrace record")?;
                succeeded(table, "the rows")?;
                let report = json(report, "the report")?;
                ensure!(report["backend"] == backend, "the report says backend {}", report["backend"]);
                let rows = script.files.get("rows").context("bpftrace wrote no rows")?;
                let seen = seen(&String::from_utf8_lossy(rows))?;
                let told = told(&table.out())?;
                Run::of(&report, || {
                    same(&seen, &told)?;
                    hooks(&told)?;
                    chains(&told)
                })
            })
        }),
    }
}

/// What was called, as both sides tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Called {
    whead: u64,
    wait: u64,
    /// The entry before it; `None` for the first of its queue.
    prev: Option<u64>,
    key: u64,
}

#[derive(Debug, Default)]
struct Rows {
    /// Process, file and wait queue.
    hooked: Vec<(u64, u64, u64)>,
    /// File and call.
    callbacks: Vec<(u64, Called)>,
}

/// From `struct wait_queue_head` to its list, and from `struct wait_queue_entry` to its link in one (`include/linux/wait.h`, 5.10 to 7.3).
const HEAD: u64 = 8;
const ENTRY: u64 = 24;

/// bpftrace's maps, `@callback[TIME]: (NUMBER, ...)`, in the order of time. It knows of no process and no file.
fn seen(lines: &str) -> Result<Rows> {
    let mut told: Vec<(&str, Vec<u64>)> = Vec::new();
    for line in lines.lines() {
        let Some((kind, rest)) = line.strip_prefix('@').and_then(|line| line.split_once('[')) else { continue };
        let words =
            rest.split(|letter: char| !letter.is_ascii_digit() && letter != '-').filter(|word| !word.is_empty());
        // It takes an address for a signed number.
        let number = |word: &str| word.parse().or_else(|_| word.parse().map(i64::cast_unsigned));
        let numbers = words.map(number).collect::<Result<_, _>>().with_context(|| format!("no numbers: {line}"))?;
        told.push((kind, numbers));
    }
    told.sort_by_key(|(_, numbers)| numbers.first().copied());
    let mut rows = Rows::default();
    for (kind, numbers) in told {
        match (kind, numbers.as_slice()) {
            ("hooked", &[_, whead]) => rows.hooked.push((0, 0, whead)),
            ("callback", &[_, whead, wait, prev, key]) => {
                let prev = (prev != whead + HEAD).then(|| prev.wrapping_sub(ENTRY));
                rows.callbacks.push((0, Called { whead, wait, prev, key: key & u64::from(u32::MAX) }));
            }
            _ => bail!("bpftrace says {kind} {numbers:?}"),
        }
    }
    Ok(rows)
}

/// Bit 16 of `callback_flags`.
const FIRST: u64 = 16;

/// The rows of the trace file.
fn told(table: &str) -> Result<Rows> {
    let mut lines = table.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let names = lines.next().context("the table is empty")?;
    let at = |name: &str| names.iter().position(|column| *column == name).with_context(|| format!("no column {name}"));
    let mut rows = Rows::default();
    for line in lines {
        let number = |name: &str| {
            let cell = line.get(at(name)?).copied().unwrap_or_default();
            cell.parse::<u64>().with_context(|| format!("no {name} in {line:?}"))
        };
        let (file, whead) = (number("file")?, number("whead")?);
        if line.get(at("kind")?) == Some(&"hooked") {
            rows.hooked.push((number("tgid")?, file, whead));
        } else {
            let first = number("callback_flags")? & FIRST != 0;
            let prev = if first { None } else { Some(number("prev_wait")?) };
            rows.callbacks.push((file, Called { whead, wait: number("wait")?, prev, key: number("key")? }));
        }
    }
    Ok(rows)
}

/// Both saw the same, in the same order.
fn same(seen: &Rows, told: &Rows) -> Result<()> {
    let hooks = |rows: &Rows| rows.hooked.iter().map(|(_, _, whead)| *whead).collect::<Vec<_>>();
    equal("hook", &hooks(seen), &hooks(told))?;
    let calls = |rows: &Rows| rows.callbacks.iter().map(|(_, called)| *called).collect::<Vec<_>>();
    equal("callback", &calls(seen), &calls(told))
}

fn equal<T: PartialEq + std::fmt::Debug>(what: &str, seen: &[T], told: &[T]) -> Result<()> {
    ensure!(!seen.is_empty(), "bpftrace saw no {what}");
    for (number, (seen, told)) in seen.iter().zip(told).enumerate() {
        ensure!(seen == told, "{what} {number} was seen by bpftrace as {seen:x?}, and told as {told:x?}");
    }
    ensure!(seen.len() == told.len(), "bpftrace saw {} of {what}, and {} were told", seen.len(), told.len());
    Ok(())
}

/// A callback comes from a queue that its file was hooked to. No two files of one of these processes share a queue: each has one signalfd and
/// one FIFO, whose queues others could share.
fn hooks(told: &Rows) -> Result<()> {
    let mut owners: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    for &(tgid, file, whead) in &told.hooked {
        let owner = *owners.entry((tgid, whead)).or_insert(file);
        ensure!(owner == file, "the queue {whead:#x} is told of the files {owner:#x} and {file:#x} of process {tgid}");
    }
    let hooked: BTreeSet<(u64, u64)> = told.hooked.iter().map(|(_, file, whead)| (*file, *whead)).collect();
    for (file, called) in &told.callbacks {
        ensure!(
            hooked.contains(&(*file, called.whead)),
            "the file {file:#x} was never hooked to the queue of {called:x?}"
        );
    }
    Ok(())
}

/// How many eventpolls watch the eventfd of `life`.
const WATCHERS: usize = 4;
/// A write to an eventfd wakes with `EPOLLIN`, a read with `EPOLLOUT` (`fs/eventfd.c`, 5.10 to 7.3).
const KEYS: [u64; 2] = [libc::EPOLLIN as u64, libc::EPOLLOUT as u64];

/// What stands before an entry is the one that was called before it, and each walk has one mask. Nothing but eventpolls waits for these files.
fn chains(told: &Rows) -> Result<()> {
    let mut walks: Vec<Vec<Called>> = Vec::new();
    for (_, called) in &told.callbacks {
        // Walks of other queues can be nested in one: eventpolls in eventpolls.
        let before = walks.iter_mut().rev().find(|walk| walk.last().is_some_and(|last| last.whead == called.whead));
        match (called.prev, before) {
            (None, _) => walks.push(vec![*called]),
            (Some(prev), Some(walk)) if walk.last().is_some_and(|last| last.wait == prev && last.key == called.key) => {
                walk.push(*called);
            }
            (Some(_), before) => {
                bail!("before {called:x?} stood something else than what was called before: {before:x?}")
            }
        }
    }
    let whole: Vec<_> = walks.iter().filter(|walk| walk.len() == WATCHERS).map(|walk| walk[0].key).collect();
    ensure!(whole == KEYS, "{WATCHERS} eventpolls were called with {whole:x?}, not with {KEYS:x?}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Rows, chains, hooks, same, seen, told};

    const SEEN: &str = "Attaching 3 probes...\n\n@callback[8]: (256, 48, 72, 1)\n@callback[7]: (256, 48, 264, 1)\n@hooked[1]: 256\n@hooked[2]: -256\n";

    /// A table of the hooks and the callbacks of an eventfd that four eventpolls watch: written to, then read.
    fn table() -> String {
        let head = "ts_ns,kind,tgid,file,whead,wait,prev_wait,key,callback_flags\n".to_owned();
        let hooked = (0..4).map(|number| format!("{number},hooked,7,80,256,,,,\n"));
        let calls = [1, 4].into_iter().flat_map(|key| (0..4).map(move |number| (key, number)));
        let callbacks = calls.map(|(key, number)| {
            let (wait, before, flags) = (100 + number, 99 + number, if number == 0 { 24 } else { 8 });
            format!("9,callback,7,80,256,{wait},{before},{key},{flags}\n")
        });
        std::iter::once(head).chain(hooked).chain(callbacks).collect()
    }

    fn rows(from: &str, to: &str) -> Rows {
        told(&table().replacen(from, to, 1)).unwrap()
    }

    #[test]
    fn lines_of_bpftrace_are_rows_in_the_order_of_time() {
        let rows = seen(SEEN).unwrap();
        assert_eq!(rows.hooked.len(), 2);
        assert_eq!(rows.callbacks.iter().map(|(_, called)| called.prev).collect::<Vec<_>>(), [None, Some(0x30)]);
        assert_eq!(rows.hooked[1].2, u64::MAX - 255);
        assert!(seen("@callback[1]: 2").is_err());
    }

    #[test]
    fn another_entry_queue_mask_or_order_is_a_failure() {
        let whole = rows("", "");
        same(&whole, &rows("", "")).unwrap();
        for (from, to) in [
            (",102,", ",103,"),
            (",256,101,", ",257,101,"),
            (",1,8", ",5,8"),
            (",1,24", ",1,8"),
            ("3,hooked,7,80,256", "3,hooked,7,80,1"),
        ] {
            assert!(same(&whole, &rows(from, to)).is_err(), "{from}");
        }
        assert!(same(&whole, &told(table().rsplit_once("9,callback").unwrap().0).unwrap()).is_err());
    }

    #[test]
    fn queues_that_are_shared_and_callbacks_from_a_queue_of_others_are_failures() {
        hooks(&rows("", "")).unwrap();
        assert!(hooks(&rows("3,hooked,7,80", "3,hooked,7,81")).is_err());
        assert!(hooks(&rows("callback,7,80,256", "callback,7,80,257")).is_err());
    }

    #[test]
    fn a_walk_that_is_broken_or_changes_its_mask_is_a_failure() {
        chains(&rows("", "")).unwrap();
        for (from, to) in [(",102,101,", ",102,100,"), (",1,8", ",4,8"), (",1,24", ",1,8"), (",4,8", ",4,24")] {
            assert!(chains(&rows(from, to)).is_err(), "{from}");
        }
    }
}

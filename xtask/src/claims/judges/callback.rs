//! § 34.2: the callback, and why a wait is O(k).

use super::structures::spinlock;
use anyhow::Result;

use crate::claims::facts::{Facts, steps};
use crate::claims::judge::{Point, exact, test};
use crate::claims::{Claim, not_run, run};

const S: &str = "34.2";
const ALL_CALLBACKS: [&str; 5] =
    ["kernel.linked", "kernel.already_linked", "kernel.filtered", "kernel.disabled", "kernel.overflow"];

pub(crate) const CLAIMS: &[Claim] = &[
    run("C24", S, "select and poll look at every descriptor when they wake, epoll does not.", "", |f| {
        Ok(vec![
            exact("poll of 10 and of 1000: descriptors that a call looks at", "10 1000", looks(f, "poll")?),
            exact("select of 10 and of 1000: descriptors that a call looks at", "10 1000", looks(f, "select")?),
            exact(
                "epoll_wait, with 3 of 10 and 3 of 1000 ready: descriptors that a call looks at",
                "3",
                looks(f, "epoll_wait")?,
            ),
        ])
    }),
    run("C25", S, "ADD takes the epitem from kmalloc.", "", |f| {
        let add = steps("answers", "memory", "ADD 1000");
        Ok(vec![exact("1000 ADDs: items made", 1000, f.sum(add, "kernel.hooked")?), kmalloc(f)?])
    }),
    run("C26", S, "Then the tree, then an eppoll_entry from kmalloc, which goes into the wait queue.", "", |f| {
        let add = steps("answers", "memory", "ADD 1000");
        Ok(vec![
            exact("1000 ADDs: entries hung into a wait queue", 1000, f.sum(add, "kernel.hooked")?),
            kmalloc(f)?,
            exact("how often an ADD then asks the file whether it is ready", "0", looks(f, "epoll_ctl")?)
                .detail()
                .instead("the last step is missing: ADD asks whether the file is ready already"),
        ])
    }),
    run("C27", S, "ep_poll_callback runs in a softirq or an interrupt, not in the context of a process.", "", |f| {
        let of = |source: &str, context: &str| f.other(&format!("stacks of {source} in {context}"));
        Ok(vec![
            exact("a byte over TCP (loopback): callbacks in a softirq", 1, of("a TCP byte", "a softirq")?),
            exact("a timer: callbacks in an interrupt", 1, of("a timer", "an interrupt")?),
            exact("a write to a pipe: callbacks in the writer's own context", 0, of("a pipe write", "a process")?)
                .instead("who writes to a pipe, a unix socket or an eventfd runs the callback itself"),
            exact(
                "a write to a unix socket: callbacks in the writer's own context",
                0,
                of("a unix socket write", "a process")?,
            ),
        ])
    }),
    run(
        "C28",
        S,
        "First of all it compares the key with the item's mask, and returns at once where they do not match.",
        "structures",
        |f| {
            let read = steps("structures", "the tree", "read it");
            Ok(vec![
                exact(
                    "a read of an eventfd whose item wants EPOLLIN: callbacks that do nothing",
                    1,
                    f.sum(read, "kernel.filtered")?,
                ),
                exact(
                    "callbacks that announce nothing in particular (key 0) and put the item on the list",
                    0,
                    f.other("callbacks with key 0 that took effect")?,
                )
                .detail()
                .instead("a key of 0, as at the end of a TCP connection, matches every mask"),
            ])
        },
    ),
    run("C29", S, "It takes eventpoll.lock with spin_lock_irqsave.", "", |f| Ok(vec![spinlock(f)?])),
    run(
        "C30",
        S,
        "It appends the item to the ready list, and that is all the work for a ready descriptor.",
        "wakeup",
        |f| {
            let again = steps("wakeup", "an eventfd, level-triggered", "ring again");
            let first = steps("wakeup", "an eventfd, level-triggered", "ring");
            let wake = steps("wakeup", "an eventfd, level-triggered", "wake it");
            Ok(vec![
                test(
                    "callbacks that appended their item",
                    "at least 1",
                    f.sum(first, "kernel.linked")?,
                    f.sum(first, "kernel.linked")? >= 1,
                ),
                exact("callbacks that found it on the list already", 0, f.sum(again, "kernel.already_linked")?)
                    .detail()
                    .instead("an item is on the list once, however often it is called back"),
                exact("tasks that a callback woke", 0, f.sum(wake, "kernel.woken")?)
                    .detail()
                    .instead("waking a sleeper is part of it"),
            ])
        },
    ),
    run("C31", S, "It wakes only epoll's own wait queue: no thundering herd.", "shared", |f| {
        let arrives = |demo, scene| steps(demo, scene, "a connection arrives");
        let et = arrives("shared", "one eventpoll for all, edge-triggered: one connection");
        let lt = arrives("shared", "one eventpoll for all, level-triggered: one connection");
        let own = arrives("exclusive", "an eventpoll each, one socket: one connection");
        Ok(vec![
            exact("4 workers on one eventpoll, edge-triggered: woken by one connection", 1, f.sum(et, "kernel.woken")?),
            exact("the same, level-triggered: woken", 1, f.sum(lt, "kernel.woken")?)
                .detail()
                .instead("the scan of a level-triggered item puts it back and wakes the next sleeper"),
            exact("4 workers with an eventpoll each: woken", 1, f.sum(own, "kernel.woken")?)
                .detail()
                .instead("the source calls back every eventpoll that watches it"),
        ])
    }),
    run(
        "C32",
        S,
        "With a ready list that is not empty a wait does not sleep, and returns at most maxevents.",
        "structures",
        |f| {
            let waits = steps("structures", "the ready list, and waits for 2", "wait, level-triggered");
            Ok(vec![
                exact("3 ready, maxevents 2: events of 4 waits", 8, f.sum(waits, "saw.events")?),
                exact("scans of them", 4, f.sum(waits, "kernel.scans")?),
            ])
        },
    ),
    run("C33", S, "With an empty ready list the task enters eventpoll.wq and sleeps.", "shared", |f| {
        let arrive = steps("shared", "one eventpoll for all, edge-triggered: connections one by one", "20 connections");
        Ok(vec![
            exact("4 sleepers, 20 connections one by one: woken", 20, f.sum(arrive, "kernel.woken")?),
            exact("returns with an event", 20, f.sum(arrive, "kernel.events")?),
        ])
    }),
    run("C34", S, "A task that was woken looks at the ready list again and delivers.", "exclusive", |f| {
        let arrive = steps(
            "exclusive",
            "an eventpoll each, one socket with EPOLLEXCLUSIVE: one connection",
            "a connection arrives",
        );
        Ok(vec![
            exact("woken", 1, f.sum(arrive, "kernel.woken")?),
            exact("scans", 1, f.sum(arrive, "kernel.scans")?),
            exact("events", 1, f.sum(arrive, "kernel.events")?),
        ])
    }),
    run("C35", S, "A level-triggered item is put back after delivery if it is still ready.", "trigger", |f| {
        let part = steps("trigger", "pipe, level-triggered: a part is read", "wait: the rest is there");
        let all = steps("trigger", "pipe, level-triggered: all is read", "wait again");
        let once_more = steps("trigger", "pipe, level-triggered: all is read", "wait once more");
        Ok(vec![
            exact("a part was read: events of the next wait", 1, f.sum(part, "saw.events")?),
            exact("all was read: scans that the next wait makes", 0, f.sum(all, "kernel.scans")?)
                .detail()
                .instead("it is put back in any case; the next scan finds out, and takes it off"),
            exact("and the wait after that", 0, f.sum(once_more, "kernel.scans")?),
        ])
    }),
    run(
        "C36",
        S,
        "select wakes every waiter, which scans all n again; epoll calls back for the ready descriptor alone.",
        "",
        |f| {
            let write = steps("ready", "3 of 1000", "write to 3");
            let own = steps("exclusive", "an eventpoll each, one socket: one connection", "a connection arrives");
            Ok(vec![
                exact("select of 10 and of 1000: descriptors that a call looks at", "10 1000", looks(f, "select")?),
                exact("3 of 1000 written to: callbacks", 3, f.sums(write, &ALL_CALLBACKS)?),
                exact("one socket in 4 eventpolls, one connection: callbacks", 1, f.sums(own, &ALL_CALLBACKS)?)
                    .detail()
                    .instead("one for each eventpoll that watches it"),
            ])
        },
    ),
    run("C37", S, "A callback touches the one item of its descriptor.", "ready", |f| {
        let write = |scene| steps("ready", scene, "write to 3");
        Ok(vec![
            exact("3 of 10 written to: callbacks", 3, f.sums(write("3 of 10 are"), &ALL_CALLBACKS)?),
            exact("3 of 1000 written to: callbacks", 3, f.sums(write("3 of 1000 are"), &ALL_CALLBACKS)?),
        ])
    }),
    run("C38", S, "epoll_wait is O(k): it goes through the ready list.", "", |f| {
        Ok(vec![exact("3 of 10 and 3 of 1000 ready: descriptors that a wait looks at", "3", looks(f, "epoll_wait")?)])
    }),
    not_run(
        "C39",
        S,
        "The tree of n items is not touched by a wakeup.",
        "its walks are compiled into their callers, where no probe sees them",
    ),
    run(
        "C40",
        S,
        "1000 descriptors, 3 ready: 3 callbacks, 3 on the ready list, 3 returned, 997 never touched.",
        "ready",
        |f| {
            let of = |did| steps("ready", "3 of 1000 are ready", did);
            Ok(vec![
                exact("callbacks", 3, f.sums(of("write to 3"), &ALL_CALLBACKS)?),
                exact("of them put their item on the list", 3, f.sum(of("write to 3"), "kernel.linked")?),
                exact("descriptors without an event", 997, f.first(of("wait"), "saw.untouched")?),
            ])
        },
    ),
];

/// How many descriptors the calls of this name look at, least first.
pub(super) fn looks(f: &Facts<'_>, call: &str) -> Result<String> {
    let numbers = f.other(&format!("descriptors that {call} looks at"))?;
    let numbers: Vec<String> = numbers.as_array().into_iter().flatten().map(ToString::to_string).collect();
    Ok(numbers.join(" "))
}

/// Where ADD has its memory from.
fn kmalloc(f: &Facts<'_>) -> Result<Point> {
    let cached = f.other_number("allocations of epoll_ctl from caches of their own")?;
    let point = test(
        "kmalloc calls in 1014 ADDs of the demo `ready`",
        "at least one each",
        f.other("kmalloc calls of epoll_ctl")?,
        f.other_number("kmalloc calls of epoll_ctl")? >= 1000,
    );
    let instead = format!("items and entries come from caches of their own: {cached} allocations");
    Ok(point.detail().instead(&instead))
}

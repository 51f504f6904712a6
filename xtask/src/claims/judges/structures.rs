//! § 34.1: what an eventpoll is made of.

use crate::claims::facts::{Facts, steps};
use crate::claims::judge::{Point, exact, test};
use crate::claims::{Claim, not_run, run};
use anyhow::Result;

const S: &str = "34.1";
const ALL_CALLBACKS: [&str; 5] =
    ["kernel.linked", "kernel.already_linked", "kernel.filtered", "kernel.disabled", "kernel.overflow"];

pub(crate) const CLAIMS: &[Claim] = &[
    run(
        "C1",
        S,
        "The descriptor that epoll_create returns is of an anonymous inode, which stands for a struct eventpoll.",
        "answers",
        |f| {
            let file = f.first(steps("answers", "files that epoll takes", "epoll_create1"), "saw.file")?;
            Ok(vec![exact("what /proc/self/fd says of it", "anon_inode:[eventpoll]", file)])
        },
    ),
    run("C2", S, "eventpoll.rbr is an rb_root_cached.", "", |f| {
        Ok(vec![exact("type of eventpoll.rbr", "struct rb_root_cached", f.other("type of eventpoll.rbr")?)])
    }),
    run("C3", S, "Items are keyed by file and descriptor.", "closed", |f| {
        let of = |did| steps("closed", "a file and its duplicate", did);
        Ok(vec![
            exact("items of one file under two descriptors", 2, f.sum(of("ADD both"), "kernel.hooked")?),
            exact(
                "the answer to one of these pairs again",
                "EEXIST",
                f.first(of("ADD one of them again"), "saw.errors")?.get(0).cloned().unwrap_or_default(),
            ),
            exact("callbacks of one write to that file", 2, f.sum(of("one write"), "kernel.linked")?),
            exact("events of it", 2, f.sum(of("wait: two events"), "saw.events")?),
        ])
    }),
    not_run(
        "C4",
        S,
        "Insert, lookup and delete take O(log n).",
        "no counter shows the steps of a walk through the tree",
    ),
    run("C5", S, "The ready list: ep_poll_callback appends to it, epoll_wait drains it.", "structures", |f| {
        let of = |did| steps("structures", "onto the ready list without a callback", did);
        let ways = |did| f.sums(of(did), &ALL_CALLBACKS);
        let events = f.sum(of("wait"), "saw.events")?;
        let without = ways("ADD a file that is ready")? + ways("MOD an item to EPOLLOUT")?;
        let ready = |did| steps("ready", "3 of 1000", did);
        Ok(vec![
            exact("3 writes: items that callbacks put on it", 3, f.sum(ready("write to 3"), "kernel.linked")?),
            exact("events of the wait after", 3, f.sum(ready("wait"), "saw.events")?),
            exact(
                "events that no callback had announced (ADD and MOD of files that are ready)",
                0,
                events.saturating_sub(without),
            )
            .detail()
            .instead("ADD and MOD put a file that is ready on the list themselves"),
        ])
    }),
    run("C6", S, "eventpoll.lock is a spinlock_t.", "", |f| Ok(vec![spinlock(f)?])),
    run(
        "C7",
        S,
        "The lock protects the ready list from callbacks and waits that run at the same time.",
        "stalled",
        |f| {
            let of = |did| steps("stalled", "a scan is held up", did);
            let overflow = f.sum(of("write to the second"), "kernel.overflow")?;
            let after = f.sum(of("wait: both"), "saw.events")?;
            Ok(vec![
                exact("two files, one of which becomes ready while a scan runs: events of the next wait", 2, after),
                exact("callbacks meanwhile that did not go to the ready list", 0, overflow)
                    .detail()
                    .instead("while a scan runs callbacks go to the overflow list, which the lock protects as well"),
            ])
        },
    ),
    run("C8", S, "eventpoll.sem, an rw_semaphore, protects the tree.", "", |f| {
        Ok(vec![
            exact("type of eventpoll.sem", "struct rw_semaphore", f.other("type of eventpoll.sem")?)
                .instead("there is no such member; `mtx` does this"),
            exact("type of eventpoll.mtx", "no such member", f.other("type of eventpoll.mtx")?).detail(),
        ])
    }),
    run("C9", S, "What protects the tree is for epoll_ctl alone.", "stalled", |f| {
        let of = |did| steps("stalled", "a scan is held up", did);
        let blocked = f.last(of("another thread calls epoll_ctl"), "saw.blocked_in_epoll_ctl")?;
        Ok(vec![
            exact("epoll_ctl calls that had to wait until a scan was over", 0, blocked)
                .instead("a wait holds the same mutex while it delivers"),
        ])
    }),
    run("C10", S, "Sleepers of epoll_wait stand in eventpoll.wq, and the callback wakes them.", "wakeup", |f| {
        let wake = steps("wakeup", "an eventfd, edge-triggered", "wake it");
        Ok(vec![
            exact("one write and one sleeper: callbacks", 1, f.sum(wake, "kernel.linked")?),
            exact("tasks woken", 1, f.sum(wake, "kernel.woken")?),
            exact("events it returned with", 1, f.sum(wake, "kernel.events")?),
        ])
    }),
    run("C11", S, "poll_wait is for eventpolls inside eventpolls.", "nested", |f| {
        let write = |scene| steps("nested", scene, "write to the eventfd");
        Ok(vec![
            exact("type of eventpoll.poll_wait", "wait_queue_head_t", f.other("type of eventpoll.poll_wait")?),
            exact("two eventpolls in a row, one write: callbacks", 2, f.sum(write("2 in a row"), "kernel.linked")?),
            exact("of them inside another callback", 1, f.sum(write("2 in a row"), "kernel.nested")?),
            exact("five in a row: callbacks", 5, f.sum(write("5 in a row"), "kernel.linked")?),
            exact(
                "events of the outermost",
                1,
                f.sum(steps("nested", "5 in a row", "wait for the outermost"), "saw.events")?,
            ),
        ])
    }),
    run("C12", S, "EPOLL_CTL_ADD makes an epitem, one for each registered descriptor.", "structures", |f| {
        let add = steps("structures", "200 more", "ADD 200");
        Ok(vec![
            exact("200 ADDs: items hung into a wait queue", 200, f.sum(add, "kernel.hooked")?),
            exact("items that the kernel lists, with the 3 from before", 203, f.last_number(add, "saw.items")?),
            exact("and after as many DELs", 3, f.last_number(steps("structures", "200 more", "DEL all"), "saw.items")?),
        ])
    }),
    run(
        "C13",
        S,
        "The key lets the same descriptor number with another file (a dup'd descriptor) be registered as well.",
        "closed",
        |f| {
            let both = |did| steps("closed", "a file and its duplicate", did);
            let twice = f.first(steps("closed", "", "ADD it: one number, two items"), "saw.registered")?;
            let numbers: Vec<_> = twice.as_array().cloned().unwrap_or_default();
            let same = numbers.len() == 2 && numbers.first() == numbers.last();
            Ok(vec![
                exact(
                    "dup'd descriptors: callbacks of one write (two files would give 1)",
                    1,
                    f.sum(both("one write"), "kernel.linked")?,
                )
                .instead("a duplicate is the same file under another number"),
                test(
                    "one number, two items, after a close while a duplicate lived",
                    "the same number twice",
                    twice,
                    same,
                ),
            ])
        },
    ),
    run(
        "C14",
        S,
        "rdllink: ep_poll_callback puts an item on the ready list, ep_send_events takes it off.",
        "structures",
        |f| {
            let tree = |did| steps("structures", "the tree", did);
            let on = f.sum(tree("write to 7: the file is called back twice"), "kernel.linked")?;
            let without = steps("structures", "onto the ready list without a callback", "ADD a file that is ready");
            Ok(vec![
                exact("a write to a file that is registered twice: items put on it by callbacks", 2, on),
                exact("events, after one of the two was deleted", 2, f.sum(tree("wait: one is left"), "saw.events")?)
                    .detail()
                    .instead("DEL takes an item off as well"),
                exact(
                    "callbacks when a file is ADDed that is ready, and reported then",
                    1,
                    f.sums(without, &ALL_CALLBACKS)?,
                )
                .detail()
                .instead("ADD and MOD put items on it as well"),
            ])
        },
    ),
    run("C15", S, "epitem.ep points to its eventpoll.", "", |f| {
        let callbacks = f.other_number("callbacks")?;
        let right = f.other_number("callbacks whose item points to the eventpoll of its ADD")?;
        Ok(vec![test(
            "callbacks whose item points to the eventpoll that its epoll_ctl named",
            &format!("all {callbacks}"),
            right,
            callbacks > 0 && right == callbacks,
        )])
    }),
    run("C16", S, "epitem.event has the mask, and the data that a wait returns.", "structures", |f| {
        let mask = f.first(steps("structures", "the tree", "ADD 3"), "saw.tree")?;
        let kept = mask.pointer("/0/mask").and_then(|mask| mask.as_str()).unwrap_or_default().to_owned();
        let bits = u32::from_str_radix(&kept, 16).unwrap_or(0);
        let delivered = f.first(steps("structures", "the tree", "wait: one is left"), "saw.delivered")?;
        Ok(vec![
            test("mask that the kernel keeps of EPOLLIN (1)", "1 is in it", kept, bits & 1 != 0),
            exact(
                "data that came with the event of the item that had 7",
                7,
                delivered.pointer("/0/data").cloned().unwrap_or_default(),
            ),
        ])
    }),
    run("C17", S, "pwqlist: an entry for each wait queue of the file; sockets have one.", "answers", |f| {
        let add = |did| f.sum(steps("answers", "files that epoll takes", did), "kernel.hooked");
        Ok(vec![
            exact("wait queues of a TCP connection", 1, add("ADD a TCP connection")?),
            exact("of a unix socket", 1, add("ADD a unix socket")?),
            exact("of one end of a pipe", 1, add("ADD a pipe")?),
        ])
    }),
    run(
        "C18",
        S,
        "An eppoll_entry, whose wait.func is ep_poll_callback, is what hangs in the wait queue whead.",
        "",
        |f| {
            let (callbacks, there) =
                (f.other_number("callbacks")?, f.other_number("callbacks where an ADD had hung the item")?);
            Ok(vec![test(
                "callbacks through the wait queue into which an ADD had hung their item",
                &format!("all {callbacks}"),
                there,
                callbacks > 0 && there == callbacks,
            )])
        },
    ),
    run("C19", S, "DEL takes the entry out of the wait queue.", "structures", |f| {
        let tree = |did| steps("structures", "the tree", did);
        Ok(vec![
            exact("a read of a registered eventfd: callbacks", 1, f.sums(tree("read it"), &ALL_CALLBACKS)?),
            exact("a read of it after DEL: callbacks", 0, f.sums(tree("read 7, ADD it again"), &ALL_CALLBACKS)?),
        ])
    }),
    run("C20", S, "The entry hangs in the socket's sk_wq; sk_data_ready wakes it, and the callback runs.", "", |f| {
        let way = steps("ready", "the way of one byte through a TCP", "send a byte");
        Ok(vec![
            exact("one byte over TCP: callbacks", 1, f.sum(way, "kernel.linked")?),
            exact(
                "callbacks of the byte below sock_def_readable",
                1,
                f.other_number("stacks of a TCP byte with sock_def_readable")?,
            ),
        ])
    }),
    run(
        "C21",
        S,
        "What makes it O(1): the callback is installed when a file is registered, not when somebody waits.",
        "structures",
        |f| {
            let (adds, hooked) =
                (f.other_number("ADDs that the kernel took")?, f.other_number("items hung into a wait queue")?);
            Ok(vec![
                test(
                    "items hung into a wait queue, in all demos",
                    &format!("{adds}, one for each ADD"),
                    hooked,
                    adds > 0 && hooked == adds,
                ),
                exact(
                    "of them during 21 waits with 3 of 1000 ready",
                    0,
                    f.sum(steps("ready", "3 of 1000", "epoll_wait"), "kernel.hooked")?,
                ),
            ])
        },
    ),
    run("C22", S, "The tree is sorted by descriptor.", "answers", |f| {
        let order = steps("answers", "memory", "look at the order");
        Ok(vec![
            exact("items that the kernel lists", 1000, f.last_number(order, "saw.items")?),
            exact("how often a smaller descriptor follows a greater one", 0, f.last_number(order, "saw.falls")?)
                .instead("the address of the file comes first, then the descriptor"),
        ])
    }),
    not_run(
        "C23",
        S,
        "3, 7 and 12 inserted: 7 is the black root, 3 and 12 are red.",
        "colours show in no count; and the order is that of addresses (C22)",
    ),
];

/// Also of the callback (C29).
pub(super) fn spinlock(f: &Facts<'_>) -> Result<Point> {
    Ok(exact("type of eventpoll.lock", "spinlock_t", f.other("type of eventpoll.lock")?))
}

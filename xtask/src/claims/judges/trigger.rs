//! § 34.3: level-triggered and edge-triggered.

use crate::claims::facts::steps;
use crate::claims::judge::{exact, test};
use crate::claims::{Claim, not_run, run};

const S: &str = "34.3";

pub(crate) const CLAIMS: &[Claim] = &[
    run("C41", S, "LT: a descriptor is reported as long as its buffer has data.", "trigger", |f| {
        let part = |did| f.sum(steps("trigger", "TCP connection, level-triggered: a part is read", did), "saw.events");
        let all = steps("trigger", "TCP connection, level-triggered: all is read", "wait again");
        Ok(vec![
            exact("50 of 100 bytes read: events of the next wait", 1, part("wait: the rest is there")?),
            exact("all read: events of the next wait", 0, f.sum(all, "saw.events")?),
        ])
    }),
    run("C42", S, "LT: a partial read is safe.", "trigger", |f| {
        let part = |did| steps("trigger", "TCP connection, level-triggered: a part is read", did);
        Ok(vec![
            exact(
                "50 of 100 bytes read: events of the next wait",
                1,
                f.sum(part("wait: the rest is there"), "saw.events")?,
            ),
            exact("bytes read in the end, of 150", 150, f.sum(part("read"), "saw.read")?),
        ])
    }),
    run("C43", S, "LT costs more wakeups and more list work.", "trigger", |f| {
        let scans = |scene| f.sum(steps("trigger", scene, "wait"), "kernel.scans");
        let (lt, et) = (
            scans("TCP connection, level-triggered: all is read")?,
            scans("TCP connection, edge-triggered: all is read")?,
        );
        Ok(vec![test(
            "scans for one arrival that is read whole",
            &format!("more than edge-triggered ({et})"),
            lt,
            lt > et,
        )])
    }),
    run("C44", S, "ET: reported exactly once for each change from empty to non-empty.", "wakeup", |f| {
        let unread = |scene| f.sum(steps("wakeup", scene, "wait: it is reported again"), "saw.events");
        let once = steps("wakeup", "an eventfd, edge-triggered", "wait: one event");
        let again = "one more arrival, before anything was read: further events";
        Ok(vec![
            exact("arrivals before the first wait: events", 1, f.sum(once, "saw.events")?),
            exact(&format!("an eventfd, {again}"), 0, unread("an eventfd, edge-triggered")?)
                .instead("every callback reports it anew; empty or not does not matter"),
            exact(&format!("a pipe, {again}"), 0, unread("a pipe, edge-triggered")?),
        ])
    }),
    run("C45", S, "ET: after a partial read nothing is reported until more arrives.", "trigger", |f| {
        let part = |did| f.sum(steps("trigger", "TCP connection, edge-triggered: a part is read", did), "saw.events");
        let first = part("wait")?;
        Ok(vec![
            exact("50 of 100 bytes read: events of the next wait", 0, part("wait: the rest is there")?),
            exact("events of all waits: of the 100 bytes, and of 50 more", 2, first),
        ])
    }),
    run("C46", S, "ET: 50 of 100 bytes read, the other 50 are lost.", "trigger", |f| {
        let part = |did| steps("trigger", "TCP connection, edge-triggered: a part is read", did);
        let read = f.sum(part("read"), "saw.read")?;
        Ok(vec![
            exact("events of the next wait", 0, f.sum(part("wait: the rest is there"), "saw.events")?),
            exact("bytes that cannot be read any more, of 150", 50, 150_u64.saturating_sub(read))
                .detail()
                .instead("they stay in the buffer, unreported, and are read together with the next ones"),
        ])
    }),
    run("C47", S, "ET: off the ready list when reported, on it again only by a callback.", "trigger", |f| {
        let armed = |did| steps("trigger", "TCP connection, edge-triggered: MOD", did);
        let part = steps("trigger", "TCP connection, edge-triggered: a part is read", "wait: the rest is there");
        Ok(vec![
            exact("after a report: scans of the next wait", 0, f.sum(part, "kernel.scans")?),
            exact(
                "events after a MOD, without a callback",
                0,
                f.sum(armed("wait: it is reported again"), "saw.events")?,
            )
            .detail()
            .instead("EPOLL_CTL_MOD looks at the file, and reports again what was not read"),
        ])
    }),
    run("C48", S, "ET: read until EAGAIN, always.", "drain", |f| {
        let right = steps("drain", "right: ", "look what is left");
        let short = |did| steps("trigger", "TCP connection, edge-triggered: a read that gives less", did);
        Ok(vec![
            exact("read until EAGAIN: bytes left", 0, f.last_number(right, "saw.left")?),
            exact(
                "arrivals missed after a short read without EAGAIN",
                1,
                1_u64.saturating_sub(f.sum(short("wait: they are reported"), "saw.events")?),
            )
            .detail()
            .instead("a read that gives less than it asked for has emptied a stream as well (epoll(7))"),
        ])
    }),
    run("C49", S, "ET needs O_NONBLOCK; with a blocking descriptor a partial read deadlocks.", "blocking-et", |f| {
        let of = |did| steps("blocking-et", "a blocking descriptor", did);
        let refused = f.sum(of("register"), "saw.ctl_failed")?;
        Ok(vec![
            exact("the loop hangs in read", true, f.last(of("give it"), "saw.hangs")?),
            test(
                "ADDs of a blocking descriptor that the kernel refused",
                "1, if it needs the flag",
                refused,
                refused > 0,
            )
            .detail()
            .instead("the kernel does not ask for it"),
            test(
                "bytes in the buffer while it hangs",
                "some: the rest of a partial read",
                f.last(of("give it"), "saw.left")?,
                f.last_number(of("give it"), "saw.left")? > 0,
            )
            .detail()
            .instead("it hangs when everything was read, in one read more"),
        ])
    }),
    not_run(
        "C50",
        S,
        "nginx and Redis use ET.",
        "these are programs of others: `cargo xtask test nginx` traces nginx; Redis is not among the tests",
    ),
    run("C51", S, "ET needs fewer calls of epoll_wait when everything is read.", "reactor", |f| {
        let waits = |scene| f.sum(steps("reactor", scene, ""), "saw.waits");
        let lt = waits("one turn of the loop, level-triggered")?;
        let et = waits("one turn of the loop, edge-triggered")?;
        Ok(vec![
            test(
                "the same requests: waits of the edge-triggered loop",
                &format!("fewer than level-triggered ({lt})"),
                et,
                et < lt,
            )
            .instead("a request is one wait in either way"),
        ])
    }),
    run(
        "C52",
        S,
        "100 bytes and 50 more before a wait: LT reports once; ET once for each arrival, or both at once.",
        "trigger",
        |f| {
            let wait = |scene| f.sum(steps("trigger", scene, "wait: one event for both"), "saw.events");
            let et = wait("TCP connection, edge-triggered: two arrivals")?;
            Ok(vec![
                exact("level-triggered: events", 1, wait("TCP connection, level-triggered: two arrivals")?),
                test("edge-triggered: events", "1 or 2", et, et == 1 || et == 2),
            ])
        },
    ),
    run("C53", S, "EPOLLOUT with room in the buffer, LT: every wait reports it.", "epollout", |f| {
        let waits = steps("epollout", "idle and writable, level-triggered", "wait 10 times");
        Ok(vec![exact("events of 10 waits", 10, f.sum(waits, "saw.events")?)])
    }),
    run("C54", S, "EPOLLOUT, ET: only when a full buffer gets room.", "epollout", |f| {
        let full = |did| steps("trigger", "TCP connection, edge-triggered: no room to write", did);
        let idle = steps("epollout", "idle and writable, edge-triggered", "wait 10 times");
        let arrivals = steps("epollout", "bytes arrive at a writable socket", "5 times");
        Ok(vec![
            exact("a full buffer gets room: callbacks", 1, f.sum(full("the other end reads"), "kernel.linked")?),
            exact("and events", 1, f.sum(full("wait: there is room again"), "saw.events")?),
            exact("a buffer that was never full, 10 waits: events", 0, f.sum(idle, "saw.events")?)
                .detail()
                .instead("ADD and MOD report it once"),
            exact("5 arrivals of bytes: events with EPOLLOUT", 0, f.last(arrivals, "saw.with_epollout")?)
                .detail()
                .instead("every callback reports all that the item waits for and the file is ready for"),
        ])
    }),
];

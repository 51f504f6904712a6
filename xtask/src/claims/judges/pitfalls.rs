//! § 34.5: what goes wrong with edge-triggered loops.

use crate::claims::facts::steps;
use crate::claims::judge::{exact, test};
use crate::claims::{Claim, not_run, run};

const S: &str = "34.5";
const COALESCED: &str = "wrong: one read for each event, a wait after all";
const INTERLEAVED: &str = "wrong: one read for each event, a wait after each";

pub(crate) const CLAIMS: &[Claim] = &[
    run("C70", S, "In steady state ET is faster than LT.", "reactor", |f| {
        let reads = |scene| f.sum(steps("reactor", scene, "handler of"), "saw.reads");
        let waits = |scene| f.sum(steps("reactor", scene, "wait"), "saw.waits");
        let calls = |scene| Ok::<u64, anyhow::Error>(reads(scene)? + waits(scene)?);
        let lt = calls("one turn of the loop, level-triggered")?;
        let et = calls("one turn of the loop, edge-triggered")?;
        Ok(vec![
            test(
                "the same requests: waits and reads of the edge-triggered loop",
                &format!("fewer than level-triggered ({lt})"),
                et,
                et < lt,
            )
            .instead("the read that finds EAGAIN is one more for each event"),
        ])
    }),
    run("C71", S, "These pitfalls lose data or hang in silence: no call fails.", "drain", |f| {
        let drain = steps("drain", "wrong: ", "");
        let lost = 2 * 1200 - f.sum(drain, "saw.read")?.min(2 * 1200);
        Ok(vec![
            exact("calls that failed", 0, f.sums(drain, &["saw.ctl_failed", "saw.wait_errors"])?),
            test("bytes that could not be read any more, of 2400", "some", lost, lost > 0)
                .detail()
                .instead("nothing is lost: it is there, and nothing tells of it"),
        ])
    }),
    run(
        "C72",
        S,
        "EPOLLOUT with ET on a buffer that is never full: every wait returns, a busy loop.",
        "epollout",
        |f| {
            let waits = |scene| f.sum(steps("epollout", scene, "wait 10 times"), "saw.events");
            Ok(vec![
                exact("edge-triggered: events of 10 waits", 10, waits("idle and writable, edge-triggered")?)
                    .instead("it is reported once. The busy loop is the level-triggered one"),
                exact("level-triggered, to compare", 10, waits("idle and writable, level-triggered")?).detail(),
            ])
        },
    ),
    run("C73", S, "EPOLLOUT with ET is reported when a full buffer gets room.", "trigger", |f| {
        let full = |did| steps("trigger", "TCP connection, edge-triggered: no room to write", did);
        Ok(vec![
            exact("no room: events", 0, f.sum(full("wait: there is no room"), "saw.events")?),
            exact("the other end reads: callbacks", 1, f.sum(full("the other end reads"), "kernel.linked")?),
            exact("events", 1, f.sum(full("wait: there is room again"), "saw.events")?),
        ])
    }),
    run(
        "C74",
        S,
        "5 connections queued at an ET socket, one accept: 4 remain, unreported until a 6th arrives.",
        "accept-once",
        |f| {
            let of = |did| steps("accept-once", "edge-triggered, accept once", did);
            Ok(vec![
                exact("queued after the accept", 4, f.last(of("accept once"), "saw.queued")?),
                exact("events of the next wait", 0, f.sum(of("wait again"), "saw.events")?),
                exact("events after the 6th", 1, f.sum(of("wait"), "saw.events")?.saturating_sub(1)),
            ])
        },
    ),
    run("C75", S, "Those 4 are never accepted.", "accept-once", |f| {
        let all = steps("accept-once", "edge-triggered, accept once", "");
        Ok(vec![
            exact("connections of 6 that nobody got", 4, 6_u64.saturating_sub(f.sum(all, "saw.accepts")?))
                .instead("the event of the 6th lets a loop accept all that wait"),
        ])
    }),
    run("C76", S, "A loop of accepts takes all 5.", "accept-once", |f| {
        let of = |did| steps("accept-once", "edge-triggered, accept until EAGAIN", did);
        Ok(vec![
            exact("accepted", 5, f.sum(of("accept until EAGAIN"), "saw.accepts")?),
            exact("EAGAIN", 1, f.sum(of("accept until EAGAIN"), "saw.accept_eagain")?),
            exact("events that it took", 1, f.sum(of("wait"), "saw.events")?),
        ])
    }),
    run("C77", S, "With LT one accept for each event is safe.", "accept-once", |f| {
        let again = steps("accept-once", "level-triggered, accept once", "wait again");
        Ok(vec![exact("4 are queued: events of the next wait", 1, f.sum(again, "saw.events")?)])
    }),
    run("C78", S, "ET with a blocking descriptor: the loop hangs in read.", "blocking-et", |f| {
        let of = |scene, did| steps("blocking-et", scene, did);
        let served = f.sum(of("the same, non-blocking", "write to an eventfd"), "kernel.events")?;
        Ok(vec![
            exact("blocking: it hangs", true, f.last(of("a blocking descriptor", "give it"), "saw.hangs")?),
            exact(
                "another ready descriptor that is not served meanwhile",
                1,
                1_u64.saturating_sub(f.sum(of("a blocking descriptor", "write to an eventfd"), "kernel.events")?),
            ),
            exact("and that is served when the first is non-blocking", 1, served),
        ])
    }),
    run("C79", S, "An eventfd does what the self-pipe did, lighter, and right with LT and ET.", "wakeup", |f| {
        let of = |scene, did| steps("wakeup", scene, did);
        let fds = |scene| f.first(of(scene, "ADD it"), "saw.descriptors");
        let woken = |scene| f.sum(of(scene, "wake it"), "kernel.woken");
        Ok(vec![
            exact("descriptors of an eventfd", 1, fds("an eventfd, level-triggered")?),
            exact("of a pipe", 2, fds("a pipe, level-triggered")?),
            exact("eventfd, level-triggered: sleepers woken", 1, woken("an eventfd, level-triggered")?),
            exact("eventfd, edge-triggered: sleepers woken", 1, woken("an eventfd, edge-triggered")?),
        ])
    }),
    run(
        "C80",
        S,
        "Bursts of 400, 300 and 500 bytes, one read of 256 for each event: 944 bytes are lost.",
        "drain",
        |f| {
            let left = |scene| f.first(steps("drain", scene, "look what is left"), "saw.left");
            let read = |scene| f.sum(steps("drain", scene, ""), "saw.read");
            let lost = 1200_u64.saturating_sub(read(COALESCED)?);
            Ok(vec![
                exact("bytes that nobody can read any more", 944, lost)
                    .instead("the next reads give them all: they were left, not lost"),
                exact("bytes left unreported, when all bursts come before the wait", 944, left(COALESCED)?),
                exact("with a wait after each burst, as the chapter's demo has it", 944, left(INTERLEAVED)?)
                    .instead("three events, three reads of 256: 432 are left"),
            ])
        },
    ),
    not_run(
        "C81",
        S,
        "The demo shows 1200 bytes lost before its first step.",
        "a picture of the page, not a statement about a kernel",
    ),
    run("C82", S, "The correct loop reads everything.", "drain", |f| {
        let right = |scene| steps("drain", scene, "look what is left");
        Ok(vec![
            exact(
                "bytes left, a wait after each burst",
                0,
                f.first(right("right: read until EAGAIN, a wait after each"), "saw.left")?,
            ),
            exact("a wait after all", 0, f.first(right("right: read until EAGAIN, a wait after all"), "saw.left")?),
            exact("bytes read, of 2400", 2400, f.sum(steps("drain", "right: ", ""), "saw.read")?),
        ])
    }),
];

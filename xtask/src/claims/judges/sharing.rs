//! § 34.4: EPOLLONESHOT, EPOLLEXCLUSIVE, SO_REUSEPORT.

use serde_json::Value;

use crate::claims::facts::{Facts, steps};
use crate::claims::judge::{exact, test};
use crate::claims::{Claim, run};
use anyhow::Result;

const S: &str = "34.4";
const OWN: &str = "an eventpoll each, one socket: ";
const EXCLUSIVE: &str = "an eventpoll each, one socket with EPOLLEXCLUSIVE: ";

pub(crate) const CLAIMS: &[Claim] = &[
    run("C55", S, "EPOLLONESHOT: once a wait has returned it, a descriptor is disabled.", "oneshot", |f| {
        let of = |did| steps("oneshot", "disabled is not deleted", did);
        Ok(vec![
            exact("mask after delivery", "40000000", f.first(of("wait: delivered, and disabled"), "saw.mask")?),
            exact("a byte is unread: events of the next wait", 0, f.sum(of("wait: nothing, although"), "saw.events")?),
        ])
    }),
    run("C56", S, "Disabled as if EPOLL_CTL_DEL had been called.", "oneshot", |f| {
        let of = |did| steps("oneshot", "disabled is not deleted", did);
        let again = f.first(of("ADD it again"), "saw.errors")?;
        Ok(vec![
            exact("the answer to an ADD", "taken", again.get(0).cloned().unwrap_or(Value::from("taken")))
                .instead("the item is still in the tree"),
            exact("5 writes: callbacks", 0, f.sum(of("write 5 bytes more"), "kernel.disabled")?)
                .instead("it still hangs in the wait queue, and every callback finds it disabled"),
        ])
    }),
    run("C57", S, "The kernel clears EPOLLIN and EPOLLOUT from the item's mask.", "oneshot", |f| {
        let of = |did| steps("oneshot", "disabled is not deleted", did);
        let before = mask(&f.first(of("ADD with"), "saw.mask")?);
        let after = mask(&f.first(of("wait: delivered, and disabled"), "saw.mask")?);
        Ok(vec![
            test(
                "EPOLLIN (1) in the mask after delivery",
                "no longer",
                format!("{after:x}"),
                before & 1 == 1 && after & 1 == 0,
            ),
            exact("EPOLLERR and EPOLLHUP (18) left in it", "18", format!("{:x}", after & 0x18))
                .detail()
                .instead("every event is cleared, those two as well"),
            exact("the other end hangs up: events", 1, f.sum(of("wait: not even"), "saw.events")?).detail(),
        ])
    }),
    run("C58", S, "No other thread gets the descriptor until it is armed again.", "oneshot", |f| {
        let one = |did| steps("oneshot", "one eventpoll for all, EPOLLONESHOT: one connection", did);
        Ok(vec![
            exact("4 threads, one connection: woken", 1, f.sum(one("a connection arrives"), "kernel.woken")?),
            exact("events", 1, f.sum(one("a connection arrives"), "kernel.events")?),
            exact("accepts that found nothing", 0, f.last(one("the workers go on"), "saw.nothing_to_accept")?),
        ])
    }),
    run("C59", S, "Without it two threads can get the same descriptor.", "shared", |f| {
        let one = |did| steps("shared", "one eventpoll for all, level-triggered: one connection", did);
        let events = f.sum(one("a connection arrives"), "kernel.events")?;
        Ok(vec![test(
            "4 threads, level-triggered, one connection: threads that got it",
            "2 or more",
            events,
            events >= 2,
        )])
    }),
    run("C60", S, "Arming again costs an epoll_ctl for each event.", "reactor", |f| {
        let calls = steps("reactor", "one connection", "epoll-oneshot");
        Ok(vec![
            exact("50 requests: epoll_ctl calls", 50, f.sum(calls, "saw.system_calls.epoll_ctl")?),
            exact("epoll_wait calls", 50, f.sum(calls, "saw.system_calls.epoll_wait")?),
        ])
    }),
    run("C61", S, "EPOLLEXCLUSIVE is there since Linux 4.5.", "exclusive", |f| {
        let add = steps("exclusive", "forbidden", "ADD with EPOLLEXCLUSIVE and all that");
        Ok(vec![
            exact("ADDs with it that the kernel refused", 0, f.sum(add, "saw.ctl_failed")?),
            exact("items hung into the wait queue", 1, f.sum(add, "kernel.hooked")?),
        ])
    }),
    run(
        "C62",
        S,
        "4 threads with an eventpoll each, one connection: all 4 return, 3 find nothing to accept.",
        "exclusive",
        |f| {
            let one = |did| steps("exclusive", "an eventpoll each, one socket: one connection", did);
            Ok(vec![
                exact("woken", 4, f.sum(one("a connection arrives"), "kernel.woken")?),
                exact("returned", 4, f.sum(one("a connection arrives"), "kernel.events")?),
                exact("accepts that found nothing", 3, f.last(one("the workers go on"), "saw.nothing_to_accept")?),
            ])
        },
    ),
    run(
        "C63",
        S,
        "EPOLLEXCLUSIVE makes the entry exclusive: a wakeup ends with the first that it wakes.",
        "exclusive",
        |f| {
            let arrives = steps(
                "exclusive",
                "an eventpoll each, one socket with EPOLLEXCLUSIVE: one connection",
                "a connection arrives",
            );
            let (marked, all) =
                (f.other_number("exclusive callbacks with WQ_FLAG_EXCLUSIVE")?, f.other_number("exclusive callbacks")?);
            Ok(vec![
                exact("4 sleepers, one connection: callbacks", 1, called(f, arrives)?),
                exact("woken", 1, f.sum(arrives, "kernel.woken")?),
                test(
                    "callbacks of such items whose entry has the flag",
                    &format!("all {all}"),
                    marked,
                    all > 0 && marked == all,
                ),
            ])
        },
    ),
    run("C64", S, "Only one eventpoll's wait is woken for each event.", "exclusive", |f| {
        let busy = |did| steps("exclusive", "an eventpoll each, one socket with EPOLLEXCLUSIVE: 4 connections", did);
        let (arrive, after) = (busy("a connection arrives"), busy("the workers go on"));
        Ok(vec![
            exact("4 connections, workers busy one after another: woken", 4, f.sum(arrive, "kernel.woken")?),
            exact(
                "events that these connections made",
                4,
                f.sum(arrive, "kernel.events")? + f.sum(after, "kernel.events")?,
            )
            .detail()
            .instead("the eventpolls of busy workers are passed, and get the item on their ready list all the same"),
            exact("accepts that found nothing", 0, f.last(after, "saw.nothing_to_accept")?).detail(),
        ])
    }),
    run("C65", S, "Which thread wakes is not specified; the kernel may rotate.", "exclusive", |f| {
        let balance = f.last(
            steps(
                "exclusive",
                "an eventpoll each, one socket with EPOLLEXCLUSIVE: connections one by one",
                "20 connections",
            ),
            "saw.accepted_by_worker",
        )?;
        let others: u64 = balance.as_array().into_iter().flatten().skip(1).filter_map(Value::as_u64).sum();
        Ok(vec![
            test(
                "20 connections, all asleep: who got them, in the order of registration",
                "several of them",
                balance,
                others > 0,
            )
            .instead("the first that was registered and sleeps, every time"),
        ])
    }),
    run("C66", S, "SO_REUSEPORT: the kernel balances connections at accept.", "reuseport", |f| {
        let by = |scene, did| steps("reuseport", scene, did);
        let one = "an eventpoll and a socket (SO_REUSEPORT) each: one connection";
        let arrive = by("an eventpoll and a socket (SO_REUSEPORT) each: connections one by one", "20 connections");
        let balance = f.last(arrive, "saw.accepted_by_worker")?;
        let got: Vec<u64> = balance.as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
        let served = got.iter().filter(|&&number| number > 0).count();
        Ok(vec![
            test(
                "20 connections over 4 sockets",
                "20, over several",
                balance,
                got.iter().sum::<u64>() == 20 && served >= 2,
            ),
            exact("accepts that found nothing", 0, f.last(arrive, "saw.nothing_to_accept")?),
            exact(
                "sockets that a connection was given to before anybody accepts",
                0,
                f.sum(by(one, "a connection arrives"), "kernel.linked")?,
            )
            .detail()
            .instead("a hash of the addresses chooses the socket when the connection is made"),
        ])
    }),
    run("C67", S, "EPOLLEXCLUSIVE cannot be combined with EPOLLONESHOT.", "exclusive", |f| {
        let add = steps("exclusive", "forbidden", "ADD with EPOLLEXCLUSIVE | EPOLLONESHOT");
        Ok(vec![exact("the answer", "EINVAL", f.first(add, "saw.errors")?.get(0).cloned().unwrap_or_default())])
    }),
    run("C68", S, "EPOLLEXCLUSIVE is for ADD alone, not for MOD.", "exclusive", |f| {
        let answer = |did| -> Result<Value> {
            Ok(f.first(steps("exclusive", "forbidden", did), "saw.errors")?.get(0).cloned().unwrap_or_default())
        };
        Ok(vec![
            exact("MOD of a plain item to it: the answer", "EINVAL", answer("MOD that one to EPOLLEXCLUSIVE")?),
            exact("MOD of an exclusive item: the answer", "EINVAL", answer("MOD the exclusive item, with")?),
        ])
    }),
    run("C69", S, "EPOLLEXCLUSIVE costs nothing after it is set up.", "exclusive", |f| {
        let scene = EXCLUSIVE;
        let arrive = steps(
            "exclusive",
            "an eventpoll each, one socket with EPOLLEXCLUSIVE: 4 connections",
            "a connection arrives",
        );
        let own = steps("exclusive", OWN, "");
        let calls = f.sum(steps("exclusive", scene, ""), "saw.ctl_mod")? + f.sum(own, "saw.ctl_mod")?;
        Ok(vec![
            exact("epoll_ctl calls after the ADDs", 0, calls),
            exact(
                "4 connections, workers busy one after another: callbacks that woke nobody",
                0,
                f.sum(arrive, "kernel.already_linked")?,
            )
            .detail()
            .instead("every busy eventpoll that was registered earlier is called back, and passed"),
        ])
    }),
];

fn called(f: &Facts<'_>, which: crate::claims::facts::Steps) -> Result<u64> {
    f.sums(which, &["kernel.linked", "kernel.already_linked", "kernel.filtered", "kernel.disabled", "kernel.overflow"])
}

fn mask(value: &Value) -> u32 {
    value.as_str().and_then(|text| u32::from_str_radix(text, 16).ok()).unwrap_or(0)
}

//! § 34.7 and 34.8: the reactor's loop, and echo servers.

use super::callback::looks;
use super::others::{calls, made};
use crate::claims::facts::steps;
use crate::claims::judge::{exact, test};
use crate::claims::{Claim, run};

const REACTOR: &str = "34.7";
const SERVERS: &str = "34.8";
const ONE: &str = "20 connections, 1 in flight";

pub(crate) const CLAIMS: &[Claim] = &[
    run(
        "C92",
        REACTOR,
        "A request arrives: the callback, in a softirq, puts the item on the ready list and wakes the thread.",
        "",
        |f| {
            let way = |source| steps("ready", source, "send a byte");
            let tcp = way("the way of one byte through a TCP");
            Ok(vec![
                exact("one byte over TCP: items put on the ready list", 1, f.sum(tcp, "kernel.linked")?),
                exact("threads woken", 1, f.sum(tcp, "kernel.woken")?),
                exact("callbacks in a softirq", 1, f.other("stacks of a TCP byte in a softirq")?),
                exact(
                    "the same through a unix socket: callbacks in a softirq",
                    1,
                    f.other("stacks of a unix socket write in a softirq")?,
                )
                .detail()
                .instead("the writer runs it"),
            ])
        },
    ),
    run("C93", REACTOR, "LT stays armed; ONESHOT needs a MOD before the next event.", "reactor", |f| {
        let lt = steps("reactor", "one turn of the loop, level-triggered", "wait: dispatch");
        let oneshot = |did| steps("oneshot", "disabled is not deleted", did);
        Ok(vec![
            exact("LT, two turns: events", 3, f.sum(lt, "saw.events")?),
            exact("LT: MODs", 0, f.sum(steps("reactor", "one turn of the loop, level-triggered", ""), "saw.ctl_mod")?),
            exact("ONESHOT, 5 more writes: events before a MOD", 0, f.sum(oneshot("wait: nothing"), "saw.events")?),
            exact("and after it", 1, f.sum(oneshot("wait: delivered without"), "saw.events")?),
        ])
    }),
    run("C94", REACTOR, "DEL cancels.", "reactor", |f| {
        let lt = |did| steps("reactor", "one turn of the loop, level-triggered", did);
        Ok(vec![
            exact("a request is unread: DELs", 1, f.sum(lt("DEL the first"), "saw.ctl_del")?),
            exact("events of the next wait", 0, f.sum(lt("wait: nothing"), "saw.events")?),
        ])
    }),
    run("C95", SERVERS, "The blocking server takes 3 system calls for a request: accept, read, write.", "echo", |f| {
        let (calls, requests) = calls(f, ONE, "blocking")?;
        let connections = f.first(steps("echo", ONE, "blocking"), "saw.connections")?.as_u64().unwrap_or(0);
        Ok(vec![
            exact(
                &format!("{requests} requests over {connections} connections: writes"),
                requests,
                made(&calls, "write"),
            ),
            exact("reads, with one more at the end of each connection", requests + connections, made(&calls, "read")),
            exact("accepts", requests, made(&calls, "accept4"))
                .detail()
                .instead("one for each connection, not for each request; and so is the close"),
        ])
    }),
    run("C96", SERVERS, "poll looks at every descriptor, though one is ready.", "echo", |f| {
        let looked = |server| f.first(steps("echo", ONE, server), "saw.descriptors_scanned");
        Ok(vec![
            exact("400 requests over 20 connections: descriptors looked at by the poll server", 8000, looked("poll")?),
            exact("told to the epoll server", 400, looked("epoll-lt")?),
            exact(
                "poll of 10 and of 1000: descriptors that the kernel looks at in a call",
                "10 1000",
                looks(f, "poll")?,
            ),
        ])
    }),
    run("C97", SERVERS, "SQPOLL needs root or CAP_SYS_NICE.", "answers", |f| {
        let asked = steps("answers", "io_uring", "io_uring_setup(IORING_SETUP_SQPOLL)");
        let user = f.first(asked, "saw.user")?;
        let answer = f.first(asked, "saw.sqpoll")?;
        Ok(vec![
            exact("user who asks", 65_534, user),
            test("the answer", "EPERM", answer.clone(), answer == "EPERM").instead("every user may have it"),
        ])
    }),
    run("C98", SERVERS, "epoll keeps readiness in the tree and the ready list.", "ready", |f| {
        let of = |did| steps("ready", "3 of 1000 are ready", did);
        let (items, ready) = (f.sum(of("ADD 1000"), "kernel.hooked")?, f.sum(of("write to 3"), "kernel.linked")?);
        Ok(vec![
            exact("ready: items on the ready list", 3, ready),
            exact("items in the tree that are not ready", 0, items.saturating_sub(ready))
                .detail()
                .instead("the tree has what is watched; what is ready is on the ready list alone"),
        ])
    }),
    run(
        "C99",
        SERVERS,
        "The most connections: 1, hundreds with poll, 10 000 to 100 000 with epoll, a million with io_uring.",
        "answers",
        |f| {
            let limit = f.last_number(steps("answers", "memory", "ask how many"), "saw.max_user_watches")?;
            let poll = f.first(steps("ready", "3 of 1000 are ready", "poll of all 1000"), "saw.found")?;
            Ok(vec![
                exact("descriptors that a poll of 1000 finds ready, of 3", 3, poll),
                test(
                    "items that one user may have, with this memory",
                    "10 000 to 100 000",
                    limit,
                    (10_000..=100_000).contains(&limit),
                )
                .detail()
                .instead("memory decides: epoll's limit is a share of it, the others are limits of open files"),
            ])
        },
    ),
    run(
        "C100",
        "interview",
        "ep_poll_callback is called from a softirq or interrupt when sk_data_ready fires; it puts the item on the ready \
         list and wakes epoll_wait.",
        "",
        |f| {
            let tcp = steps("ready", "the way of one byte through a TCP", "send a byte");
            Ok(vec![
                exact(
                    "one byte over TCP: callbacks below sock_def_readable",
                    1,
                    f.other("stacks of a TCP byte with sock_def_readable")?,
                ),
                exact("items put on the ready list", 1, f.sum(tcp, "kernel.linked")?),
                exact("threads woken", 1, f.sum(tcp, "kernel.woken")?),
                exact(
                    "a write to a pipe: callbacks in the writer's own context",
                    0,
                    f.other("stacks of a pipe write in a process")?,
                )
                .detail()
                .instead("only some sources call back from a softirq or an interrupt (C27)"),
            ])
        },
    ),
];

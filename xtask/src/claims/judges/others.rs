//! § 34.6: epoll beside other interfaces.

use serde_json::Value;

use crate::claims::facts::{Facts, steps};
use crate::claims::judge::{exact, test};
use crate::claims::{Claim, not_run, run};
use anyhow::{Context as _, Result};

const S: &str = "34.6";

pub(crate) const CLAIMS: &[Claim] = &[
    run("C83", S, "epoll_ctl changes one item a call; changing and waiting are two calls.", "structures", |f| {
        let add = steps("structures", "200 more", "ADD 200");
        Ok(vec![
            exact("calls for 200 items", 200, f.sum(add, "saw.ctl_add")?),
            exact("items hung into a wait queue by them", 200, f.sum(add, "kernel.hooked")?),
        ])
    }),
    run("C84", S, "epoll takes descriptors only: sockets, pipes, eventfd, timerfd, signalfd.", "answers", |f| {
        let took = |did| f.sum(steps("answers", "files that epoll takes", did), "kernel.hooked");
        let refused = steps("answers", "files that epoll refuses", "ADD");
        let named = took("ADD a TCP")?
            + took("ADD a unix")?
            + took("ADD a pipe")?
            + took("ADD an eventfd")?
            + took("ADD a timerfd")?
            + took("ADD a signalfd")?;
        Ok(vec![
            exact("kinds of these that it takes (TCP and unix sockets, pipe, eventfd, timerfd, signalfd)", 6, named),
            exact("inotify instances that it takes, of 1", 0, took("ADD an inotify")?)
                .detail()
                .instead("every file with a poll operation may be added"),
            exact("processes (pidfd) that it takes, of 1", 0, took("ADD a process")?).detail(),
            exact("eventpolls that it takes, of 1", 0, took("ADD another eventpoll")?).detail(),
            exact(
                "descriptors that it refuses, of a regular file, a directory, /dev/null",
                0,
                f.sum(refused, "saw.ctl_failed")?,
            )
            .detail()
            .instead("and no file without one (EPERM)"),
        ])
    }),
    run("C85", S, "epoll cannot watch processes: that takes waitpid.", "answers", |f| {
        let ends = |did| steps("answers", "a process ends", did);
        Ok(vec![
            exact("a child ends: events of its pidfd", 0, f.sum(ends("wait: the kernel tells"), "saw.events")?)
                .instead("a pidfd is readable when its process has ended"),
            exact("events while it lived", 0, f.sum(ends("wait: it lives"), "saw.events")?).detail(),
        ])
    }),
    run("C86", S, "io_uring is there since Linux 5.1.", "answers", |f| {
        Ok(vec![exact(
            "io_uring_setup gives a ring",
            true,
            f.first(steps("answers", "io_uring", "io_uring_setup"), "saw.ring")?,
        )])
    }),
    run("C87", S, "With SQPOLL a submission takes no system call.", "echo", |f| {
        let (calls, requests) = calls(f, "20 connections, 1 in flight", "io-uring-sqpoll")?;
        let all: u64 = calls.iter().map(|(_, number)| number).sum();
        Ok(vec![test(
            &format!("{requests} requests: system calls of the server"),
            "at most one for 100 requests",
            all,
            100 * all <= requests,
        )])
    }),
    run("C88", S, "epoll takes 3 system calls for a request: epoll_wait, read, write.", "echo", |f| {
        let (one, requests) = calls(f, "20 connections, 1 in flight", "epoll-lt")?;
        let names: Vec<&str> = one.iter().map(|(name, _)| name.as_str()).collect();
        let (ten, _) = calls(f, "20 connections, 10 in flight", "epoll-lt")?;
        let many: u64 = ten.iter().map(|(_, number)| number).sum();
        Ok(vec![
            exact("calls that the server makes", "epoll_wait read write", names.join(" ")),
            exact(
                &format!("{requests} requests one by one: calls"),
                3 * requests,
                one.iter().map(|(_, number)| number).sum::<u64>(),
            ),
            test("the same with 10 in flight", "at most as many", many, many <= 3 * requests),
        ])
    }),
    run("C89", S, "io_uring without SQPOLL takes about 1 to 2 system calls for a batch.", "reactor", |f| {
        let made = |did| f.sum(steps("reactor", "one connection", did), "saw.system_calls.io_uring_enter");
        let (plain, linked) = (made("io-uring answers")?, made("io-uring-linked")?);
        Ok(vec![
            test(
                "50 requests, a receive, then a send: io_uring_enter",
                "50 to 100",
                plain,
                (50..=100).contains(&plain),
            ),
            test(
                "50 requests, send and receive linked: io_uring_enter",
                "50 to 100",
                linked,
                (50..=100).contains(&linked),
            ),
        ])
    }),
    not_run(
        "C90",
        S,
        "Registered buffers avoid page faults, registered files the look-up of descriptors.",
        "no demo registers buffers or files",
    ),
    not_run(
        "C91",
        S,
        "kqueue and IOCP: what they offer, and their system calls.",
        "other platforms: these are not Linux",
    ),
];

/// The system calls of one server by name, and the requests that it answered.
pub(super) fn calls(f: &Facts<'_>, scene: &'static str, server: &'static str) -> Result<(Vec<(String, u64)>, u64)> {
    let which = steps("echo", scene, server);
    let told = f.first(which, "saw.system_calls")?;
    let calls = told.as_object().context("system calls by name")?;
    let calls: Vec<(String, u64)> =
        calls.iter().filter_map(|(name, number)| Some((name.clone(), number.as_u64()?))).collect();
    Ok((calls, f.first(which, "saw.requests")?.as_u64().context("a number of requests")?))
}

/// How often a server made a call.
pub(super) fn made(calls: &[(String, u64)], name: &str) -> Value {
    Value::from(calls.iter().find(|(call, _)| call == name).map_or(0, |(_, number)| *number))
}

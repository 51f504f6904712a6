//! `demos exclusive`: `EPOLLEXCLUSIVE` on a listening socket that several workers watch, beside the same without it.
//!
//! In: workers and connections. Out: the story, and what the kernel answers to forbidden combinations.

use std::os::fd::OwnedFd;

use anyhow::{Result, ensure};
use clap::Args;
use nix::errno::Errno;
use serde::Serialize;

use crate::crew::Way;
use crate::fds::{epoll, eventfd};
use crate::sharing::{Load, scenes};
use crate::story::Story;
use crate::story::reaction::Reaction;

/// EPOLLEXCLUSIVE on a shared listening socket: who is woken, who is called back, who gets the connections
#[derive(Debug, Args, Serialize)]
#[command(after_help = "Examples:
  demos exclusive
  demos exclusive --workers 8 --connections 100 --json")]
pub(crate) struct Options {
    #[command(flatten)]
    #[serde(flatten)]
    load: Load,
}

/// Runs the demo and returns what it prints.
pub(crate) fn run(options: &Options) -> Result<String> {
    let mut story = Story::begin("exclusive", options)?;
    scenes(&mut story, Way::Own, &options.load)?;
    scenes(&mut story, Way::Exclusive, &options.load)?;
    forbidden(&mut story)?;
    story.end(options.load.json)
}

/// The rules of `EPOLLEXCLUSIVE` (`do_epoll_ctl`, fs/eventpoll.c, 5.10 to 7.3).
fn forbidden(story: &mut Story) -> Result<()> {
    const EXCLUSIVE: i32 = libc::EPOLLEXCLUSIVE;
    story.scene("forbidden combinations");
    let (epoll, inner, file, plain) = (epoll()?, epoll()?, eventfd(0)?, eventfd(0)?);
    let nothing = Reaction::none();
    let mut answer = |did: &str, op: i32, fd: &OwnedFd, events: i32, expected: Result<(), Errno>| -> Result<()> {
        let added = op == libc::EPOLL_CTL_ADD && expected.is_ok();
        story.step(did, nothing.hooked(u64::from(added)), |act| {
            let answer = act.ctl(&epoll, op, fd, events.cast_unsigned(), 1);
            ensure!(answer == expected, "the kernel answers {answer:?}, not {expected:?}");
            Ok(())
        })
    };
    let (add, modify, delete) = (libc::EPOLL_CTL_ADD, libc::EPOLL_CTL_MOD, libc::EPOLL_CTL_DEL);
    let refused = Err(Errno::EINVAL);
    for (name, with) in
        [("EPOLLONESHOT", libc::EPOLLONESHOT), ("EPOLLRDHUP", libc::EPOLLRDHUP), ("EPOLLPRI", libc::EPOLLPRI)]
    {
        answer(&format!("ADD with EPOLLEXCLUSIVE | {name}"), add, &file, EXCLUSIVE | libc::EPOLLIN | with, refused)?;
    }
    answer("ADD an eventpoll with EPOLLEXCLUSIVE", add, &inner, EXCLUSIVE | libc::EPOLLIN, refused)?;
    let allowed = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLERR | libc::EPOLLHUP | libc::EPOLLET;
    answer("ADD with EPOLLEXCLUSIVE and all that may be beside it", add, &file, EXCLUSIVE | allowed, Ok(()))?;
    answer("MOD the exclusive item, without EPOLLEXCLUSIVE", modify, &file, libc::EPOLLIN, refused)?;
    answer("MOD the exclusive item, with EPOLLEXCLUSIVE", modify, &file, EXCLUSIVE | libc::EPOLLIN, refused)?;
    answer("ADD another file without it", add, &plain, libc::EPOLLIN, Ok(()))?;
    answer("MOD that one to EPOLLEXCLUSIVE", modify, &plain, EXCLUSIVE | libc::EPOLLIN, refused)?;
    answer("DEL the exclusive item", delete, &file, 0, Ok(()))
}

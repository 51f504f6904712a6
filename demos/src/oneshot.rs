//! `demos oneshot`: `EPOLLONESHOT`, with workers that share an eventpoll, and what disabling an item means.
//!
//! In: workers and connections. Out: the story: one worker for each event, the MOD that each costs, and that a disabled item is not a
//! deleted one.

use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use nix::errno::Errno;
use serde::Serialize;

use crate::crew::Way;
use crate::fds::epoll;
use crate::sharing::{Load, scenes};
use crate::story::Story;
use crate::story::reaction::Reaction;

const IN: u32 = libc::EPOLLIN.cast_unsigned();
const ONESHOT: u32 = libc::EPOLLONESHOT.cast_unsigned();
const DATA: u64 = 1;
const WRITES: u64 = 5;

/// EPOLLONESHOT: one worker for each event, the MOD that arms it again, and what "disabled" is
#[derive(Debug, Args, Serialize)]
#[command(after_help = "Examples:
  demos oneshot
  demos oneshot --workers 8 --connections 100 --json")]
pub(crate) struct Options {
    #[command(flatten)]
    #[serde(flatten)]
    load: Load,
}

/// Runs the demo and returns what it prints.
pub(crate) fn run(options: &Options) -> Result<String> {
    let mut story = Story::begin("oneshot", options)?;
    scenes(&mut story, Way::Oneshot, &options.load)?;
    disabled(&mut story)?;
    story.end(options.load.json)
}

/// The item stays in the tree and in the wait queue: it is called back, and does nothing.
fn disabled(story: &mut Story) -> Result<()> {
    story.scene("disabled is not deleted");
    let (near, far) = UnixStream::pair().context("socketpair")?;
    near.set_nonblocking(true).context("fcntl(O_NONBLOCK)")?;
    let epoll = epoll()?;
    let mask = |act: &mut crate::story::act::Act<'_>| -> Result<()> {
        let path = format!("/proc/self/fdinfo/{}", epoll.as_raw_fd());
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        let words: Vec<&str> = text.split_whitespace().collect();
        let events = words.iter().position(|word| *word == "events:").and_then(|at| words.get(at + 1));
        act.tell("mask", *events.context("the item is not there")?);
        Ok(())
    };
    story.step("ADD with EPOLLIN | EPOLLONESHOT", Reaction::none().hooked(1), |act| {
        act.add(&epoll, &near, IN | ONESHOT, DATA)?;
        mask(act)
    })?;
    story.step("write a byte", Reaction::none().linked(1), |act| act.write(&far, b"x"))?;
    story.step("wait: delivered, and disabled", Reaction::wait(1), |act| {
        act.wait(&epoll, 1)?;
        mask(act)
    })?;
    story.step("wait: nothing, although the byte is there", Reaction::none(), |act| act.wait(&epoll, 1))?;
    story.step(format!("write {WRITES} bytes more"), Reaction::none().disabled(WRITES), |act| {
        (0..WRITES).try_for_each(|_| act.write(&far, b"y"))
    })?;
    story.step("wait: nothing", Reaction::none(), |act| act.wait(&epoll, 1))?;
    story.step("ADD it again: refused, it is there", Reaction::none(), |act| {
        let answer = act.ctl(&epoll, libc::EPOLL_CTL_ADD, &near, IN | ONESHOT, DATA);
        ensure!(answer == Err(Errno::EEXIST), "the kernel answers {answer:?}");
        Ok(())
    })?;
    story.step("MOD: armed again, and ready at once", Reaction::none(), |act| {
        act.modify(&epoll, &near, IN | ONESHOT, DATA)
    })?;
    story.step("wait: delivered without a callback", Reaction::wait(1), |act| act.wait(&epoll, 1))?;
    story.step("read all", Reaction::none(), |act| act.drain(&near, 64))?;
    story.step("the other end hangs up", Reaction::none().disabled(1), |_| {
        drop(far);
        Ok(())
    })?;
    story.step("wait: not even the hang-up is reported", Reaction::none(), |act| act.wait(&epoll, 1))?;
    story.step("MOD", Reaction::none(), |act| act.modify(&epoll, &near, IN | ONESHOT, DATA))?;
    story.step("wait: now it is", Reaction::wait(1), |act| act.wait(&epoll, 1))?;
    story.step("DEL", Reaction::none(), |act| act.delete(&epoll, &near))?;
    Ok(())
}

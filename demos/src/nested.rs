//! `demos nested`: eventpolls that watch eventpolls.
//!
//! In: nothing. Out: the story: one write calls back once for every level, what the outermost returns, and what the kernel refuses.

use std::os::fd::OwnedFd;

use anyhow::{Context as _, Result};
use clap::Args;
use nix::errno::Errno;
use serde::Serialize;

use crate::fds::{epoll, eventfd};
use crate::story::Story;
use crate::story::reaction::Reaction;

const IN: u32 = libc::EPOLLIN.cast_unsigned();
const EXCLUSIVE: u32 = libc::EPOLLEXCLUSIVE.cast_unsigned();
/// `EP_MAX_NESTS` is 4 (fs/eventpoll.c, 5.10 to 7.3): so many eventpolls in a row are the most.
const DEEPEST: usize = 5;

/// Eventpolls in eventpolls: a callback for every level, and where the kernel draws the line
#[derive(Debug, Args, Serialize)]
#[command(after_help = "Examples:
  demos nested
  demos nested --json")]
pub(crate) struct Options {
    /// Print one line of JSON instead of text
    #[arg(long)]
    #[serde(skip)]
    json: bool,
}

/// Runs the demo and returns what it prints.
pub(crate) fn run(options: &Options) -> Result<String> {
    let mut story = Story::begin("nested", options)?;
    for depth in 1..=DEEPEST {
        story.scene(format!("{depth} in a row"));
        chain(&mut story, depth)?;
    }
    refused(&mut story)?;
    story.end(options.json)
}

/// Every eventpoll watches the one before it; the first watches an eventfd.
fn build(story: &mut Story, depth: usize) -> Result<(OwnedFd, Vec<OwnedFd>)> {
    let file = eventfd(0)?;
    let epolls = (0..depth).map(|_| epoll()).collect::<Result<Vec<_>>>()?;
    story.step(format!("ADD each of {depth} to the next"), Reaction::none().hooked(depth as u64), |act| {
        let watched = std::iter::once(&file).chain(&epolls);
        for ((level, epoll), fd) in (0..).zip(&epolls).zip(watched) {
            act.add(epoll, fd, IN, level)?;
        }
        Ok(())
    })?;
    Ok((file, epolls))
}

fn chain(story: &mut Story, depth: usize) -> Result<()> {
    let (file, epolls) = build(story, depth)?;
    let outermost = epolls.last().context("a chain of none")?;
    let levels = depth as u64;
    story.step("write to the eventfd", Reaction::none().linked(levels).nested(levels - 1), |act| {
        act.write(&file, &1_u64.to_ne_bytes())
    })?;
    story.step("wait for the outermost", Reaction::wait(1), |act| act.wait(outermost, 1))?;
    story.step("read the eventfd", Reaction::none().filtered(1), |act| act.read(&file, 8))?;
    story.step("wait for the outermost: nothing", Reaction::wait(0), |act| act.wait(outermost, 1))?;
    story.step("wait once more", Reaction::none(), |act| act.wait(outermost, 1))?;
    Ok(())
}

/// The answers are the kernel's, and part of what the program saw.
fn refused(story: &mut Story) -> Result<()> {
    story.scene("refused");
    let (_file, epolls) = build(story, DEEPEST)?;
    let (first, outermost) = (epolls.first().context("no first")?, epolls.last().context("no last")?);
    let one_more = epoll()?;
    let nothing = Reaction::none();
    let mut answer = |did: &str, epoll: &OwnedFd, fd: &OwnedFd, events: u32, allowed: &[Errno]| -> Result<()> {
        story.step(did, nothing, |act| {
            let answer = act.ctl(epoll, libc::EPOLL_CTL_ADD, fd, events, 9);
            let refused = answer.as_ref().is_err_and(|errno| allowed.contains(errno));
            anyhow::ensure!(refused, "the kernel answers {answer:?}");
            Ok(())
        })
    };
    // 5.10 says EINVAL where later kernels say ELOOP (ep_loop_check, fs/eventpoll.c).
    answer("ADD the deepest chain to one more", &one_more, outermost, IN, &[Errno::ELOOP, Errno::EINVAL])?;
    answer("ADD the outermost to the first: a circle", first, outermost, IN, &[Errno::ELOOP])?;
    answer("ADD an eventpoll to itself", &one_more, &one_more, IN, &[Errno::EINVAL])?;
    answer("ADD an eventpoll with EPOLLEXCLUSIVE", &one_more, first, IN | EXCLUSIVE, &[Errno::EINVAL])?;
    Ok(())
}

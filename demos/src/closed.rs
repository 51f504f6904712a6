//! `demos closed`: a descriptor is closed while a duplicate of it lives: its item stays, and cannot be removed.
//!
//! In: nothing. Out: the story: events of a number that is closed, a number that stands for two files, and what ends it.

use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use nix::errno::Errno;
use serde::Serialize;

use crate::fds::{epoll, eventfd};
use crate::story::Story;
use crate::story::act::Act;
use crate::story::reaction::Reaction;

const IN: u32 = libc::EPOLLIN.cast_unsigned();
const OLD: u64 = 1;
const NEW: u64 = 2;
const COPY: u64 = 3;

/// A closed descriptor whose file lives on: events that no `epoll_ctl` can stop
#[derive(Debug, Args, Serialize)]
#[command(after_help = "Examples:
  demos closed
  demos closed --json")]
pub(crate) struct Options {
    /// Print one line of JSON instead of text
    #[arg(long)]
    #[serde(skip)]
    json: bool,
}

/// Runs the demo and returns what it prints.
pub(crate) fn run(options: &Options) -> Result<String> {
    let mut story = Story::begin("closed", options)?;
    last_reference(&mut story)?;
    duplicate(&mut story)?;
    both_numbers(&mut story)?;
    story.end(options.json)
}

fn raise(act: &mut Act<'_>, file: &OwnedFd) -> Result<()> {
    act.write(file, &1_u64.to_ne_bytes())
}

/// The items that the kernel shows in `/proc/self/fdinfo`: their numbers, in order.
fn registered(act: &mut Act<'_>, epoll: &OwnedFd) -> Result<Vec<RawFd>> {
    let path = format!("/proc/self/fdinfo/{}", epoll.as_raw_fd());
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let number = |line: &str| line.strip_prefix("tfd:")?.split_whitespace().next()?.parse().ok();
    let mut numbers: Vec<RawFd> = text.lines().filter_map(number).collect();
    numbers.sort_unstable();
    act.tell("registered", numbers.clone());
    Ok(numbers)
}

fn last_reference(story: &mut Story) -> Result<()> {
    story.scene("the only descriptor of a file is closed");
    let (epoll, file) = (epoll()?, eventfd(0)?);
    story.step("ADD an eventfd", Reaction::none().hooked(1), |act| act.add(&epoll, &file, IN, OLD))?;
    story.step("write to it", Reaction::none().linked(1), |act| raise(act, &file))?;
    story.step("close it", Reaction::none(), |act| {
        drop(file);
        ensure!(registered(act, &epoll)?.is_empty(), "the item is still registered");
        Ok(())
    })?;
    story.step("wait: the item is gone, and its event with it", Reaction::none(), |act| act.wait(&epoll, 4))?;
    Ok(())
}

fn duplicate(story: &mut Story) -> Result<()> {
    story.scene("a descriptor is closed, and a duplicate lives");
    let (epoll, file) = (epoll()?, eventfd(0)?);
    let number = file.as_raw_fd();
    story.step("ADD an eventfd", Reaction::none().hooked(1), |act| act.add(&epoll, &file, IN, OLD))?;
    let copy = story.step("dup it, and close the number that was registered", Reaction::none(), |act| {
        let copy = file.try_clone().context("dup")?;
        drop(file);
        ensure!(registered(act, &epoll)? == [number], "the item is gone");
        Ok(copy)
    })?;
    story.step("write to the duplicate", Reaction::none().linked(1), |act| raise(act, &copy))?;
    story.step("wait: an event of a closed descriptor", Reaction::wait(1), |act| act.wait(&epoll, 4))?;
    story.step("DEL the closed number, and the duplicate's: refused", Reaction::none(), |act| {
        let answers =
            [act.ctl(&epoll, libc::EPOLL_CTL_DEL, &number, 0, 0), act.ctl(&epoll, libc::EPOLL_CTL_DEL, &copy, 0, 0)];
        ensure!(answers == [Err(Errno::EBADF), Err(Errno::ENOENT)], "the kernel answers {answers:?}");
        Ok(())
    })?;
    story.step("wait: it is reported again", Reaction::wait(1), |act| act.wait(&epoll, 4))?;

    let new = story.step("open another eventfd: it gets the number", Reaction::none(), |_| {
        let new = eventfd(0)?;
        ensure!(new.as_raw_fd() == number, "it got another number");
        Ok(new)
    })?;
    story.step("ADD it: one number, two items", Reaction::none().hooked(1), |act| {
        act.add(&epoll, &new, IN, NEW)?;
        ensure!(registered(act, &epoll)? == [number, number], "there are not two items");
        Ok(())
    })?;
    story.step("write to the new file", Reaction::none().linked(1), |act| raise(act, &new))?;
    story.step("wait: both are reported", Reaction::wait(2), |act| act.wait(&epoll, 4))?;
    story.step("DEL the number: the new file's item goes", Reaction::none(), |act| act.delete(&epoll, &new))?;
    story.step("DEL it again: refused", Reaction::none(), |act| {
        let answer = act.ctl(&epoll, libc::EPOLL_CTL_DEL, &new, 0, 0);
        ensure!(answer == Err(Errno::ENOENT), "the kernel answers {answer:?}");
        Ok(())
    })?;
    story.step("wait: the old file's event remains", Reaction::wait(1), |act| act.wait(&epoll, 4))?;
    story.step("close the duplicate", Reaction::none(), |act| {
        drop(copy);
        ensure!(registered(act, &epoll)?.is_empty(), "the item is still registered");
        Ok(())
    })?;
    story.step("wait: nothing", Reaction::none(), |act| act.wait(&epoll, 4))?;
    Ok(())
}

/// The key of the tree is file and number: a duplicate is the same file with another number.
fn both_numbers(story: &mut Story) -> Result<()> {
    story.scene("a file and its duplicate are both registered");
    let (epoll, file) = (epoll()?, eventfd(0)?);
    let copy = file.try_clone().context("dup")?;
    story.step("ADD both numbers", Reaction::none().hooked(2), |act| {
        act.add(&epoll, &file, IN, OLD)?;
        act.add(&epoll, &copy, IN, COPY)?;
        ensure!(registered(act, &epoll)?.len() == 2, "there are not two items");
        Ok(())
    })?;
    story.step("ADD one of them again: refused", Reaction::none(), |act| {
        let answer = act.ctl(&epoll, libc::EPOLL_CTL_ADD, &copy, IN, COPY);
        ensure!(answer == Err(Errno::EEXIST), "the kernel answers {answer:?}");
        Ok(())
    })?;
    story.step("one write: two callbacks", Reaction::none().linked(2), |act| raise(act, &file))?;
    story.step("wait: two events", Reaction::wait(2), |act| act.wait(&epoll, 4))?;
    story.step("one read empties both", Reaction::none().filtered(2), |act| act.read(&copy, 8))?;
    story.step("wait: one scan of both", Reaction::wait(0), |act| act.wait(&epoll, 4))?;
    Ok(())
}

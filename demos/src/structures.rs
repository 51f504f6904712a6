//! `demos structures`: an eventpoll's items come, change and go, and its ready list with them.
//!
//! In: descriptor numbers, how many items more, how many events a wait may return. Out: the story, after each step with the items as
//! the kernel lists them in `/proc/self/fdinfo`: in the order of its tree, which is that of addresses, not of numbers.

use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use nix::errno::Errno;
use serde::Serialize;
use serde_json::{Value, json};

use crate::fds::{epoll, eventfd, give};
use crate::many::room_for;
use crate::story::Story;
use crate::story::act::Act;
use crate::story::reaction::Reaction;

const IN: u32 = libc::EPOLLIN.cast_unsigned();
const OUT: u32 = libc::EPOLLOUT.cast_unsigned();
const ET: u32 = libc::EPOLLET.cast_unsigned();
/// The eventpoll's number is above those that are asked for.
const HIGH: RawFd = 200;
/// So many items are listed one by one.
const LISTED: usize = 16;
/// Every so many of the further items become ready.
const STEP: usize = 100;

/// An eventpoll's tree and ready list: items added, modified, removed, duplicated, ready
#[derive(Debug, Args, Serialize)]
#[command(after_help = "Examples:
  demos structures
  demos structures --fd 5,9 --more 10000 --maxevents 1 --json
  demos structures --more 0 --snapshot eptrace

Beside it, eptrace shows the chain from item to wait queue, and what put each item on the ready list.")]
pub(crate) struct Options {
    /// The numbers of the first descriptors
    #[arg(long, value_name = "N,N,...", value_delimiter = ',', default_values_t = [3, 7, 12], value_parser = clap::value_parser!(i32).range(3..i64::from(HIGH)))]
    fd: Vec<i32>,
    /// How many descriptors more are registered in the end
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    more: u32,
    /// How many events one wait may return
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
    maxevents: u8,
    /// After each step but those with `--more` descriptors, show the structures as the kernel has them: `PROGRAM snapshot` is run, which
    /// takes root
    #[arg(long, value_name = "PROGRAM")]
    snapshot: Option<String>,
    /// Print one line of JSON instead of text
    #[arg(long)]
    #[serde(skip)]
    json: bool,
}

/// Runs the demo and returns what it prints.
pub(crate) fn run(options: &Options) -> Result<String> {
    ensure!(options.fd.len() >= 2 && options.fd.len() <= 16, "--fd takes two to sixteen numbers");
    room_for(u64::from(options.more) + 256)?;
    let mut story = Story::begin("structures", options)?;
    let epoll = at(HIGH, epoll()?)?;
    let files = options.fd.iter().map(|&number| at(number, eventfd(0)?)).collect::<Result<Vec<_>>>()?;
    story.show_structures(options.snapshot.as_deref().map(|program| (program, HIGH)));
    tree(&mut story, &epoll, &files)?;
    ready_list(&mut story, &epoll, &files, options.maxevents)?;
    without_callback(&mut story, &epoll, &files)?;
    story.show_structures(None);
    many(&mut story, &epoll, options.more as usize)?;
    story.end(options.json)
}

/// The same file under this number alone. A number that is in use is not taken from whoever uses it.
fn at(number: RawFd, file: OwnedFd) -> Result<OwnedFd> {
    if file.as_raw_fd() == number {
        return Ok(file);
    }
    // SAFETY: a call without pointers.
    let free = unsafe { libc::fcntl(number, libc::F_GETFD) } < 0;
    ensure!(free, "descriptor {number} is in use: choose others with --fd");
    give(number, &file)?;
    // SAFETY: the number is new, and ours: nothing else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// The items as the kernel lists them, in the order of its tree.
fn tell_tree(act: &mut Act<'_>, epoll: &OwnedFd) -> Result<()> {
    let path = format!("/proc/self/fdinfo/{}", epoll.as_raw_fd());
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let items: Vec<Value> = text
        .lines()
        .filter_map(|line| {
            let mut words = line.strip_prefix("tfd:")?.split_whitespace();
            let fd: RawFd = words.next()?.parse().ok()?;
            let mut after = |key: &str| words.by_ref().find(|word| *word == key).and_then(|_| words.next());
            let mask = after("events:")?.to_owned();
            let data = u64::from_str_radix(after("data:")?, 16).ok()?;
            Some(json!({"fd": fd, "mask": mask, "data": data}))
        })
        .collect();
    act.tell("items", items.len());
    if items.len() <= LISTED {
        act.tell("tree", items);
    }
    Ok(())
}

/// Numbers as data, so that an event says which descriptor it is of.
fn data(file: &OwnedFd) -> Result<u64> {
    u64::try_from(file.as_raw_fd()).context("a descriptor")
}

fn add(act: &mut Act<'_>, epoll: &OwnedFd, file: &OwnedFd, events: u32) -> Result<()> {
    let data = data(file)?;
    act.add(epoll, file, events, data)
}

fn raise(act: &mut Act<'_>, file: &OwnedFd) -> Result<()> {
    act.write(file, &1_u64.to_ne_bytes())
}

fn refused(act: &mut Act<'_>, epoll: &OwnedFd, op: i32, file: &OwnedFd, expected: Errno) -> Result<()> {
    let answer = act.ctl(epoll, op, file, IN, 0);
    ensure!(answer == Err(expected), "the kernel answers {answer:?}, not {expected:?}");
    Ok(())
}

fn tree(story: &mut Story, epoll: &OwnedFd, files: &[OwnedFd]) -> Result<()> {
    story.scene("the tree");
    for file in files {
        story.step(format!("ADD {}", file.as_raw_fd()), Reaction::none().hooked(1), |act| {
            add(act, epoll, file, IN)?;
            tell_tree(act, epoll)
        })?;
    }
    let (first, second) = (&files[0], &files[1]);
    let number = second.as_raw_fd();
    story.step(format!("ADD {number} again: refused"), Reaction::none(), |act| {
        refused(act, epoll, libc::EPOLL_CTL_ADD, second, Errno::EEXIST)
    })?;
    story.step(format!("MOD {number} to EPOLLET"), Reaction::none(), |act| {
        act.modify(epoll, second, IN | ET, data(second)?)?;
        tell_tree(act, epoll)
    })?;
    let copy = story.step(format!("dup {number} and ADD the duplicate"), Reaction::none().hooked(1), |act| {
        let copy = second.try_clone().context("dup")?;
        add(act, epoll, &copy, IN)?;
        tell_tree(act, epoll)?;
        Ok(copy)
    })?;
    story.step(format!("write to {number}: the file is called back twice"), Reaction::none().linked(2), |act| {
        raise(act, second)
    })?;
    story.step("DEL the duplicate: off the ready list as well", Reaction::none(), |act| {
        act.delete(epoll, &copy)?;
        tell_tree(act, epoll)
    })?;
    story.step("wait: one is left", Reaction::wait(1), |act| act.wait(epoll, 8))?;
    story.step(format!("DEL {number}"), Reaction::none(), |act| {
        act.delete(epoll, second)?;
        tell_tree(act, epoll)
    })?;
    story.step(format!("DEL {number} again: refused"), Reaction::none(), |act| {
        refused(act, epoll, libc::EPOLL_CTL_DEL, second, Errno::ENOENT)
    })?;
    story.step(format!("read {number}, ADD it again"), Reaction::none().hooked(1), |act| {
        act.read(second, 8)?;
        add(act, epoll, second, IN)?;
        tell_tree(act, epoll)
    })?;
    story.step(format!("write to {}", first.as_raw_fd()), Reaction::none().linked(1), |act| raise(act, first))?;
    story.step("write to it again", Reaction::none().already_linked(1), |act| raise(act, first))?;
    story.step("read it", Reaction::none().filtered(1), |act| act.read(first, 8))?;
    story.step("wait: the scan finds that it is not ready", Reaction::wait(0), |act| act.wait(epoll, 8))?;
    Ok(())
}

/// What is left over stays at the head of the list, what is put back goes to its tail: everyone gets a turn.
fn ready_list(story: &mut Story, epoll: &OwnedFd, files: &[OwnedFd], maxevents: u8) -> Result<()> {
    story.scene(format!("the ready list, and waits for {maxevents}"));
    let all = files.len() as u64;
    story.step("write to all of them", Reaction::none().linked(all), |act| {
        files.iter().try_for_each(|file| raise(act, file))
    })?;
    let each = all.min(u64::from(maxevents));
    let mut turns: Vec<u64> = Vec::new();
    for _ in 0..4 {
        let events =
            story.step("wait, level-triggered", Reaction::wait(each), |act| act.wait(epoll, usize::from(maxevents)))?;
        turns.extend(events.iter().map(|event| event.data));
    }
    let numbers = files.iter().map(data).collect::<Result<Vec<_>>>()?;
    let round = turns.iter().zip(numbers.iter().cycle()).all(|(turn, number)| turn == number);
    ensure!(round, "the events came as {turns:?}");
    story.step("read all of them", Reaction::none().filtered(all), |act| {
        files.iter().try_for_each(|file| act.read(file, 8).map(drop))
    })?;
    story.step("wait: all are looked at, none is ready", Reaction::wait(0), |act| {
        act.wait(epoll, usize::from(maxevents))
    })?;
    Ok(())
}

/// The other ways onto the ready list.
fn without_callback(story: &mut Story, epoll: &OwnedFd, files: &[OwnedFd]) -> Result<()> {
    story.scene("onto the ready list without a callback");
    let first = &files[0];
    story.step("MOD an item to EPOLLOUT, which it is ready for", Reaction::none(), |act| {
        act.modify(epoll, first, OUT, data(first)?)
    })?;
    story.step("wait", Reaction::wait(1), |act| act.wait(epoll, 8))?;
    story.step("MOD it back to EPOLLIN", Reaction::none(), |act| act.modify(epoll, first, IN, data(first)?))?;
    story.step("wait: it was put back, and is not ready for that", Reaction::wait(0), |act| act.wait(epoll, 8))?;
    let ready = eventfd(1)?;
    story.step("ADD a file that is ready", Reaction::none().hooked(1), |act| add(act, epoll, &ready, IN))?;
    story.step("wait", Reaction::wait(1), |act| act.wait(epoll, 8))?;
    story.step("close it: the item goes with the file", Reaction::none(), |act| {
        drop(ready);
        tell_tree(act, epoll)
    })?;
    story.step("wait: nothing", Reaction::none(), |act| act.wait(epoll, 8))?;
    Ok(())
}

fn many(story: &mut Story, epoll: &OwnedFd, more: usize) -> Result<()> {
    if more == 0 {
        return Ok(());
    }
    story.scene(format!("{more} more"));
    let files = (0..more).map(|_| eventfd(0)).collect::<Result<Vec<_>>>()?;
    story.step(format!("ADD {more} eventfds"), Reaction::none().hooked(more as u64), |act| {
        files.iter().try_for_each(|file| add(act, epoll, file, IN))?;
        tell_tree(act, epoll)
    })?;
    let chosen: Vec<&OwnedFd> = files.iter().step_by(STEP).take(64).collect();
    let ready = chosen.len() as u64;
    story.step(format!("write to {ready} of them"), Reaction::none().linked(ready), |act| {
        chosen.iter().try_for_each(|file| raise(act, file))
    })?;
    story.step("wait", Reaction::wait(ready), |act| act.wait(epoll, 64))?;
    story.step("DEL all of them", Reaction::none(), |act| {
        files.iter().try_for_each(|file| act.delete(epoll, file))?;
        tell_tree(act, epoll)
    })?;
    story.step("wait: nothing", Reaction::none(), |act| act.wait(epoll, 64))?;
    Ok(())
}

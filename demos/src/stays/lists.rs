//! Stays that a wait ends.

use anyhow::Result;

use super::{EDGE, IN, ONCE, Stage};
use crate::fds::{epoll, eventfd, lower, raise};

const PRI: u32 = libc::EPOLLPRI.cast_unsigned();

pub(super) fn ready_at_add(stage: &mut Stage) -> Result<()> {
    let (epoll, file) = (epoll()?, eventfd(1)?);
    stage.ctl(&epoll, libc::EPOLL_CTL_ADD, &file, IN | EDGE)?;
    stage.came.ready_at_add += 1;
    stage.wait(&epoll, 4, 1)?;
    stage.went.delivered += 1;
    stage.wait(&epoll, 4, 0)
}

/// First it waits for what an eventfd never is.
pub(super) fn ready_at_mod(stage: &mut Stage) -> Result<()> {
    let (epoll, file) = (epoll()?, eventfd(1)?);
    stage.ctl(&epoll, libc::EPOLL_CTL_ADD, &file, PRI | EDGE)?;
    stage.wait(&epoll, 4, 0)?;
    stage.ctl(&epoll, libc::EPOLL_CTL_MOD, &file, IN | EDGE)?;
    stage.came.ready_at_mod += 1;
    stage.wait(&epoll, 4, 1)?;
    stage.went.delivered += 1;
    Ok(())
}

/// Two callbacks before the first wait are one stay.
pub(super) fn callback(stage: &mut Stage) -> Result<()> {
    let (epoll, file) = stage.ready(IN | EDGE)?;
    raise(&file)?;
    stage.wait(&epoll, 4, 1)?;
    stage.went.delivered += 1;
    stage.raise(&file)?;
    stage.wait(&epoll, 4, 1)?;
    stage.went.delivered += 1;
    stage.wait(&epoll, 4, 0)
}

pub(super) fn requeue(stage: &mut Stage) -> Result<()> {
    let (epoll, file) = stage.ready(IN)?;
    for _ in 0..2 {
        stage.wait(&epoll, 4, 1)?;
        stage.went.delivered += 1;
        stage.came.requeue += 1;
    }
    lower(&file)?;
    stage.wait(&epoll, 4, 0)?;
    stage.went.not_ready += 1;
    Ok(())
}

/// Each wait has room for one of those that are left.
pub(super) fn carried_over(stage: &mut Stage) -> Result<()> {
    const ITEMS: u64 = 4;
    let (epoll, first) = stage.ready(IN | EDGE)?;
    let mut files = vec![first];
    for _ in 1..ITEMS {
        let file = eventfd(0)?;
        stage.ctl(&epoll, libc::EPOLL_CTL_ADD, &file, IN | EDGE)?;
        stage.raise(&file)?;
        files.push(file);
    }
    for left in (0..ITEMS).rev() {
        stage.wait(&epoll, 1, 1)?;
        stage.went.delivered += 1;
        stage.went.carried_over += left;
        stage.came.carried_over += left;
    }
    stage.wait(&epoll, 1, 0)
}

/// A MOD arms it again; what comes before that does not put it on the ready list.
pub(super) fn one_shot(stage: &mut Stage) -> Result<()> {
    let (epoll, file) = stage.ready(IN | ONCE)?;
    stage.wait(&epoll, 4, 1)?;
    stage.went.oneshot += 1;
    raise(&file)?;
    stage.wait(&epoll, 4, 0)?;
    stage.ctl(&epoll, libc::EPOLL_CTL_MOD, &file, IN | ONCE)?;
    stage.came.ready_at_mod += 1;
    stage.wait(&epoll, 4, 1)?;
    stage.went.oneshot += 1;
    Ok(())
}

pub(super) fn not_ready(stage: &mut Stage) -> Result<()> {
    let (epoll, file) = stage.ready(IN | EDGE)?;
    lower(&file)?;
    stage.wait(&epoll, 4, 0)?;
    stage.went.not_ready += 1;
    Ok(())
}

//! Callbacks while a scan runs: the scan is held up in its middle, since the program's array is a page that is not there.

use std::os::fd::AsRawFd as _;

use anyhow::{Context as _, Result, anyhow, ensure};

use super::{EDGE, IN, Stage};
use crate::absent_page::AbsentPage;
use crate::counted::Counted;
use crate::fds::{eventfd, lower, raise};

/// The scan has taken the first and the last, and is held up at the first. Callbacks meanwhile put all three on the overflow list. At its
/// end the scan puts back the last, which is level-triggered, before it looks at the overflow list: so that one is on the ready list
/// already, and only the others come from the overflow list (`ep_done_scan`, fs/eventpoll.c; 5.10: `ep_scan_ready_list`; to 7.3).
pub(super) fn overflow(stage: &mut Stage) -> Result<()> {
    let page = match AbsentPage::new() {
        Ok(page) => page,
        Err(error) => {
            let what = format!("a scan that is held up ({error:#})");
            if !stage.missing.contains(&what) {
                stage.missing.push(what);
            }
            return Ok(());
        }
    };
    let (epoll, first) = stage.idle(IN | EDGE)?;
    let (second, last) = (eventfd(0)?, eventfd(0)?);
    stage.ctl(&epoll, libc::EPOLL_CTL_ADD, &second, IN | EDGE)?;
    stage.ctl(&epoll, libc::EPOLL_CTL_ADD, &last, IN)?;
    stage.raise(&first)?;
    stage.raise(&last)?;

    let (epfd, address) = (epoll.as_raw_fd(), page.address);
    let waiter = std::thread::Builder::new().name("waiter".to_owned()).spawn(move || {
        let mut calls = Counted::default();
        let room = std::ptr::with_exposed_provenance_mut(address);
        // SAFETY: the page is mapped, and nobody else's while the thread lives.
        let answer = unsafe { calls.wait_at(epfd, room, 4, -1) };
        (nix::unistd::gettid().as_raw(), answer, calls.counts())
    });
    let waiter = waiter.context("start a thread")?;
    page.until_missed()?;
    [&first, &second, &last].into_iter().try_for_each(raise)?;
    page.give()?;
    let (tid, answer, counts) = waiter.join().map_err(|_| anyhow!("a thread panicked"))?;
    ensure!(answer == Ok(2), "the wait that was held up gave {answer:?}");
    stage.others.push((tid, counts));
    stage.went.delivered += 2;
    stage.came.overflow += 2;
    stage.came.requeue += 1;

    stage.wait(&epoll, 4, 3)?;
    stage.went.delivered += 3;
    stage.came.requeue += 1;
    lower(&last)?;
    stage.wait(&epoll, 4, 0)?;
    stage.went.not_ready += 1;
    Ok(())
}

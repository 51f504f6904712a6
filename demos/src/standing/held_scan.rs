//! A scan that is held up in its middle: the kernel is to write an event to a page that is not there, and whoever is asked for the page
//! lets it wait. Meanwhile the scan holds the eventpoll's mutex, and what becomes ready goes to the overflow list.

use std::os::fd::OwnedFd;
use std::sync::mpsc::channel;
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, anyhow, ensure};

use super::{IN, Standing, keep, raise, standing};
use crate::absent_page::AbsentPage;
use crate::fds::{epoll, eventfd};

/// The thread that is held up.
pub(super) struct HeldScan {
    page: AbsentPage,
    thread: JoinHandle<i32>,
}

/// Items beside the one whose delivery is held up.
const LATER: usize = 3;

pub(super) fn begin(open: &mut Vec<OwnedFd>) -> Result<(Standing, HeldScan)> {
    let mut this = Standing { what: "held", ..standing(keep(open, epoll()?)) };
    let first = keep(open, eventfd(1)?);
    this.add(first, IN)?;
    for _ in 0..LATER {
        let fd = keep(open, eventfd(0)?);
        this.add(fd, IN)?;
    }
    let page = AbsentPage::new()?;
    let address = page.address;
    let (epfd, (tell, told)) = (this.epfd, channel());
    let thread = std::thread::Builder::new()
        .name("held-scan".to_owned())
        .spawn(move || {
            let _ = tell.send(nix::unistd::gettid().as_raw());
            // SAFETY: the page is mapped, with room for the events.
            unsafe { libc::epoll_wait(epfd, std::ptr::with_exposed_provenance_mut(address), 8, -1) }
        })
        .context("cannot start a thread")?;
    this.scans = Some(told.recv().context("hear the thread's number")?);
    // The kernel asks for the page: the scan is in its middle.
    page.until_missed()?;
    // The last to come stands first.
    for item in this.items.iter().skip(1) {
        raise(item.fd)?;
        this.overflow.insert(0, item.fd);
    }
    // The end of the scan turns them round, and puts them before what it delivered.
    this.ready_after.extend(this.overflow.iter().rev().copied().chain([first]));
    Ok((this, HeldScan { page, thread }))
}

impl HeldScan {
    /// Gives the page, and waits for the wait's end.
    pub(super) fn end(self) -> Result<()> {
        self.page.give()?;
        let events = self.thread.join().map_err(|_| anyhow!("a thread panicked"))?;
        ensure!(events == 1, "the wait that was held up gave {events} events, not 1");
        Ok(())
    }
}

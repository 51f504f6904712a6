//! One worker: a thread or a process that waits, accepts, answers and closes until it is told to stop.
//!
//! In: its [`Post`]. Out: messages to its master, the last of which carries its counts.

use std::io::{PipeWriter, Write as _};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use nix::sys::eventfd::EventFd;

use crate::counted::Counted;
use crate::truth::Counts;

use super::Mode;
use super::message::Message;
use super::stage::{LISTEN, STOP, Stage, listen_event, new_epoll};

/// Room for this many events in each wait, as servers commonly have it.
const MAX_EVENTS: usize = 64;

/// Where a worker stands. The eventfd is its own, except on a stage with a shared epoll instance, which has one for all.
#[derive(Debug)]
pub(super) struct Post {
    pub(super) index: u8,
    pub(super) stage: Arc<Stage>,
    pub(super) stop: Option<Arc<EventFd>>,
}

/// What a worker has at hand while it runs.
struct Desk<'a> {
    post: &'a Post,
    epoll: &'a Epoll,
    listener: &'a OwnedFd,
    stop: &'a EventFd,
    calls: Counted,
}

impl Post {
    /// Works until told to stop. The last message says how it ended.
    pub(super) fn work(&self, mut master: PipeWriter) {
        let last = match self.run(&mut master) {
            Ok(counts) => Message::Done { counts },
            Err(error) => Message::Failed { error: format!("{error:#}") },
        };
        if let Err(error) = last.send(&mut master) {
            eprintln!("demos: worker {}: {error:#}", self.index);
        }
    }

    fn run(&self, master: &mut PipeWriter) -> Result<Counts> {
        let name = std::ffi::CString::new(format!("herd-w{}", self.index)).context("a name for the worker")?;
        nix::sys::prctl::set_name(&name).context("prctl(PR_SET_NAME)")?;
        match (self.stage.shared(), &self.stop) {
            (Some(shared), _) => {
                let desk = Desk::new(self, &shared.epoll, self.stage.socket(), &shared.stop);
                desk.serve(master)
            }
            (None, Some(stop)) => {
                let epoll = new_epoll()?;
                let own = (self.stage.mode() == Mode::Reuseport).then(|| self.stage.another_socket()).transpose()?;
                let listener = own.as_ref().unwrap_or(self.stage.socket());
                let mut desk = Desk::new(self, &epoll, listener, stop);
                desk.calls.add(&epoll, listener, listen_event(self.stage.mode()))?;
                desk.calls.add(&epoll, stop, EpollEvent::new(EpollFlags::EPOLLIN, STOP))?;
                desk.serve(master)
            }
            (None, None) => {
                unreachable!("a worker without a shared epoll instance has its own eventfd")
            }
        }
    }
}

impl<'a> Desk<'a> {
    fn new(post: &'a Post, epoll: &'a Epoll, listener: &'a OwnedFd, stop: &'a EventFd) -> Self {
        Self { post, epoll, listener, stop, calls: Counted::default() }
    }

    fn serve(mut self, master: &mut PipeWriter) -> Result<Counts> {
        Message::Ready { tid: nix::unistd::gettid().as_raw() }.send(master)?;
        let mut room = [EpollEvent::empty(); MAX_EVENTS];
        let mut stopping = false;
        while !stopping {
            for event in self.calls.wait(self.epoll, &mut room)? {
                if event.data() == LISTEN {
                    self.take_connections()?;
                } else {
                    // There is one for each worker: on a shared eventfd none takes another's.
                    self.stop.read().context("read the eventfd that says to stop")?;
                    stopping = true;
                }
            }
        }
        // As servers do before they close: no more events for this listener. A shared epoll instance is the master's.
        if self.post.stage.shared().is_none() {
            self.calls.delete(self.epoll, self.listener)?;
        }
        Ok(self.calls.counts())
    }

    /// One connection for each event; edge-triggered, all there are, since no second event will tell of the rest.
    fn take_connections(&mut self) -> Result<()> {
        let mode = self.post.stage.mode();
        loop {
            let connection = self.calls.accept(self.listener)?;
            if mode == Mode::Oneshot {
                // Before the answer, so that another worker can take the next connection meanwhile.
                self.calls.modify(self.epoll, self.listener, listen_event(mode))?;
            }
            let Some(connection) = connection else {
                return Ok(());
            };
            TcpStream::from(connection).write_all(&[self.post.index]).context("write the answer to a connection")?;
            if mode != Mode::Et {
                return Ok(());
            }
        }
    }
}

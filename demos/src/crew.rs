//! Workers that accept connections, held between their wait and their accept where a scene wants it.
//!
//! In: how they share the port ([`Way`]), how many. Out: steps: connections arrive, workers are let go on, workers stop. All threads
//! share the story's one CPU, and a step ends when the kernel shows every worker asleep: in `epoll_wait`, or held.
//!
//! A worker that is held has been told of a connection and has not accepted it yet, as a busy server's worker: whoever else is told
//! meanwhile is told for certain.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, anyhow, ensure};
use nix::sys::pthread::{Pthread, pthread_kill, pthread_self};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::asleep::{WAITS, is_asleep_in, until_all_in};
use crate::counted::Counted;
use crate::ends::Listener;
use crate::fds::epoll;
use crate::story::Story;
use crate::story::act::Act;
use crate::story::reaction::Reaction;
use crate::truth::Counts;

const IN: u32 = libc::EPOLLIN.cast_unsigned();
const ET: u32 = libc::EPOLLET.cast_unsigned();
const ONESHOT: u32 = libc::EPOLLONESHOT.cast_unsigned();
const EXCLUSIVE: u32 = libc::EPOLLEXCLUSIVE.cast_unsigned();
/// `epoll_data` of the listening sockets.
const LISTEN: u64 = 1;

/// How workers share a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// One socket, an eventpoll for each worker.
    Own,
    /// The same with `EPOLLEXCLUSIVE`.
    Exclusive,
    /// One socket in one eventpoll, level-triggered.
    Shared,
    /// The same, edge-triggered.
    SharedEt,
    /// The same with `EPOLLONESHOT`.
    Oneshot,
    /// A socket (`SO_REUSEPORT`) and an eventpoll for each worker.
    Reuseport,
}

impl Way {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Own => "an eventpoll each, one socket",
            Self::Exclusive => "an eventpoll each, one socket with EPOLLEXCLUSIVE",
            Self::Shared => "one eventpoll for all, level-triggered",
            Self::SharedEt => "one eventpoll for all, edge-triggered",
            Self::Oneshot => "one eventpoll for all, EPOLLONESHOT",
            Self::Reuseport => "an eventpoll and a socket (SO_REUSEPORT) each",
        }
    }

    fn mask(self) -> u32 {
        IN | match self {
            Self::Own | Self::Shared | Self::Reuseport => 0,
            Self::Exclusive => EXCLUSIVE,
            Self::SharedEt => ET,
            Self::Oneshot => ONESHOT,
        }
    }

    fn one_eventpoll(self) -> bool {
        matches!(self, Self::Shared | Self::SharedEt | Self::Oneshot)
    }
}

/// What a worker stands at.
#[derive(Debug)]
struct Post {
    way: Way,
    epoll: Arc<OwnedFd>,
    listener: Arc<Listener>,
    /// A blocking eventfd: reading it waits until the worker may go on.
    gate: OwnedFd,
    held: Arc<AtomicBool>,
    stopping: Arc<AtomicBool>,
    accepted: AtomicU64,
    eagain: AtomicU64,
}

#[derive(Debug)]
struct Member {
    tid: i32,
    thread: Pthread,
    post: Arc<Post>,
    handle: JoinHandle<Result<Counts>>,
}

/// The workers of one scene.
#[derive(Debug)]
pub(crate) struct Crew {
    members: Vec<Member>,
    listener: Arc<Listener>,
    held: Arc<AtomicBool>,
    stopping: Arc<AtomicBool>,
    clients: Vec<OwnedFd>,
}

impl Crew {
    /// Each worker sleeps before the next one starts.
    pub(crate) fn start(story: &mut Story, way: Way, workers: u8) -> Result<Self> {
        let action = SigAction::new(SigHandler::Handler(nothing), SaFlags::empty(), SigSet::empty());
        // SAFETY: the handler does nothing. Without SA_RESTART it ends a wait.
        unsafe { sigaction(Signal::SIGUSR1, &action) }.context("sigaction(SIGUSR1)")?;
        let items = if way.one_eventpoll() { 1 } else { u64::from(workers) };
        story.step(format!("{workers} workers wait for connections"), Reaction::none().hooked(items), |act| {
            let first = Arc::new(if way == Way::Reuseport { Listener::shared(None)? } else { Listener::new()? });
            let mut crew = Self {
                members: Vec::new(),
                listener: Arc::clone(&first),
                held: Arc::default(),
                stopping: Arc::default(),
                clients: Vec::new(),
            };
            let shared = if way.one_eventpoll() { Some(Arc::new(epoll()?)) } else { None };
            if let Some(shared) = &shared {
                act.add(&**shared, &first.socket, way.mask(), LISTEN)?;
            }
            for index in 0..workers {
                let listener = match way {
                    Way::Reuseport if index > 0 => Arc::new(Listener::shared(Some(&first))?),
                    _ => Arc::clone(&first),
                };
                let own = if let Some(shared) = &shared {
                    Arc::clone(shared)
                } else {
                    let own = Arc::new(epoll()?);
                    act.add(&*own, &listener.socket, way.mask(), LISTEN)?;
                    own
                };
                crew.hire(index, way, own, listener)?;
            }
            Ok(crew)
        })
    }

    fn hire(&mut self, index: u8, way: Way, epoll: Arc<OwnedFd>, listener: Arc<Listener>) -> Result<()> {
        // SAFETY: a call without pointers gives a new descriptor, or -1 with an errno.
        let gate = unsafe { crate::fds::own(libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_SEMAPHORE), "eventfd")? };
        let post = Arc::new(Post {
            way,
            epoll,
            listener,
            gate,
            held: Arc::clone(&self.held),
            stopping: Arc::clone(&self.stopping),
            accepted: AtomicU64::new(0),
            eagain: AtomicU64::new(0),
        });
        let (tell, told) = channel();
        let at = Arc::clone(&post);
        let handle = std::thread::Builder::new()
            .name(format!("worker-{index}"))
            .spawn(move || {
                tell.send((nix::unistd::gettid().as_raw(), pthread_self())).context("tell the thread's number")?;
                at.work()
            })
            .context("start a thread")?;
        let (tid, thread) = told.recv().context("hear the thread's number")?;
        self.members.push(Member { tid, thread, post, handle });
        self.settle()
    }

    fn tids(&self) -> Vec<i32> {
        self.members.iter().map(|member| member.tid).collect()
    }

    /// Returns when every worker sleeps, in `epoll_wait` or at its gate.
    fn settle(&self) -> Result<()> {
        let calls: Vec<libc::c_long> = WAITS.iter().copied().chain([libc::SYS_read]).collect();
        until_all_in(&self.tids(), &calls)
    }

    /// From now on workers are held between their wait and their accept, or not.
    pub(crate) fn hold(&self, hold: bool) {
        self.held.store(hold, Ordering::Relaxed);
    }

    /// Connections arrive one by one, each when all workers sleep.
    pub(crate) fn connections(&mut self, story: &mut Story, number: u32, kernel: Reaction) -> Result<()> {
        let did = if number == 1 { "a connection arrives".to_owned() } else { format!("{number} connections arrive") };
        story.step(format!("{did}, {}", self.state()), kernel, |act| {
            let before = self.done();
            for _ in 0..number {
                self.clients.push(self.listener.connect()?);
                self.settle()?;
            }
            self.tell(act, &before)
        })
    }

    fn state(&self) -> &'static str {
        if self.held.load(Ordering::Relaxed) { "and workers are slow to accept" } else { "when all workers sleep" }
    }

    /// Every worker that is held may go on, one after another, until none is held any more.
    pub(crate) fn release(&mut self, story: &mut Story, kernel: Reaction) -> Result<()> {
        story.step("the workers go on, one after another, until all wait again", kernel, |act| {
            let before = self.done();
            let mut turns: u64 = 0;
            loop {
                let mut idle = true;
                for member in &self.members {
                    if is_asleep_in(member.tid, &[libc::SYS_read])? {
                        nix::unistd::write(&member.post.gate, &1_u64.to_ne_bytes()).context("open a gate")?;
                        self.settle()?;
                        (idle, turns) = (false, turns + 1);
                    }
                }
                if idle {
                    break;
                }
            }
            act.tell("turns", turns);
            self.tell(act, &before)
        })
    }

    /// How many connections each worker has accepted, and how often there were none.
    fn done(&self) -> (Vec<u64>, u64) {
        let accepted = self.members.iter().map(|member| member.post.accepted.load(Ordering::Relaxed)).collect();
        (accepted, self.members.iter().map(|member| member.post.eagain.load(Ordering::Relaxed)).sum())
    }

    fn tell(&self, act: &mut Act<'_>, before: &(Vec<u64>, u64)) -> Result<()> {
        let (accepted, eagain) = self.done();
        let each: Vec<u64> = accepted.iter().zip(&before.0).map(|(now, before)| now - before).collect();
        let at_gate = self.members.iter().map(|member| is_asleep_in(member.tid, &[libc::SYS_read]));
        let held = at_gate.collect::<Result<Vec<_>>>()?.into_iter().filter(|&held| held).count();
        act.tell("accepted", each.iter().sum::<u64>());
        act.tell("accepted_by_worker", each);
        act.tell("nothing_to_accept", eagain - before.1);
        act.tell("held", held);
        Ok(())
    }

    /// Ends all workers, with a signal: each is asleep in its wait.
    pub(crate) fn stop(self, story: &mut Story) -> Result<()> {
        let connections = self.clients.len() as u64;
        let (accepted, _) = self.done();
        ensure!(accepted.iter().sum::<u64>() == connections, "{accepted:?} of {connections} connections were accepted");
        self.stopping.store(true, Ordering::Relaxed);
        let members = self.members;
        // A task that a signal wakes looks at the ready list once more before it gives up (ep_poll).
        let kernel = Reaction::none().scans(members.len() as u64);
        let counts = story.step("a signal ends every wait, and the workers stop", kernel, |_| {
            let mut counts = Vec::new();
            for member in members {
                pthread_kill(member.thread, Signal::SIGUSR1).context("pthread_kill")?;
                let one = member.handle.join().map_err(|_| anyhow!("a worker panicked"))??;
                counts.push((member.tid, one));
            }
            Ok(counts)
        })?;
        for (tid, counts) in counts {
            story.joined(tid, counts);
        }
        Ok(())
    }
}

extern "C" fn nothing(_: libc::c_int) {}

impl Post {
    fn work(&self) -> Result<Counts> {
        let mut calls = Counted::default();
        let mut room = [libc::epoll_event { events: 0, u64: 0 }];
        loop {
            if calls.wait_raw(self.epoll.as_raw_fd(), &mut room, -1) == 0 {
                if self.stopping.load(Ordering::Relaxed) {
                    return Ok(calls.counts());
                }
                continue;
            }
            if self.held.load(Ordering::Relaxed) {
                nix::unistd::read(&self.gate, &mut [0; 8]).context("wait at the gate")?;
            }
            self.take(&mut calls)?;
        }
    }

    /// One connection for each event; edge-triggered, all there are, since no second event will tell of the rest.
    fn take(&self, calls: &mut Counted) -> Result<()> {
        loop {
            let connection = calls.accept(&self.listener.socket)?;
            if connection.is_some() {
                self.accepted.fetch_add(1, Ordering::Relaxed);
            } else {
                self.eagain.fetch_add(1, Ordering::Relaxed);
            }
            if self.way == Way::Oneshot {
                let (epoll, fd) = (self.epoll.as_raw_fd(), self.listener.socket.as_raw_fd());
                let event = Some((self.way.mask(), LISTEN));
                calls.ctl(epoll, libc::EPOLL_CTL_MOD, fd, event).context("epoll_ctl(EPOLL_CTL_MOD)")?;
            }
            if connection.is_none() || self.way != Way::SharedEt {
                return Ok(());
            }
        }
    }
}

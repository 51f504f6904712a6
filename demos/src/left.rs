//! `demos left`: reads that leave something, and how much there is to read after each, as the kernel itself says.
//!
//! In: nothing. Out: for each source what was written, and for each read what it returned and what `FIONREAD` said behind it; of a listening
//! socket its accepts, and the connections that were left.

use std::io::IoSliceMut;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::sched::sched_yield;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, recvmsg, setsockopt, socketpair, sockopt};
use nix::sys::stat::Mode;
use serde::Serialize;

use crate::counted::Counted;
use crate::ends::{tcp_state, unacknowledged, unread, until_queued};
use crate::fds::epoll;
use crate::sources::Folder;
use crate::truth::{Counts, Truth};

/// `TCP_ESTABLISHED` (`include/net/tcp_states.h`)
const ESTABLISHED: u8 = 1;
const IN: u32 = libc::EPOLLIN.cast_unsigned();
/// What is written, one list for each source of a kind; all of it fits any buffer. Then so many bytes a read, the last again and again.
const ROUNDS: [(&[usize], &[usize]); 4] =
    [(&[1], &[1]), (&[7, 300], &[3, 4, 100, 200]), (&[8_292, 50, 4_096], &[1, 4_095, 4_500]), (&[20; 40], &[33])];

/// Reads of several sizes, and how much each leaves to be read
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  demos left
  eptrace trace --io -- demos left")]
pub(crate) struct Options {
    /// Print one line of JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// In what the kernel counts what can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Unit {
    /// Of a TCP connection.
    Bytes,
    /// Of a unix stream: each write is one. A read takes bytes of several.
    Messages,
    /// Of a unix datagram socket: each read takes one, and `FIONREAD` tells the size of the next.
    Datagrams,
    /// The same of a unix socket with packets, but `FIONREAD` tells the size of all.
    Packets,
    /// Of a pipe: pages.
    Buffers,
    /// Of a listening socket.
    Connections,
}

#[derive(Debug, Serialize)]
struct Call {
    /// Bytes, 1 for a connection, or a negative errno.
    ret: i64,
    /// What `FIONREAD` says behind it; of a listening socket how many connections are left.
    unread: usize,
}

#[derive(Debug, Serialize)]
struct Source {
    name: String,
    fd: RawFd,
    unit: Unit,
    written: Vec<usize>,
    calls: Vec<Call>,
    #[serde(skip)]
    near: OwnedFd,
    #[expect(dead_code, reason = "it only stays open")]
    #[serde(skip)]
    far: Option<OwnedFd>,
}

#[derive(Debug, Serialize)]
struct Outcome {
    demo: &'static str,
    pid: u32,
    page: i64,
    sources: Vec<Source>,
    truth: Truth,
}

/// How the writer ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    Fin,
    Reset,
}

/// Runs the demo and returns what it prints.
pub(crate) fn run(options: &Options) -> Result<String> {
    let (mut calls, epoll, folder) = (Counted::default(), epoll()?, Folder::new()?);
    let mut sources = Vec::new();
    for (number, (written, reads)) in ROUNDS.into_iter().enumerate() {
        for host in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
            for end in [End::Open, End::Fin, End::Reset] {
                sources.push((tcp(&mut calls, host, written, end)?, reads));
            }
        }
        for (kind, unit) in [
            (SockType::Stream, Unit::Messages),
            (SockType::Datagram, Unit::Datagrams),
            (SockType::SeqPacket, Unit::Packets),
        ] {
            sources.push((unix(kind, unit, written)?, reads));
        }
        let (near, far) = nix::unistd::pipe2(OFlag::O_CLOEXEC).context("pipe2")?;
        write(&far, written)?;
        drop(far);
        sources.push((Source::new("pipe", Unit::Buffers, near, None, written)?, reads));
        let path = folder.path().join(number.to_string());
        nix::unistd::mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).context("mkfifo")?;
        let near = open(&path, OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty()).context("open a FIFO")?;
        write(&near, written)?;
        sources.push((Source::new("FIFO", Unit::Buffers, near, None, written)?, reads));
    }
    for (source, reads) in &mut sources {
        add(&mut calls, &epoll, source)?;
        while read(&mut calls, &epoll, source, reads)? > 0 {}
        delete(&mut calls, &epoll, source)?;
    }
    let mut sources: Vec<Source> = sources.into_iter().map(|(source, _)| source).collect();
    sources.push(listening(&mut calls, &epoll)?);
    let truth = Truth::new(Counts::default(), [(nix::unistd::getpid().as_raw(), calls.counts())]);
    // SAFETY: a call without pointers.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    let outcome = Outcome { demo: "left", pid: std::process::id(), page, sources, truth };
    if options.json {
        return serde_json::to_string(&outcome).map(|line| line + "\n").context("write the result as JSON");
    }
    Ok(outcome.sources.iter().map(line).collect::<String>() + &outcome.truth.to_string())
}

fn line(Source { name, fd, written, calls, .. }: &Source) -> String {
    let left: Vec<String> = calls.iter().map(|Call { ret, unread }| format!("{ret} ({unread} left)")).collect();
    format!("fd {fd:>3}  {name:<24} {} written, {}\n", written.iter().sum::<usize>(), left.join(", "))
}

impl Source {
    /// `far`, where it is given, stays open: there is no end.
    fn new(
        name: impl Into<String>,
        unit: Unit,
        near: OwnedFd,
        far: Option<OwnedFd>,
        written: &[usize],
    ) -> Result<Self> {
        fcntl(&near, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).context("fcntl(O_NONBLOCK)")?;
        let (fd, written) = (near.as_raw_fd(), written.to_vec());
        Ok(Self { name: name.into(), fd, unit, written, calls: Vec::new(), near, far })
    }
}

fn write(far: &OwnedFd, sizes: &[usize]) -> Result<()> {
    for &bytes in sizes {
        let sent = nix::unistd::write(far, &vec![b'x'; bytes]).context("write")?;
        ensure!(sent == bytes, "{sent} of {bytes} bytes were written");
    }
    Ok(())
}

fn tcp(calls: &mut Counted, host: IpAddr, written: &[usize], end: End) -> Result<Source> {
    let listener = TcpListener::bind((host, 0)).with_context(|| format!("bind({host})"))?;
    let address = listener.local_addr().context("getsockname")?;
    let far = TcpStream::connect(address).with_context(|| format!("connect({address})"))?;
    let near = calls.accept_blocking(&listener)?;
    let far = OwnedFd::from(far);
    write(&far, written)?;
    // A softirq carries it, and another task may have to run that.
    while unread(&near)? < written.iter().sum() {
        sched_yield().context("sched_yield")?;
    }
    let (what, far) = match end {
        End::Open => ("", Some(far)),
        End::Fin => {
            TcpStream::from(far.try_clone().context("dup")?).shutdown(Shutdown::Write).context("shutdown")?;
            (", ended", Some(far))
        }
        End::Reset => {
            let now = libc::linger { l_onoff: 1, l_linger: 0 };
            setsockopt(&far, sockopt::Linger, &now).context("setsockopt(SO_LINGER)")?;
            drop(far);
            (", reset", None)
        }
    };
    while end != End::Open && tcp_state(&near)? == ESTABLISHED {
        sched_yield().context("sched_yield")?;
    }
    Source::new(format!("TCP on {host}{what}"), Unit::Bytes, near, far, written)
}

fn unix(kind: SockType, unit: Unit, written: &[usize]) -> Result<Source> {
    let (near, far) = socketpair(AddressFamily::Unix, kind, None, SockFlag::SOCK_CLOEXEC).context("socketpair")?;
    write(&far, written)?;
    Source::new(format!("unix {kind:?}"), unit, near, Some(far), written)
}

fn add(calls: &mut Counted, epoll: &OwnedFd, source: &Source) -> Result<()> {
    let event = Some((IN, u64::try_from(source.fd).context("a descriptor is negative")?));
    calls.ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, source.fd, event).context("epoll_ctl(EPOLL_CTL_ADD)")
}

fn delete(calls: &mut Counted, epoll: &OwnedFd, source: &Source) -> Result<()> {
    calls.ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_DEL, source.fd, None).context("epoll_ctl(EPOLL_CTL_DEL)")
}

/// Whether the source is ready, by a wait that does not sleep.
fn ready(calls: &mut Counted, epoll: &OwnedFd) -> Result<bool> {
    let mut room = [libc::epoll_event { events: 0, u64: 0 }; 2];
    Ok(calls.wait_on(epoll.as_raw_fd(), &mut room, 0).context("epoll_wait")? > 0)
}

/// One read, each by another call than the one before; what it returned. Before it a look that takes nothing.
fn read(calls: &mut Counted, epoll: &OwnedFd, source: &mut Source, reads: &[usize]) -> Result<i64> {
    let number = source.calls.len();
    let bytes = reads.get(number).or(reads.last()).context("no reads")?;
    let before = unread(&source.near)?;
    let told = ready(calls, epoll)?;
    ensure!(before == 0 || told, "{} has {before} bytes to read, and is not ready", source.name);
    let fd = source.near.as_raw_fd();
    let mut room = vec![0; *bytes];
    let socket = source.unit != Unit::Buffers;
    if socket && before > 0 {
        // It gives what a read would. Of a connection that was reset it would take the error.
        let _ = recv(fd, &mut room, MsgFlags::MSG_PEEK);
    }
    let got = match number % if socket { 4 } else { 2 } {
        0 => nix::unistd::read(&source.near, &mut room),
        1 => nix::sys::uio::readv(&source.near, &mut [IoSliceMut::new(&mut room)]),
        2 => recv(fd, &mut room, MsgFlags::empty()),
        _ => recvmsg::<()>(fd, &mut [IoSliceMut::new(&mut room)], None, MsgFlags::empty()).map(|got| got.bytes),
    };
    let ret = match got {
        Ok(bytes) => i64::try_from(bytes).context("a number of bytes")?,
        Err(errno @ (Errno::EAGAIN | Errno::ECONNRESET)) => -i64::from(errno as i32),
        Err(errno) => return Err(errno).with_context(|| format!("read of {}", source.name)),
    };
    source.calls.push(Call { ret, unread: unread(&source.near)? });
    Ok(ret)
}

/// A listening socket with three connections, and an accept too many.
fn listening(calls: &mut Counted, epoll: &OwnedFd) -> Result<Source> {
    const CONNECTIONS: usize = 3;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("bind")?;
    let address = listener.local_addr().context("getsockname")?;
    let mut source = Source::new("listening", Unit::Connections, listener.into(), None, &[1; CONNECTIONS])?;
    let connect = |_| TcpStream::connect(address).context("connect");
    let _clients = (0..CONNECTIONS).map(connect).collect::<Result<Vec<_>>>()?;
    until_queued(&source.near, u32::try_from(CONNECTIONS)?)?;
    add(calls, epoll, &source)?;
    for left in (0..CONNECTIONS).rev().map(Some).chain([None]) {
        ensure!(ready(calls, epoll)? == left.is_some(), "{left:?} connections would be left");
        let accepted = calls.accept(&source.near)?;
        let ret = if accepted.is_some() { 1 } else { -i64::from(Errno::EAGAIN as i32) };
        let unread = usize::try_from(unacknowledged(&source.near)?)?;
        source.calls.push(Call { ret, unread });
    }
    delete(calls, epoll, &source)?;
    Ok(source)
}

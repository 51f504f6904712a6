//! Internet sockets in the states in which programs register them, IPv4 and IPv6 alike.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd as _, OwnedFd};

use anyhow::{Context as _, Result, ensure};
use nix::errno::Errno;
use nix::sched::sched_yield;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, SockaddrStorage, connect, socket};

use super::{Source, Stage};
use crate::counted::Counted;
use crate::ends::{tcp_state, until_queued};
use crate::fds::own;

/// `TCP_FIN_WAIT2`, `TCP_CLOSE_WAIT` (`include/net/tcp_states.h`)
const FIN_WAIT2: u8 = 5;
const CLOSE_WAIT: u8 = 8;

/// All of them.
pub(super) fn all(stage: &mut Stage) -> Result<()> {
    for host in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
        connections(stage, host)?;
        half_closed(stage, host)?;
        connecting(stage, host)?;
        datagrams(stage, host)?;
        multipath(stage, host)?;
    }
    anywhere(stage, Ipv4Addr::UNSPECIFIED.into())?;
    anywhere(stage, Ipv6Addr::UNSPECIFIED.into())?;
    mapped(stage)
}

/// A connection: who connected, and who accepted.
fn pair(calls: &mut Counted, listener: &TcpListener) -> Result<(TcpStream, TcpStream)> {
    let address = listener.local_addr().context("getsockname")?;
    let client = TcpStream::connect(address).with_context(|| format!("connect({address})"))?;
    Ok((client, calls.accept_blocking(listener)?.into()))
}

fn bound(host: IpAddr) -> Result<TcpListener> {
    TcpListener::bind((host, 0)).with_context(|| format!("bind({host})"))
}

fn writes(mut stream: TcpStream) -> impl FnOnce() -> Result<()> {
    move || stream.write_all(b"x").context("write")
}

fn connections(stage: &mut Stage, host: IpAddr) -> Result<()> {
    let listener = bound(host)?;
    let address = listener.local_addr().context("getsockname")?;
    let (client, server) = pair(&mut stage.calls, &listener)?;
    stage.sources.push(Source::new(format!("accepted from {host}"), server, writes(client)));
    let (client, server) = pair(&mut stage.calls, &listener)?;
    stage.sources.push(Source::new(format!("connected to {host}"), client, writes(server)));
    let wake = move || TcpStream::connect(address).map(drop).context("connect");
    stage.sources.push(Source::new(format!("listening on {host}"), listener, wake));
    stage.sources.push(Source::ready(format!("TCP, nothing done yet, for {host}"), tcp(host, None)?));
    Ok(())
}

/// A TCP socket, not yet bound or connected.
fn tcp(host: IpAddr, protocol: Option<SockProtocol>) -> Result<OwnedFd> {
    let family = if host.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    socket(family, SockType::Stream, SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC, protocol).context("socket")
}

fn half_closed(stage: &mut Stage, host: IpAddr) -> Result<()> {
    let listener = bound(host)?;
    for ours in [true, false] {
        let (client, server) = pair(&mut stage.calls, &listener)?;
        client.shutdown(Shutdown::Write).context("shutdown")?;
        let (client, server) = (OwnedFd::from(client), OwnedFd::from(server));
        // The peer's softirq may have to run first.
        while tcp_state(&client)? != FIN_WAIT2 || tcp_state(&server)? != CLOSE_WAIT {
            sched_yield().context("sched_yield")?;
        }
        if ours {
            stage.sources.push(Source::new(format!("half closed to {host}"), client, writes(server.into())));
        } else {
            stage.sources.push(Source::ready(format!("half closed by {host}"), server));
            stage.kept.push(client);
        }
    }
    Ok(())
}

/// A listening socket whose queue is full lets the next one wait: it stays in `SYN_SENT`.
fn connecting(stage: &mut Stage, host: IpAddr) -> Result<()> {
    let listener = bound(host)?;
    let address = listener.local_addr().context("getsockname")?;
    let listener = OwnedFd::from(listener);
    // SAFETY: a call without pointers.
    Errno::result(unsafe { libc::listen(listener.as_raw_fd(), 0) }).context("listen")?;
    let first = TcpStream::connect(address).context("connect")?;
    until_queued(&listener, 1)?;
    let second = tcp(host, None)?;
    let answer = connect(second.as_raw_fd(), &SockaddrStorage::from(address));
    ensure!(answer == Err(Errno::EINPROGRESS), "the kernel answers {answer:?}");
    let copy = TcpStream::from(second.try_clone().context("dup")?);
    let wake = move || copy.shutdown(Shutdown::Both).context("shutdown");
    let source = Source::new(format!("connecting to {host}"), second, wake);
    stage.sources.push(Source { connecting_to: Some(address), ..source });
    stage.kept.extend([listener, first.into()]);
    Ok(())
}

fn datagrams(stage: &mut Stage, host: IpAddr) -> Result<()> {
    let socket = || UdpSocket::bind((host, 0)).with_context(|| format!("bind({host})"));
    let (near, far) = (socket()?, socket()?);
    let address = near.local_addr().context("getsockname")?;
    let wake = move || far.send_to(b"x", address).map(drop).context("sendto");
    stage.sources.push(Source::new(format!("UDP on {host}"), near, wake));
    let (near, far) = (socket()?, socket()?);
    let address = near.local_addr().context("getsockname")?;
    near.connect(far.local_addr().context("getsockname")?).context("connect")?;
    let wake = move || far.send_to(b"x", address).map(drop).context("sendto");
    stage.sources.push(Source::new(format!("UDP to {host}"), near, wake));
    Ok(())
}

/// What Go's `net.Listen` has used since 1.24.
fn multipath(stage: &mut Stage, host: IpAddr) -> Result<()> {
    const MPTCP: i32 = 262;
    let family = if host.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: a call without pointers gives a new descriptor, or -1 with an errno.
    let socket = unsafe { own(libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, MPTCP), "socket(MPTCP)") };
    let socket = match socket {
        Err(error) if error.downcast_ref() == Some(&Errno::EPROTONOSUPPORT) => {
            stage.missing.insert("multipath TCP");
            return Ok(());
        }
        socket => socket?,
    };
    nix::sys::socket::bind(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(host, 0))).context("bind")?;
    // SAFETY: a call without pointers.
    Errno::result(unsafe { libc::listen(socket.as_raw_fd(), 8) }).context("listen")?;
    let socket = TcpListener::from(socket);
    let address = socket.local_addr().context("getsockname")?;
    let wake = move || TcpStream::connect(address).map(drop).context("connect");
    stage.sources.push(Source::new(format!("multipath on {host}"), socket, wake));
    Ok(())
}

/// A socket that listens on all addresses.
fn anywhere(stage: &mut Stage, host: IpAddr) -> Result<()> {
    let listener = bound(host)?;
    let own = if host.is_ipv4() { IpAddr::from(Ipv4Addr::LOCALHOST) } else { Ipv6Addr::LOCALHOST.into() };
    let address = SocketAddr::new(own, listener.local_addr().context("getsockname")?.port());
    let wake = move || TcpStream::connect(address).map(drop).context("connect");
    stage.sources.push(Source::new(format!("listening on {host}"), listener, wake));
    Ok(())
}

/// A connection by IPv4 to a socket that listens on all addresses of IPv6.
fn mapped(stage: &mut Stage) -> Result<()> {
    let listener = bound(Ipv6Addr::UNSPECIFIED.into())?;
    let port = listener.local_addr().context("getsockname")?.port();
    let client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("connect")?;
    let server = stage.calls.accept_blocking(&listener)?;
    stage.sources.push(Source::new("accepted from IPv4 by IPv6", server, writes(client)));
    Ok(())
}

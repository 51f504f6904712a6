//! What the kernel says of a file to whoever has it open.
//!
//! In: a source. Out: its link and its inode; of a socket what `getsockopt`, `getsockname` and `getpeername` say.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::sys::socket::{SockaddrStorage, getpeername, getsockname};
use nix::sys::stat::fstat;
use serde::Serialize;

use super::Source;
use crate::ends::tcp_state;

/// `TCP_ESTABLISHED`, `TCP_CLOSE`, `TCP_LISTEN` (`include/net/tcp_states.h`): unix and datagram sockets have these as well.
const ESTABLISHED: u8 = 1;
const CLOSE: u8 = 7;
const LISTEN: u8 = 10;

/// A file as its owner is told of it. What only a socket has is null of others.
#[derive(Debug, Serialize)]
pub(super) struct Told {
    name: String,
    fd: RawFd,
    /// Nothing needs to be done to make it ready: no callback tells of it.
    ready: bool,
    /// Where `/proc/self/fd/N` leads.
    link: String,
    ino: u64,
    family: Option<i32>,
    sock_type: Option<i32>,
    sock_state: Option<u8>,
    local_addr: Option<IpAddr>,
    /// 0 where the family has no ports.
    local_port: Option<u16>,
    remote_addr: Option<IpAddr>,
    remote_port: Option<u16>,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, fd, link, ino, .. } = self;
        write!(f, "fd {fd:>3}  {name:<34} {link}, inode {ino}")?;
        for (addr, port) in [(self.local_addr, self.local_port), (self.remote_addr, self.remote_port)] {
            if let (Some(addr), Some(port)) = (addr, port) {
                write!(f, ", {}", SocketAddr::new(addr, port))?;
            }
        }
        Ok(())
    }
}

/// Asks the kernel.
pub(super) fn of(source: &Source) -> Result<Told> {
    let file = &source.file;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let link = std::fs::read_link(&path).with_context(|| format!("readlink({path})"))?;
    let mut told = Told {
        name: source.name.clone(),
        fd: file.as_raw_fd(),
        ready: source.wake.is_none(),
        link: link.to_string_lossy().into_owned(),
        ino: fstat(file).context("fstat")?.st_ino,
        family: None,
        sock_type: None,
        sock_state: None,
        local_addr: None,
        local_port: None,
        remote_addr: None,
        remote_port: None,
    };
    match option(file, libc::SOL_SOCKET, libc::SO_DOMAIN) {
        Err(Errno::ENOTSOCK) => {}
        family => {
            told.family = Some(family.context("getsockopt(SO_DOMAIN)")?);
            of_socket(source, &mut told).with_context(|| format!("ask for {}", source.name))?;
        }
    }
    Ok(told)
}

fn of_socket(source: &Source, told: &mut Told) -> Result<()> {
    let file = &source.file;
    told.sock_type = Some(option(file, libc::SOL_SOCKET, libc::SO_TYPE).context("getsockopt(SO_TYPE)")?);
    let local: SockaddrStorage = getsockname(file.as_raw_fd()).context("getsockname")?;
    let peer: Option<SockaddrStorage> = match getpeername(file.as_raw_fd()) {
        Err(Errno::ENOTCONN) => None,
        peer => Some(peer.context("getpeername")?),
    };
    // Of netlink the kernel itself, port 0, stands for nobody.
    let peer = peer.filter(|peer| peer.as_netlink_addr().is_none_or(|address| address.pid() != 0));
    told.sock_state = Some(state(file, peer.is_some())?);
    let internet = |address: &SockaddrStorage| match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
        (Some(v4), _) => Some(SocketAddr::V4((*v4).into())),
        (_, Some(v6)) => Some(SocketAddr::V6((*v6).into())),
        _ => None,
    };
    let local = internet(&local);
    let remote = peer.as_ref().and_then(internet).or(source.connecting_to);
    (told.local_addr, told.remote_addr) = (local.map(|local| local.ip()), remote.map(|remote| remote.ip()));
    let port = |address: Option<SocketAddr>| Some(address.map_or(0, |address| address.port()));
    (told.local_port, told.remote_port) = (port(local), port(remote));
    Ok(())
}

/// TCP's own word. Other protocols are not asked: they listen, have a peer, or have none.
fn state(file: &OwnedFd, connected: bool) -> Result<u8> {
    if option(file, libc::SOL_SOCKET, libc::SO_PROTOCOL).context("getsockopt(SO_PROTOCOL)")? == libc::IPPROTO_TCP {
        return tcp_state(file);
    }
    let listens = option(file, libc::SOL_SOCKET, libc::SO_ACCEPTCONN).context("getsockopt(SO_ACCEPTCONN)")? != 0;
    Ok(match (listens, connected) {
        (true, _) => LISTEN,
        (_, true) => ESTABLISHED,
        _ => CLOSE,
    })
}

/// The first four bytes of an option.
fn option(file: &OwnedFd, level: i32, name: i32) -> Result<i32, Errno> {
    let mut value: libc::c_int = 0;
    let mut length = libc::socklen_t::try_from(size_of_val(&value)).map_err(|_| Errno::EOVERFLOW)?;
    // SAFETY: the kernel writes as many bytes as the length says, at most.
    let done = unsafe { libc::getsockopt(file.as_raw_fd(), level, name, (&raw mut value).cast(), &raw mut length) };
    Errno::result(done).map(|_| value)
}

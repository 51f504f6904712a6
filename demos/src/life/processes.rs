//! Eventpolls in more than one process.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use anyhow::{Context as _, Result, bail, ensure};
use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

use super::{Cast, IN, add, expect, poll, wait};
use crate::child::Child;
use crate::fds::{epoll, eventfd, lower, raise};

/// The eventpoll is one: what the child registers, the parent is told. A number that only the child knows stays registered when the
/// child ends, if the parent has the file as well.
pub(super) fn fork(cast: &mut Cast) -> Result<()> {
    let (epoll, first, second) = (epoll()?, eventfd(0)?, eventfd(0)?);
    add(&mut cast.own, epoll.as_raw_fd(), first.as_raw_fd(), IN, 1)?;
    let child = Child::fork(|calls, _| {
        add(calls, epoll.as_raw_fd(), second.as_raw_fd(), IN, 2)?;
        raise(&first)?;
        expect("the child", wait(calls, epoll.as_raw_fd(), -1), 1)
    })?;
    cast.others.push(child.join()?);
    raise(&second)?;
    expect("the parent", poll(&mut cast.own, epoll.as_raw_fd()), 2)?;
    lower(&first)?;
    expect("the parent, later", poll(&mut cast.own, epoll.as_raw_fd()), 1)
}

/// An eventpoll and a file that the other process never opened.
pub(super) fn pass(cast: &mut Cast) -> Result<()> {
    let child = Child::fork(|calls, stream| {
        let [epoll, file] = receive(stream)?;
        expect("what was passed, before", poll(calls, epoll.as_raw_fd()), 0)?;
        raise(&file)?;
        expect("what was passed", wait(calls, epoll.as_raw_fd(), -1), 1)
    })?;
    let (epoll, file) = (epoll()?, eventfd(0)?);
    add(&mut cast.own, epoll.as_raw_fd(), file.as_raw_fd(), IN, 3)?;
    let fds = [epoll.as_raw_fd(), file.as_raw_fd()];
    sendmsg::<()>(
        child.tells.as_raw_fd(),
        &[IoSlice::new(b"x")],
        &[ControlMessage::ScmRights(&fds)],
        MsgFlags::empty(),
        None,
    )
    .context("sendmsg(SCM_RIGHTS)")?;
    // From here on only the other process has them.
    drop((epoll, file));
    cast.others.push(child.join()?);
    Ok(())
}

/// The first task of a pid namespace is number 1 in it, and has another number outside.
pub(super) fn namespace(cast: &mut Cast) -> Result<()> {
    let (epoll, file) = (epoll()?, eventfd(1)?);
    add(&mut cast.own, epoll.as_raw_fd(), file.as_raw_fd(), IN, 4)?;
    let child = Child::apart(libc::CLONE_NEWPID, |calls, _| {
        let own = nix::unistd::gettid().as_raw();
        ensure!(own == 1, "the child is task {own} of its pid namespace, not the first");
        expect("the child in a pid namespace", wait(calls, epoll.as_raw_fd(), -1), 1)
    });
    match child {
        Err(error) if error.downcast_ref() == Some(&Errno::EPERM) => cast.missing.push("pid namespaces (not root)"),
        child => {
            let (tid, counts) = child?.join()?;
            cast.others.push((tid, counts));
            cast.in_namespace.push((tid, 1));
        }
    }
    Ok(())
}

fn receive(stream: &UnixStream) -> Result<[OwnedFd; 2]> {
    let mut byte = [0];
    let mut space = nix::cmsg_space!([RawFd; 2]);
    let mut room = [IoSliceMut::new(&mut byte)];
    let message = recvmsg::<()>(stream.as_raw_fd(), &mut room, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)
        .context("recvmsg(SCM_RIGHTS)")?;
    for control in message.cmsgs().context("read what came with the message")? {
        if let ControlMessageOwned::ScmRights(fds) = control {
            ensure!(fds.len() == 2, "{} descriptors came, not 2", fds.len());
            // SAFETY: the kernel has just given these descriptors, and nothing else knows of them.
            return Ok([fds[0], fds[1]].map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    bail!("no descriptor came")
}

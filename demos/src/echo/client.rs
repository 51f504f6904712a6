//! The client: connections, and requests on them.
//!
//! In: the load. Out: requests sent and answers received, each checked. It uses neither epoll nor accept.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};

use super::{Load, MESSAGE};
use crate::counted::Counted;
use crate::ends::{Listener, set_blocking};

#[derive(Debug)]
pub(crate) struct Client {
    listener: Arc<Listener>,
    load: Load,
    /// The server has one connection at a time.
    one_at_a_time: bool,
    connections: Vec<File>,
}

impl Client {
    pub(crate) fn new(listener: Arc<Listener>, load: Load, one_at_a_time: bool) -> Self {
        Self { listener, load, one_at_a_time, connections: Vec::new() }
    }

    fn connect(&mut self) -> Result<()> {
        let far = self.listener.connect()?;
        set_blocking(&far)?;
        self.connections.push(File::from(far));
        Ok(())
    }

    /// Makes all connections; the server's ends.
    pub(crate) fn connect_all(&mut self, calls: &mut Counted) -> Result<Vec<OwnedFd>> {
        let mut ends = Vec::new();
        for _ in 0..self.load.connections {
            self.connect()?;
            self.listener.until_queued(1)?;
            ends.push(calls.accept(&self.listener.socket)?.context("a connection that was there is gone")?);
        }
        Ok(ends)
    }

    /// Makes all requests. A server that has one connection at a time gets one connection after the other.
    pub(crate) fn ask(&mut self) -> Result<()> {
        if self.one_at_a_time {
            for _ in 0..self.load.connections {
                self.connect()?;
                for request in 0..self.load.requests {
                    exchange(&mut self.connections, request)?;
                }
                self.connections.clear();
            }
            return Ok(());
        }
        let at_once = usize::try_from(self.load.in_flight).unwrap_or(usize::MAX);
        for request in 0..self.load.requests {
            for connections in self.connections.chunks_mut(at_once) {
                exchange(connections, request)?;
            }
        }
        Ok(())
    }

    /// Ends all connections. A server that waits for the next one gets it, and nothing from it.
    pub(crate) fn end(&mut self) -> Result<()> {
        if self.one_at_a_time {
            self.connect()?;
        }
        self.connections.clear();
        Ok(())
    }
}

/// One request on each connection, then the answers.
fn exchange(connections: &mut [File], request: u32) -> Result<()> {
    let [first, ..] = request.to_le_bytes();
    let message = [first; MESSAGE];
    for connection in &mut *connections {
        connection.write_all(&message).context("send a request")?;
    }
    for connection in connections {
        let mut answer = [0; MESSAGE];
        connection.read_exact(&mut answer).context("receive an answer")?;
        ensure!(answer == message, "the answer is not the request");
    }
    Ok(())
}

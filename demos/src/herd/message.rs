//! What a worker tells its master through its pipe, one JSON line each.
//!
//! The same for threads and processes: a worker that ends without a last word closes its end, which is seen too.

use std::io::{PipeWriter, Write as _};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::truth::Counts;

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Message {
    /// All is registered; the next call is the first `epoll_wait`.
    Ready { tid: i32 },
    /// The last word of a worker that was told to stop.
    Done { counts: Counts },
    /// The last word of any other worker.
    Failed { error: String },
}

impl Message {
    pub(super) fn send(&self, to: &mut PipeWriter) -> Result<()> {
        let line = serde_json::to_string(self).context("write a message as JSON")? + "\n";
        to.write_all(line.as_bytes()).context("write to the master's pipe")
    }
}

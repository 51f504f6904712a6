//! What the addresses of user stacks stand for: looked up while the process lives, in a thread of its own, for files can be large, and
//! a file system of the traced program's own making may never answer.
//!
//! In: the [`Frame`]s that the probes tell. Out: [`Symbol`]s. The collector also learns from the unwind tables where the callers of libc's
//! functions are found, and tells the probes (`tracer-ebpf/src/stacks.rs`).

mod code;
mod demangle;
mod maps;
mod module;
mod process;

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, channel, sync_channel};
use std::time::{Duration, Instant};

use aya::maps::{HashMap, MapData};
use tracer_common::Header;
use tracer_common::events::{Record as _, SYMBOL_PART, symbol_of};

use self::demangle::bounded;
use self::process::{Found, Processes};
use super::clock::monotonic_ns;
use crate::event::{Event, Frame, Symbol};

/// Addresses that are looked up in a trace.
const MAX_ADDRESSES: usize = 1 << 16;
/// Addresses that wait for their turn.
const MAX_WAITING: usize = 8192;
/// How long the last answers are waited for when tracing ends.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is asked: an address of a process, and whether it is the innermost of its stack.
type Asked = (u32, u64, bool);
/// What comes back.
type Answer = (u32, u64, Vec<Found>);

/// A place where a process makes system calls, as the probes look it up.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(super) struct Site {
    tgid: u32,
    pad: u32,
    address: u64,
}

// SAFETY: `repr(C)`, of integers only, without padding.
unsafe impl aya::Pod for Site {}

/// Where the callers of innermost functions lie above the stack pointer, by place.
pub(super) type Returns = HashMap<MapData, Site, u32>;

/// Looks addresses up, each once.
pub(super) struct Symbolizer {
    ask: Option<SyncSender<Asked>>,
    answers: Receiver<Answer>,
    asked: BTreeSet<(u32, u64)>,
}

impl Symbolizer {
    /// Begins; `returns` is written to.
    pub(super) fn start(returns: Returns) -> Self {
        let (ask, asked) = sync_channel(MAX_WAITING);
        let (answer, answers) = channel();
        std::thread::spawn(move || {
            let mut returns = returns;
            let mut processes = Processes::default();
            for (tgid, address, innermost) in asked {
                let found = processes.look_up(tgid, address);
                if innermost && let Some(above) = processes.return_above(tgid, address) {
                    // Without room there the caller stays unknown.
                    let _ = returns.insert(Site { tgid, pad: 0, address }, above, 0);
                }
                if answer.send((tgid, address, found)).is_err() {
                    break;
                }
            }
        });
        Self { ask: Some(ask), answers, asked: BTreeSet::new() }
    }

    /// Has an address looked up, unless it was before.
    pub(super) fn ask(&mut self, frame: &Frame) {
        let key = (frame.header.tgid, frame.address);
        if self.asked.len() >= MAX_ADDRESSES || self.asked.contains(&key) {
            return;
        }
        let asked = self.ask.as_ref().is_some_and(|ask| ask.try_send((key.0, key.1, frame.index == 0)).is_ok());
        if asked {
            self.asked.insert(key);
        }
    }

    /// What was found since the last call.
    pub(super) fn answers(&mut self) -> Vec<Event> {
        self.answers.try_iter().flat_map(events).collect()
    }

    /// Waits for the rest, but not for ever.
    pub(super) fn finish(&mut self) -> Vec<Event> {
        self.ask = None;
        let deadline = Instant::now() + PATIENCE;
        let mut rest = Vec::new();
        loop {
            match self.answers.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(answer) => rest.extend(events(answer)),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return rest,
            }
        }
    }
}

/// An answer as rows of the trace.
fn events((tgid, address, found): Answer) -> Vec<Event> {
    let len = u16::try_from(size_of::<Symbol>()).unwrap_or(u16::MAX);
    let header = Header { kind: Symbol::KIND as u16, len, cpu: 0, ts_ns: monotonic_ns(), tgid, tid: tgid };
    let rows = |found: Found| {
        let (of, offset, text) = match found {
            Found::Module(name, offset) => (symbol_of::MODULE, offset, name),
            Found::Function(name, offset) => (symbol_of::FUNCTION, offset, name),
            Found::Unknown(why) => (symbol_of::UNKNOWN, 0, why.into_bytes()),
            Found::NoCode(why) => (symbol_of::NO_CODE, 0, why.as_bytes().to_vec()),
        };
        let text = bounded(text);
        let parts: Vec<Event> = text
            .chunks(SYMBOL_PART)
            .zip(0_u32..)
            .map(|(chunk, part)| {
                let mut text = [0; SYMBOL_PART];
                text.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
                Event::Symbol(Symbol { header, address, offset, of, part, text })
            })
            .collect();
        parts
    };
    found.into_iter().flat_map(rows).collect()
}

#[cfg(test)]
mod tests {
    use super::{Found, events};
    use crate::event::Event;

    #[test]
    fn a_long_name_goes_on_in_further_rows() {
        let rows = events((7, 0x1234, vec![Found::Function(vec![b'x'; 100], 3)]));
        let parts: Vec<(u32, usize)> = rows
            .iter()
            .map(|row| match row {
                Event::Symbol(symbol) => (symbol.part, symbol.text.iter().take_while(|byte| **byte == b'x').count()),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(parts, [(0, 56), (1, 44)]);
        assert!(rows.iter().all(|row| row.header().is_some_and(|header| header.tgid == 7)));
    }
}

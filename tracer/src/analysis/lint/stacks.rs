//! The user stacks of calls, as far as the trace tells them.
//!
//! In: [`Stack`], [`Frame`] and [`Symbol`] events. Out: for a call its stack, and for a stack its frames with their names.

use std::collections::BTreeMap;

use tracer_common::Header;
use tracer_common::events::{Frame, MAX_FRAMES, Stack, Symbol, symbol_of};

use super::report::{StackFrame, UserStack};
use super::step::Call;
use crate::event::{Event, TraceInfo, unpadded};

/// Tasks, stacks and addresses that are remembered, each.
const MAX_KNOWN: usize = 65_536;
/// Parts of a name that are put together.
const MAX_PARTS: u32 = 8;

/// What a trace has told so far.
#[derive(Debug, Default)]
pub(super) struct Stacks {
    /// By task: the moment and the CPU of the call that comes next, and its stack.
    next: BTreeMap<u32, (u64, u32, u64)>,
    /// By number: whose it is, and its addresses.
    known: BTreeMap<u64, (u32, Vec<Option<u64>>)>,
    /// By process and address.
    symbols: BTreeMap<(u32, u64), Names>,
}

/// What an address stands for.
#[derive(Debug, Default)]
struct Names {
    module: Option<(u64, Vec<u8>)>,
    function: Option<(u64, Vec<u8>)>,
    unknown: Option<Vec<u8>>,
    no_code: bool,
}

impl Stacks {
    /// Takes in what tells of stacks.
    pub(super) fn see(&mut self, event: &Event) {
        match event {
            Event::Stack(stack) => self.call(stack),
            Event::Frame(frame) => self.frame(frame),
            Event::Symbol(symbol) => self.symbol(symbol),
            _ => {}
        }
    }

    fn call(&mut self, stack: &Stack) {
        let Header { tid, ts_ns, cpu, .. } = stack.header;
        if self.next.len() < MAX_KNOWN || self.next.contains_key(&tid) {
            self.next.insert(tid, (ts_ns, cpu, stack.stack));
        }
    }

    fn frame(&mut self, frame: &Frame) {
        let (Ok(index), Ok(count)) = (usize::try_from(frame.index), usize::try_from(frame.count)) else { return };
        // One more than the kernel's walk gives: who called the innermost function.
        if index >= count || count > MAX_FRAMES + 1 {
            return;
        }
        if self.known.len() >= MAX_KNOWN && !self.known.contains_key(&frame.stack) {
            return;
        }
        let (_, addresses) = self.known.entry(frame.stack).or_insert_with(|| (frame.header.tgid, vec![None; count]));
        if let Some(address) = addresses.get_mut(index) {
            *address = Some(frame.address);
        }
    }

    fn symbol(&mut self, symbol: &Symbol) {
        let key = (symbol.header.tgid, symbol.address);
        if (self.symbols.len() >= MAX_KNOWN && !self.symbols.contains_key(&key)) || symbol.part >= MAX_PARTS {
            return;
        }
        let names = self.symbols.entry(key).or_default();
        let text = unpadded(&symbol.text);
        let put = |name: &mut Option<(u64, Vec<u8>)>| {
            if symbol.part == 0 {
                *name = Some((symbol.offset, text.to_vec()));
            } else if let Some((_, begun)) = name {
                begun.extend_from_slice(text);
            }
        };
        match symbol.of {
            symbol_of::MODULE => put(&mut names.module),
            symbol_of::FUNCTION => put(&mut names.function),
            symbol_of::NO_CODE => names.no_code = true,
            symbol_of::UNKNOWN => match &mut names.unknown {
                Some(begun) if symbol.part > 0 => begun.extend_from_slice(text),
                unknown => *unknown = Some(text.to_vec()),
            },
            _ => {}
        }
    }

    /// From where the call was made that an event tells; events that are no calls come from nowhere.
    pub(super) fn of(&self, event: &Event) -> Call {
        let header = match event {
            Event::Ctl(e) => &e.header,
            Event::WaitExit(e) => &e.header,
            Event::Returned(e) => &e.header,
            Event::Accept(e) => &e.header,
            Event::Io(e) => &e.header,
            _ => return Call::No,
        };
        match self.next.get(&header.tid) {
            Some((ts_ns, cpu, stack)) if (*ts_ns, *cpu) == (header.ts_ns, header.cpu) => Call::From(*stack),
            _ => Call::Unknown,
        }
    }

    /// A stack in words; `None` where there was no call.
    pub(super) fn told(&self, row: u64, call: Call, info: &TraceInfo) -> Option<UserStack> {
        let none = |why: &str| UserStack { row, frames: Vec::new(), missing: Some(why.to_owned()) };
        Some(match call {
            Call::No => return None,
            _ if !info.stacks => none("the trace was made without --stacks"),
            Call::Unknown => none("it could not be taken"),
            Call::From(stack) => match self.known.get(&stack) {
                None => none("its addresses were lost"),
                Some((tgid, addresses)) => self.frames(row, *tgid, addresses),
            },
        })
    }

    fn frames(&self, row: u64, tgid: u32, addresses: &[Option<u64>]) -> UserStack {
        let mut frames = Vec::new();
        let mut missing = None;
        for address in addresses {
            let Some(address) = *address else {
                missing = Some("its addresses were lost".to_owned());
                break;
            };
            let names = self.symbols.get(&(tgid, address));
            if names.is_some_and(|names| names.no_code) {
                missing = Some("no frame pointer leads further".to_owned());
                break;
            }
            frames.push(named(address, names));
        }
        UserStack { row, frames, missing }
    }
}

fn named(address: u64, names: Option<&Names>) -> StackFrame {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let split = |name: Option<&(u64, Vec<u8>)>| (name.map(|(_, name)| text(name)), name.map(|(offset, _)| *offset));
    let (module, module_offset) = split(names.and_then(|names| names.module.as_ref()));
    let (function, function_offset) = split(names.and_then(|names| names.function.as_ref()));
    let unknown = match names {
        None => Some("it was not looked up".to_owned()),
        Some(names) => names.unknown.as_deref().map(text),
    };
    StackFrame { address: format!("{address:#x}"), module, module_offset, function, function_offset, unknown }
}

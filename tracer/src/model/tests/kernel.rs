//! The model beside a kernel that is played: lists that change as `fs/eventpoll.c` (5.11 to 7.3) changes them, step by step, with
//! callbacks at every place where one can come, and events as the probes would tell them. One scan at a time, nothing lost, nothing that
//! overlaps unseen: so whatever the steps are, the model must have the kernel's list, in its order.
//!
//! Left out, since no event tells them apart: a callback during a poll of the eventpoll inside another, which may have come at the very end of
//! the scan before.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::Config;
use tracer_common::events::{DELIVERED_UNKNOWN, callback_flags, ctl_flags, scan_flags};

use super::audit::list;
use crate::event::Event;
use crate::model::testing::{ET, Item, LT, PID, Trace, ep};

const ITEMS: usize = 5;
/// Who waits, who polls the eventpoll inside another, and who walks.
const WAITER: u32 = 101;
const POLLER: u32 = 102;

/// What a scan has taken and found.
#[derive(Default)]
struct Scan {
    /// What it has not come to (`txlist`).
    left: Vec<usize>,
    /// `eventpoll.ovflist`, in the order in which it was filled.
    overflow: Vec<usize>,
}

struct Kernel<'a> {
    trace: Trace,
    items: Vec<Item>,
    /// Whether each file is ready.
    ready: [bool; ITEMS],
    /// `eventpoll.rdllist`
    list: Vec<usize>,
    scan: Option<Scan>,
    choices: std::slice::Iter<'a, u8>,
}

impl<'a> Kernel<'a> {
    fn new(choices: &'a [u8]) -> Self {
        let item = |n: usize| {
            let number = n as u64;
            let events = if n.is_multiple_of(2) { LT } else { ET };
            let first = Item::socket(1, 0xf000, events);
            let (epi, file) = (first.epi + number * 0x1_0000, first.file + number * 0x100);
            Item { epi, file, fd: 3 + i32::try_from(n).unwrap(), data: 3 + number, ..first }
        };
        let items = (0..ITEMS).map(item).collect();
        let choices = choices.iter();
        Self { trace: Trace::new(), items, ready: [false; ITEMS], list: Vec::new(), scan: None, choices }
    }

    /// One of so many.
    fn choice(&mut self, of: usize) -> usize {
        usize::from(self.choices.next().copied().unwrap_or(0)) % of
    }

    fn linked(&self, item: usize) -> bool {
        self.list.contains(&item) || self.scan.as_ref().is_some_and(|scan| scan.left.contains(&item))
    }

    /// `ep_poll_callback`
    fn callback(&mut self, item: usize) {
        let mut flags = callback_flags::FIRST | if self.linked(item) { callback_flags::LINKED } else { 0 };
        self.ready[item] = true;
        if let Some(scan) = &mut self.scan {
            flags |= callback_flags::SCANNING;
            if scan.overflow.contains(&item) {
                flags |= callback_flags::ON_OVFLIST;
            } else {
                scan.overflow.push(item);
            }
        } else if flags & callback_flags::LINKED == 0 {
            self.list.push(item);
        }
        self.trace.callback(self.items[item], flags, 0);
    }

    /// What may come at any moment.
    fn meanwhile(&mut self) {
        while self.choice(4) == 1 {
            let item = self.choice(ITEMS);
            self.callback(item);
        }
    }

    /// The end of `ep_insert` and `ep_modify`.
    fn ctl(&mut self, op: i32, item: usize) {
        if self.ready[item] && !self.linked(item) {
            self.list.push(item);
        }
        let linked = if self.linked(item) { ctl_flags::LINKED } else { 0 };
        let asked = self.items[item];
        if op == 1 {
            self.trace.hooked(PID, asked);
        }
        self.trace.finds(PID, op, asked, linked);
    }

    /// `ep_send_events`, or `__ep_eventpoll_poll` without room for events: what was delivered.
    fn scan(&mut self, room: usize) -> Vec<usize> {
        let mut delivered = Vec::new();
        self.scan = Some(Scan { left: std::mem::take(&mut self.list), overflow: Vec::new() });
        loop {
            if room > 0 {
                self.meanwhile();
            }
            let Some(scan) = &mut self.scan else { break };
            if scan.left.is_empty() || (room > 0 && delivered.len() == room) {
                break;
            }
            let item = scan.left[0];
            if room == 0 && self.ready[item] {
                break;
            }
            scan.left.remove(0);
            if self.ready[item] {
                delivered.push(item);
                if self.items[item].events == LT {
                    self.list.push(item);
                }
            }
        }
        if room > 0 {
            self.meanwhile();
        }
        delivered
    }

    /// `ep_done_scan`, which is told when it begins.
    fn done(&mut self, waits: bool) {
        let Some(scan) = &self.scan else { return };
        let flag = |is: bool, flag: u32| if is { flag } else { 0 };
        let flags = flag(!self.list.is_empty(), scan_flags::REQUEUED)
            | flag(!scan.left.is_empty(), scan_flags::LEFT_OVER)
            | flag(!scan.overflow.is_empty(), scan_flags::OVERFLOW);
        let first_left = scan.left.first().map_or(0, |item| self.items[*item].epi);
        self.trace.scan_leaving(if waits { WAITER } else { POLLER }, ep(1), DELIVERED_UNKNOWN, flags, first_left);
        if let Some(Event::Scan(scan)) = self.trace.events.last_mut().filter(|_| !waits) {
            scan.flags &= !scan_flags::IN_WAIT;
        }
        if waits {
            self.meanwhile();
        }
        let Some(Scan { left, overflow }) = self.scan.take() else { return };
        let moved = overflow.into_iter().filter(|item| !left.contains(item) && !self.list.contains(item));
        let moved: Vec<usize> = moved.collect();
        self.list = [left, moved, std::mem::take(&mut self.list)].concat();
    }

    /// `ep_poll` with a time of nothing: it scans if something is there.
    fn wait(&mut self) {
        let room = 1 + self.choice(3);
        self.trace.enter(WAITER, ep(1));
        if let Some(Event::WaitEnter(enter)) = self.trace.events.last_mut() {
            enter.maxevents = i32::try_from(room).unwrap();
        }
        let mut delivered = Vec::new();
        if !self.list.is_empty() {
            delivered = self.scan(room);
            self.done(true);
            self.meanwhile();
        }
        let items: Vec<Item> = delivered.iter().map(|item| self.items[*item]).collect();
        self.trace.leave(WAITER, ep(1), Ok(&items));
    }

    fn walk(&mut self) {
        let listed: Vec<Item> = self.list.iter().map(|item| self.items[*item]).collect();
        list(&mut self.trace, &listed);
    }

    fn run(mut self) -> Trace {
        for item in 0..ITEMS {
            self.ready[item] = self.choice(2) == 1;
            self.ctl(1, item);
        }
        while self.choices.len() > 0 {
            let item = self.choice(ITEMS);
            match self.choice(6) {
                0 => self.wait(),
                1 => self.callback(item),
                2 => self.ready[item] = false,
                3 => self.ctl(3, item),
                4 if !self.list.is_empty() => {
                    self.scan(0);
                    self.done(false);
                }
                _ => self.walk(),
            }
        }
        self.walk();
        self.trace
    }
}

proptest! {
    #![proptest_config(Config { cases: 4_000, failure_persistence: None, ..Config::default() })]
    #[test]
    fn the_model_has_the_list_of_a_kernel_that_is_played(choices in vec(any::<u8>(), 20..200)) {
        let model = Kernel::new(&choices).run().model();
        let audit = model.audit();
        prop_assert!(audit.comparisons > 0);
        prop_assert_eq!(&audit.first, &vec![]);
    }
}

//! Waits with any timeout, room and events.

use tracer_common::events::{Returned, WaitEnter, WaitExit};

use super::{Item, Trace};
use crate::event::Event;

impl Trace {
    /// A wait begins.
    pub(crate) fn enter_with(&mut self, tid: u32, ep: u64, timeout_ns: i64, maxevents: i32) {
        let header = self.header(tid);
        let epfd = Item { ep, ..Item::default() }.epfd();
        self.events.push(Event::WaitEnter(WaitEnter { header, ep, timeout_ns, epfd, maxevents }));
    }

    /// A wait ends with these events of these items.
    pub(crate) fn leave_with(&mut self, tid: u32, ep: u64, delivered: &[(Item, u32)]) {
        let header = self.header(tid);
        let epfd = Item { ep, ..Item::default() }.epfd();
        let captured = u32::try_from(delivered.len()).unwrap();
        let ret = i32::try_from(delivered.len()).unwrap();
        let (data, events) = delivered.first().map_or((0, 0), |(item, events)| (item.data, *events));
        self.events.push(Event::WaitExit(WaitExit { header, ep, data, epfd, ret, events, captured }));
        for (index, (item, events)) in (1..).zip(delivered.iter().skip(1)) {
            self.events.push(Event::Returned(Returned { header, ep, data: item.data, events: *events, index }));
        }
    }

    /// Time goes by.
    pub(crate) const fn later(&mut self, ns: u64) {
        self.now += ns;
    }
}

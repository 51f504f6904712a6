//! Eventpolls by address and generation.

use std::collections::VecDeque;
use std::ops::Range;

use super::actors::Actors;
use super::by_id::ById;
use super::ids::{EpId, Sequence};
use super::limits::{Exceeded, Limits, bump};
use ahash::AHashMap;

/// One life of an eventpoll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Eventpoll {
    /// Its identity.
    pub id: EpId,
    /// Its address in the kernel.
    pub address: u64,
    /// Which life of this address, from 1.
    pub generation: u64,
    /// The process and the descriptor that it was first seen with.
    pub seen_as: Option<(u32, i32)>,
    /// Items it has now.
    pub items: u64,
    /// Items it has had in all.
    pub items_ever: u64,
    /// Tasks that have waited on it and are no longer shown one by one.
    pub waiters_gone: usize,
    /// Whether it is open.
    pub alive: bool,
    /// The order of its ready list is not certain: changes ran at the same time.
    pub(crate) disorder: bool,
    /// It has items on the overflow list.
    pub(crate) overflow: bool,
    /// Free ranks before what the last scan put back, and behind what is known to have come during it.
    pub(crate) between: Range<u64>,
    /// Who acted on it, in a trace with walks.
    pub(super) actors: Actors,
}

/// All eventpolls, and some that have ended.
#[derive(Debug, Clone, Default)]
pub struct Eventpolls {
    live: AHashMap<u64, EpId>,
    /// Who lived last at an address, alive or not.
    last: AHashMap<u64, EpId>,
    all: ById<EpId, Eventpoll>,
    retired: VecDeque<EpId>,
    sequence: Sequence,
}

impl Eventpolls {
    /// The eventpoll that lives at this address, made now if there is none; `None` for address 0 and beyond the limit.
    pub(crate) fn at(&mut self, address: u64, limits: &Limits, exceeded: &mut Exceeded) -> Option<EpId> {
        if address == 0 {
            return None;
        }
        if let Some(&id) = self.live.get(&address) {
            return Some(id);
        }
        if self.live.len() >= limits.eventpolls {
            bump(&mut exceeded.eventpolls);
            return None;
        }
        let generation = self.last_at(address).map_or(1, |ep| ep.generation.saturating_add(1));
        let id = EpId(self.sequence.next());
        self.live.insert(address, id);
        self.last.insert(address, id);
        let eventpoll = Eventpoll {
            id,
            address,
            generation,
            seen_as: None,
            items: 0,
            items_ever: 0,
            waiters_gone: 0,
            alive: true,
            disorder: false,
            overflow: false,
            between: 0..0,
            actors: Actors::None,
        };
        self.all.insert(id, eventpoll);
        Some(id)
    }

    /// As [`Eventpolls::at`], for what begins no life where one has ended. A callback: items come by calls, and an eventpoll that ends is called
    /// back until the last of them has left (`ep_clear_and_put`, fs/eventpoll.c, 5.10 to 7.3). The end of a call: it is told a while after the
    /// kernel was done with the eventpoll, which another thread may have closed meanwhile.
    pub(crate) fn unless_ended(&mut self, address: u64, limits: &Limits, exceeded: &mut Exceeded) -> Option<EpId> {
        let ended = !self.live.contains_key(&address) && self.last.contains_key(&address);
        if ended { None } else { self.at(address, limits, exceeded) }
    }

    /// Ends the life at this address; names an older one that is no longer kept because of it.
    pub(crate) fn end(&mut self, address: u64, limits: &Limits, exceeded: &mut Exceeded) -> Option<EpId> {
        let id = self.live.remove(&address)?;
        if let Some(eventpoll) = self.all.get_mut(&id) {
            eventpoll.alive = false;
        }
        self.retired.push_back(id);
        if self.retired.len() <= limits.retired {
            return None;
        }
        let oldest = self.retired.pop_front()?;
        if let Some(eventpoll) = self.all.remove(&oldest)
            && self.last.get(&eventpoll.address) == Some(&oldest)
        {
            self.last.remove(&eventpoll.address);
        }
        bump(&mut exceeded.ended_eventpolls);
        Some(oldest)
    }

    /// Notes by which descriptor of which process it is reached, the first time only.
    pub(crate) fn name(&mut self, id: EpId, pid: u32, epfd: i32) {
        if let Some(eventpoll) = self.all.get_mut(&id)
            && epfd >= 0
        {
            eventpoll.seen_as.get_or_insert((pid, epfd));
        }
    }

    pub(crate) fn get_mut(&mut self, id: EpId) -> Option<&mut Eventpoll> {
        self.all.get_mut(&id)
    }

    /// The eventpoll that lives at this address.
    #[must_use]
    pub fn live_at(&self, address: u64) -> Option<&Eventpoll> {
        self.live.get(&address).and_then(|id| self.all.get(id))
    }

    /// The last eventpoll that lived at this address, alive or not.
    #[must_use]
    pub fn last_at(&self, address: u64) -> Option<&Eventpoll> {
        self.last.get(&address).and_then(|id| self.all.get(id))
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, id: EpId) -> Option<&Eventpoll> {
        self.all.get(&id)
    }

    /// All of them, in the order in which they were first seen.
    pub fn iter(&self) -> impl Iterator<Item = &Eventpoll> {
        self.all.values()
    }

    /// How many are open.
    #[must_use]
    pub fn live_count(&self) -> usize {
        self.live.len()
    }
}

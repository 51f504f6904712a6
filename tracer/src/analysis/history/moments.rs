//! The moments of a trace that are worth looking at.

use super::eventpoll::EventpollHistory;
use super::source::SourceHistory;
use crate::model::EpId;

/// Listening sockets, and eventpolls, of which a moment is named.
const MAX_EACH: usize = 4;

/// A moment worth looking at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// When, nanoseconds since the origin.
    pub at_ns: u64,
    /// The eventpoll to look at.
    pub ep: Option<EpId>,
    /// The source or the eventpoll that it is about; not a string to trust.
    pub about: String,
    /// What happened.
    pub what: What,
}

/// What happened at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// The first wakeup that woke a task for nothing.
    FirstWaste,
    /// The wakeup that woke the most tasks for nothing.
    WorstWakeup {
        /// Items called back.
        called: u64,
        /// Tasks woken.
        woken: u64,
        /// Tasks that got a connection.
        useful: u64,
    },
    /// The ready list was longest.
    LongestReadyList {
        /// Items on it.
        items: u64,
    },
    /// An item waited longest on the ready list for a wait to return it.
    SlowestReturn {
        /// Nanoseconds.
        took_ns: u64,
    },
    /// Events were lost for the first time, before this moment.
    FirstLoss {
        /// How many.
        events: u64,
    },
}

/// The moments of a trace, by time.
pub(crate) fn find(
    eventpolls: &[EventpollHistory],
    sources: &[SourceHistory],
    first_loss: Option<(u64, u64)>,
    origin: u64,
) -> Vec<Moment> {
    let mut moments = Vec::new();
    let mut add = |at_ns, ep, about: &str, what| moments.push(Moment { at_ns, ep, about: about.to_owned(), what });
    for source in sources.iter().filter(|source| source.listening).take(MAX_EACH) {
        let Some((worst, (first, _))) = source.worst.zip(source.wasted) else { continue };
        if first != worst.at_ns {
            add(first, worst.ep, &source.name, What::FirstWaste);
        }
        let (called, woken, useful) = (worst.called, worst.woken, worst.useful);
        add(worst.at_ns, worst.ep, &source.name, What::WorstWakeup { called, woken, useful });
    }
    let mut longest: Vec<&EventpollHistory> = eventpolls.iter().filter(|ep| ep.longest.0 > 1).collect();
    longest.sort_by_key(|ep| (std::cmp::Reverse(ep.longest.0), ep.id));
    for ep in longest.into_iter().take(MAX_EACH) {
        add(ep.longest.1, Some(ep.id), &ep.name, What::LongestReadyList { items: ep.longest.0 });
    }
    let slowest = |ep: &&EventpollHistory| ep.latencies.callback_to_return.slowest().map(|slowest| slowest.took_ns);
    if let Some(ep) = eventpolls.iter().max_by_key(slowest)
        && let Some(slowest) = ep.latencies.callback_to_return.slowest()
    {
        let at_ns = slowest.since_ns.saturating_sub(origin);
        add(at_ns, Some(ep.id), &ep.name, What::SlowestReturn { took_ns: slowest.took_ns });
    }
    if let Some((at_ns, events)) = first_loss {
        add(at_ns, None, "", What::FirstLoss { events });
    }
    moments.sort_by_key(|moment| moment.at_ns);
    moments
}

//! Which eventpolls an event touches: the steps that one goes through when one looks at an eventpoll.

use ahash::AHashMap;

use crate::event::Event;
use crate::model::{EpId, Model, TaskId};

/// Tasks whose last wait is remembered.
const MAX_TASKS: usize = 65_536;

/// Tells it, event by event.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    /// The eventpoll that a task waited on last: what it accepts then belongs there.
    waited: AHashMap<TaskId, EpId>,
}

impl Steps {
    /// The eventpolls that an event touches; `model` keeps its journal and has just taken the event in.
    pub(crate) fn of(&mut self, event: &Event, model: &Model) -> Vec<EpId> {
        let address = match event {
            Event::Ctl(e) => e.ep,
            Event::Hooked(e) => e.ep,
            Event::Callback(e) => e.ep,
            Event::Wake(e) => e.ep,
            Event::WaitEnter(e) => e.ep,
            Event::WaitExit(e) => e.ep,
            Event::Returned(e) => e.ep,
            Event::Scan(e) => e.ep,
            Event::EventpollGone(e) => e.ep,
            Event::EventpollSeen(e) => e.ep,
            Event::ItemSeen(e) => e.ep,
            Event::Accept(_)
            | Event::Io(_)
            | Event::Path(_)
            | Event::Stack(_)
            | Event::Frame(_)
            | Event::Symbol(_)
            | Event::Fork(_)
            | Event::TaskName(_)
            | Event::TaskPid(_)
            | Event::TaskExit(_)
            | Event::FileGone(_)
            | Event::FileInfo(_)
            | Event::Raced(_)
            | Event::Audited(_)
            | Event::AuditedItem(_)
            | Event::FileEnds(_)
            | Event::Loss(_)
            | Event::Mark(_) => 0,
        };
        let mut touched: Vec<EpId> = model.eventpolls().last_at(address).map(|ep| ep.id).into_iter().collect();
        match event {
            Event::WaitExit(exit) => {
                let task = model.tasks().live_at(exit.header.tid).map(|task| task.id);
                if let (Some(task), Some(ep)) = (task, touched.first())
                    && (self.waited.len() < MAX_TASKS || self.waited.contains_key(&task))
                {
                    self.waited.insert(task, *ep);
                }
            }
            Event::Accept(accept) => {
                let task = model.tasks().live_at(accept.header.tid);
                touched.extend(task.and_then(|task| self.waited.get(&task.id)));
            }
            _ => {}
        }
        for moved in model.journal().moves {
            if !touched.contains(&moved.ep) {
                touched.push(moved.ep);
            }
        }
        touched
    }
}

//! What the kernel must do during a step.

use std::fmt;

use serde::Serialize;

/// How often something must happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(crate) enum Times {
    Exactly(u64),
    AtLeast {
        at_least: u64,
    },
    /// As often as the kernel sees fit.
    Any(()),
}

impl From<u64> for Times {
    fn from(times: u64) -> Self {
        Self::Exactly(times)
    }
}

impl Times {
    pub(crate) const ANY: Self = Self::Any(());

    pub(crate) const fn at_least(times: u64) -> Self {
        Self::AtLeast { at_least: times }
    }
}

/// How often each thing must happen. Callbacks are those of `ep_poll_callback`, by what they did.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Reaction {
    /// An ADD hung an item into a wait queue.
    hooked: Times,
    /// Callbacks that put their item on the ready list.
    linked: Times,
    /// Callbacks whose item was there already.
    already_linked: Times,
    /// Callbacks of items that `EPOLLONESHOT` has disabled.
    disabled: Times,
    /// Callbacks that announced nothing that the item waits for.
    filtered: Times,
    /// Callbacks while a scan ran.
    overflow: Times,
    /// Those callbacks that happened inside another.
    nested: Times,
    /// Tasks that were taken off an eventpoll's wait queue and woken.
    woken: Times,
    /// Scans of a ready list by a wait.
    scans: Times,
    /// Events that waits returned, of all tasks.
    events: Times,
}

impl Reaction {
    pub(crate) const fn none() -> Self {
        Self {
            hooked: Times::Exactly(0),
            linked: Times::Exactly(0),
            already_linked: Times::Exactly(0),
            disabled: Times::Exactly(0),
            filtered: Times::Exactly(0),
            overflow: Times::Exactly(0),
            nested: Times::Exactly(0),
            woken: Times::Exactly(0),
            scans: Times::Exactly(0),
            events: Times::Exactly(0),
        }
    }

    /// Whatever it does.
    pub(crate) const fn anything() -> Self {
        let any = Times::ANY;
        Self {
            hooked: any,
            linked: any,
            already_linked: any,
            disabled: any,
            filtered: any,
            overflow: any,
            nested: any,
            woken: any,
            scans: any,
            events: any,
        }
    }

    /// A wait that finds these events, after one look at the ready list.
    pub(crate) fn wait(events: u64) -> Self {
        Self::none().scans(1).events(events)
    }

    pub(crate) fn hooked(self, times: impl Into<Times>) -> Self {
        Self { hooked: times.into(), ..self }
    }

    pub(crate) fn linked(self, times: impl Into<Times>) -> Self {
        Self { linked: times.into(), ..self }
    }

    pub(crate) fn already_linked(self, times: impl Into<Times>) -> Self {
        Self { already_linked: times.into(), ..self }
    }

    pub(crate) fn disabled(self, times: impl Into<Times>) -> Self {
        Self { disabled: times.into(), ..self }
    }

    pub(crate) fn filtered(self, times: impl Into<Times>) -> Self {
        Self { filtered: times.into(), ..self }
    }

    pub(crate) fn overflow(self, times: impl Into<Times>) -> Self {
        Self { overflow: times.into(), ..self }
    }

    pub(crate) fn nested(self, times: impl Into<Times>) -> Self {
        Self { nested: times.into(), ..self }
    }

    pub(crate) fn woken(self, times: impl Into<Times>) -> Self {
        Self { woken: times.into(), ..self }
    }

    pub(crate) fn scans(self, times: impl Into<Times>) -> Self {
        Self { scans: times.into(), ..self }
    }

    pub(crate) fn events(self, times: impl Into<Times>) -> Self {
        Self { events: times.into(), ..self }
    }

    fn all(&self) -> [(&'static str, Times); 10] {
        [
            ("hooked", self.hooked),
            ("linked", self.linked),
            ("already linked", self.already_linked),
            ("disabled", self.disabled),
            ("filtered", self.filtered),
            ("overflow", self.overflow),
            ("nested", self.nested),
            ("woken", self.woken),
            ("scans", self.scans),
            ("events", self.events),
        ]
    }
}

impl fmt::Display for Reaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.all().iter().all(|(_, times)| *times == Times::ANY) {
            return f.write_str("do what it takes");
        }
        let mut first = true;
        for (name, times) in self.all() {
            let times = match times {
                Times::Exactly(0) => continue,
                Times::Exactly(times) => times.to_string(),
                Times::AtLeast { at_least } => format!("at least {at_least}"),
                Times::Any(()) => "any number".to_owned(),
            };
            write!(f, "{}{times} {name}", if first { "" } else { ", " })?;
            first = false;
        }
        if first { f.write_str("do nothing") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::{Reaction, Times};

    #[test]
    fn a_number_a_least_number_and_any_are_told_apart() {
        let reaction = Reaction::none().linked(2).already_linked(Times::at_least(1)).scans(Times::ANY);
        let json = serde_json::to_value(reaction).unwrap();
        assert_eq!(json["linked"], 2);
        assert_eq!(json["already_linked"]["at_least"], 1);
        assert!(json["scans"].is_null());
        assert_eq!(json["woken"], 0);
        assert_eq!(reaction.to_string(), "2 linked, at least 1 already linked, any number scans");
        assert_eq!(Reaction::none().to_string(), "do nothing");
    }
}

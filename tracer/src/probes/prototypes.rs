//! What the probes take for granted of the functions that they are attached to, beside what the kernel's BTF says of them.
//!
//! A probe reads arguments by their place, and a function's result behind its last argument. Where a kernel has changed either,
//! the probe must not be attached: it would report numbers that mean something else.

use crate::kernel::btf::Prototype;

/// A function as the probes know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Its name.
    pub function: &'static str,
    /// What each parameter may be in C, in any of the kernels; nothing where no probe reads it.
    pub parameters: &'static [&'static [&'static str]],
    /// What it may return; nothing where no probe reads it.
    pub returns: &'static [&'static str],
}

const ANY: &[&str] = &[];
const INT: &[&str] = &["int"];
const EVENTS: &[&str] = &["struct epoll_event *"];
const EVENTPOLL: &[&str] = &["struct eventpoll *"];
const FILE: &[&str] = &["struct file *"];
const LIST: &[&str] = &["struct list_head *"];
const POLL: &[&str] = &["__poll_t"];
const WAIT: &[&str] = &["wait_queue_entry_t *", "struct wait_queue_entry *"];

const fn known(
    function: &'static str,
    parameters: &'static [&'static [&'static str]],
    returns: &'static [&'static str],
) -> Known {
    Known { function, parameters, returns }
}

/// Every function of the catalogue whose arguments or result a probe reads (fs/eventpoll.c, `io_uring/epoll.c`, net/socket.c; 5.10 to
/// 7.3).
pub const KNOWN: &[Known] = &[
    known("do_epoll_ctl", &[INT, INT, INT, EVENTS, ANY], INT),
    known("do_epoll_ctl_file", &[FILE, INT, &["struct epoll_key *"], EVENTS, ANY], INT),
    known("do_epoll_wait", &[INT, EVENTS, INT, &["int", "struct timespec64 *"]], INT),
    known("epoll_sendevents", &[FILE, EVENTS, INT], INT),
    known("ep_poll_callback", &[WAIT, ANY, ANY, &["void *"]], INT),
    known("ep_autoremove_wake_function", &[WAIT, ANY, ANY, ANY], INT),
    known("ep_ptable_queue_proc", &[ANY, &["wait_queue_head_t *"], &["poll_table *"]], ANY),
    known("ep_done_scan", &[EVENTPOLL, LIST], ANY),
    known("ep_send_events_proc", &[EVENTPOLL, LIST, ANY], POLL),
    known("ep_read_events_proc", &[EVENTPOLL, LIST, ANY], POLL),
    known("ep_send_events", &[EVENTPOLL, EVENTS, INT], INT),
    known("ep_eventpoll_release", &[ANY, FILE], ANY),
    known("eventpoll_release_file", &[FILE], ANY),
    known("__sys_accept4", &[INT, ANY, ANY, ANY], INT),
];

impl Known {
    /// Why a kernel with this prototype cannot be probed here, as a sentence; `None` when it can.
    #[must_use]
    pub fn contradicted(&self, found: &Prototype) -> Option<String> {
        let fits = |types: &[&str], c_type: &str| types.is_empty() || types.contains(&c_type);
        let parameters = self.parameters.len() == found.parameters.len()
            && self.parameters.iter().zip(&found.parameters).all(|(types, found)| fits(types, &found.c_type));
        let same = parameters && fits(self.returns, &found.returns);
        (!same).then(|| format!("{} is otherwise than the probes know it: {found}", self.function))
    }
}

#[cfg(test)]
mod tests {
    use super::KNOWN;
    use crate::kernel::testing::{Blob, PTR, STRUCT};
    use std::collections::BTreeSet;

    #[test]
    fn a_function_with_other_arguments_or_another_result_is_refused() {
        let mut blob = Blob::new();
        let int = blob.int("int", 4);
        let long = blob.int("long", 8);
        let event = blob.composite(STRUCT, "epoll_event", 12, &[]);
        let events = blob.ty("", PTR, event);
        let wait = |blob: &Blob| blob.btf().function("do_epoll_wait").unwrap();
        let known = KNOWN.iter().find(|known| known.function == "do_epoll_wait").unwrap();
        let with = |returns: u32, parameters: &[u32]| {
            let mut blob = blob.clone();
            let parameters: Vec<_> = parameters.iter().map(|&ty| ("p", ty)).collect();
            blob.function("do_epoll_wait", returns, &parameters);
            known.contradicted(&wait(&blob))
        };
        assert_eq!(with(int, &[int, events, int, int]), None);
        let longer = with(int, &[int, events, int, int, int]).unwrap();
        assert!(longer.contains("int do_epoll_wait(int p, struct epoll_event *p, int p, int p, int p)"), "{longer}");
        assert!(with(int, &[int, events, int]).is_some());
        assert!(with(int, &[int, int, events, int]).is_some());
        assert!(with(long, &[int, events, int, int]).is_some());
    }

    #[test]
    fn every_function_stands_once_in_the_table() {
        let names: BTreeSet<&str> = KNOWN.iter().map(|known| known.function).collect();
        assert_eq!(names.len(), KNOWN.len());
    }
}

//! What the probes take for granted of the places that they are attached to, beside what the kernel's BTF says of them.
//!
//! A probe reads arguments by their place, a function's result behind its last argument, and a few structures by fixed offsets. Where a
//! kernel has changed any of these, the probe must not be attached: it would report numbers that mean something else.

use std::collections::BTreeMap;

use crate::kernel::btf::{Btf, Prototype};

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
const TASK: &[&str] = &["struct task_struct *"];
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
    known("ep_show_fdinfo", &[ANY, FILE], ANY),
];

/// Every raw tracepoint of which a program reads arguments (include/trace/events/sched.h, 5.10 to 7.3). More may follow those named here.
pub const TRACEPOINTS: &[Known] = &[
    known("sched_process_fork", &[TASK, TASK], ANY),
    known("sched_process_free", &[TASK], ANY),
    known("sched_switch", &[&["bool"], TASK, TASK], ANY),
];

/// A structure that a program reads by fixed offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fixed {
    /// Its name.
    pub structure: &'static str,
    /// The fields that are read, and where.
    pub fields: &'static [(&'static str, u32)],
    /// The place in the catalogue whose programs read it.
    pub at: &'static str,
}

/// Every such structure: the context of the iterator (`kernel/bpf/task_iter.c`, 5.8 to 7.3), and the key of an item (fs/eventpoll.c, 7.2 to
/// 7.3).
pub const STRUCTURES: &[Fixed] = &[
    Fixed { structure: "bpf_iter__task_file", fields: &[("task", 8), ("fd", 16), ("file", 24)], at: "task_file" },
    Fixed { structure: "epoll_key", fields: &[("file", 0), ("fd", 8)], at: "do_epoll_ctl_file" },
];

/// The places of the catalogue of which no program reads anything: that they are come by is all.
pub const NOTHING_READ: &[&str] = &[
    "ep_scan_ready_list.constprop.0",
    "hrtimer_expire_entry",
    "hrtimer_expire_exit",
    "io_epoll_ctl",
    "irq_handler_entry",
    "irq_handler_exit",
    "sched_process_exec",
    "sched_process_exit",
    "seq_printf",
    "sock_def_readable",
    "softirq_entry",
    "softirq_exit",
];

/// The places of the catalogue that are otherwise on a kernel than the probes know them: why, as a sentence.
#[must_use]
pub fn changed(btf: &Btf) -> BTreeMap<String, String> {
    let functions = KNOWN.iter().filter_map(|known| {
        let found = btf.functions_named(known.function).ok()?;
        // Of several static functions that share the name, the probe's may be any.
        let why = found.iter().find_map(|found| known.contradicted(found))?;
        Some((known.function.to_owned(), why))
    });
    let tracepoints = TRACEPOINTS.iter().filter_map(|known| {
        let mut found = btf.tracepoint(known.function).ok()?;
        found.parameters.truncate(known.parameters.len());
        Some((known.function.to_owned(), known.contradicted(&found)?))
    });
    let structures = STRUCTURES.iter().filter_map(|fixed| Some((fixed.at.to_owned(), fixed.contradicted(btf)?)));
    functions.chain(tracepoints).chain(structures).collect()
}

/// What a kernel's BTF says of all that the probes know, in C; nothing of what it does not have.
#[must_use]
pub fn shown(btf: &Btf) -> Vec<String> {
    let functions = KNOWN.iter().filter_map(|known| Some(btf.function(known.function).ok()?.to_string()));
    let tracepoints = TRACEPOINTS.iter().filter_map(|known| Some(btf.tracepoint(known.function).ok()?.to_string()));
    let structures = STRUCTURES.iter().filter_map(|fixed| fixed.shown(btf));
    functions.chain(tracepoints).chain(structures).collect()
}

impl Fixed {
    /// Why a kernel with this structure cannot be probed here, as a sentence; `None` when it can, or has no such structure.
    fn contradicted(&self, btf: &Btf) -> Option<String> {
        btf.struct_id(self.structure)?;
        let same = self.fields.iter().all(|&(field, offset)| btf.field_offset(self.structure, field) == Ok(offset));
        (!same).then(|| format!("struct {} is otherwise than the probes know it", self.structure))
    }

    /// The fields and where they lie.
    fn shown(&self, btf: &Btf) -> Option<String> {
        let at = |field: &str| Some(format!("{field} at {}", btf.field_offset(self.structure, field).ok()?));
        let fields: Vec<String> = self.fields.iter().filter_map(|(field, _)| at(field)).collect();
        (!fields.is_empty()).then(|| format!("struct {} {{ {} }}", self.structure, fields.join(", ")))
    }
}

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
    use super::{KNOWN, NOTHING_READ, STRUCTURES, TRACEPOINTS, changed, shown};
    use crate::kernel::testing::{Blob, PTR, STRUCT, TYPEDEF};
    use crate::probes::catalog::{Attach, CATALOG, SNAPSHOT};
    use std::collections::BTreeSet;

    /// Every place that the catalogue attaches to, but for system calls' tracepoints, which BTF does not show.
    fn places() -> BTreeSet<&'static str> {
        let variants = CATALOG.iter().flat_map(|spec| spec.variants).chain([&SNAPSHOT]);
        let programs = variants.flat_map(|variant| variant.programs);
        let places = programs.filter(|program| !matches!(program.attach, Attach::Tracepoint(..)));
        places.map(|program| program.attach.target()).collect()
    }

    #[test]
    fn of_every_place_it_is_known_what_is_read_there() {
        let read = KNOWN.iter().chain(TRACEPOINTS).map(|known| known.function);
        let read: BTreeSet<&str> = read.chain(STRUCTURES.iter().map(|fixed| fixed.at)).collect();
        let nothing: BTreeSet<&str> = NOTHING_READ.iter().copied().collect();
        assert_eq!(read.intersection(&nothing).collect::<Vec<_>>(), Vec::<&&str>::new());
        let told: BTreeSet<&str> = read.union(&nothing).copied().collect();
        assert_eq!(told, places());
    }

    #[test]
    fn a_tracepoint_with_other_arguments_is_refused_and_one_with_more_is_not() {
        let with = |parameters: &[&str]| {
            let mut blob = Blob::new();
            let void = blob.ty("", PTR, 0);
            let tasks = blob.composite(STRUCT, "task_struct", 8, &[]);
            let task = blob.ty("", PTR, tasks);
            let int = blob.int("int", 4);
            let types = parameters.iter().map(|name| if *name == "task" { task } else { int });
            let types: Vec<_> = [("__data", void)].into_iter().chain(types.map(|ty| ("p", ty))).collect();
            let prototype = blob.prototype(0, &types);
            let pointer = blob.ty("", PTR, prototype);
            blob.ty("btf_trace_sched_process_fork", TYPEDEF, pointer);
            blob.btf()
        };
        assert!(changed(&with(&["task", "task"])).is_empty());
        assert!(changed(&with(&["task", "task", "int"])).is_empty());
        for other in [&["task"][..], &["task", "int"], &["int", "task", "task"]] {
            assert!(changed(&with(other)).contains_key("sched_process_fork"), "{other:?}");
        }
        let two = shown(&with(&["task", "task"]));
        assert_eq!(two, ["void sched_process_fork(void *__data, struct task_struct *p, struct task_struct *p)"]);
    }

    #[test]
    fn a_structure_with_a_field_elsewhere_is_refused() {
        let with = |fd: u32| {
            let mut blob = Blob::new();
            let int = blob.int("int", 4);
            blob.composite(STRUCT, "epoll_key", 16, &[("file", int, 0), ("fd", int, fd)]);
            blob.btf()
        };
        assert!(changed(&with(8)).is_empty());
        assert_eq!(shown(&with(8)), ["struct epoll_key { file at 0, fd at 8 }"]);
        assert!(changed(&with(12)).contains_key("do_epoll_ctl_file"));
    }

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

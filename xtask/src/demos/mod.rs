//! The demos under the tracer: the one table of them, how each is run, and how its own truth is set beside what was traced.

pub(crate) mod path;
pub(crate) mod plot;
pub(crate) mod steps;
pub(crate) mod story;
pub(crate) mod tell;

/// How a demo shows what it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Workers that share a listening socket: a report for each way to share it.
    Herd,
    /// One set of counts, with `--audit` or without.
    Counts { audit: bool },
    /// Step by step, each with what the kernel must do meanwhile.
    Steps,
}

/// One demo.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Demo {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) kind: Kind,
    /// Its options unless others are given.
    pub(crate) options: &'static [&'static str],
    /// Its options for another run, which nothing traces, and whose text stands behind the story; empty without one.
    pub(crate) beside: &'static [&'static str],
    /// Further options of the tracer.
    pub(crate) tracing: &'static [&'static str],
}

const fn steps(name: &'static str, about: &'static str) -> Demo {
    Demo { name, about, kind: Kind::Steps, options: &[], beside: &[], tracing: &[] }
}

const fn counts(name: &'static str, about: &'static str, audit: bool, options: &'static [&'static str]) -> Demo {
    Demo { name, about, kind: Kind::Counts { audit }, options, beside: &[], tracing: &[] }
}

/// Every demo that runs under the tracer.
pub(crate) const ALL: &[Demo] = &[
    Demo {
        name: "herd",
        about: "Workers that share a listening socket: which of them does a connection wake?",
        kind: Kind::Herd,
        options: &[],
        beside: &[],
        tracing: &[],
    },
    Demo {
        name: "structures",
        about: "An eventpoll's tree and ready list: items added, modified, removed, duplicated, ready",
        kind: Kind::Steps,
        options: &[],
        // The structures after each step, as the kernel has them.
        beside: &["--more", "0", "--snapshot", "eptrace"],
        tracing: &[],
    },
    Demo {
        name: "ready",
        about: "A few of many descriptors are ready: epoll, poll and select beside each other",
        kind: Kind::Steps,
        options: &["--registered", "10,100,1000"],
        beside: &[],
        tracing: &["--path"],
    },
    steps("trigger", "Level-triggered against edge-triggered: what is read, what is left, what is reported again"),
    steps("drain", "Bursts on an edge-triggered connection: read once per event, or until EAGAIN"),
    steps("accept-once", "One accept for one event, where several connections wait"),
    steps("epollout", "EPOLLOUT on a socket with room: every wait, once, with every arrival, or only when needed"),
    steps("blocking-et", "EPOLLET on a blocking descriptor: the loop hangs in read, until it is rescued"),
    steps("wakeup", "Ending another thread's wait: the self-pipe trick against an eventfd"),
    steps("nested", "Eventpolls in eventpolls: a callback for every level, and what the kernel refuses"),
    steps("closed", "A closed descriptor whose file lives on: events that no epoll_ctl can stop"),
    steps("oneshot", "EPOLLONESHOT: one worker for each event, the MOD that arms it again, what disabled means"),
    steps("exclusive", "EPOLLEXCLUSIVE: who is woken, who is called back, who gets the connections"),
    steps("reuseport", "SO_REUSEPORT: a listening socket for each worker, and a hash that chooses"),
    steps("shared", "One eventpoll for all workers: the wake chain, and one worker for each event"),
    steps("reactor", "The loop of an event-driven server, step by step; beside it a proactor on io_uring"),
    steps("echo", "Echo servers from blocking to io_uring under the same requests: what each request costs"),
    steps("answers", "What an eventpoll is, which files it takes, how a process's end is an event, who may use SQPOLL"),
    steps("stalled", "A scan that is held up: what callbacks and epoll_ctl do meanwhile"),
    counts("life", "Fork, dup, pass, share, close, reuse, nest, interrupt", true, &[]),
    counts("churn", "Everything at random", true, &["--threads", "1", "--operations", "2000"]),
    counts("registered", "One file of each kind that epoll takes, in one eventpoll", false, &[]),
    counts("sources", "One file of each kind, and what the kernel says of it to whoever has it open", false, &[]),
    Demo {
        name: "left",
        about: "Reads of several sizes, and how much each leaves to be read",
        kind: Kind::Counts { audit: false },
        options: &[],
        beside: &[],
        tracing: &["--io"],
    },
    counts(
        "replaced",
        "Descriptors that stand for another file from one moment to the next, while they are used",
        true,
        &[],
    ),
    counts("stays", "Every way to the ready list and from it", true, &[]),
    counts("many", "Very many items and eventpolls", false, &["--items", "10000", "--epolls", "1000"]),
    counts("cycle", "One write + epoll_wait + read, again and again", false, &["--iterations", "1000"]),
];

/// The demo of this name.
pub(crate) fn named(name: &str) -> Option<&'static Demo> {
    ALL.iter().find(|demo| demo.name == name)
}

impl Demo {
    /// The demo's own command line, with other options than its usual ones where some are given.
    pub(crate) fn argv(&self, options: &[String]) -> Vec<String> {
        let mut argv = vec!["demos".to_owned(), self.name.to_owned(), "--json".to_owned()];
        if options.is_empty() {
            argv.extend(self.options.iter().map(|&word| word.to_owned()));
        } else {
            argv.extend_from_slice(options);
        }
        argv
    }
}

#[cfg(test)]
mod tests {
    use super::{ALL, named};
    use std::collections::BTreeSet;

    #[test]
    fn every_demo_has_a_name_of_its_own_by_which_it_is_found() {
        let names: BTreeSet<&str> = ALL.iter().map(|demo| demo.name).collect();
        assert_eq!(names.len(), ALL.len());
        assert!(ALL.iter().all(|demo| named(demo.name).is_some_and(|found| found.about == demo.about)));
    }

    #[test]
    fn options_that_are_given_stand_for_the_usual_ones() {
        let churn = named("churn").unwrap();
        assert_eq!(churn.argv(&[]).join(" "), "demos churn --json --threads 1 --operations 2000");
        assert_eq!(churn.argv(&["--seed".into(), "3".into()]).join(" "), "demos churn --json --seed 3");
    }
}

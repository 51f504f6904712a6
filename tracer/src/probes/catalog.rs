//! Every hook that eptrace can use: what it attaches to, in order of preference, and what is lost without it.

use tracer_common::Hook;

/// How a program meets the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attach {
    /// At the entry of a function, through its BTF.
    Fentry(&'static str),
    /// At the exit of a function, through its BTF.
    Fexit(&'static str),
    /// At the entry of a function, by its symbol.
    Kprobe(&'static str),
    /// At the return of a function, by its symbol.
    Kretprobe(&'static str),
    /// At a tracepoint: category and name.
    Tracepoint(&'static str, &'static str),
    /// At a tracepoint, unprepared.
    RawTracepoint(&'static str),
    /// A walk over kernel objects, started by hand.
    Iter(&'static str),
}

impl Attach {
    /// The kernel's name for the place.
    #[must_use]
    pub const fn target(self) -> &'static str {
        match self {
            Self::Fentry(name)
            | Self::Fexit(name)
            | Self::Kprobe(name)
            | Self::Kretprobe(name)
            | Self::Tracepoint(_, name)
            | Self::RawTracepoint(name)
            | Self::Iter(name) => name,
        }
    }
}

/// The family of a variant, as `--backend` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Backend {
    /// BPF trampolines: fentry and fexit.
    Fentry,
    /// kprobes, kretprobes, and the tracepoints that stand for kretprobes of sleeping calls.
    Kprobe,
    /// Neither: raw tracepoints, iterators. Taken whatever `--backend` says.
    Neutral,
}

impl Backend {
    /// The name in outputs and trace files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fentry => "fentry",
            Self::Kprobe => "kprobe",
            Self::Neutral => "raw-tracepoint",
        }
    }
}

/// One program of the object and where it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Program {
    /// Its name in the object.
    pub name: &'static str,
    /// Where it goes.
    pub attach: Attach,
    /// Whether the variant stands without it, as with a system call that older kernels lack.
    pub optional: bool,
    /// Whether it has twins, which do the work that the kernel makes it skip: only where a task can be preempted in it.
    pub twins: bool,
}

/// How many a program and its twins are.
const COPIES: u32 = 4;

impl Program {
    const fn twins(self) -> Self {
        Self { twins: true, ..self }
    }

    /// Its twins in the object, in the order in which they are to run after it.
    pub(crate) fn twin_names(self) -> impl DoubleEndedIterator<Item = String> {
        let copies = if self.twins { COPIES } else { 1 };
        (2..=copies).map(move |number| format!("{}_{number}", self.name))
    }
}

/// One way to serve a hook: all its programs, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variant {
    /// Its family.
    pub backend: Backend,
    /// Only for processes that already run: they may be inside a call when the probes are attached.
    pub for_running: bool,
    /// What it attaches.
    pub programs: &'static [Program],
    /// What it cannot see and the best variant can.
    pub blind: Blind,
}

/// What a variant cannot see and the best one can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blind {
    /// Nothing.
    Never,
    /// A clause.
    To(&'static str),
    /// Calls beyond the instances of a kretprobe, of which the kernel makes a bounded number: whose calls, as a clause. The kernel counts
    /// them, and shows its count from 6.7 on.
    Instances(&'static str),
    /// The same, and eptrace itself counts them.
    CountedInstances(&'static str),
}

impl Variant {
    /// What it cannot see, as a clause, on a kernel that shows how often it skipped a kprobe, or one that does not; empty when it sees
    /// all.
    #[must_use]
    pub fn cannot_see(&self, skips_are_shown: bool) -> String {
        match self.blind {
            Blind::Never => String::new(),
            Blind::To(what) => what.to_owned(),
            Blind::Instances(whose) if skips_are_shown => {
                format!("{whose} beyond the kretprobe's instances (the report counts them)")
            }
            Blind::Instances(whose) => {
                format!("{whose} beyond the kretprobe's instances (this kernel does not show how many)")
            }
            Blind::CountedInstances(whose) => {
                format!("{whose} beyond the kretprobe's instances (the report counts them as `no-exit`)")
            }
        }
    }

    /// What serves the hook, for outputs and trace files: the backend, or where it goes whatever the backend.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match (self.backend, self.programs.first().map(|program| program.attach)) {
            (Backend::Neutral, Some(Attach::Iter(_))) => "iter",
            (Backend::Neutral, Some(Attach::Tracepoint(..))) => "tracepoint",
            (backend, _) => backend.name(),
        }
    }

    const fn but(self, blind: Blind) -> Self {
        Self { blind, ..self }
    }
}

/// Whether eptrace can do without a hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing can be traced without it.
    Required,
    /// What is lost without it: a whole sentence.
    Optional(&'static str),
}

/// A hook and the ways to serve it, best first within each family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbeSpec {
    /// The hook.
    pub hook: Hook,
    /// Whether it can be missing.
    pub need: Need,
    /// The ways.
    pub variants: &'static [Variant],
}

const fn program(name: &'static str, attach: Attach) -> Program {
    Program { name, attach, optional: false, twins: false }
}

const fn optional(name: &'static str, attach: Attach) -> Program {
    Program { name, attach, optional: true, twins: false }
}

const fn fentry(programs: &'static [Program]) -> Variant {
    Variant { backend: Backend::Fentry, for_running: false, programs, blind: Blind::Never }
}

const fn kprobe(programs: &'static [Program]) -> Variant {
    Variant { backend: Backend::Kprobe, for_running: false, programs, blind: Blind::Never }
}

const fn neutral(programs: &'static [Program]) -> Variant {
    Variant { backend: Backend::Neutral, for_running: false, programs, blind: Blind::Never }
}

/// A kretprobe follows a bounded number of calls at once.
const INSTANCES: Blind = Blind::Instances("calls");
/// System calls end at a tracepoint. A call that begins finds that the task's last one has not ended.
const INSTANCES_OF_IO_URING: Blind = Blind::CountedInstances("io_uring's calls");
/// A file that begins to end finds that the task's last one has not.
const INSTANCES_OF_FILES: Blind = Blind::CountedInstances("ends of files");
/// No event is lost: the end says only that the call is no longer the cause of what follows.
const INSTANCES_OF_CALLBACKS: Blind = Blind::To(
    "the end of callbacks beyond the kretprobe's instances: until the next call on that processor a wake can be laid to one of them",
);
/// No event is lost: the end of a scan says when its lists can be compared.
const INSTANCES_OF_AUDIT: Blind = Blind::To("the lists after scans beyond the kretprobe's instances");
/// An entry without its exit shows by its stack pointer.
const INSTANCES_OF_SCANS: Blind = Blind::CountedInstances("scans");
/// The lists are the scan's own until `ep_done_scan`.
const NO_LISTS: Blind = Blind::To("what a scan put back and what it did not reach, for the lists cannot be read there");

/// What `eptrace snapshot` attaches, and nothing else.
pub const SNAPSHOT: Variant = neutral(&[
    program("snapshot_files", Attach::Iter("task_file")),
    program("snapshot_item_kprobe", Attach::Kprobe("seq_printf")),
    program("snapshot_end_kretprobe", Attach::Kretprobe("ep_show_fdinfo")),
    program("snapshot_begin_kprobe", Attach::Kprobe("ep_show_fdinfo")),
]);

/// All hooks, in the order in which they are attached: who lives first, then what they do.
pub const CATALOG: &[ProbeSpec] = &[
    ProbeSpec {
        hook: Hook::Lifecycle,
        need: Need::Required,
        variants: &[neutral(&[
            program("process_fork", Attach::RawTracepoint("sched_process_fork")).twins(),
            program("process_exec", Attach::RawTracepoint("sched_process_exec")).twins(),
            program("process_exit", Attach::RawTracepoint("sched_process_exit")).twins(),
            program("process_free", Attach::RawTracepoint("sched_process_free")).twins(),
        ])],
    },
    ProbeSpec {
        hook: Hook::Release,
        need: Need::Optional(
            "the end of eventpolls and of watched files is not seen: a reused address is taken for the old object",
        ),
        variants: &[
            fentry(&[
                program("release_fentry", Attach::Fentry("ep_eventpoll_release")).twins(),
                program("file_gone_fexit", Attach::Fexit("eventpoll_release_file")).twins(),
                program("file_gone_fentry", Attach::Fentry("eventpoll_release_file")).twins(),
            ]),
            kprobe(&[
                program("release_kprobe", Attach::Kprobe("ep_eventpoll_release")),
                program("file_gone_kretprobe", Attach::Kretprobe("eventpoll_release_file")),
                program("file_gone_kprobe", Attach::Kprobe("eventpoll_release_file")),
            ])
            .but(INSTANCES_OF_FILES),
        ],
    },
    ProbeSpec {
        hook: Hook::Ctl,
        need: Need::Required,
        variants: &[
            fentry(&[
                program("ctl_fentry", Attach::Fentry("do_epoll_ctl")).twins(),
                program("ctl_fexit", Attach::Fexit("do_epoll_ctl")).twins(),
                // io_uring: from 7.2 on it goes past `do_epoll_ctl`.
                optional("ctl_file_fentry", Attach::Fentry("do_epoll_ctl_file")).twins(),
                optional("ctl_file_fexit", Attach::Fexit("do_epoll_ctl_file")).twins(),
                optional("io_ctl_fentry", Attach::Fentry("io_epoll_ctl")).twins(),
                optional("io_ctl_fexit", Attach::Fexit("io_epoll_ctl")).twins(),
            ]),
            kprobe(&[
                program("ctl_sys_exit", Attach::Tracepoint("syscalls", "sys_exit_epoll_ctl")).twins(),
                program("ctl_kprobe", Attach::Kprobe("do_epoll_ctl")),
                // io_uring makes no system call that ends.
                optional("ctl_kretprobe", Attach::Kretprobe("do_epoll_ctl")),
                optional("ctl_file_kretprobe", Attach::Kretprobe("do_epoll_ctl_file")),
                optional("ctl_file_kprobe", Attach::Kprobe("do_epoll_ctl_file")),
                program("io_ctl_kprobe", Attach::Kprobe("io_epoll_ctl")),
                program("io_ctl_kretprobe", Attach::Kretprobe("io_epoll_ctl")),
            ])
            .but(INSTANCES_OF_IO_URING),
            // 5.10: that one is inlined.
            kprobe(&[
                program("ctl_sys_exit_left", Attach::Tracepoint("syscalls", "sys_exit_epoll_ctl")).twins(),
                program("ctl_return_kretprobe", Attach::Kretprobe("do_epoll_ctl")),
                program("ctl_kprobe", Attach::Kprobe("do_epoll_ctl")),
            ])
            .but(INSTANCES_OF_IO_URING),
        ],
    },
    ProbeSpec {
        hook: Hook::Hooked,
        need: Need::Optional(
            "what a registered file is (address, kind) is not seen, and an item is known only from its first callback on",
        ),
        variants: &[
            fentry(&[program("hooked_fentry", Attach::Fentry("ep_ptable_queue_proc")).twins()]),
            kprobe(&[program("hooked_kprobe", Attach::Kprobe("ep_ptable_queue_proc"))]),
        ],
    },
    ProbeSpec {
        hook: Hook::Callback,
        need: Need::Required,
        variants: &[
            fentry(&[
                program("callback_fexit", Attach::Fexit("ep_poll_callback")),
                program("callback_fentry", Attach::Fentry("ep_poll_callback")),
            ]),
            kprobe(&[
                program("callback_kretprobe", Attach::Kretprobe("ep_poll_callback")),
                program("callback_kprobe", Attach::Kprobe("ep_poll_callback")),
            ])
            .but(INSTANCES_OF_CALLBACKS),
        ],
    },
    ProbeSpec {
        hook: Hook::Wake,
        need: Need::Required,
        variants: &[
            fentry(&[program("wake_fexit", Attach::Fexit("ep_autoremove_wake_function"))]),
            // One call at a time on each processor: interrupts are off around it. There are as many instances.
            kprobe(&[
                program("wake_kretprobe", Attach::Kretprobe("ep_autoremove_wake_function")),
                program("wake_kprobe", Attach::Kprobe("ep_autoremove_wake_function")),
            ]),
        ],
    },
    ProbeSpec {
        hook: Hook::Scan,
        need: Need::Optional(
            "scans are not seen: a task that woke, found nothing and slept again is known only when it is woken anew",
        ),
        variants: &[
            // Where the lists can be read comes first: they say what was put back and what was not reached.
            fentry(&[program("done_scan_fentry", Attach::Fentry("ep_done_scan")).twins()]),
            fentry(&[
                program("send_events_proc_fexit", Attach::Fexit("ep_send_events_proc")),
                program("read_events_proc_fexit", Attach::Fexit("ep_read_events_proc")),
            ]),
            fentry(&[program("send_events_fexit", Attach::Fexit("ep_send_events"))]).but(NO_LISTS),
            kprobe(&[program("done_scan_kprobe", Attach::Kprobe("ep_done_scan"))]),
            kprobe(&[
                program("scan_proc_kretprobe", Attach::Kretprobe("ep_send_events_proc")),
                program("scan_proc_kprobe", Attach::Kprobe("ep_send_events_proc")),
                program("scan_proc_kretprobe", Attach::Kretprobe("ep_read_events_proc")),
                program("scan_proc_kprobe", Attach::Kprobe("ep_read_events_proc")),
            ])
            .but(INSTANCES_OF_SCANS),
            kprobe(&[program("send_events_kretprobe", Attach::Kretprobe("ep_send_events"))]).but(NO_LISTS),
        ],
    },
    ProbeSpec {
        hook: Hook::WaitExit,
        need: Need::Required,
        variants: &[
            Variant {
                backend: Backend::Fentry,
                for_running: true,
                blind: Blind::Never,
                // A trampoline does not see the end of a call that began before it; the tracepoints do.
                programs: &[
                    program("wait_fexit_seen", Attach::Fexit("do_epoll_wait")).twins(),
                    optional("io_wait_fexit", Attach::Fexit("epoll_sendevents")).twins(),
                    optional("wait_sys_exit_unseen", Attach::Tracepoint("syscalls", "sys_exit_epoll_wait")).twins(),
                    optional("wait_sys_exit_unseen", Attach::Tracepoint("syscalls", "sys_exit_epoll_pwait")).twins(),
                    optional("wait_sys_exit_unseen", Attach::Tracepoint("syscalls", "sys_exit_epoll_pwait2")).twins(),
                ],
            },
            fentry(&[
                program("wait_fexit", Attach::Fexit("do_epoll_wait")).twins(),
                // io_uring, which waits from 6.15 on.
                optional("io_wait_fexit", Attach::Fexit("epoll_sendevents")).twins(),
            ]),
            kprobe(&[
                // arm64 has no epoll_wait, kernels before 5.11 no epoll_pwait2.
                optional("wait_sys_exit", Attach::Tracepoint("syscalls", "sys_exit_epoll_wait")).twins(),
                program("wait_sys_exit", Attach::Tracepoint("syscalls", "sys_exit_epoll_pwait")).twins(),
                optional("wait_sys_exit", Attach::Tracepoint("syscalls", "sys_exit_epoll_pwait2")).twins(),
                // io_uring, which waits from 6.15 on.
                program("io_wait_kretprobe", Attach::Kretprobe("epoll_sendevents")),
            ])
            .but(INSTANCES_OF_IO_URING),
            kprobe(&[
                optional("wait_sys_exit", Attach::Tracepoint("syscalls", "sys_exit_epoll_wait")).twins(),
                program("wait_sys_exit", Attach::Tracepoint("syscalls", "sys_exit_epoll_pwait")).twins(),
                optional("wait_sys_exit", Attach::Tracepoint("syscalls", "sys_exit_epoll_pwait2")).twins(),
            ]),
        ],
    },
    ProbeSpec {
        hook: Hook::WaitEnter,
        need: Need::Required,
        variants: &[
            fentry(&[
                program("wait_fentry", Attach::Fentry("do_epoll_wait")).twins(),
                optional("io_wait_fentry", Attach::Fentry("epoll_sendevents")).twins(),
            ]),
            kprobe(&[
                program("wait_kprobe", Attach::Kprobe("do_epoll_wait")),
                optional("io_wait_kprobe", Attach::Kprobe("epoll_sendevents")),
            ]),
        ],
    },
    ProbeSpec {
        hook: Hook::Accept,
        need: Need::Optional("accepted connections are not seen: whether a wake-up was of use cannot be said"),
        variants: &[
            fentry(&[program("accept_fexit", Attach::Fexit("__sys_accept4")).twins()]),
            kprobe(&[
                program("accept_sys_exit", Attach::Tracepoint("syscalls", "sys_exit_accept")).twins(),
                program("accept_sys_exit", Attach::Tracepoint("syscalls", "sys_exit_accept4")).twins(),
                program("accept_kprobe", Attach::Kprobe("__sys_accept4")),
            ]),
        ],
    },
    ProbeSpec {
        hook: Hook::Inventory,
        need: Need::Optional(
            "eventpolls that were open before tracing began are known only from their next epoll_wait or epoll_ctl on",
        ),
        variants: &[
            Variant {
                for_running: true,
                ..neutral(&[
                    program("inventory", Attach::Iter("task_file")),
                    program("fdinfo_item_kprobe", Attach::Kprobe("seq_printf")),
                    program("fdinfo_kretprobe", Attach::Kretprobe("ep_show_fdinfo")),
                    program("fdinfo_kprobe", Attach::Kprobe("ep_show_fdinfo")),
                ])
            },
            neutral(&[program("inventory", Attach::Iter("task_file"))])
                .but(Blind::To("items that were registered before tracing began, until something happens to them")),
        ],
    },
    ProbeSpec {
        hook: Hook::Audit,
        need: Need::Optional("the model cannot be compared with the kernel's own lists"),
        variants: &[
            fentry(&[
                program("audit_done_scan_fexit", Attach::Fexit("ep_done_scan")).twins(),
                program("audit_release_fexit", Attach::Fexit("ep_eventpoll_release")).twins(),
            ]),
            fentry(&[
                // 5.10: this one has no BTF.
                program("audit_scan_kretprobe", Attach::Kretprobe("ep_scan_ready_list.constprop.0")),
                program("audit_release_fexit", Attach::Fexit("ep_eventpoll_release")).twins(),
            ])
            .but(INSTANCES_OF_AUDIT),
            kprobe(&[
                program("audit_scan_kretprobe", Attach::Kretprobe("ep_done_scan")),
                program("audit_release_kretprobe", Attach::Kretprobe("ep_eventpoll_release")),
            ])
            .but(INSTANCES_OF_AUDIT),
            kprobe(&[
                program("audit_scan_kretprobe", Attach::Kretprobe("ep_scan_ready_list.constprop.0")),
                program("audit_release_kretprobe", Attach::Kretprobe("ep_eventpoll_release")),
            ])
            .but(INSTANCES_OF_AUDIT),
        ],
    },
    ProbeSpec {
        hook: Hook::Io,
        need: Need::Optional("reads, writes, accepts and closes are not seen: some rules of lint cannot be judged"),
        variants: &[neutral(&[
            program("io_exit", Attach::Tracepoint("syscalls", "sys_exit_read")).twins(),
            program("io_exit", Attach::Tracepoint("syscalls", "sys_exit_readv")).twins(),
            program("io_exit", Attach::Tracepoint("syscalls", "sys_exit_recvfrom")).twins(),
            program("io_exit", Attach::Tracepoint("syscalls", "sys_exit_recvmsg")).twins(),
            program("io_exit", Attach::Tracepoint("syscalls", "sys_exit_recvmmsg")).twins(),
            program("io_exit", Attach::Tracepoint("syscalls", "sys_exit_write")).twins(),
            program("io_exit", Attach::Tracepoint("syscalls", "sys_exit_writev")).twins(),
            program("io_exit", Attach::Tracepoint("syscalls", "sys_exit_sendto")).twins(),
            program("io_exit", Attach::Tracepoint("syscalls", "sys_exit_sendmsg")).twins(),
            program("io_exit", Attach::Tracepoint("syscalls", "sys_exit_sendmmsg")).twins(),
            program("io_exit", Attach::Tracepoint("syscalls", "sys_exit_sendfile64")).twins(),
            program("io_exit", Attach::Tracepoint("syscalls", "sys_exit_splice")).twins(),
            program("io_exit", Attach::Tracepoint("syscalls", "sys_exit_accept")).twins(),
            program("io_exit", Attach::Tracepoint("syscalls", "sys_exit_accept4")).twins(),
            program("io_enter", Attach::Tracepoint("syscalls", "sys_enter_read")).twins(),
            program("io_enter", Attach::Tracepoint("syscalls", "sys_enter_readv")).twins(),
            program("io_enter", Attach::Tracepoint("syscalls", "sys_enter_recvfrom")).twins(),
            program("io_enter", Attach::Tracepoint("syscalls", "sys_enter_recvmsg")).twins(),
            program("io_enter", Attach::Tracepoint("syscalls", "sys_enter_recvmmsg")).twins(),
            program("io_enter", Attach::Tracepoint("syscalls", "sys_enter_write")).twins(),
            program("io_enter", Attach::Tracepoint("syscalls", "sys_enter_writev")).twins(),
            program("io_enter", Attach::Tracepoint("syscalls", "sys_enter_sendto")).twins(),
            program("io_enter", Attach::Tracepoint("syscalls", "sys_enter_sendmsg")).twins(),
            program("io_enter", Attach::Tracepoint("syscalls", "sys_enter_sendmmsg")).twins(),
            program("io_enter", Attach::Tracepoint("syscalls", "sys_enter_sendfile64")).twins(),
            program("io_enter", Attach::Tracepoint("syscalls", "sys_enter_splice")).twins(),
            program("io_enter", Attach::Tracepoint("syscalls", "sys_enter_accept")).twins(),
            program("io_enter", Attach::Tracepoint("syscalls", "sys_enter_accept4")).twins(),
            program("io_enter", Attach::Tracepoint("syscalls", "sys_enter_close")).twins(),
        ])],
    },
    ProbeSpec {
        hook: Hook::Path,
        need: Need::Optional("what callbacks run in, and when the tasks that they wake are on a CPU, is not seen"),
        variants: &[
            fentry(&[
                program("path_sched_switch", Attach::RawTracepoint("sched_switch")),
                program("path_wake_fentry", Attach::Fentry("ep_autoremove_wake_function")),
                program("path_sock_fexit", Attach::Fexit("sock_def_readable")).twins(),
                program("path_sock_fentry", Attach::Fentry("sock_def_readable")).twins(),
                program("path_interrupt_exit", Attach::RawTracepoint("hrtimer_expire_exit")),
                program("path_interrupt_entry", Attach::RawTracepoint("hrtimer_expire_entry")),
                program("path_interrupt_exit", Attach::RawTracepoint("irq_handler_exit")),
                program("path_interrupt_entry", Attach::RawTracepoint("irq_handler_entry")),
                program("path_softirq_exit", Attach::RawTracepoint("softirq_exit")),
                program("path_softirq_entry", Attach::RawTracepoint("softirq_entry")),
            ]),
            kprobe(&[
                program("path_sched_switch", Attach::RawTracepoint("sched_switch")),
                program("path_wake_kprobe", Attach::Kprobe("ep_autoremove_wake_function")),
                program("path_sock_kretprobe", Attach::Kretprobe("sock_def_readable")),
                program("path_sock_kprobe", Attach::Kprobe("sock_def_readable")),
                program("path_interrupt_exit", Attach::RawTracepoint("hrtimer_expire_exit")),
                program("path_interrupt_entry", Attach::RawTracepoint("hrtimer_expire_entry")),
                program("path_interrupt_exit", Attach::RawTracepoint("irq_handler_exit")),
                program("path_interrupt_entry", Attach::RawTracepoint("irq_handler_entry")),
                program("path_softirq_exit", Attach::RawTracepoint("softirq_exit")),
                program("path_softirq_entry", Attach::RawTracepoint("softirq_entry")),
            ])
            .but(INSTANCES),
        ],
    },
];

#[cfg(test)]
mod tests {
    use super::{Backend, CATALOG};
    use tracer_common::Hook;

    #[test]
    fn a_report_that_does_not_count_is_not_said_to_count() {
        let first = |hook: Hook, backend: Backend| {
            let spec = CATALOG.iter().find(|spec| spec.hook == hook).unwrap();
            spec.variants.iter().find(|variant| variant.backend == backend).unwrap()
        };
        let path = first(Hook::Path, Backend::Kprobe);
        assert!(path.cannot_see(true).ends_with("(the report counts them)"));
        assert!(path.cannot_see(false).ends_with("(this kernel does not show how many)"));
        assert_eq!(first(Hook::Callback, Backend::Fentry).cannot_see(false), "");
        let scans = CATALOG.iter().find(|spec| spec.hook == Hook::Scan).unwrap().variants;
        let pairs =
            scans.iter().find(|variant| variant.programs.iter().any(|program| program.name == "scan_proc_kprobe"));
        assert!(pairs.unwrap().cannot_see(false).contains("the report counts them as `no-exit`"));
    }
}

//! Why the probes could not say what they saw. Each pair of hook and reason has its own per-CPU counter.

/// A place in the kernel that is probed. The numbers index the loss counters and stand in trace files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum Hook {
    /// `do_epoll_ctl`
    Ctl = 0,
    /// `ep_ptable_queue_proc`
    Hooked = 1,
    /// `ep_poll_callback`
    Callback = 2,
    /// `ep_autoremove_wake_function`
    Wake = 3,
    /// entry of `do_epoll_wait`
    WaitEnter = 4,
    /// end of an `epoll_wait`
    WaitExit = 5,
    /// `ep_send_events`, or what stands for it
    Scan = 6,
    /// `accept` and `accept4`
    Accept = 7,
    /// the scheduler's fork, exec and exit
    Lifecycle = 8,
    /// `ep_eventpoll_release`, `eventpoll_release_file`
    Release = 9,
    /// the walk over open files when tracing starts
    Inventory = 10,
    /// what `--audit` adds: walks of the kernel's lists, and the ends of what changes them
    Audit = 11,
    /// the calls that read, write, accept and close, for `eptrace lint`
    Io = 12,
    /// what `--path` adds: softirqs, interrupts, `sock_def_readable` and the scheduler's `sched_switch`
    Path = 13,
    /// what `--stacks` adds: the user stacks of calls; it has no probes of its own
    Stack = 14,
}

impl Hook {
    /// Every hook, in the order of its number.
    pub const ALL: [Self; 15] = [
        Self::Ctl,
        Self::Hooked,
        Self::Callback,
        Self::Wake,
        Self::WaitEnter,
        Self::WaitExit,
        Self::Scan,
        Self::Accept,
        Self::Lifecycle,
        Self::Release,
        Self::Inventory,
        Self::Audit,
        Self::Io,
        Self::Path,
        Self::Stack,
    ];

    /// The name that outputs and trace files use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ctl => "ctl",
            Self::Hooked => "hooked",
            Self::Callback => "callback",
            Self::Wake => "wake",
            Self::WaitEnter => "wait-enter",
            Self::WaitExit => "wait-exit",
            Self::Scan => "scan",
            Self::Accept => "accept",
            Self::Lifecycle => "lifecycle",
            Self::Release => "release",
            Self::Inventory => "inventory",
            Self::Audit => "audit",
            Self::Io => "io",
            Self::Path => "path",
            Self::Stack => "stack",
        }
    }
}

/// Why a probe could not report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum Miss {
    /// The ring buffer had no room.
    RingFull = 0,
    /// A map that the probes keep state in was full.
    MapFull = 1,
    /// Kernel or user memory could not be read.
    ReadFailed = 2,
    /// An exit came without its entry: the call began before the probe was attached.
    NoEntry = 3,
    /// More events were returned than the probe copies (`MAX_RETURNED`); their number is exact, their contents are not all known.
    Truncated = 4,
    /// Callbacks nested deeper than the kernel's own limit: the context of a wake-up is not known.
    TooDeep = 5,
    /// An entry had no exit: all instances of the kretprobe were taken.
    NoExit = 6,
}

impl Miss {
    /// Every reason, in the order of its number.
    pub const ALL: [Self; 7] =
        [Self::RingFull, Self::MapFull, Self::ReadFailed, Self::NoEntry, Self::Truncated, Self::TooDeep, Self::NoExit];

    /// The name that outputs and trace files use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RingFull => "ring-full",
            Self::MapFull => "map-full",
            Self::ReadFailed => "read-failed",
            Self::NoEntry => "no-entry",
            Self::Truncated => "truncated",
            Self::TooDeep => "too-deep",
            Self::NoExit => "no-exit",
        }
    }

    /// The slot among a CPU's [`LOSS_STRIDE`] that counts this reason at this hook.
    #[must_use]
    pub const fn slot(self, hook: Hook) -> u32 {
        hook as u32 * MISSES + self as u32
    }
}

/// What tells a lost event from one that a twin saw, where the kernel skips programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Rescue {
    /// The first of the copies ran for a task that is not under trace.
    FirstUntraced = 0,
    /// The last of the copies ran for a task that is not under trace.
    LastUntraced = 1,
    /// A twin did the work.
    Done = 2,
}

impl Rescue {
    /// The slot of the per-CPU array that counts this at this hook.
    #[must_use]
    pub const fn slot(self, hook: Hook) -> u32 {
        hook as u32 * 3 + self as u32
    }
}

/// Entries of the per-CPU array of rescues.
pub const RESCUE_SLOTS: u32 = HOOKS * 3;

/// The array of loss counters in the object.
pub const LOSSES_MAP: &str = "LOSSES";

/// From one CPU's loss counters to the next one's in [`LOSSES_MAP`], in counters: whole cache lines.
pub const LOSS_STRIDE: u32 = 128;
const _: () = assert!(HOOKS * MISSES <= LOSS_STRIDE);

/// How many hooks there are.
pub const HOOKS: u32 = 15;
const MISSES: u32 = 7;
const _: () = assert!(HOOKS as usize == Hook::ALL.len() && MISSES as usize == Miss::ALL.len());

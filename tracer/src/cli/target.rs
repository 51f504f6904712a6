//! Whom to trace and how: the options that every tracing command shares, typed and then validated.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use crate::probes::attach::Sizes;
use crate::probes::plan::{Preference, Purpose};
use crate::source::live::{Detail, Options};

/// Which programs to attach.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(super) enum BackendArg {
    /// fentry where it loads, kprobe elsewhere, hook by hook
    #[default]
    Auto,
    /// Only kprobes and tracepoints
    Kprobe,
    /// Only BPF trampolines
    Fentry,
}

impl From<BackendArg> for Preference {
    fn from(arg: BackendArg) -> Self {
        match arg {
            BackendArg::Auto => Self::Auto,
            BackendArg::Kprobe => Self::Kprobe,
            BackendArg::Fentry => Self::Fentry,
        }
    }
}

/// What the probes are told, apart from whom to trace.
#[derive(Debug, Clone, Args)]
pub(super) struct ProbeArgs {
    /// Which kind of probes to attach
    #[arg(long, value_enum, default_value_t, value_name = "KIND")]
    pub(super) backend: BackendArg,
    /// BTF of the running kernel, for kernels that do not offer it in /sys/kernel/btf/vmlinux
    #[arg(long, value_name = "FILE")]
    pub(super) btf: Option<PathBuf>,
    /// Other probes than the built-in ones: an object of the same version, such as one that logs
    #[arg(long, value_name = "FILE", hide = true)]
    pub(super) object: Option<PathBuf>,
    /// Size of the ring buffer, MiB (a power of two)
    #[arg(long, default_value_t = 16, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(super) buffer: u32,
    /// Processes, eventpolls and tasks that can be followed at once
    #[arg(long, default_value_t = Sizes::default().entries, value_name = "N", value_parser = clap::value_parser!(u32).range(64..=4_194_304))]
    pub(super) max_tracked: u32,
}

/// Whom to trace, and until when.
#[derive(Debug, Clone, Args)]
#[expect(clippy::struct_excessive_bools, reason = "options, each by itself")]
pub(super) struct TargetArgs {
    /// Trace this process with its threads and children; can be given several times. Without -p and without COMMAND every process
    /// is traced
    #[arg(short, long = "pid", value_name = "PID", conflicts_with = "command")]
    pub(super) pids: Vec<u32>,
    /// Do not trace the children of traced processes
    #[arg(long)]
    pub(super) no_follow: bool,
    /// Stop after so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(super) duration: Option<Duration>,
    /// Create this file when the probes are on
    #[arg(long, value_name = "FILE")]
    pub(super) ready_file: Option<PathBuf>,
    /// Compare the reconstructed ready lists with the kernel's own; the report says how often they differed. Costs several times as
    /// much
    #[arg(long)]
    pub(super) audit: bool,
    /// Trace the reads, writes, accepts and closes of watched files, too, which some rules of `eptrace lint` need (it has them
    /// always). Costs some more in each of these calls
    #[arg(long)]
    pub(super) io: bool,
    /// Trace the way of each event to the task that it wakes, too: the softirq or interrupt that its callback ran in,
    /// `sock_def_readable`, and when the task was on a CPU. Costs some more in each softirq and each interrupt
    #[arg(long)]
    pub(super) path: bool,
    /// Trace the user stack of each call of epoll and accept, too, and with --io of each read, write and close, which
    /// `eptrace lint` shows (it has them always). Costs some more in each of these calls
    #[arg(long)]
    pub(super) stacks: bool,
    #[command(flatten)]
    pub(super) probes: ProbeArgs,
    /// Run this command and trace it with its children, until it ends
    #[arg(last = true, value_name = "COMMAND")]
    pub(super) command: Vec<OsString>,
}

impl TargetArgs {
    /// What is traced, in words.
    pub(super) fn words(&self) -> String {
        if !self.command.is_empty() {
            let words: Vec<_> = self.command.iter().map(|word| word.to_string_lossy()).collect();
            return format!("-- {}", words.join(" "));
        }
        match self.pids.as_slice() {
            [] => "every process".to_owned(),
            pids => format!("pid {}", pids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
        }
    }

    /// The options of the live source, for these thread groups.
    pub(super) fn options(&self, pids: Vec<u32>, verbose: u8) -> Result<Options> {
        Ok(Options {
            pids,
            target: self.words(),
            purpose: Purpose {
                running: self.command.is_empty(),
                audit: self.audit,
                io: self.io,
                path: self.path,
                stacks: self.stacks,
            },
            follow_forks: !self.no_follow,
            preference: self.probes.backend.into(),
            sizes: self.probes.sizes()?,
            btf: self.probes.btf.clone(),
            object: self.probes.object.clone(),
            detail: match verbose {
                0 => Detail::Plain,
                1 => Detail::VerifierLog,
                _ => Detail::ProbeLog,
            },
        })
    }
}

impl ProbeArgs {
    /// The sizes of the maps.
    pub(super) fn sizes(&self) -> Result<Sizes> {
        if !self.buffer.is_power_of_two() {
            bail!("--buffer {} is not a power of two; try {}", self.buffer, self.buffer.next_power_of_two());
        }
        let ring_bytes = self.buffer.checked_mul(1 << 20).context("--buffer is too large")?;
        Ok(Sizes { ring_bytes, entries: self.max_tracked })
    }
}

/// Ten years: far within what the clocks can add up.
const MAX_SECONDS: f64 = 315_360_000.0;

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    if seconds <= 0.0 {
        return Err("must be more than 0".to_owned());
    }
    if seconds > MAX_SECONDS {
        return Err(format!("more than {MAX_SECONDS:.0} seconds"));
    }
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

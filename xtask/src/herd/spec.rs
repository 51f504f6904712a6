//! One run of the herd demo: its options, and the jobs that record and report it.

use clap::ValueEnum;

use crate::vm::plan::Job;

/// How the workers share the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Level-triggered, an epoll instance per worker
    Lt,
    /// Edge-triggered
    Et,
    /// EPOLLEXCLUSIVE
    Exclusive,
    /// EPOLLONESHOT, one epoll instance for all
    Oneshot,
    /// A socket per worker, with the option `SO_REUSEPORT`
    #[value(help = "SO_REUSEPORT, a socket per worker")]
    Reuseport,
}

/// How the probes are attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Backend {
    /// The best that loads, hook by hook
    Auto,
    /// kprobes and kretprobes
    Kprobe,
    /// fentry and fexit
    Fentry,
}

/// When the client makes the next connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Rhythm {
    /// When every worker sleeps
    Step,
    /// At once
    Burst,
}

/// The word of an option's value.
pub(crate) fn word<T: ValueEnum + Copy>(value: T) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// One run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spec {
    pub(crate) mode: Mode,
    pub(crate) backend: Backend,
    pub(crate) rhythm: Rhythm,
    pub(crate) workers: u32,
    pub(crate) connections: u32,
    pub(crate) processes: bool,
}

/// How many jobs [`Spec::jobs`] makes.
pub(crate) const JOBS: usize = 3;

impl Spec {
    /// The name of the trace file.
    pub(crate) fn trace(&self) -> String {
        format!("herd-{}.arrow", word(self.mode))
    }

    /// The demo's command line.
    pub(crate) fn demo(&self) -> Vec<String> {
        let mut line = vec!["demos".to_owned(), "herd".to_owned(), "--json".to_owned()];
        let workers = self.workers.to_string();
        let connections = self.connections.to_string();
        for (option, value) in [
            ("--mode", word(self.mode)),
            ("--rhythm", word(self.rhythm)),
            ("--workers", workers),
            ("--connections", connections),
        ] {
            line.extend([option.to_owned(), value]);
        }
        if self.processes {
            line.push("--processes".to_owned());
        }
        line
    }

    /// The command line that records the demo into `trace`.
    pub(crate) fn record(&self, trace: &str) -> Vec<String> {
        let mut line: Vec<String> =
            ["eptrace", "record", "-o", trace, "--backend", &word(self.backend), "--"].map(str::to_owned).to_vec();
        line.extend(self.demo());
        line
    }

    /// Record, report as text, report as JSON.
    pub(crate) fn jobs(&self, timeout_s: u64) -> [Job; JOBS] {
        let trace = self.trace();
        let job = |what: &str, argv: Vec<String>| Job {
            name: format!("{what} of herd {}", word(self.mode)),
            argv,
            timeout_s,
            ..Job::default()
        };
        let report = |extra: &[&str]| {
            [&["eptrace", "report"], extra, &[&trace]].concat().iter().map(|&w| w.to_owned()).collect()
        };
        [
            job("the recording", self.record(&trace)).returning(&[&trace]),
            job("the report", report(&[])),
            job("the JSON report", report(&["--json"])),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::{Backend, Mode, Rhythm, Spec};

    #[test]
    fn a_run_is_recorded_and_reported_from_the_same_file() {
        let spec = Spec {
            mode: Mode::Exclusive,
            backend: Backend::Kprobe,
            rhythm: Rhythm::Step,
            workers: 4,
            connections: 200,
            processes: true,
        };
        let [record, text, json] = spec.jobs(9);
        assert_eq!(
            record.argv.join(" "),
            "eptrace record -o herd-exclusive.arrow --backend kprobe -- demos herd --json --mode exclusive \
             --rhythm step --workers 4 --connections 200 --processes"
        );
        assert_eq!(text.argv.join(" "), "eptrace report herd-exclusive.arrow");
        assert_eq!(json.argv.join(" "), "eptrace report --json herd-exclusive.arrow");
        assert_eq!(record.returns, ["herd-exclusive.arrow"]);
    }
}

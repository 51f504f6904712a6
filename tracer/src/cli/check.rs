//! `eptrace check`: can this kernel be traced, hook by hook, as actually tried.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use super::format::print;
use super::target::ProbeArgs;
use crate::event::HookInfo;
use crate::kernel::capabilities::{Capability, Fact, Lockdown, Privileges, System};
use crate::output::sanitize;
use crate::probes::attach::{LeftOut, NO_KPROBES};
use crate::probes::catalog::Need;
use crate::probes::facts::Facts;
use crate::probes::survey::{Survey, survey};

/// Arguments of `eptrace check`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  eptrace check
  eptrace check --json | jq '.hooks[] | {hook, backend, missing}'
  eptrace check --backend kprobe

Every hook is attached and let go again; nothing is recorded. Exit code 0: this kernel can be traced. 3: it
cannot. 2: this user may not try.")]
pub(super) struct CheckArgs {
    /// One object with `schema_version`
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    probes: ProbeArgs,
}

/// How a fact bears on tracing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Standing {
    /// As it should be.
    Good,
    /// Costs something, or could not be found out.
    Doubt,
    /// Tracing fails because of it.
    Bad,
}

impl Standing {
    const fn mark(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Doubt => "??",
            Self::Bad => "NO",
        }
    }
}

/// One line of the check.
#[derive(Debug, Serialize)]
struct Line {
    name: &'static str,
    value: String,
    standing: Standing,
    /// What to do; empty when nothing is to be done.
    advice: &'static str,
}

/// One hook of the check.
#[derive(Debug, Serialize)]
struct HookLine {
    #[serde(flatten)]
    info: HookInfo,
    required: bool,
    /// What is lost without it.
    lost: &'static str,
    /// What the way that holds cannot see and the best way can; empty when it sees all.
    cannot_see: String,
    /// What was tried and refused before.
    refused: Vec<String>,
    /// Places that the way that holds does without: this kernel does not have them, or did not let them be probed.
    left_out: Vec<LeftOutLine>,
}

/// A place that a hook does without.
#[derive(Debug, Serialize)]
struct LeftOutLine {
    target: &'static str,
    why: String,
}

impl From<&LeftOut> for LeftOutLine {
    fn from(left: &LeftOut) -> Self {
        Self { target: left.target, why: left.why.clone() }
    }
}

/// The whole check.
#[derive(Debug, Serialize)]
struct Check {
    schema_version: u32,
    kind: &'static str,
    kernel: String,
    traceable: bool,
    sentence: String,
    facts: Vec<Line>,
    hooks: Vec<HookLine>,
    /// The probed functions in C, as the kernel's BTF has them.
    prototypes: Vec<String>,
}

/// Whether the kernel shows how often it skipped a kprobe.
const SKIPPED_KPROBES: &str = "skipped kprobes";
const NOT_COUNTED: &str = "not counted: what comes while another kprobe runs on the same CPU may be missing";

pub(super) fn run(args: &CheckArgs, verbose: u8) -> Result<ExitCode> {
    let system = System::read();
    let facts = Facts::gather(args.probes.btf.as_deref());
    let mut lines = lines(&system, args.probes.btf.as_ref());
    let mut hooks = Vec::new();
    let may = system.privileges.as_ref().map_or(true, |privileges| privileges.may_trace())
        && system.initial_user_namespace != Ok(false);
    let sentence = match &facts {
        Err(error) => Err(format!("{error:#}")),
        Ok(facts) => {
            let Survey { ring_buffer, loaded, outcomes } =
                survey(facts, args.probes.backend.into(), args.probes.sizes()?, verbose > 0);
            lines.push(ring_line(&ring_buffer));
            lines.push(line(
                "kernel symbols",
                &Ok(facts.has_eventpoll_fops()),
                ("functions and data", "functions only: what kind a file is cannot be said"),
                Standing::Doubt,
                "run as root with kernel.kptr_restrict below 2, on a kernel with CONFIG_KALLSYMS_ALL",
            ));
            lines.push(line(
                SKIPPED_KPROBES,
                &Ok(facts.missed_offset.is_some()),
                ("counted", NOT_COUNTED),
                Standing::Doubt,
                "use Linux 6.7 or later, or --backend fentry",
            ));
            hooks.extend(outcomes.iter().map(|outcome| HookLine {
                info: outcome.info(),
                required: outcome.need == Need::Required,
                lost: match outcome.need {
                    Need::Required => "nothing can be traced without it",
                    Need::Optional(lost) => lost,
                },
                cannot_see:
                    outcome.held.map_or_else(String::new, |held| held.cannot_see(facts.missed_offset.is_some())),
                refused: outcome.refused.clone(),
                left_out: outcome.left_out.iter().map(LeftOutLine::from).collect(),
            }));
            loaded.and_then(|()| judge(facts, &hooks))
        }
    };
    let check = Check {
        schema_version: 1,
        kind: "check",
        kernel: shown(&system.release),
        traceable: sentence.is_ok(),
        sentence: sentence.unwrap_or_else(|why| {
            if may {
                format!("This kernel cannot be traced: {why}.")
            } else {
                "Whether this kernel can be traced is not known: run eptrace check as root on the host.".to_owned()
            }
        }),
        facts: lines,
        prototypes: facts.as_ref().map(|facts| facts.prototypes.clone()).unwrap_or_default(),
        hooks,
    };
    let text = if args.json { serde_json::to_string(&check)? + "\n" } else { text(&check) };
    print(&text)?;
    Ok(match (check.traceable, may) {
        (true, _) => ExitCode::SUCCESS,
        // It says nothing of the kernel that it refuses this user.
        (false, false) => ExitCode::from(2),
        (false, true) => ExitCode::from(3),
    })
}

/// What follows from the hooks.
fn judge(facts: &Facts, hooks: &[HookLine]) -> Result<String, String> {
    let fatal = facts.fatal_fields();
    if !fatal.is_empty() {
        return Err(format!("eptrace does not know its structures ({})", fatal.join("; ")));
    }
    let gone = |required: bool| {
        let gone = hooks.iter().filter(|hook| hook.info.backend.is_empty() && hook.required == required);
        gone.map(|hook| hook.info.hook.as_str()).collect::<Vec<_>>()
    };
    let needed = gone(true);
    if !needed.is_empty() {
        return Err(format!("{}the hooks {} are needed and could not be attached", causes(hooks), needed.join(", ")));
    }
    let lost = gone(false);
    if lost.is_empty() {
        Ok("This kernel can be traced: every hook was attached and let go again.".to_owned())
    } else {
        Ok(format!("This kernel can be traced, but not wholly seen: without {}.", lost.join(", ")))
    }
}

/// What stands behind many refusals at once.
fn causes(hooks: &[HookLine]) -> String {
    let refused = |how: &[&str], why: &str| {
        hooks
            .iter()
            .flat_map(|hook| &hook.refused)
            .any(|text| how.iter().any(|how| text.starts_with(how)) && text.contains(why))
    };
    let mut causes = String::new();
    if refused(&["kprobe ", "kretprobe "], NO_KPROBES) {
        causes.push_str("it has no kprobes; ");
    }
    if refused(&["fentry ", "fexit "], "Operation not permitted") {
        causes.push_str("it refuses BPF programs of type TRACING (fentry, fexit) with EPERM; ");
    }
    causes
}

fn shown<T: ToString>(fact: &Fact<T>) -> String {
    match fact {
        Ok(value) => value.to_string(),
        Err(why) => format!("unknown: {why}"),
    }
}

/// A fact that is good or bad.
fn line(name: &'static str, fact: &Fact<bool>, words: (&str, &str), bad: Standing, advice: &'static str) -> Line {
    let (value, standing) = match fact {
        Ok(true) => (words.0.to_owned(), Standing::Good),
        Ok(false) => (words.1.to_owned(), bad),
        Err(why) => (format!("unknown: {why}"), Standing::Doubt),
    };
    Line { name, value, standing, advice: if *fact == Ok(false) { advice } else { "" } }
}

/// Those of the effective capabilities that bear on tracing.
fn capabilities(system: &System) -> String {
    let names = |privileges: &Privileges| {
        let held = Capability::ALL.into_iter().filter(|capability| privileges.has(*capability));
        held.map(|capability| capability.to_string()).collect::<Vec<_>>().join(", ")
    };
    let held = system.privileges.as_ref().map(names).map_err(Clone::clone);
    if held.as_deref() == Ok("") { "none that bears on tracing".to_owned() } else { shown(&held) }
}

fn lines(system: &System, btf: Option<&PathBuf>) -> Vec<Line> {
    let known = |name, value: String| Line { name, value, standing: Standing::Good, advice: "" };
    let may = system.privileges.clone().map(Privileges::may_trace);
    let btf_there = if btf.is_some() { Ok(true) } else { system.btf.clone() };
    let kprobes = system.kprobes.clone().map(|kprobes| kprobes.available);
    let readable = system.lockdown.clone().map(|lockdown| lockdown < Lockdown::Confidentiality);
    let tracefs = system.tracefs.clone().map(|place| place.is_some());
    let not_realtime = system.realtime.clone().map(|realtime| !realtime);
    let cpus = system.possible_cpus.as_ref().map(|cpus| cpus.count.to_string()).map_err(Clone::clone);
    vec![
        known("kernel", shown(&system.release)),
        known("machine", shown(&system.machine)),
        known("CPUs", shown(&cpus)),
        known("capabilities", capabilities(system)),
        line(
            "privileges",
            &may,
            ("may load probes", "may not load probes"),
            Standing::Bad,
            "run as root, or with CAP_BPF and CAP_PERFMON",
        ),
        line(
            "user namespace",
            &system.initial_user_namespace,
            ("the kernel's own", "another: privileges count for nothing here"),
            Standing::Bad,
            "run on the host",
        ),
        line(
            "pid namespace",
            &system.initial_pid_namespace,
            ("the kernel's own", "a container's"),
            Standing::Bad,
            "run on the host: processes have other numbers here",
        ),
        line(
            "BTF",
            &btf_there,
            ("there", "missing"),
            Standing::Bad,
            "use a kernel with CONFIG_DEBUG_INFO_BTF, or give --btf FILE",
        ),
        line(
            "lockdown",
            &readable,
            (&shown(&system.lockdown), "confidentiality"),
            Standing::Bad,
            "boot without lockdown=confidentiality: it forbids reading kernel memory",
        ),
        line(
            "kprobes",
            &kprobes,
            ("built in", "not built in (CONFIG_KPROBES)"),
            Standing::Doubt,
            "only fentry can serve then; boot a distribution's kernel",
        ),
        line(
            "kprobes armed",
            &system.kprobes_armed,
            ("yes", "no: they attach but do not fire"),
            Standing::Doubt,
            "echo 1 > /sys/kernel/debug/kprobes/enabled",
        ),
        line(
            "tracefs",
            &tracefs,
            ("mounted", "not mounted: system calls that sleep cannot be followed with kprobes"),
            Standing::Doubt,
            "mount -t tracefs tracefs /sys/kernel/tracing",
        ),
        line("ftrace", &system.ftrace_enabled, ("on", "off"), Standing::Bad, "sysctl kernel.ftrace_enabled=1"),
        line(
            "BPF compiler",
            &system.bpf_jit,
            ("on", "off"),
            Standing::Doubt,
            "sysctl net.core.bpf_jit_enable=1: fentry needs it",
        ),
        line(
            "spinlocks",
            &not_realtime,
            ("not preemptible", "preemptible (PREEMPT_RT)"),
            Standing::Doubt,
            "which callback woke a task is a guess on this kernel",
        ),
    ]
}

fn ring_line(ring: &Result<bool, String>) -> Line {
    let (value, standing) = match ring {
        Ok(true) => ("supported".to_owned(), Standing::Good),
        Ok(false) => ("not supported".to_owned(), Standing::Bad),
        Err(why) => (format!("unknown: {why}"), Standing::Doubt),
    };
    Line {
        name: "ring buffer",
        value,
        standing,
        advice: if standing == Standing::Bad { "Linux 5.8 is the first to have it" } else { "" },
    }
}

fn text(check: &Check) -> String {
    let mut out = String::new();
    for line in &check.facts {
        let _ = writeln!(out, "{:<4}{:<16}{}", line.standing.mark(), line.name, sanitize::text(&line.value));
        if !line.advice.is_empty() {
            let _ = writeln!(out, "{:20}→ {}", "", line.advice);
        }
    }
    if !check.hooks.is_empty() {
        out.push_str("\nHooks, as actually tried:\n");
    }
    for hook in &check.hooks {
        let standing = match (hook.info.backend.is_empty(), hook.required) {
            (false, _) => Standing::Good,
            (true, true) => Standing::Bad,
            (true, false) => Standing::Doubt,
        };
        let how = if hook.info.backend.is_empty() {
            "could not be attached".to_owned()
        } else {
            format!("{:<15} {}", hook.info.backend, hook.info.targets.join(", "))
        };
        let _ = writeln!(out, "{:<4}{:<16}{}", standing.mark(), hook.info.hook, how);
        if !hook.cannot_see.is_empty() {
            let _ = writeln!(out, "{:20}cannot see: {}", "", hook.cannot_see);
        }
        if standing != Standing::Good {
            for why in &hook.refused {
                let _ = writeln!(out, "{:20}{}", "", sanitize::text(why));
            }
            let _ = writeln!(out, "{:20}→ {}", "", hook.lost);
        }
    }
    let _ = writeln!(out, "\n{}", sanitize::text(&check.sentence));
    out
}

//! From the options to probes that are attached, and not yet switched on.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use aya::Ebpf;
use aya::maps::{HashMap, MapData, MapType};
use aya::sys::is_map_supported;

use super::clock::monotonic_ns;
use super::log;
use super::options::{Detail, Options, Untraceable};
use tracer_common::Hook;

use crate::event::TraceInfo;
use crate::kernel::capabilities::System;
use crate::kernel::files::kind_of;
use crate::kernel::process;
use crate::probes::OBJECT;
use crate::probes::attach::{How, LoadError, Outcome, attach, load};
use crate::probes::catalog::{Backend, Need};
use crate::probes::facts::Facts;
use crate::probes::misses::Misses;
use crate::probes::plan::plan;

/// The probes, attached and silent.
pub(super) struct Begun {
    pub(super) ebpf: Ebpf,
    pub(super) info: TraceInfo,
    pub(super) misses: Misses,
    pub(super) preemptible: bool,
}

/// Finds out about the kernel, loads the object, fills the filter and attaches hook by hook.
pub(super) fn begin(options: &Options) -> Result<Begun> {
    let facts = match Facts::gather(options.btf.as_deref()) {
        Err(error) if options.btf.is_none() => return Err(Untraceable(format!("{error:#}")).into()),
        other => other?,
    };
    let fatal = facts.fatal_fields();
    if !fatal.is_empty() {
        return Err(
            Untraceable(format!("the kernel's structures are unknown to eptrace ({})", fatal.join("; "))).into()
        );
    }
    raise_memlock();
    let object = match &options.object {
        Some(path) => std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?,
        None => OBJECT.to_vec(),
    };
    let btf = Some(&facts.attachable);
    let mut config = facts.config();
    config.trace_all = u32::from(options.pids.is_empty());
    config.follow_forks = u32::from(options.follow_forks);
    config.audit = u32::from(options.purpose.audit);
    config.path = u32::from(options.purpose.path);
    config.stacks = u32::from(options.purpose.stacks);
    let mut ebpf = load(&object, config, options.sizes, btf).map_err(refused)?;
    let mut targets = targets(&mut ebpf)?;
    for pid in &options.pids {
        targets.insert(*pid, 1, 0).with_context(|| format!("cannot add process {pid} to the filter"))?;
    }
    let outcomes = attach(
        &mut ebpf,
        plan(&facts.names, options.preference, options.purpose),
        btf,
        How { twins: facts.preemptible, full_log: options.detail >= Detail::VerifierLog },
    );
    demand(&outcomes)?;
    if options.purpose.audit {
        demand_audit(&outcomes)?;
    }
    if options.follow_forks {
        add_descendants(&mut ebpf, &options.pids)?;
    }
    if options.detail == Detail::ProbeLog {
        log::show(&mut ebpf)?;
    }
    let mut misses = Misses::open(&ebpf, &outcomes, facts.missed_offset);
    // What was skipped while hook after hook was attached is no loss.
    drop(misses.take(|| anyhow::Ok(BTreeMap::new()))?);
    let info = describe(options, &facts, &outcomes, &misses);
    Ok(Begun { ebpf, info, misses, preemptible: facts.preemptible })
}

/// Adds the children that the targets already have. New ones follow by themselves: the probes of the scheduler are on.
fn add_descendants(ebpf: &mut Ebpf, pids: &[u32]) -> Result<()> {
    let mut targets = targets(ebpf)?;
    let mut known = Vec::new();
    loop {
        let found = process::descendants(pids).context("cannot look for the children of the targets")?;
        // A child may have made another before it was known itself.
        let new: Vec<u32> = found.into_iter().filter(|pid| !known.contains(pid)).collect();
        if new.is_empty() {
            return Ok(());
        }
        for pid in new {
            targets.insert(pid, 1, 0).with_context(|| format!("cannot add process {pid} to the filter"))?;
            known.push(pid);
        }
    }
}

/// The filter.
pub(super) fn targets(ebpf: &mut Ebpf) -> Result<HashMap<&mut MapData, u32, u32>> {
    Ok(HashMap::try_from(ebpf.map_mut("TGIDS").context("the object has no map TGIDS")?)?)
}

/// A kernel without ring buffers cannot be traced; anything else that is refused here is this machine's, or the options'.
pub(super) fn refused(error: LoadError) -> anyhow::Error {
    match is_map_supported(MapType::RingBuf) {
        Ok(false) => Untraceable("it has no BPF ring buffer: Linux 5.8 is the first to have one".to_owned()).into(),
        _ => error.into(),
    }
}

/// Every required hook must hold.
fn demand(outcomes: &[Outcome]) -> Result<()> {
    let missing = outcomes.iter().find(|outcome| outcome.held.is_none() && outcome.need == Need::Required);
    match missing {
        None => Ok(()),
        Some(outcome) => {
            let last = outcome.refused.last().map_or("no way to attach it is known", String::as_str);
            bail!(Untraceable(format!("{}: {last}", outcome.hook.name())))
        }
    }
}

/// An audit that cannot be made is not left out in silence.
fn demand_audit(outcomes: &[Outcome]) -> Result<()> {
    for hook in [Hook::Audit, Hook::Scan, Hook::Release] {
        let outcome = outcomes.iter().find(|outcome| outcome.hook == hook);
        if let Some(outcome) = outcome.filter(|outcome| outcome.held.is_none()) {
            let last = outcome.refused.last().map_or("no way to attach it is known", String::as_str);
            bail!(Untraceable(format!("--audit needs the hook {}: {last}", hook.name())));
        }
    }
    Ok(())
}

fn describe(options: &Options, facts: &Facts, outcomes: &[Outcome], misses: &Misses) -> TraceInfo {
    let system = System::read();
    let release = system.release.unwrap_or_else(|why| format!("unknown ({why})"));
    let mut limits = Vec::new();
    for outcome in outcomes {
        if let (None, Need::Optional(lost)) = (outcome.held, outcome.need) {
            limits.push(format!("Without the hook {}: {lost}.", outcome.hook.name()));
        }
    }
    let kprobes = outcomes.iter().any(|outcome| outcome.held.is_some_and(|variant| variant.backend == Backend::Kprobe));
    let unseen_ends = |outcome: &&Outcome| {
        outcome.held.is_some_and(|variant| variant.for_running)
            && !outcome.targets.iter().any(|target| target.starts_with("sys_exit"))
    };
    if outcomes.iter().any(|outcome| unseen_ends(&outcome)) {
        limits.push("The ends of waits that had begun before tracing are not seen: tracefs is not mounted.".to_owned());
    }
    if !facts.has_eventpoll_fops() {
        limits.push("Eventpolls that were open before tracing began are known only from their next call on: kallsyms shows no data.".to_owned());
    }
    if facts.file_operations.is_empty() {
        limits.push("The kernel's symbol table shows no data: what kind a file is, and the addresses of sockets, cannot be said.".to_owned());
    }
    if kprobes && facts.missed_offset.is_none() {
        limits.push(format!(
            "Linux {release} cannot count the kprobes that it skips (6.7 and later can): an event that came while another probe ran on the same CPU cannot be excluded to be missing."
        ));
    }
    if let Some(why) = misses.uncounted().filter(|_| kprobes) {
        limits.push(format!("Kprobes that the kernel skipped cannot be counted ({why}): run eptrace as root."));
    }
    if system.realtime == Ok(true) {
        limits
            .push("On PREEMPT_RT a callback can be preempted: which callback woke a task is then a guess.".to_owned());
    }
    let realtime = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    TraceInfo {
        eptrace: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: release,
        machine: system.machine.unwrap_or_else(|_| std::env::consts::ARCH.to_owned()),
        cpus: system.possible_cpus.map_or(0, |cpus| cpus.count),
        target: options.target.clone(),
        realtime_ns: u64::try_from(realtime.as_nanos()).unwrap_or(0),
        monotonic_ns: monotonic_ns(),
        hooks: outcomes.iter().map(Outcome::info).collect(),
        file_kinds: facts
            .file_operations
            .iter()
            .map(|(address, symbol)| (*address, kind_of(symbol).unwrap_or(symbol).to_owned()))
            .collect(),
        stacks: options.purpose.stacks,
        limits,
    }
}

/// Before 5.11 maps count against `RLIMIT_MEMLOCK`. Where it cannot be raised, loading says what is wrong.
pub(super) fn raise_memlock() {
    let limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the pointer is valid.
    unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) };
}

//! Runs a program while nothing but the hooks of `ep_poll_callback` is attached: the tracer's, or the least that any could be.
//!
//! `callback_cost none|baseline|bare|eptrace fentry|kprobe COMMAND...`, as root; COMMAND's own output is the measurement, and a line of JSON
//! behind it says how many callbacks there were. Nobody reads the ring buffer meanwhile, so that only the probes cost; when a record
//! did not fit into it, that is an error.

use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use aya::maps::{Array, RingBuf};
use eptrace::probes::OBJECT;
use eptrace::probes::attach::{How, Sizes, attach, load};
use eptrace::probes::catalog::{Attach, Backend, Blind, Need, Program, Variant};
use eptrace::probes::facts::Facts;
use eptrace::probes::losses::Losses;
use eptrace::probes::plan::{HookPlan, Preference, Purpose, plan};
use tracer_common::{ENABLED_MAP, EVENTS_MAP, Hook};

/// Room for a million callbacks.
const RING_BYTES: u32 = 128 << 20;

const fn program(name: &'static str, attach: Attach) -> Program {
    Program { name, attach, optional: false, twins: false }
}

const FENTRY: &Variant = &Variant {
    backend: Backend::Fentry,
    for_running: false,
    programs: &[
        program("baseline_fexit", Attach::Fexit("ep_poll_callback")),
        program("baseline_fentry", Attach::Fentry("ep_poll_callback")),
    ],
    blind: Blind::Never,
};

const KPROBE: &Variant = &Variant {
    backend: Backend::Kprobe,
    for_running: false,
    programs: &[
        program("baseline_kretprobe", Attach::Kretprobe("ep_poll_callback")),
        program("baseline_kprobe", Attach::Kprobe("ep_poll_callback")),
    ],
    blind: Blind::Never,
};

const BARE_FENTRY: &Variant = &Variant {
    programs: &[
        program("baseline_fexit", Attach::Fexit("ep_poll_callback")),
        program("bare_fentry", Attach::Fentry("ep_poll_callback")),
    ],
    ..*FENTRY
};

const BARE_KPROBE: &Variant = &Variant {
    programs: &[
        program("baseline_kretprobe", Attach::Kretprobe("ep_poll_callback")),
        program("bare_kprobe", Attach::Kprobe("ep_poll_callback")),
    ],
    ..*KPROBE
};

/// A hook that one way alone will do for.
fn alone(variant: &'static Variant) -> HookPlan {
    HookPlan {
        hook: Hook::Callback,
        need: Need::Required,
        tries: vec![variant],
        avoid: Vec::new(),
        skipped: Vec::new(),
    }
}

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [what, backend, command @ ..] = words.as_slice() else { bail!("what, which backend, which command?") };
    let (preference, least, bare) = match backend.as_str() {
        "fentry" => (Preference::Fentry, FENTRY, BARE_FENTRY),
        "kprobe" => (Preference::Kprobe, KPROBE, BARE_KPROBE),
        other => bail!("fentry or kprobe, not {other}"),
    };
    let facts = Facts::gather(None)?;
    let mut config = facts.config();
    config.trace_all = 1;
    let btf = Some(&facts.attachable);
    let mut ebpf = load(OBJECT, config, Sizes { ring_bytes: RING_BYTES, ..Sizes::default() }, btf)?;
    let plans = match what.as_str() {
        "none" => Vec::new(),
        "baseline" => vec![alone(least)],
        "bare" => vec![alone(bare)],
        "eptrace" => plan(&facts.names, preference, Purpose::default())
            .into_iter()
            .filter(|plan| plan.hook == Hook::Callback)
            .collect(),
        other => bail!("none, baseline, bare or eptrace, not {other}"),
    };
    for outcome in attach(&mut ebpf, plans, btf, How::default()) {
        ensure!(outcome.held.is_some(), "{}", outcome.refused.join("; "));
    }
    let mut enabled: Array<_, u32> = Array::try_from(ebpf.map_mut(ENABLED_MAP).context("no map of that name")?)?;
    enabled.set(0, 1, 0)?;
    let (program, arguments) = command.split_first().context("which command?")?;
    let status = Command::new(program).args(arguments).status().with_context(|| format!("cannot run {program}"))?;
    ensure!(status.success(), "{program} ended with {status}");
    let lost: u64 = Losses::open(&ebpf)?.counted().map(|(.., count)| count).sum();
    ensure!(lost == 0, "{lost} callbacks did not fit into the ring buffer and cost less");
    let mut ring = RingBuf::try_from(ebpf.take_map(EVENTS_MAP).context("no ring buffer")?)?;
    let mut callbacks = 0_u64;
    while ring.next().is_some() {
        callbacks += 1;
    }
    println!("{{\"callbacks\":{callbacks}}}");
    Ok(())
}

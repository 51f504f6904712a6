//! Loads the object and attaches what the plan names, hook by hook, until one variant of each holds.
//!
//! In: the plan, the configuration. Out: the loaded object and, for each hook, what was tried and how it went.

use aya::maps::ProgramArray;
use aya::programs::{FEntry, FExit, Iter, KProbe, Program as Loaded, ProgramError, RawTracePoint, TracePoint};
use aya::util::nr_cpus;
use aya::{Btf, Ebpf, EbpfError, EbpfLoader, Pod};
use thiserror::Error;
use tracer_common::{Config, EVENTS_MAP, Hook, LOSS_STRIDE, LOSSES_MAP};

use super::catalog::{Attach, Need, Program, Variant};
use super::in_place;
use super::plan::HookPlan;
use crate::event::HookInfo;

/// What [`Outcome::refused`] says of a kernel that was built without kprobes.
pub const NO_KPROBES: &str = "the kernel has no kprobes";

/// The most CPUs that a kernel is built for (`NR_CPUS`, arch/x86/Kconfig, 5.10 to 7.3).
const MAX_CPUS: u32 = 8192;

/// Places of system calls whose callers are looked for behind the stack pointer.
const RETURNS: u32 = 4096;

/// Lines of a verifier's log that an error shows; `-v` shows all.
const LOG_LINES: usize = 40;

/// Sizes of the maps, all bounded. The kernel allocates them when the object is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Bytes of the ring buffer: a power of two, at least a page.
    pub ring_bytes: u32,
    /// Processes, eventpolls and tasks that can be followed at once.
    pub entries: u32,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { ring_bytes: 16 << 20, entries: 32_768 }
    }
}

/// Why the object could not be loaded at all.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The kernel refused a map, or the object is broken.
    #[error("the kernel refused the maps of the probes: {0}")]
    Object(#[from] Box<EbpfError>),
    /// The object is of another version than this program.
    #[error(
        "the probes are of another version than this program: there is no map {EVENTS_MAP}; build with `cargo xtask ebpf`"
    )]
    Version,
}

/// How it went with one hook.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The hook.
    pub hook: Hook,
    /// Whether it can be missing.
    pub need: Need,
    /// The variant that holds.
    pub held: Option<&'static Variant>,
    /// The kernel's places that are attached; fewer than the variant's when optional ones are missing.
    pub targets: Vec<&'static str>,
    /// What did not work before that: sentences.
    pub refused: Vec<String>,
    /// The optional programs of the variant that holds without them.
    pub left_out: Vec<LeftOut>,
}

/// A place that a hook does without, as with a function that other kernels have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// The kernel's name for it.
    pub target: &'static str,
    /// A sentence.
    pub why: String,
}

impl Outcome {
    /// As it stands in a trace.
    #[must_use]
    pub fn info(&self) -> HookInfo {
        let missing = match (self.held, self.need) {
            (Some(_), _) => String::new(),
            (None, Need::Required) => format!("nothing can be traced without it ({})", self.refused.join("; ")),
            (None, Need::Optional(lost)) => format!("{lost} ({})", self.refused.join("; ")),
        };
        let backend = match self.held {
            Some(variant) => variant.kind(),
            None => "",
        };
        HookInfo {
            hook: self.hook.name().to_owned(),
            backend: backend.to_owned(),
            targets: self.targets.iter().map(ToString::to_string).collect(),
            missing,
        }
    }
}

/// [`Config`] as aya takes globals.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Globals(Config);

// SAFETY: `Config` is `repr(C)`, of integers only, without padding (asserted in tracer-common).
unsafe impl Pod for Globals {}

/// Loads the object's maps with the configuration as read-only globals. No program is loaded yet.
///
/// # Errors
/// [`LoadError`]
pub fn load(object: &[u8], config: Config, sizes: Sizes, btf: Option<&Btf>) -> Result<Ebpf, LoadError> {
    let globals = Globals(config);
    // Nobody is written there without `--path`; a map has one place at least.
    let woken = if config.path == 0 { 1 } else { sizes.entries };
    let ebpf = EbpfLoader::new()
        .btf(btf)
        .override_global("CONFIG", &globals, true)
        .map_max_entries(EVENTS_MAP, sizes.ring_bytes)
        .map_max_entries("CONTEXT", possible_cpus())
        .map_max_entries(LOSSES_MAP, possible_cpus().saturating_mul(LOSS_STRIDE))
        .map_max_entries("TGIDS", sizes.entries)
        .map_max_entries("EVENTPOLLS", sizes.entries)
        .map_max_entries("TASKS", sizes.entries)
        .map_max_entries("WOKEN", woken)
        .map_max_entries("STACKS", if config.stacks == 0 { 1 } else { sizes.entries })
        .map_max_entries("RETURNS", if config.stacks == 0 { 1 } else { RETURNS })
        .load(&in_place::linked(object, &config))
        .map_err(Box::new)?;
    if ebpf.map(EVENTS_MAP).is_none() {
        return Err(LoadError::Version);
    }
    Ok(ebpf)
}

/// How many CPUs the kernel can ever have: their numbers are below this.
fn possible_cpus() -> u32 {
    nr_cpus().ok().and_then(|cpus| u32::try_from(cpus).ok()).unwrap_or(MAX_CPUS)
}

/// How hooks are attached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct How {
    /// Programs get their twins.
    pub twins: bool,
    /// All of the verifier's log is told, should it refuse.
    pub full_log: bool,
}

/// Attaches every hook of the plan, in its order. Nothing is reported before tracing is switched on.
pub fn attach(ebpf: &mut Ebpf, plans: Vec<HookPlan>, btf: Option<&Btf>, how: How) -> Vec<Outcome> {
    plans.into_iter().map(|plan| attach_hook(ebpf, plan, btf, how)).collect()
}

fn attach_hook(ebpf: &mut Ebpf, plan: HookPlan, btf: Option<&Btf>, how: How) -> Outcome {
    let mut outcome = Outcome {
        hook: plan.hook,
        need: plan.need,
        held: None,
        targets: Vec::new(),
        refused: plan.skipped,
        left_out: Vec::new(),
    };
    for variant in plan.tries {
        match attach_variant(ebpf, variant, &plan.avoid, btf, how) {
            Ok((targets, left_out)) => {
                outcome.held = Some(variant);
                outcome.targets = targets;
                outcome.left_out = left_out;
                break;
            }
            Err(why) if outcome.refused.contains(&why) => {}
            Err(why) => outcome.refused.push(why),
        }
    }
    outcome
}

/// All programs of a variant, or none.
fn attach_variant(
    ebpf: &mut Ebpf,
    variant: &'static Variant,
    avoid: &[String],
    btf: Option<&Btf>,
    how: How,
) -> Result<(Vec<&'static str>, Vec<LeftOut>), String> {
    let (mut targets, mut left_out) = (Vec::new(), Vec::new());
    for program in variant.programs {
        let target = program.attach.target();
        if program.optional && avoid.iter().any(|name| name == target) {
            left_out.push(LeftOut { target, why: format!("{target} is otherwise than the probes know it") });
            continue;
        }
        match attach_program(ebpf, program, btf, how) {
            Ok(()) if targets.contains(&target) => {}
            Ok(()) => targets.push(target),
            Err(error) if program.optional => {
                let why = format!("{}: {}", describe(program.attach), explain(&error, how.full_log));
                left_out.push(LeftOut { target, why });
            }
            Err(error) => {
                for done in variant.programs {
                    for name in done.twin_names().chain([done.name.to_owned()]) {
                        ebpf.program_mut(&name).into_iter().for_each(unload);
                    }
                }
                return Err(format!("{}: {}", describe(program.attach), explain(&error, how.full_log)));
            }
        }
    }
    Ok((targets, left_out))
}

fn describe(attach: Attach) -> String {
    match attach {
        Attach::Fentry(name) => format!("fentry {name}"),
        Attach::Fexit(name) => format!("fexit {name}"),
        Attach::Kprobe(name) => format!("kprobe {name}"),
        Attach::Kretprobe(name) => format!("kretprobe {name}"),
        Attach::Tracepoint(category, name) => format!("tracepoint {category}:{name}"),
        Attach::RawTracepoint(name) => format!("raw tracepoint {name}"),
        Attach::Iter(name) => format!("iterator {name}"),
    }
}

/// A program, and its twins so that they run after it: a trampoline runs first what was attached last.
fn attach_program(ebpf: &mut Ebpf, program: &Program, btf: Option<&Btf>, how: How) -> Result<(), ProgramError> {
    load_one(ebpf, program.name, program.attach, btf)?;
    let twins: Vec<String> = if how.twins { program.twin_names().collect() } else { Vec::new() };
    if !twins.is_empty() {
        let_twins_call(ebpf, program.name)?;
    }
    for twin in &twins {
        load_one(ebpf, twin, program.attach, btf)?;
    }
    let mut one = |name: &str| attach_one(ebpf, name, program.attach);
    let own = [program.name];
    let twins = twins.iter().map(String::as_str);
    match program.attach {
        Attach::Fentry(_) | Attach::Fexit(_) => twins.rev().chain(own).try_for_each(&mut one),
        _ => own.into_iter().chain(twins).try_for_each(&mut one),
    }
}

/// Puts a program where its twins look for it, unless they do their work themselves.
fn let_twins_call(ebpf: &mut Ebpf, name: &str) -> Result<(), ProgramError> {
    let own = ebpf.program(name).ok_or(ProgramError::NotLoaded)?.fd()?.try_clone()?;
    if let Some(array) = ebpf.map_mut(&name.to_ascii_uppercase()) {
        ProgramArray::try_from(array)?.set(0, &own, 0)?;
    }
    Ok(())
}

fn load_one(ebpf: &mut Ebpf, name: &str, attach: Attach, btf: Option<&Btf>) -> Result<(), ProgramError> {
    let loaded = ebpf.program_mut(name).ok_or(ProgramError::NotLoaded)?;
    let need_btf = || btf.ok_or(ProgramError::NotLoaded);
    once(match attach {
        Attach::Fentry(function) => <&mut FEntry>::try_from(loaded)?.load(function, need_btf()?),
        Attach::Fexit(function) => <&mut FExit>::try_from(loaded)?.load(function, need_btf()?),
        Attach::Kprobe(_) | Attach::Kretprobe(_) => <&mut KProbe>::try_from(loaded)?.load(),
        Attach::Tracepoint(..) => <&mut TracePoint>::try_from(loaded)?.load(),
        Attach::RawTracepoint(_) => <&mut RawTracePoint>::try_from(loaded)?.load(),
        Attach::Iter(kind) => <&mut Iter>::try_from(loaded)?.load(kind, need_btf()?),
    })
}

fn attach_one(ebpf: &mut Ebpf, name: &str, attach: Attach) -> Result<(), ProgramError> {
    let loaded = ebpf.program_mut(name).ok_or(ProgramError::NotLoaded)?;
    match attach {
        Attach::Fentry(_) => <&mut FEntry>::try_from(loaded)?.attach().map(drop),
        Attach::Fexit(_) => <&mut FExit>::try_from(loaded)?.attach().map(drop),
        Attach::Kprobe(function) | Attach::Kretprobe(function) => {
            <&mut KProbe>::try_from(loaded)?.attach(function, 0).map(drop)
        }
        Attach::Tracepoint(category, name) => <&mut TracePoint>::try_from(loaded)?.attach(category, name).map(drop),
        Attach::RawTracepoint(name) => <&mut RawTracePoint>::try_from(loaded)?.attach(name).map(drop),
        // Attached when it runs.
        Attach::Iter(_) => Ok(()),
    }
}

/// A program that goes to several places is loaded for the first.
fn once(result: Result<(), ProgramError>) -> Result<(), ProgramError> {
    match result {
        Err(ProgramError::AlreadyLoaded) => Ok(()),
        other => other,
    }
}

/// Detaches and unloads; a program that was not loaded is left as it is.
pub fn unload(program: &mut Loaded) {
    let _ = match program {
        Loaded::FEntry(program) => program.unload(),
        Loaded::FExit(program) => program.unload(),
        Loaded::KProbe(program) => program.unload(),
        Loaded::TracePoint(program) => program.unload(),
        Loaded::RawTracePoint(program) => program.unload(),
        Loaded::Iter(program) => program.unload(),
        _ => Ok(()),
    };
}

/// One sentence, and for a refused program the end of the verifier's log.
fn explain(error: &ProgramError, full_log: bool) -> String {
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            let log = verifier_log.to_string();
            let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
            let from = if full_log { 0 } else { lines.len().saturating_sub(LOG_LINES) };
            let tail = lines.get(from..).unwrap_or_default().join("\n");
            if tail.is_empty() {
                format!("the kernel refused to load the program: {io_error}")
            } else {
                format!("the kernel refused to load the program: {io_error}; its verifier said:\n{tail}")
            }
        }
        ProgramError::SyscallError(error) => format!("{error}: {}", error.io_error),
        ProgramError::NotLoaded => "the kernel has no BTF".to_owned(),
        other => {
            let mut text = other.to_string();
            if text.contains("/event_source/devices/kprobe/") {
                return NO_KPROBES.to_owned();
            }
            let mut source = std::error::Error::source(other);
            while let Some(cause) = source {
                let cause_text = cause.to_string();
                if !text.contains(&cause_text) {
                    text = format!("{text}: {cause_text}");
                }
                source = cause.source();
            }
            text
        }
    }
}

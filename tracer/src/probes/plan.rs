//! From the catalogue and the facts about this kernel to what will be tried: a pure function.

use std::collections::{BTreeMap, BTreeSet};

use super::catalog::{Attach, Backend, CATALOG, Need, Program, SNAPSHOT, Variant};
use tracer_common::Hook;

/// What the user asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Preference {
    /// fentry where it loads, kprobe elsewhere, hook by hook.
    #[default]
    Auto,
    /// Only fentry and what is neither.
    Fentry,
    /// Only kprobe and what is neither.
    Kprobe,
}

/// The names that this kernel has.
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// Functions in kallsyms.
    pub symbols: BTreeSet<String>,
    /// Functions in BTF.
    pub btf_functions: BTreeSet<String>,
    /// Functions, raw tracepoints and iterators that are otherwise than the probes know them: why, as a sentence.
    pub changed: BTreeMap<String, String>,
}

/// What will be tried for one hook, in order; the first that attaches serves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookPlan {
    /// The hook.
    pub hook: Hook,
    /// Whether it can be missing.
    pub need: Need,
    /// The variants to try.
    pub tries: Vec<&'static Variant>,
    /// Optional programs are not attached to these functions: they are otherwise than the probes know them.
    pub avoid: Vec<String>,
    /// Why there is nothing to try, or why some were left out: sentences.
    pub skipped: Vec<String>,
}

/// What a trace asks of the probes beside the usual.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "what is asked, each by itself")]
pub struct Purpose {
    /// Processes that already run are traced, not a command that is yet to start.
    pub running: bool,
    /// The kernel's lists are walked, to compare the model with.
    pub audit: bool,
    /// The reads, writes, accepts and closes of watched files are traced.
    pub io: bool,
    /// What a callback ran in, and when the task that it woke was on a CPU, is told.
    pub path: bool,
    /// The user stacks of calls are told.
    pub stacks: bool,
}

/// Plans every hook of the catalogue.
#[must_use]
pub fn plan(names: &Names, preference: Preference, purpose: Purpose) -> Vec<HookPlan> {
    CATALOG
        .iter()
        .filter(|spec| match spec.hook {
            Hook::Audit => purpose.audit,
            Hook::Io => purpose.io,
            Hook::Path => purpose.path,
            _ => true,
        })
        .map(|spec| {
            let mut hook = HookPlan {
                hook: spec.hook,
                need: spec.need,
                tries: Vec::new(),
                avoid: Vec::new(),
                skipped: Vec::new(),
            };
            hook.avoid.extend(names.changed.keys().cloned());
            for variant in spec.variants {
                if !wanted(variant.backend, preference) || (variant.for_running && !purpose.running) {
                    continue;
                }
                match missing(variant, names) {
                    None => hook.tries.push(variant),
                    Some(why) => hook.skipped.push(why),
                }
            }
            hook
        })
        .collect()
}

/// Plans what `eptrace snapshot` needs.
#[must_use]
pub fn plan_snapshot(names: &Names) -> HookPlan {
    let (tries, skipped) = match missing(&SNAPSHOT, names) {
        None => (vec![&SNAPSHOT], Vec::new()),
        Some(why) => (Vec::new(), vec![why]),
    };
    HookPlan { hook: Hook::Inventory, need: Need::Required, tries, avoid: Vec::new(), skipped }
}

fn wanted(backend: Backend, preference: Preference) -> bool {
    match preference {
        Preference::Auto => true,
        Preference::Fentry => backend != Backend::Kprobe,
        Preference::Kprobe => backend != Backend::Fentry,
    }
}

/// Why a variant cannot work on a kernel with these names.
fn missing(variant: &Variant, names: &Names) -> Option<String> {
    variant.programs.iter().filter(|program| !program.optional).find_map(|program| lacks(program, names))
}

fn lacks(program: &Program, names: &Names) -> Option<String> {
    let name = program.attach.target();
    let shown = !matches!(program.attach, Attach::Tracepoint(..));
    if let Some(why) = names.changed.get(name).filter(|_| shown) {
        return Some(why.clone());
    }
    match program.attach {
        // A function can be in BTF without a symbol (`.isra.0`): both are needed.
        Attach::Fentry(_) | Attach::Fexit(_) if !names.btf_functions.contains(name) => {
            Some(format!("{name} is not in the kernel's BTF (inlined)"))
        }
        Attach::Fentry(_) | Attach::Fexit(_) | Attach::Kprobe(_) | Attach::Kretprobe(_)
            if !names.symbols.contains(name) =>
        {
            Some(format!("{name} is not in kallsyms (inlined or renamed)"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Names, Preference, Purpose, plan};
    use crate::probes::catalog::{Attach, Backend};
    use tracer_common::Hook;

    /// The functions that every kernel from 5.10 to 7.3 has.
    const ALWAYS: [&str; 8] = [
        "do_epoll_ctl",
        "do_epoll_wait",
        "ep_poll_callback",
        "ep_autoremove_wake_function",
        "ep_ptable_queue_proc",
        "eventpoll_release_file",
        "ep_eventpoll_release",
        "sock_def_readable",
    ];

    fn names(more: &[&str]) -> Names {
        let all = || ALWAYS.iter().chain(more).chain(&["__sys_accept4"]).map(ToString::to_string).collect();
        Names { symbols: all(), btf_functions: all(), ..Names::default() }
    }

    fn first(names: &Names, preference: Preference, hook: Hook) -> Option<(Backend, Attach)> {
        let plans = plan(names, preference, Purpose::default());
        let variant = plans.iter().find(|plan| plan.hook == hook)?.tries.first()?;
        Some((variant.backend, variant.programs.first()?.attach))
    }

    #[test]
    fn a_function_that_is_otherwise_than_known_is_not_probed() {
        let mut names = names(&["ep_done_scan", "ep_send_events"]);
        names.changed.insert("ep_done_scan".to_owned(), "ep_done_scan is otherwise".to_owned());
        let plans = plan(&names, Preference::Auto, Purpose::default());
        let scan = plans.iter().find(|plan| plan.hook == Hook::Scan).unwrap();
        assert_eq!(scan.tries.first().unwrap().programs.first().unwrap().attach, Attach::Fexit("ep_send_events"));
        assert!(scan.skipped.contains(&"ep_done_scan is otherwise".to_owned()), "{:?}", scan.skipped);
        assert_eq!(scan.avoid, ["ep_done_scan"]);
    }

    #[test]
    fn a_tracepoint_or_an_iterator_that_is_otherwise_than_known_is_not_used() {
        for (place, hook) in [("sched_process_fork", Hook::Lifecycle), ("task_file", Hook::Inventory)] {
            let mut names = names(&["ep_done_scan"]);
            names.changed.insert(place.to_owned(), format!("{place} is otherwise"));
            let plans = plan(&names, Preference::Auto, Purpose::default());
            let found = plans.iter().find(|plan| plan.hook == hook).unwrap();
            assert!(found.tries.is_empty() && found.skipped.contains(&format!("{place} is otherwise")), "{found:?}");
        }
    }

    #[test]
    fn scans_fall_back_to_what_the_kernel_has() {
        let scan = |more: &[&str]| first(&names(more), Preference::Auto, Hook::Scan).map(|(_, attach)| attach);
        assert_eq!(
            scan(&["ep_send_events_proc", "ep_read_events_proc"]),
            Some(Attach::Fexit("ep_send_events_proc")),
            "5.10"
        );
        assert_eq!(scan(&["ep_done_scan"]), Some(Attach::Fentry("ep_done_scan")), "6.1, 6.12");
        assert_eq!(scan(&["ep_done_scan", "ep_send_events"]), Some(Attach::Fentry("ep_done_scan")), "6.16 and later");
        assert_eq!(scan(&["ep_send_events"]), Some(Attach::Fexit("ep_send_events")), "where ep_done_scan is inlined");
    }

    #[test]
    fn a_function_in_btf_without_a_symbol_is_not_tried() {
        let mut names = names(&["ep_done_scan"]);
        names.btf_functions.insert("ep_send_events".to_owned());
        assert_eq!(
            first(&names, Preference::Auto, Hook::Scan),
            Some((Backend::Fentry, Attach::Fentry("ep_done_scan")))
        );
    }

    #[test]
    fn every_hook_has_something_to_try_with_either_backend() {
        for preference in [Preference::Auto, Preference::Fentry, Preference::Kprobe] {
            for hook in plan(
                &names(&["ep_done_scan"]),
                preference,
                Purpose { running: true, audit: true, io: true, path: true, stacks: true },
            ) {
                assert!(!hook.tries.is_empty(), "{:?} with {preference:?}", hook.hook);
            }
        }
    }

    #[test]
    fn a_backend_that_was_not_asked_for_is_not_tried() {
        for (preference, other) in [(Preference::Fentry, Backend::Kprobe), (Preference::Kprobe, Backend::Fentry)] {
            for hook in plan(
                &names(&["ep_done_scan"]),
                preference,
                Purpose { running: true, audit: true, io: true, path: true, stacks: true },
            ) {
                assert!(hook.tries.iter().all(|variant| variant.backend != other), "{:?}", hook.hook);
            }
        }
    }

    #[test]
    fn a_kernel_without_the_functions_says_which_are_missing() {
        let plans = plan(&Names::default(), Preference::Auto, Purpose::default());
        let callback = plans.iter().find(|plan| plan.hook == Hook::Callback).expect("in the catalogue");
        assert!(callback.tries.is_empty());
        assert!(callback.skipped.iter().any(|why| why.contains("ep_poll_callback")), "{:?}", callback.skipped);
    }
}

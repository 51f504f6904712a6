//! Each rule on traces whose truth is known: the pitfall, its correct twin, and what a loss does to the verdict.

mod calls;
mod deliveries;
mod files;
mod sockets;
mod stacks;

use tracer_common::Hook;

use super::{Lint, LintReport, Severity, abouts};
use crate::event::{HookInfo, TraceInfo};
use crate::model::Model;
use crate::model::testing::nonsense;
use crate::model::testing::{Item, LT, RING_FULL, Trace, ep};

/// `EPOLLIN`
const IN: u32 = 1;
/// `EPOLLHUP`
const HUP: u32 = 0x10;
const TID: u32 = 101;

/// The facts of a trace that `lint` makes: the calls on watched files are in it.
fn info() -> TraceInfo {
    let mut info = crate::model::testing::info();
    let like = info.hooks.first().cloned().expect("hooks");
    info.hooks.push(HookInfo { hook: Hook::Io.name().to_owned(), ..like });
    info
}

fn lint_with(trace: &Trace, info: TraceInfo) -> LintReport {
    let mut lint = Lint::new(Model::new(), info, &[]);
    for event in &trace.events {
        lint.apply(event);
    }
    lint.finish()
}

fn lint(trace: &Trace) -> LintReport {
    lint_with(trace, info())
}

/// The rules that found something.
fn found(report: &LintReport) -> Vec<&'static str> {
    report.findings.iter().map(|finding| finding.rule).collect()
}

/// A pipe in the only eventpoll of one task.
fn pipe(trace: &mut Trace, number: u64, events: u32) -> Item {
    let item = Item {
        ep: ep(1),
        epi: crate::model::testing::epi(number),
        file: 0x9000 + number * 16,
        fd: 20 + i32::try_from(number).unwrap(),
        events,
        data: number,
    };
    trace.add(TID, item);
    item
}

/// The finding is there, is withheld when something was lost, and then the rule says why.
fn withheld_after_a_loss(trace: &mut Trace, rule: &str) {
    assert_eq!(found(&lint(trace)), [rule], "{:?}", lint(trace));
    trace.lost(Hook::Callback, RING_FULL, 1);
    let report = lint(trace);
    assert_eq!(found(&report), [""; 0]);
    let why = report.unjudged.iter().find(|unjudged| unjudged.rule == rule).expect("a reason");
    assert!(why.why.contains("1 events were lost"), "{}", why.why);
    assert!(why.why.contains("1 findings"), "{}", why.why);
}

#[test]
fn ids_are_words_with_hyphens_and_each_rule_has_a_cure_and_its_thresholds() {
    let ids: std::collections::BTreeSet<_> = abouts().iter().map(|about| about.id).collect();
    assert_eq!(ids.len(), abouts().len());
    for about in abouts() {
        assert!(about.id.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{}", about.id);
        assert!(!about.cure.is_empty() && !about.thresholds.is_empty() && !about.needs.is_empty(), "{}", about.id);
    }
}

#[test]
fn a_rule_that_lacks_a_hook_says_so_and_accuses_nobody() {
    let mut trace = Trace::new();
    calls::spins(&mut trace, 300);
    let mut blind = info();
    for hook in blind.hooks.iter_mut().filter(|hook| hook.hook == "wait-exit") {
        hook.backend = String::new();
    }
    let report = lint_with(&trace, blind);
    assert_eq!(found(&report), [""; 0]);
    assert!(
        report
            .unjudged
            .iter()
            .any(|unjudged| unjudged.rule == "zero-timeout-spin" && unjudged.why.contains("wait-exit"))
    );
}

#[test]
fn an_allowed_rule_does_not_look_and_a_denied_one_decides() {
    let mut trace = Trace::new();
    calls::spins(&mut trace, 300);
    let mut allowing = Lint::new(Model::new(), info(), &["zero-timeout-spin".to_owned()]);
    trace.events.iter().for_each(|event| allowing.apply(event));
    assert_eq!(found(&allowing.finish()), [""; 0]);
    let report = lint(&trace);
    assert!(
        report.has(Some(Severity::Warning), &[]) && !report.has(Some(Severity::Error), &[]) && !report.has(None, &[])
    );
    assert!(report.has(None, &["zero-timeout-spin".to_owned()]));
    assert!(!report.has(None, &["ctl-churn".to_owned()]));
    trace.lost(Hook::Ctl, RING_FULL, 1);
    assert!(lint(&trace).has(None, &["ctl-churn".to_owned()]), "what is denied must be judged");
}

proptest::proptest! {
    #[test]
    fn no_trace_makes_it_panic(events in proptest::collection::vec(nonsense::event(), 0..400)) {
        let mut lint = Lint::new(Model::new(), TraceInfo::default(), &[]);
        for event in &events {
            lint.apply(event);
        }
        let _ = lint.finish();
    }
}

#[test]
fn an_idle_eventpoll_is_clean() {
    let mut trace = Trace::new();
    let item = pipe(&mut trace, 1, LT);
    for _ in 0..1_000 {
        trace.enter(TID, ep(1));
        let ts = trace.first(item);
        trace.woken(ep(1), TID, ts);
        trace.scan(TID, ep(1), 1, 2);
        trace.leave_with(TID, ep(1), &[(item, IN)]);
    }
    let report = lint(&trace);
    assert_eq!((found(&report), report.unjudged), (Vec::new(), Vec::new()));
}

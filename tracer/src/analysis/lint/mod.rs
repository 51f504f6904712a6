//! Pitfalls of epoll, found in a trace: one rule a file, behind the trait [`Rule`].
//!
//! In: the events of a trace, in order, and its [`TraceInfo`]. Out: a [`LintReport`]: what each rule found, with its evidence, and
//! which rules cannot be judged and why. A rule accuses only on what the trace shows; what it keeps in memory is bounded.

mod accept_fails;
mod cases;
mod closed_registered;
mod ctl_churn;
mod ctl_fails;
mod et_blocking;
mod exclusive_imbalance;
mod hangup_ignored;
mod left_behind;
mod level_ignored;
mod oneshot_not_rearmed;
mod report;
mod rule;
mod runs;
mod self_pipe;
mod small_maxevents;
mod stacks;
mod step;
mod table;
#[cfg(test)]
mod tests;
mod thundering_herd;
mod zero_timeout_spin;

use tracer_common::Hook;

pub use report::{Finding, LintReport, StackFrame, Unjudged, UserStack, Who};
pub use rule::{About, Severity};

use self::cases::Judged;
use self::rule::{Rule, Scene};
use self::stacks::Stacks;
use self::step::Watch;
use super::report::SCHEMA_VERSION;
use crate::event::{Event, TraceInfo};
use crate::model::Model;

/// Every rule, in the order in which findings are shown.
fn rules() -> Vec<Box<dyn Rule>> {
    vec![
        Box::new(left_behind::LeftBehind::reads()),
        Box::new(left_behind::LeftBehind::accepts()),
        Box::<et_blocking::EtBlocking>::default(),
        Box::<closed_registered::ClosedRegistered>::default(),
        Box::<hangup_ignored::HangupIgnored>::default(),
        Box::new(level_ignored::LevelIgnored::readable()),
        Box::new(level_ignored::LevelIgnored::writable()),
        Box::<accept_fails::AcceptFails>::default(),
        Box::<oneshot_not_rearmed::OneshotNotRearmed>::default(),
        Box::<zero_timeout_spin::ZeroTimeoutSpin>::default(),
        Box::<thundering_herd::ThunderingHerd>::default(),
        Box::<ctl_fails::CtlFails>::default(),
        Box::<ctl_churn::CtlChurn>::default(),
        Box::<small_maxevents::SmallMaxevents>::default(),
        Box::<exclusive_imbalance::ExclusiveImbalance>::default(),
        Box::<self_pipe::SelfPipe>::default(),
    ]
}

/// What every rule looks for, in the order in which findings are shown.
#[must_use]
pub fn abouts() -> Vec<&'static About> {
    rules().iter().map(|rule| rule.about()).collect()
}

/// Follows a trace and looks for pitfalls.
pub struct Lint {
    model: Model,
    info: TraceInfo,
    watch: Watch,
    stacks: Stacks,
    rules: Vec<Box<dyn Rule>>,
}

impl Lint {
    /// Looks with every rule but those whose ids are in `allowed`. `model` is an empty one.
    #[must_use]
    pub fn new(model: Model, info: TraceInfo, allowed: &[String]) -> Self {
        let rules = rules().into_iter().filter(|rule| !allowed.iter().any(|id| id == rule.about().id)).collect();
        Self { model, info, watch: Watch::default(), stacks: Stacks::default(), rules }
    }

    /// Takes in the next event.
    pub fn apply(&mut self, event: &Event) {
        // What ends is looked up while it is still there, what begins once it is known.
        let ends = matches!(
            event,
            Event::WaitExit(_) | Event::Returned(_) | Event::FileGone(_) | Event::EventpollGone(_) | Event::TaskExit(_)
        );
        if !ends {
            self.model.apply(event);
        }
        self.stacks.see(event);
        let call = self.stacks.of(event);
        let scene = Scene { model: &self.model, info: &self.info };
        for step in self.watch.steps(event, call, &self.model) {
            for rule in &mut self.rules {
                rule.see(&step, &scene);
            }
        }
        if ends {
            self.model.apply(event);
        }
    }

    /// Ends the trace and judges.
    #[must_use]
    pub fn finish(mut self) -> LintReport {
        self.model.finish();
        let scene = Scene { model: &self.model, info: &self.info };
        let mut findings = Vec::new();
        let mut unjudged = Vec::new();
        for rule in &mut self.rules {
            let about = rule.about();
            let mut judged = Judged::default();
            if let Some(why) = blind(about, &self.info) {
                judged.cannot(why);
            } else {
                rule.judge(&scene, &mut judged);
                beware_of_losses(about, &self.model, &mut judged);
            }
            let (found, whys) = judged.into_parts();
            findings.extend(found.into_iter().map(|found| found.into_finding(about, &scene, &self.stacks)));
            unjudged.extend(whys.into_iter().map(|why| Unjudged { rule: about.id, why }));
        }
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        let (model, info) = (&self.model, self.info);
        LintReport {
            schema_version: SCHEMA_VERSION,
            kind: "lint",
            backend: info.backend().to_owned(),
            eptrace: info.eptrace,
            kernel: info.kernel,
            target: info.target,
            duration_ns: model.span().duration(),
            events: model.events(),
            lost: model.losses().events(),
            complete: model.complete() && !model.exceeded().touches_numbers(),
            limits: info.limits,
            rules: self.rules.iter().map(|rule| rule.about().id).collect(),
            findings,
            unjudged,
        }
    }
}

/// Why a rule cannot be judged at all in this trace.
fn blind(about: &About, info: &TraceInfo) -> Option<String> {
    let missing = |hook: &&Hook| !info.hooks.iter().any(|known| known.hook == hook.name() && !known.backend.is_empty());
    let names: Vec<&str> = about.needs.iter().filter(missing).map(|hook| hook.name()).collect();
    (!names.is_empty()).then(|| format!("it needs hooks that were not attached: {}", names.join(", ")))
}

/// What was lost could be what clears the accused, or what would accuse.
fn beware_of_losses(about: &About, model: &Model, judged: &mut Judged) {
    let (lost, exceeded) = (model.losses().events(), model.exceeded().touches_numbers());
    if lost == 0 && !exceeded {
        return;
    }
    let why =
        if lost > 0 { format!("{lost} events were lost") } else { "the model had no room for everything".to_owned() };
    if about.absence {
        let withheld = judged.withhold();
        let seen =
            if withheld > 0 { format!("; without that there would be {withheld} findings") } else { String::new() };
        judged.cannot(format!("{why}, and one of them could change the verdict{seen}"));
    } else if judged.found_nothing() {
        judged.cannot(format!("{why}: nothing was found in what is left"));
    }
}

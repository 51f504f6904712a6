//! Eventpolls step by step: the states that the player of a page goes through.
//!
//! In: each event of a trace, with the model after it has taken the event in (and its journal), and a [`Plan`] of what to look at.
//! Out: for each eventpoll of the plan some stretches of [`Step`]s. A step carries what changed in the [`State`] of the eventpoll
//! as a merge patch, so that a page can follow a stream of steps, from here or from a live source. A trace can have millions of
//! steps and a page some thousands: the plan says which, and everything that is left out is counted.

mod plan;
mod rbtree;
mod state;
#[cfg(test)]
mod tests;
mod trees;

use std::collections::BTreeMap;

pub use plan::{Plan, Stretch};
pub use state::{Chain, ItemState, Patch, State, TaskState};
pub use trees::{Shape, TreeNode};

use self::state::Chains;
use self::trees::Trees;
use super::steps::Steps;
use crate::event::{Event, TraceInfo};
use crate::model::{EpId, Model, comm};

/// A step looks back so far for the callback that a wake belongs to.
const LOOK_BACK: usize = 64;

/// One step: an event that touches the eventpoll.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Its number among all steps of the eventpoll, from 0.
    pub number: u64,
    /// What happened.
    pub event: Event,
    /// Nanoseconds since the origin; negative before it.
    pub at_ns: i64,
    /// The task that it happened in; `None` when it is not known. Not a string to trust.
    pub task: Option<String>,
    /// The task that was woken, or made; for a callback all that it woke. Not strings to trust.
    pub others: Vec<String>,
    /// The item that it is about.
    pub item: Option<u64>,
    /// What the watched file is called; not a string to trust.
    pub source: Option<String>,
    /// What changed in the state.
    pub patch: Patch,
}

/// Steps that follow each other. The first one's patch makes the whole state.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scene {
    /// Its steps.
    pub steps: Vec<Step>,
}

/// What the player shows of one eventpoll.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Part {
    /// All steps that the trace has of it.
    pub steps: u64,
    /// Some of them, by time.
    pub scenes: Vec<Scene>,
}

/// What the player shows: by eventpoll.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Play {
    /// The eventpolls of the plan.
    pub parts: BTreeMap<EpId, Part>,
}

impl Play {
    /// Steps in it.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.parts.values().flat_map(|part| &part.scenes).map(|scene| scene.steps.len()).sum()
    }
}

/// Records what a plan asks for.
#[derive(Debug)]
pub struct Camera {
    plan: Plan,
    steps: Steps,
    chains: Chains,
    trees: Trees,
    rolling: BTreeMap<EpId, Rolling>,
}

/// One eventpoll under the camera.
#[derive(Debug, Default)]
struct Rolling {
    part: Part,
    /// Steps that are still wanted.
    left: usize,
    state: State,
}

impl Camera {
    /// A camera that has seen nothing.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        Self {
            plan,
            steps: Steps::default(),
            chains: Chains::default(),
            trees: Trees::default(),
            rolling: BTreeMap::new(),
        }
    }

    /// Takes in an event; `model` keeps its journal and has just taken it in.
    pub fn see(&mut self, event: &Event, model: &Model, info: &TraceInfo) {
        self.chains.learn(event, model);
        self.trees.learn(event, model, info);
        let touched = self.steps.of(event, model);
        for ep in touched {
            let Some(stretches) = self.plan.of(ep) else { continue };
            let rolling = self.rolling.entry(ep).or_default();
            let number = rolling.part.steps;
            rolling.part.steps = number.saturating_add(1);
            let at_ns = relative(event.ts_ns(), model);
            let wanted = stretches.iter().filter(|stretch| stretch.begins(number, at_ns));
            let more = wanted.map(|stretch| stretch.steps).max().unwrap_or(0);
            stretches.retain(|stretch| !stretch.begins(number, at_ns));
            if more > 0 && rolling.left == 0 {
                rolling.part.scenes.push(Scene::default());
                rolling.state = State::default();
            }
            rolling.left = rolling.left.max(more);
            if rolling.left == 0 {
                continue;
            }
            rolling.left -= 1;
            let state = State::of(ep, model, info, (&self.chains, &self.trees));
            let patch = Patch::between(&rolling.state, &state);
            rolling.state = state;
            rolling.take(step(number, at_ns, event, model, info, patch));
        }
    }

    /// What was recorded.
    #[must_use]
    pub fn finish(self) -> Play {
        Play { parts: self.rolling.into_iter().map(|(ep, rolling)| (ep, rolling.part)).collect() }
    }
}

impl Rolling {
    fn take(&mut self, mut step: Step) {
        let Some(scene) = self.part.scenes.last_mut() else { return };
        if let Event::Wake(wake) = &step.event
            && wake.ret != 0
        {
            let cause = |known: &&mut Step| match &known.event {
                Event::Callback(e) => (e.header.cpu, e.header.ts_ns) == (wake.header.cpu, wake.cause_ts),
                _ => false,
            };
            if let Some(callback) = scene.steps.iter_mut().rev().take(LOOK_BACK).find(cause) {
                callback.others.extend(step.others.iter().cloned());
                step.item = callback.item;
            }
        }
        scene.steps.push(step);
    }
}

fn step(number: u64, at_ns: i64, event: &Event, model: &Model, info: &TraceInfo, patch: Patch) -> Step {
    let item = match event {
        Event::Callback(e) => model.item_at(e.epi),
        Event::Hooked(e) => model.item_at(e.epi),
        Event::ItemSeen(e) => model.item_at(e.epi),
        Event::Ctl(e) => model.item_at(e.epi).filter(|item| item.fd == e.fd),
        _ => None,
    };
    let file = match event {
        Event::Callback(e) => e.file,
        Event::Hooked(e) => e.file,
        Event::ItemSeen(e) => e.file,
        Event::Ctl(e) => e.file,
        Event::Accept(e) => e.file,
        Event::Io(e) => e.file,
        _ => 0,
    };
    let others = match event {
        Event::Wake(e) => vec![task_name(model, e.woken_tgid, e.woken_tid)],
        Event::Fork(e) => vec![named(&comm(&e.comm), e.child_tgid, e.child_tid)],
        _ => Vec::new(),
    };
    Step {
        number,
        event: *event,
        at_ns,
        task: event.header().map(|header| task_name(model, header.tgid, header.tid)),
        others,
        item: item.map(|item| item.id.number()),
        source: model.files().live_at(file).map(|file| super::source::name(file, info)),
        patch,
    }
}

/// Nanoseconds since the origin.
fn relative(ts_ns: u64, model: &Model) -> i64 {
    let origin = model.span().origin();
    let distance = i64::try_from(ts_ns.abs_diff(origin)).unwrap_or(i64::MAX);
    if ts_ns < origin { -distance } else { distance }
}

fn task_name(model: &Model, pid: u32, tid: u32) -> String {
    let comm = model.tasks().live_at(tid).filter(|task| task.pid == pid).map_or("", |task| task.comm.as_str());
    named(comm, pid, tid)
}

/// `comm/pid/tid`, as everywhere.
fn named(comm: &str, pid: u32, tid: u32) -> String {
    let comm = if comm.is_empty() { "?" } else { comm };
    if pid == tid { format!("{comm}/{pid}") } else { format!("{comm}/{pid}/{tid}") }
}

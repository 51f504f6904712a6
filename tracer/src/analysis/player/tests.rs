//! The player's steps: each patch leads to the state that the model has.

use proptest::prelude::{ProptestConfig, prop, proptest};
use tracer_common::Hook;

use super::state::Chains;
use super::trees::Trees;
use super::{Camera, Plan, Play, Shape, State};
use crate::analysis::history::Watch;
use crate::analysis::steps::Steps;
use crate::event::Event;
use crate::model::testing::nonsense::event;
use crate::model::testing::{Item, LISTENER, LT, PID, RING_FULL, Trace, ep, exclusive, info, lt, workers};
use crate::model::{EpId, Model};

fn plan(events: &[Event]) -> Plan {
    let mut model = Model::new();
    model.keep_journal();
    let mut watch = Watch::new();
    for event in events {
        model.apply(event);
        watch.see(event, &model);
    }
    model.finish();
    Plan::of_history(&watch.finish(&model, &info()))
}

/// What the camera recorded, and beside it the states that the model itself has at each step.
fn recorded(events: &[Event], plan: Plan) -> (Play, Vec<(EpId, State)>) {
    let mut model = Model::new();
    model.keep_journal();
    let mut camera = Camera::new(plan);
    let (mut steps, mut chains, mut trees) = (Steps::default(), Chains::default(), Trees::default());
    let mut states = Vec::new();
    for event in events {
        model.apply(event);
        camera.see(event, &model, &info());
        chains.learn(event, &model);
        trees.learn(event, &model, &info());
        for ep in steps.of(event, &model) {
            states.push((ep, State::of(ep, &model, &info(), (&chains, &trees))));
        }
    }
    (camera.finish(), states)
}

/// Follows the patches, as the page does.
fn followed(play: &Play, ep: EpId) -> Vec<(u64, State)> {
    let mut states = Vec::new();
    for scene in &play.parts[&ep].scenes {
        let mut state = State::default();
        for step in &scene.steps {
            step.patch.apply(&mut state);
            states.push((step.number, state.clone()));
        }
    }
    states
}

fn patches_lead_to_the_models_states(events: &[Event], wanted: Plan) {
    let (play, all) = recorded(events, wanted);
    for ep in play.parts.keys() {
        let own: Vec<&State> = all.iter().filter(|(of, _)| of == ep).map(|(_, state)| state).collect();
        assert_eq!(play.parts[ep].steps, own.len() as u64);
        for (number, state) in followed(&play, *ep) {
            assert_eq!(&state, own[usize::try_from(number).unwrap()]);
        }
    }
}

#[test]
fn every_step_of_a_short_trace_is_there() {
    let events = lt().events;
    let (play, all) = recorded(&events, plan(&events));
    assert_eq!((play.parts.len(), play.steps()), (4, all.len()));
    patches_lead_to_the_models_states(&events, plan(&events));
}

#[test]
fn a_callback_says_whom_it_woke_and_the_item_comes_to_the_ready_list() {
    let events = exclusive().events;
    let (play, _) = recorded(&events, plan(&events));
    let (ep, part) = play.parts.first_key_value().unwrap();
    let steps = &part.scenes[0].steps;
    let at = steps.iter().position(|step| matches!(step.event, Event::Callback(_))).unwrap();
    assert_eq!(steps[at].others, ["worker-1/100/101"]);
    assert_eq!(steps[at].source.as_deref(), Some("tcp 127.0.0.1:8080"));
    let states = followed(&play, *ep);
    let (before, after) = (&states[at - 1].1, &states[at].1);
    assert_eq!((before.ready.len(), after.ready.clone()), (0, vec![steps[at].item.unwrap()]));
    assert!(!after.tasks[0].woken && states[at + 1].1.tasks[0].woken);
    let item = &after.items[&steps[at].item.unwrap()];
    assert_eq!((item.fd, item.whead.as_deref(), item.entry.as_deref()), (3, Some("0xf008"), Some("0x90001")));
}

/// The last tree of the first eventpoll: its shape, and descriptor, depth and colour of each node.
fn tree(trace: &Trace) -> (Shape, Vec<(i32, u32, bool)>) {
    let (_, states) = recorded(&trace.events, Plan::default());
    let state = &states.last().unwrap().1;
    (state.shape, state.tree.iter().map(|node| (node.fd, node.depth, node.red)).collect())
}

/// An eventpoll with items of these descriptors, each of a file of its own.
fn registered(fds: std::ops::RangeInclusive<i32>) -> (Trace, impl Fn(i32) -> Item) {
    let mut trace = Trace::new();
    let item = |fd: i32| {
        let number = u64::try_from(fd).unwrap();
        Item { epi: 0x1_0000 + number * 256, file: 0xf000 + number * 256, fd, ..Item::socket(1, LISTENER, LT) }
    };
    for fd in fds {
        trace.add(PID, item(fd));
    }
    (trace, item)
}

#[test]
fn the_tree_is_what_the_kernels_algorithm_makes_of_the_items_in_their_order() {
    let (mut trace, item) = registered(1..=6);
    let whole = [(1, 1, false), (2, 0, false), (3, 2, false), (4, 1, true), (5, 2, false), (6, 3, true)];
    assert_eq!(tree(&trace), (Shape::Whole, whole.to_vec()));
    trace.ctl(PID, 2, item(4), 0);
    let without = [(1, 1, false), (2, 0, false), (3, 2, false), (5, 1, true), (6, 2, false)];
    assert_eq!(tree(&trace), (Shape::Whole, without.to_vec()));
}

#[test]
fn a_tree_with_something_unseen_has_no_shape() {
    let unknown = (Shape::Unknown, Vec::new());
    let (mut found, item) = registered(1..=3);
    found.first(item(9));
    assert_eq!(tree(&found), unknown);
    let (mut lost, item) = registered(1..=3);
    lost.lost(Hook::Ctl, RING_FULL, 1);
    lost.first(item(1));
    assert_eq!(tree(&lost), unknown);
    let (mut failed, item) = registered(1..=3);
    failed.ctl(PID, 1, item(7), -22);
    assert_eq!(tree(&failed), unknown);
    let (mut other_loss, item) = registered(1..=1);
    other_loss.lost(Hook::Accept, RING_FULL, 1);
    other_loss.first(item(1));
    assert_eq!(tree(&other_loss), (Shape::Whole, vec![(1, 0, false)]));
}

#[test]
fn a_large_tree_is_not_drawn() {
    let (trace, _) = registered(1..=65);
    assert_eq!(tree(&trace), (Shape::Large, Vec::new()));
}

/// So many connections, one after the other.
fn long(connections: u32) -> Trace {
    let mut trace = Trace::new();
    workers(&mut trace, 1, LT);
    let item = crate::model::testing::Item::socket(1, LISTENER, LT);
    for _ in 0..connections {
        let callback = trace.first(item);
        trace.woken(ep(1), 101, callback);
        trace.scan(101, ep(1), 1, tracer_common::events::scan_flags::REQUEUED);
        trace.leave(101, ep(1), Ok(&[item]));
        trace.accept(101, LISTENER, 7);
        trace.enter(101, ep(1));
        trace.scan(101, ep(1), 0, 0);
    }
    trace
}

#[test]
fn of_a_long_trace_a_page_has_some_steps_and_knows_how_many_there_are() {
    let trace = long(5_000);
    let (play, all) = recorded(&trace.events, plan(&trace.events));
    let part = play.parts.values().next().unwrap();
    assert_eq!(part.steps, all.len() as u64);
    assert!(play.steps() >= 80 && play.steps() <= 6_000, "{}", play.steps());
    patches_lead_to_the_models_states(&trace.events, plan(&trace.events));
}

#[test]
fn each_moment_of_a_long_trace_is_in_the_page() {
    let mut trace = long(5_000);
    // The slowest return of all comes in the middle of nowhere.
    let late = trace.events.len();
    for event in &mut trace.events[late - 300..] {
        if let Event::WaitExit(exit) = event {
            exit.header.ts_ns += 400;
            break;
        }
    }
    let (play, _) = recorded(&trace.events, plan(&trace.events));
    let part = play.parts.values().next().unwrap();
    assert!(part.scenes.len() >= 2, "{}", part.scenes.len());
    assert!(part.scenes.last().unwrap().steps[0].number > 30_000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn patches_lead_to_the_models_states_whatever_the_trace_says(events in prop::collection::vec(event(), 0..80)) {
        patches_lead_to_the_models_states(&events, plan(&events));
    }
}

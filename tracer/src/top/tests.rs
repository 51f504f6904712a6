//! The view from synthetic traces: its numbers are the model's, and its pictures are snapshots of a terminal of 80 by 24.

use proptest::prelude::{ProptestConfig, proptest};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::view::{Theme, draw};
use super::{Action, Playing, Row, Screen, Sort, State};
use crate::event::Event;
use crate::model::Model;
use crate::model::testing::nonsense::event;
use crate::model::testing::{LT, RING_FULL, Trace, chain, exclusive, info, lt, workers};

/// A second after the trace began, all of it was taken in.
fn state(trace: &Trace) -> State {
    let mut state = State::new(info(), Model::new());
    for event in &trace.events {
        state.apply(event);
    }
    state.tick(state.model().span().origin() + 1_000_000_000);
    state
}

/// What stands on a terminal.
fn screen(state: &State, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, state, Theme { colour: true })).unwrap();
    terminal.backend().to_string()
}

fn sum(state: &State, what: fn(&super::Rates) -> f64) -> f64 {
    let rows = state.rows().iter();
    rows.map(|row| if let Row::Eventpoll(_, row) = row { what(&row.rates) } else { 0.0 }).sum()
}

#[test]
#[expect(clippy::cast_precision_loss, reason = "counts of a short trace")]
fn the_numbers_are_those_of_the_report() {
    for trace in [lt(), exclusive(), chain()] {
        let state = state(&trace);
        let model = trace.model();
        let near = |found: f64, expected: u64| assert!((found - expected as f64).abs() < 1e-6, "{found} {expected}");
        near(sum(&state, |rates| rates.woken), model.totals().woken);
        near(sum(&state, |rates| rates.waits), model.totals().waits);
        let callbacks = trace.events.iter().filter(|event| matches!(event, Event::Callback(_))).count();
        near(sum(&state, |rates| rates.callbacks), callbacks as u64);
        let totals = state.totals();
        assert_eq!(totals.woken, model.totals().woken);
        assert_eq!(totals.useful, model.totals().useful);
        assert_eq!(totals.events, model.totals().events);
    }
}

#[test]
fn eventpolls_of_a_herd() {
    insta::assert_snapshot!(screen(&state(&lt()), 80, 24));
}

#[test]
fn items_of_an_eventpoll_and_back() {
    let mut state = state(&lt());
    assert!(matches!(state.rows()[0], Row::Process(..)));
    assert!(state.act(Action::Move(1)) && state.act(Action::Items));
    assert!(matches!(state.screen(), Screen::Items(_)));
    insta::assert_snapshot!(screen(&state, 80, 24));
    state.act(Action::Back);
    assert_eq!(state.screen(), Screen::Eventpolls);
    assert_eq!(state.selected_row(), Some(1), "the row that one came from");
}

#[test]
fn tasks_of_a_process() {
    let mut state = state(&lt());
    state.act(Action::Tasks);
    assert_eq!(state.screen(), Screen::Process(100));
    insta::assert_snapshot!(screen(&state, 80, 24));
}

#[test]
fn losses_stand_above_the_numbers_and_a_missing_hook_is_no_zero() {
    let mut trace = lt();
    trace.lost(tracer_common::Hook::Wake, RING_FULL, 7);
    let shown = screen(&state(&trace), 80, 24);
    assert!(shown.lines().nth(1).is_some_and(|line| line.contains("LOST 7 events (ring-full 7)")), "{shown}");

    let mut unseen = info();
    for hook in unseen.hooks.iter_mut().filter(|hook| hook.hook == "wake") {
        hook.backend = String::new();
    }
    let mut state = State::new(unseen, Model::new());
    for event in &lt().events {
        state.apply(event);
    }
    state.tick(2_000_000_000);
    let shown = screen(&state, 80, 24);
    assert!(shown.contains("not seen on this kernel: wakes") && shown.contains(" ? "), "{shown}");
}

#[test]
fn a_filter_leaves_only_what_it_names_and_its_letters_are_no_commands() {
    let mut trace = Trace::new();
    workers(&mut trace, 3, LT);
    let mut state = state(&trace);
    let before = state.rows().len();
    state.act(Action::StartFilter);
    for c in ":12".chars() {
        state.act(Action::Type(c));
    }
    assert_eq!(state.filter(), (":12", true));
    state.act(Action::KeepFilter);
    assert!(!state.rows().is_empty() && state.rows().len() < before);
    let shown = screen(&state, 80, 24);
    assert!(shown.contains(":12") && !shown.contains(":11"), "{shown}");
    state.act(Action::ClearFilter);
    assert_eq!(state.rows().len(), before);
}

#[test]
fn rows_can_be_sorted_and_turned_round() {
    let mut state = state(&lt());
    while state.sort().0 != Sort::Name {
        state.act(Action::NextSort);
    }
    let names = |state: &State| -> Vec<String> {
        let rows = state.rows().iter();
        rows.filter_map(|row| if let Row::Eventpoll(_, row) = row { Some(row.name.clone()) } else { None }).collect()
    };
    let mut sorted = names(&state);
    assert!(sorted.len() == 4 && sorted.is_sorted());
    state.act(Action::Reverse);
    sorted.reverse();
    assert_eq!(names(&state), sorted);
}

#[test]
fn a_paused_picture_is_held_still_and_nothing_is_missed() {
    let trace = lt();
    let mut state = State::new(info(), Model::new());
    let (early, late) = trace.events.split_at(trace.events.len() / 2);
    for event in early {
        state.apply(event);
    }
    state.tick(2_000_000_000);
    state.act(Action::Pause);
    let held = (state.rows().to_vec(), *state.totals());
    for event in late {
        state.apply(event);
    }
    state.tick(3_000_000_000);
    assert_eq!((state.rows().to_vec(), *state.totals()), held);
    assert!(screen(&state, 80, 24).contains("PAUSED"));
    state.act(Action::Pause);
    state.end(4_000_000_000);
    assert_eq!(state.playing(), Playing::Ended);
    assert_eq!(state.totals().woken, trace.model().totals().woken);
}

#[test]
fn every_size_of_terminal_is_drawn() {
    let mut state = state(&lt());
    for action in [Action::Move(0), Action::Help, Action::Back, Action::Move(1), Action::Items, Action::Tasks] {
        state.act(action);
        for (width, height) in [(1, 1), (20, 3), (80, 5), (80, 24), (200, 60)] {
            screen(&state, width, height);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn nonsense_is_drawn_without_panic_or_control_characters(events in proptest::collection::vec(event(), 0..200)) {
        let mut state = State::new(info(), Model::new());
        for (now, event) in (0_u64..).zip(&events) {
            state.apply(event);
            if now % 16 == 0 {
                state.tick(now * 1_000);
            }
        }
        state.tick(u64::MAX);
        for action in [Action::Move(1), Action::Items, Action::Tasks, Action::Back, Action::NextSort] {
            state.act(action);
            let shown = screen(&state, 80, 24);
            assert!(shown.chars().all(|c| c == '\n' || !c.is_control()));
        }
    }
}

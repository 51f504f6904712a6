//! How traces went over time: the sums are those of the report, whatever the trace says.

use proptest::prelude::{ProptestConfig, prop, proptest};

use super::{History, Watch, What};
use crate::analysis::Report;
use crate::model::testing::nonsense::event;
use crate::model::testing::{LISTENER, LT, RING_FULL, Trace, chain, ep, exclusive, info, lt, workers};
use crate::model::{CameCounts, Model, WentCounts};

fn watched(events: &[crate::event::Event]) -> (Model, Report, History) {
    let mut model = Model::new();
    model.keep_journal();
    let mut watch = Watch::new();
    for event in events {
        model.apply(event);
        watch.see(event, &model);
    }
    model.finish();
    let (report, history) = (Report::new(&model, &info()), watch.finish(&model, &info()));
    (model, report, history)
}

fn stays(history: &History) -> (CameCounts, WentCounts) {
    let (mut came, mut went) = (CameCounts::default(), WentCounts::default());
    for cell in history.eventpolls.iter().flat_map(|ep| &ep.cells) {
        came.add(&cell.came);
        went.add(&cell.went);
    }
    (came, went)
}

/// What the report and the history both say.
fn agree(model: &Model, report: &Report, history: &History) {
    assert_eq!(stays(history), (report.ready_list.came, report.ready_list.went));
    for ep in &history.eventpolls {
        assert_eq!(ep.latencies, model.latencies(ep.id).cloned().unwrap_or_default());
    }
    for row in &report.herd {
        let Some(source) = history.sources.iter().find(|source| source.listening && source.name == row.source) else {
            assert_eq!(row.wakeups, 0);
            continue;
        };
        let sum = |of: fn(&super::SourceCell) -> u64| source.cells.iter().map(of).sum::<u64>();
        assert_eq!(sum(|cell| cell.wakeups), row.wakeups);
        assert_eq!(sum(|cell| cell.called), row.called.total);
        assert_eq!(sum(|cell| cell.woken), row.woken.total);
        assert_eq!(sum(|cell| cell.returned), row.returned.total);
        assert_eq!(sum(|cell| cell.useful), row.useful.total);
        assert_eq!(sum(super::SourceCell::wasted), row.wasted.total);
    }
}

#[test]
fn the_herd_over_time_has_the_numbers_of_its_report() {
    for trace in [lt(), exclusive(), chain()] {
        let (model, report, history) = watched(&trace.events);
        agree(&model, &report, &history);
        let waits: u64 = history.eventpolls.iter().flat_map(|ep| &ep.cells).map(|cell| cell.waits).sum();
        assert_eq!(waits, report.totals.counts.waits);
    }
}

#[test]
fn the_worst_wakeup_of_a_herd_is_a_moment_with_its_eventpoll() {
    let (.., history) = watched(&lt().events);
    let worst = history.moments.iter().find(|moment| matches!(moment.what, What::WorstWakeup { .. })).unwrap();
    assert_eq!(worst.what, What::WorstWakeup { called: 4, woken: 4, useful: 1 });
    assert!(history.eventpolls.iter().any(|ep| Some(ep.id) == worst.ep));
    let source = &history.sources[0];
    assert_eq!((source.wasteful, source.wasted.map(|(first, _)| first)), (3, Some(worst.at_ns)));
}

#[test]
fn without_a_herd_nothing_is_wasted_and_no_moment_says_so() {
    let (.., history) = watched(&exclusive().events);
    assert_eq!((history.sources[0].wasted, history.sources[0].wasteful), (None, 0));
    assert!(!history.moments.iter().any(|moment| matches!(moment.what, What::WorstWakeup { .. } | What::FirstWaste)));
}

#[test]
fn items_know_what_their_callbacks_woke_for_nothing() {
    let (.., history) = watched(&lt().events);
    let items: Vec<_> = history.eventpolls.iter().flat_map(|ep| &ep.items).collect();
    assert_eq!(items.len(), 4);
    assert_eq!(items.iter().map(|item| (item.callbacks, item.woken)).collect::<Vec<_>>(), vec![(3, 3); 4]);
    assert_eq!(items.iter().filter_map(|item| item.wasted).sum::<u64>(), 9);
}

#[test]
fn latency_is_counted_from_the_callback_that_put_the_item_there() {
    let mut trace = Trace::new();
    workers(&mut trace, 1, LT);
    let item = crate::model::testing::Item::socket(1, LISTENER, LT);
    let callback = trace.first(item);
    trace.woken(ep(1), 101, callback);
    trace.scan(101, ep(1), 1, tracer_common::events::scan_flags::REQUEUED);
    trace.leave(101, ep(1), Ok(&[item]));
    let (.., history) = watched(&trace.events);
    let ep = &history.eventpolls[0];
    // One event a microsecond: the wake, the scan, the end of the wait.
    let took = |latency: &crate::model::Latency| latency.slowest().map(|slowest| (slowest.took_ns, slowest.since_ns));
    assert_eq!(took(&ep.latencies.callback_to_return), Some((3_000, callback)));
    assert_eq!(took(&ep.latencies.woken_to_return), Some((3_000, callback)));
}

#[test]
fn losses_stand_where_they_were_counted() {
    let mut trace = lt();
    trace.lost(tracer_common::Hook::Wake, RING_FULL, 9);
    let (.., history) = watched(&trace.events);
    assert_eq!(history.lost.iter().sum::<u64>(), 9);
    assert!(history.moments.iter().any(|moment| moment.what == What::FirstLoss { events: 9 }));
}

#[test]
fn wider_cells_have_the_same_sums() {
    let (model, report, mut history) = watched(&lt().events);
    history.widen(history.cell_ns * 8);
    agree(&model, &report, &history);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn whatever_the_trace_says_the_sums_are_those_of_the_report(events in prop::collection::vec(event(), 0..120)) {
        let (model, report, history) = watched(&events);
        agree(&model, &report, &history);
    }
}

//! Traces that make no sense: nothing panics, nothing grows without bound.

use proptest::prelude::proptest;

use crate::model::testing::nonsense::event;
use crate::model::{Limits, Model};

const SMALL: Limits = Limits {
    eventpolls: 3,
    items: 4,
    files: 3,
    tasks: 3,
    wakeups: 2,
    pairs: 4,
    retired: 2,
    latencies: 2,
    cpus: 2,
    walk_entries: 2,
    all_walk_entries: 3,
    batch: 2,
    all_batches: 3,
    losses: 3,
};

fn stays_small(model: &Model) {
    assert!(model.eventpolls().live_count() <= SMALL.eventpolls);
    assert!(model.eventpolls().iter().count() <= SMALL.eventpolls + SMALL.retired);
    assert!(model.items().count() <= SMALL.items);
    assert!(model.files().live_count() <= SMALL.files);
    assert!(model.files().iter().count() <= SMALL.files + 2 * SMALL.retired);
    assert!(model.tasks().live_count() <= SMALL.tasks);
    assert!(model.tasks().iter().count() <= SMALL.tasks + SMALL.retired);
    assert!(model.wakeups().count() <= SMALL.wakeups);
    assert!(model.waiters.len() <= SMALL.pairs);
    assert!(model.registered.len() <= SMALL.pairs);
    assert!(model.shares.len() <= SMALL.pairs);
    assert!(model.latencies.len() <= SMALL.latencies);
    assert!(model.walks.sizes().0 <= SMALL.cpus);
    assert!(model.walks.sizes().1 <= SMALL.all_walk_entries);
    let batches = model.tasks().iter().map(|task| task.batch.taken.len() + task.batch.requeued.len());
    assert_eq!(model.batched, batches.sum::<usize>());
    assert!(model.batched <= SMALL.all_batches);
    assert!(model.losses().iter().count() <= SMALL.losses + 12 * 12);
}

proptest! {
    #[test]
    fn nonsense_never_panics_and_stays_within_the_limits(events in proptest::collection::vec(event(), 0..300)) {
        let mut model = Model::with_limits(SMALL);
        for event in &events {
            model.apply(event);
            stays_small(&model);
        }
        model.finish();
        stays_small(&model);
        assert_eq!(model.batched, 0, "every scan is settled");
    }

    #[test]
    fn the_usual_limits_stand_nonsense_too(events in proptest::collection::vec(event(), 0..300)) {
        let mut model = Model::new();
        for event in &events {
            model.apply(event);
        }
        model.finish();
        let totals = model.totals();
        assert_eq!(totals.waits, totals.waits_returned + totals.timeouts + totals.interrupted + totals.wait_errors);
    }
}

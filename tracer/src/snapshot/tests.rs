use proptest::prelude::*;
use tracer_common::Miss;

use super::testing::{EP, Told, epi, told};
use super::{Colour, Fault, Record, Task, Torn, read, record};

fn torn(told: &Told) -> Vec<Torn> {
    read(EP, &told.records(), &told.fdinfo).torn
}

#[test]
fn a_sound_reading_of_any_size_is_consistent() {
    for items in [0, 1, 2, 3, 4, 7, 8, 100, 1000] {
        let mut told = told(items, &[], 3);
        if items == 0 {
            // Then the kernel calls seq_printf for none.
            let records: Vec<Record> =
                told.records().into_iter().filter(|record| !matches!(record, Record::Rooted(_))).collect();
            told.ended.root = 0;
            assert_eq!(read(EP, &records, &told.fdinfo).torn, []);
            continue;
        }
        let reading = read(EP, &told.records(), &told.fdinfo);
        assert_eq!((reading.torn, reading.shape.faults), (vec![], vec![]), "{items} items");
        assert_eq!(reading.items.len(), items);
        assert!(reading.shape.black_height.is_some());
    }
}

#[test]
fn the_shape_is_that_of_the_pointers() {
    let reading = read(EP, &told(4, &[], 0).records(), &told(4, &[], 0).fdinfo);
    let shape = reading.shape;
    assert_eq!((shape.root, shape.depth, shape.black_height), (Some(2), 3, Some(2)));
    assert_eq!(shape.links[0].colour, Colour::Red);
    assert_eq!((shape.links[1].parent, shape.links[1].left, shape.links[1].right), (Some(2), Some(0), None));
    assert_eq!((shape.links[0].depth, shape.links[2].depth), (3, 1));
}

#[test]
fn every_rule_of_the_tree_that_does_not_hold_is_named() {
    type Change = fn(&mut Told);
    let changes: [(Change, Fault); 8] = [
        (|told| told.nodes[4].parent_color = 0, Fault::RedRoot),
        (|told| told.nodes[1].parent_color &= !1, Fault::RedBelowRed(1)),
        (|told| told.nodes[0].parent_color |= 1, Fault::BlackHeight(4, 3)),
        (|told| told.nodes[1].parent_color = epi(7) | 1, Fault::Parent(2)),
        (|told| told.nodes[3].right = 0x77, Fault::Unknown(3)),
        (|told| told.nodes[3].right = epi(4), Fault::Twice(4)),
        (|told| told.nodes[5].fd = -1, Fault::Unsorted(5)),
        (|told| told.rooted.leftmost = epi(1), Fault::Leftmost),
    ];
    for (change, fault) in changes {
        let mut told = told(8, &[], 0);
        if fault == Fault::Unsorted(5) {
            told.nodes[5].file = told.nodes[4].file;
        }
        change(&mut told);
        let reading = read(EP, &told.records(), &told.fdinfo);
        assert!(reading.shape.faults.contains(&fault), "{fault}: {:?}", reading.shape.faults);
        assert!(reading.torn.contains(&Torn::Tree));
    }
    let mut told = told(8, &[], 0);
    told.nodes[6].left = 0;
    assert!(read(EP, &told.records(), &told.fdinfo).shape.faults.contains(&Fault::Unreached(1)));
}

#[test]
fn the_tree_is_compared_with_fdinfo() {
    let told = told(8, &[], 0);
    for text in [told.fdinfo.replace("events:       19", "events:       1d"), told.fdinfo.lines().take(9).collect()] {
        let said = read(EP, &told.records(), &text).torn;
        assert!(matches!(said.as_slice(), [Torn::Fdinfo(_)]), "{said:?}");
    }
}

#[test]
fn the_ready_list_must_hold_together() {
    let told = told(8, &[5, 0, 7], 0);
    let reading = read(EP, &told.records(), &told.fdinfo);
    assert_eq!(reading.torn, []);
    assert_eq!(reading.ready.iter().map(|place| place.item).collect::<Vec<_>>(), [Some(5), Some(0), Some(7)]);
    assert_eq!((reading.items[0].ready, reading.items[1].ready), (Some(1), None));
    for change in [
        (|told: &mut Told| told.listed.truncate(2)) as fn(&mut Told),
        |told| told.listed[1].prev = 1,
        |told| told.rooted.ready_last = 1,
        |told| told.listed[2].epi = 1,
        |told| told.rooted.ovflist = 0,
    ] {
        let mut changed = told.clone();
        change(&mut changed);
        assert_eq!(torn(&changed), [Torn::Ready]);
    }
}

#[test]
fn tasks_that_come_or_go_make_the_queue_doubtful() {
    let told = told(2, &[], 3);
    let reading = read(EP, &told.records(), &told.fdinfo);
    assert_eq!(reading.waiters.iter().map(|waiter| waiter.task.tid).collect::<Vec<_>>(), [79, 78, 77]);
    assert!(reading.waiters.iter().all(|waiter| waiter.exclusive && waiter.task.comm == "worker"));
    for change in [
        (|told: &mut Told| told.waiters.truncate(5)) as fn(&mut Told),
        |told| told.waiters[4].task = 1,
        |told| told.waiters[5].prev = 1,
        |told| told.waited[0].whole = 0,
        |told| told.waited.truncate(1),
    ] {
        let mut changed = told.clone();
        change(&mut changed);
        assert_eq!(torn(&changed), [Torn::Waiters]);
    }
}

#[test]
fn what_was_not_told_is_said() {
    let mut lost = told(3, &[], 0);
    lost.nodes.pop();
    assert!(torn(&lost).contains(&Torn::Incomplete));
    let mut missed = told(3, &[], 0);
    missed.ended.misses = 1 << (Miss::ReadFailed as u32);
    assert_eq!(torn(&missed), [Torn::Missed(vec![Miss::ReadFailed])]);
    assert_eq!(read(EP, &[], "").torn, [Torn::Incomplete]);
    let other = told(3, &[], 0);
    assert_eq!(read(EP + 1, &other.records(), &other.fdinfo).torn, [Torn::Incomplete], "another eventpoll by now");
}

#[test]
fn of_several_passes_the_last_counts_and_a_scan_is_kept_from_the_first() {
    let mut first = told(4, &[1, 2], 0);
    first.begun.ovflist = epi(2);
    (first.begun.owner, first.begun.tid, first.begun.tgid) = (9, 72, 70);
    first.listed.iter_mut().for_each(|listed| listed.list = 1);
    // The text outgrew its buffer before the end.
    let mut records = first.records();
    records.retain(|record| !matches!(record, Record::Rooted(_)));
    let second = told(4, &[3], 1);
    records.extend(second.records());
    let reading = read(EP, &records, &second.fdinfo);
    assert_eq!(reading.torn, []);
    assert_eq!(reading.owner, Some(Task { pid: 70, tid: 72, comm: String::new() }));
    let overflow: Vec<_> = reading.scan.unwrap().overflow.iter().map(|place| place.item).collect();
    assert_eq!(overflow, [Some(1), Some(2)]);
    assert_eq!(reading.ready.len(), 1);
}

proptest! {
    /// Any pointers, any order, any number of anything: an answer, and every walk ends.
    #[test]
    fn nothing_that_is_told_panics_or_runs_for_ever(
        items in 0_usize..24,
        pointers in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..5, 0_u64..26), 0..40),
        order in any::<u64>(),
    ) {
        let mut told = told(items, &[], 2);
        for (at, field, value) in pointers {
            let address = if value > 23 { value } else { epi(usize::try_from(value).unwrap()) };
            if items == 0 {
                continue;
            }
            let node = &mut told.nodes[at.index(items)];
            match field {
                0 => node.left = address,
                1 => node.right = address,
                2 => node.parent_color = address | (value & 1),
                3 => node.node = address,
                _ => told.rooted.root = address,
            }
        }
        let mut records = told.records();
        let count = records.len();
        records.rotate_left(usize::try_from(order).unwrap_or(0) % count);
        let reading = read(EP, &records, &told.fdinfo);
        prop_assert!(reading.shape.faults.len() <= 8);
        prop_assert!(reading.shape.depth <= items);
    }

    #[test]
    fn records_of_any_bytes_are_read_or_left(bytes in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..110), 0..8)) {
        let records: Vec<Record> = bytes.iter().filter_map(|bytes| record(bytes)).collect();
        let _ = read(EP, &records, "tfd: 1 events: 1 data: 1 pos:0 ino:1 sdev:1");
    }
}

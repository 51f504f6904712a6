//! The model beside walks of the kernel's lists: what agrees, what differs, and what says nothing.

use tracer_common::Hook;
use tracer_common::events::{
    Audited, AuditedItem, DELIVERED_UNKNOWN, FileGone, Raced, audit_flags, audit_list, audit_moment, callback_flags,
    ctl_flags, scan_flags,
};

use crate::event::Event;
use crate::model::audit::Audit;
use crate::model::testing::{ET, Item, LT, PID, RING_FULL, Trace, ep, pair};

const VALID: u32 = audit_flags::VALID;

/// A walk by a task: items on the ready list, and those that a scan left over.
fn walk(trace: &mut Trace, tid: u32, moment: u32, flags: u32, ready: &[Item], left: &[Item]) {
    let header = trace.header(tid);
    let (on_ready, on_left) = (ready.iter().map(|item| (audit_list::READY, item)), left.iter());
    let items = on_ready.chain(on_left.map(|item| (audit_list::LEFT_OVER, item)));
    let mut count = 0;
    for (list, item) in items {
        trace.events.push(Event::AuditedItem(AuditedItem { header, ep: ep(1), epi: item.epi, list, index: count }));
        count += 1;
    }
    trace.events.push(Event::Audited(Audited { header, ep: ep(1), moment, flags, count, pad: 0 }));
}

/// A walk when nothing was under way.
pub(super) fn list(trace: &mut Trace, ready: &[Item]) {
    walk(trace, PID, audit_moment::CTL, VALID, ready, &[]);
}

/// Two items in one eventpoll, the first of which was called back.
fn two(trace: &mut Trace, events: u32) -> (Item, Item) {
    let (first, second) = pair(events);
    trace.add(PID, first);
    trace.add(PID, second);
    trace.first(first);
    (first, second)
}

fn audited(build: impl FnOnce(&mut Trace)) -> Audit {
    let mut trace = Trace::new();
    build(&mut trace);
    trace.model().audit().clone()
}

type Fds = Vec<Option<i32>>;

/// Of each difference: what was compared, the descriptors that the model lacks, and those that it has too many.
fn told(audit: &Audit) -> Vec<(&'static str, Fds, Fds)> {
    let fds = |items: &[(u64, Option<i32>)]| items.iter().map(|(_, fd)| *fd).collect();
    audit.first.iter().map(|found| (found.what, fds(&found.missing), fds(&found.surplus))).collect()
}

#[test]
fn a_walk_that_finds_what_the_model_has_is_a_comparison_without_a_difference() {
    let audit = audited(|trace| {
        let (first, _) = two(trace, LT);
        list(trace, &[first]);
    });
    assert_eq!(audit, Audit { comparisons: 1, ..Audit::default() });
}

#[test]
fn an_item_that_only_the_kernel_has_is_missing_and_told_once() {
    let audit = audited(|trace| {
        let (first, second) = two(trace, LT);
        list(trace, &[first, second]);
        list(trace, &[first, second]);
    });
    assert_eq!((audit.comparisons, audit.differences), (2, 1));
    assert_eq!(told(&audit), [("the ready list", vec![Some(4)], vec![])]);
}

#[test]
fn an_item_that_only_the_model_has_is_surplus_and_told_once() {
    let audit = audited(|trace| {
        two(trace, LT);
        list(trace, &[]);
        list(trace, &[]);
    });
    assert_eq!((audit.comparisons, audit.differences), (2, 1));
    assert_eq!(told(&audit), [("the ready list", vec![], vec![Some(3)])]);
}

#[test]
fn an_item_that_nobody_has_heard_of_is_missing_without_a_descriptor() {
    let audit = audited(|trace| {
        let (first, _) = two(trace, LT);
        list(trace, &[first, Item { epi: 0x3_0000, ..first }]);
    });
    assert_eq!(told(&audit), [("the ready list", vec![None], vec![])]);
}

#[test]
fn an_item_that_nobody_has_heard_of_is_told_once() {
    let audit = audited(|trace| {
        let (first, _) = two(trace, LT);
        for _ in 0..3 {
            list(trace, &[first, Item { epi: 0x3_0000, ..first }]);
        }
    });
    assert_eq!((audit.comparisons, audit.differences), (3, 1));
}

#[test]
fn what_a_scan_put_back_otherwise_is_not_told_again_by_the_next_walk() {
    let audit = audited(|trace| {
        let (first, _) = two(trace, ET);
        scanned(trace, first, &[first], &[]);
        list(trace, &[first]);
    });
    assert_eq!(told(&audit), [("what a scan put back", vec![Some(3)], vec![])]);
}

#[test]
fn a_walk_that_something_overlapped_says_nothing() {
    let audit = audited(|trace| {
        two(trace, LT);
        walk(trace, PID, audit_moment::CTL, 0, &[], &[]);
    });
    assert_eq!(audit, Audit { raced: 1, ..Audit::default() });
}

#[test]
fn a_walk_of_which_items_were_lost_says_nothing() {
    let audit = audited(|trace| {
        let (first, _) = two(trace, LT);
        list(trace, &[first]);
        let at = trace.events.len() - 2;
        trace.events.remove(at);
    });
    assert_eq!(audit, Audit { incomplete: 1, ..Audit::default() });
}

#[test]
fn what_is_behind_the_end_of_a_short_walk_is_not_surplus() {
    let audit = audited(|trace| {
        let (first, second) = two(trace, LT);
        trace.first(second);
        walk(trace, PID, audit_moment::CTL, VALID | audit_flags::TRUNCATED, &[first], &[]);
    });
    assert_eq!(audit, Audit { comparisons: 1, truncated: 1, ..Audit::default() });
}

#[test]
fn a_walk_of_an_unknown_eventpoll_compares_nothing() {
    let audit = audited(|trace| {
        list(trace, &[]);
    });
    assert_eq!(audit, Audit::default());
}

#[test]
fn what_may_have_changed_during_a_loss_is_left_out_once() {
    let audit = audited(|trace| {
        let (first, second) = two(trace, LT);
        trace.first(second);
        trace.lost(Hook::Scan, RING_FULL, 1);
        list(trace, &[first]);
    });
    assert_eq!(audit, Audit { comparisons: 1, doubtful: 2, ..Audit::default() });
    let missed = audited(|trace| {
        let (first, second) = two(trace, LT);
        trace.lost(Hook::Callback, RING_FULL, 1);
        list(trace, &[first, second]);
        list(trace, &[second]);
    });
    assert_eq!((missed.comparisons, missed.doubtful), (2, 2));
    assert_eq!(told(&missed), [("the ready list", vec![], vec![Some(3)])], "the walk has shown what there is");
}

#[test]
fn what_was_shown_after_a_loss_is_compared() {
    let audit = audited(|trace| {
        let (first, _) = two(trace, LT);
        trace.lost(Hook::Scan, RING_FULL, 1);
        trace.first(first);
        list(trace, &[]);
    });
    assert_eq!(told(&audit), [("the ready list", vec![], vec![Some(3)])]);
}

#[test]
fn what_a_scan_put_back_after_a_loss_is_left_out() {
    let audit = audited(|trace| {
        let (first, _) = two(trace, ET);
        trace.lost(Hook::Ctl, RING_FULL, 1);
        scanned(trace, first, &[first], &[]);
    });
    assert_eq!((audit.differences, told(&audit)), (0, vec![]));
}

/// A scan that delivered `first`, whose end a walk saw.
fn scanned(trace: &mut Trace, first: Item, ready: &[Item], left: &[Item]) {
    trace.enter(101, ep(1));
    let flags = if left.is_empty() { 0 } else { scan_flags::LEFT_OVER };
    let flags = if ready.is_empty() { flags } else { flags | scan_flags::REQUEUED };
    trace.scan_leaving(101, ep(1), 1, flags, left.first().map_or(0, |item| item.epi));
    walk(trace, 101, audit_moment::SCAN_END, VALID, ready, left);
    trace.leave(101, ep(1), Ok(&[first]));
}

#[test]
fn what_a_scan_put_back_is_compared_when_its_wait_returns() {
    let agreed = audited(|trace| {
        let (first, _) = two(trace, LT);
        scanned(trace, first, &[first], &[]);
    });
    assert_eq!((agreed.comparisons, agreed.differences), (2, 0));
    let differs = audited(|trace| {
        let (first, _) = two(trace, ET);
        scanned(trace, first, &[first], &[]);
    });
    assert_eq!(told(&differs), [("what a scan put back", vec![Some(3)], vec![])]);
    let surplus = audited(|trace| {
        let (first, second) = two(trace, LT);
        trace.first(second);
        trace.enter(101, ep(1));
        trace.scan(101, ep(1), 2, scan_flags::REQUEUED);
        walk(trace, 101, audit_moment::SCAN_END, VALID, &[first], &[]);
        trace.leave(101, ep(1), Ok(&[first, second]));
    });
    assert_eq!(told(&surplus), [("what a scan put back", vec![], vec![Some(4)])]);
}

#[test]
fn what_a_scan_left_over_is_compared_at_its_end() {
    let agreed = audited(|trace| {
        let (first, second) = two(trace, ET);
        trace.first(second);
        scanned(trace, first, &[], &[second]);
    });
    assert_eq!((agreed.differences, told(&agreed)), (0, vec![]));
    let differs = audited(|trace| {
        let (first, second) = two(trace, ET);
        trace.first(second);
        trace.enter(101, ep(1));
        trace.scan_leaving(101, ep(1), 1, scan_flags::LEFT_OVER, second.epi);
        walk(trace, 101, audit_moment::SCAN_END, VALID, &[], &[]);
        trace.leave(101, ep(1), Ok(&[first]));
    });
    assert_eq!(told(&differs), [("what a scan left over", vec![], vec![Some(4)])]);
}

#[test]
fn what_a_scan_of_unknown_reach_took_is_left_out_until_its_wait_returns() {
    let between = |ordered: bool| {
        audited(|trace| {
            let (first, second) = two(trace, ET);
            trace.first(second);
            if !ordered {
                let header = trace.header(102);
                trace.events.push(Event::Raced(Raced { header, ep: ep(1), epi: second.epi, callback_ts: 0 }));
                trace.first(second);
            }
            trace.enter(101, ep(1));
            trace.scan_leaving(101, ep(1), DELIVERED_UNKNOWN, scan_flags::IN_WAIT | scan_flags::LEFT_OVER, second.epi);
            // The first was delivered, and a walk that finds it is wrong, if it was not called back meanwhile.
            list(trace, &[first, second]);
            trace.leave(101, ep(1), Ok(&[first]));
        })
    };
    assert_eq!(told(&between(true)), [("the ready list", vec![Some(3)], vec![])]);
    let unknown = between(false);
    assert_eq!((unknown.differences, unknown.doubtful), (0, 2));
}

/// A scan during which the second item is called back, as the model is told if `told`, and that a walk sees end with `over` on the
/// overflow list.
fn overflowed(told: bool, over: impl FnOnce(Item, Item) -> Option<Item>) -> Audit {
    audited(|trace| {
        let (first, second) = two(trace, ET);
        trace.enter(101, ep(1));
        if told {
            trace.callback(second, callback_flags::SCANNING, 0);
        }
        trace.scan(101, ep(1), 1, scan_flags::OVERFLOW);
        let header = trace.header(101);
        let over = over(first, second);
        if let Some(Item { epi, .. }) = over {
            let list = audit_list::OVERFLOW;
            trace.events.push(Event::AuditedItem(AuditedItem { header, ep: ep(1), epi, list, index: 0 }));
        }
        let (moment, count) = (audit_moment::SCAN_END, u32::from(over.is_some()));
        trace.events.push(Event::Audited(Audited { header, ep: ep(1), moment, flags: VALID, count, pad: 0 }));
        trace.leave(101, ep(1), Ok(&[first]));
    })
}

#[test]
fn the_overflow_list_is_compared_at_a_scans_end() {
    assert_eq!(told(&overflowed(true, |_, second| Some(second))), []);
    assert_eq!(told(&overflowed(false, |_, _| None)), []);
    let missing = overflowed(false, |_, second| Some(second));
    assert_eq!(told(&missing), [("the overflow list", vec![Some(4)], vec![])]);
    let surplus = overflowed(true, |_, _| None);
    assert_eq!(told(&surplus), [("the overflow list", vec![], vec![Some(4)])]);
    let unknown = overflowed(false, |first, _| Some(Item { epi: 0x3_0000, ..first }));
    assert_eq!(told(&unknown), [("the overflow list", vec![None], vec![])]);
}

/// A callback after a scan's end was told and before it was, in the same wait as the next scan or in the one before. At that scan's end
/// nothing is on the overflow list, and later the item is on the ready list if `ready`.
fn called_late(same_wait: bool, ready: bool) -> Audit {
    audited(|trace| {
        let (first, _) = two(trace, ET);
        trace.enter(101, ep(1));
        trace.scan(101, ep(1), 0, 0);
        trace.callback(first, callback_flags::SCANNING, 0);
        if !same_wait {
            trace.leave(101, ep(1), Ok(&[]));
            trace.enter(101, ep(1));
        }
        trace.scan(101, ep(1), 1, 0);
        walk(trace, 101, audit_moment::SCAN_END, VALID, &[], &[]);
        trace.leave(101, ep(1), Ok(&[first]));
        list(trace, if ready { std::slice::from_ref(&first) } else { &[] });
    })
}

#[test]
fn a_callback_that_comes_between_the_telling_of_a_scans_end_and_the_end_is_of_that_scan() {
    for same_wait in [false, true] {
        let agreed = called_late(same_wait, false);
        assert_eq!((told(&agreed), agreed.doubtful), (vec![], 0));
    }
    // In the same wait it may also have come when the second scan was over.
    let late = called_late(true, true);
    assert_eq!((told(&late), late.doubtful), (vec![], 1));
    let differs = called_late(false, true);
    assert_eq!(told(&differs), [("the ready list", vec![Some(3)], vec![])]);
}

/// `ep_done_scan` moves only what is on no list.
#[test]
fn what_came_during_a_scan_that_put_it_back_stays_where_it_was_put() {
    let audit = audited(|trace| {
        let (first, second) = two(trace, LT);
        trace.first(second);
        trace.enter(101, ep(1));
        trace.callback(second, callback_flags::SCANNING, 0);
        trace.scan(101, ep(1), 2, scan_flags::REQUEUED | scan_flags::OVERFLOW);
        trace.leave(101, ep(1), Ok(&[first, second]));
        list(trace, &[first, second]);
    });
    assert_eq!((audit.comparisons, told(&audit)), (1, vec![]));
}

/// It has been there since the scan's end, however late that shows.
#[test]
fn what_was_added_since_a_scan_comes_behind_what_that_scan_put_back() {
    let audit = audited(|trace| {
        let (first, second) = two(trace, LT);
        let edge = Item { events: ET, ..second };
        trace.ctl(PID, 3, edge, 0);
        trace.enter(101, ep(1));
        trace.scan(101, ep(1), 1, scan_flags::REQUEUED | scan_flags::OVERFLOW);
        trace.callback(edge, callback_flags::SCANNING, 0);
        trace.leave(101, ep(1), Ok(&[first]));
        let third = Item { fd: 5, epi: 0x3_0000, file: first.file + 0x1000, ..first };
        trace.hooked(PID, third);
        trace.finds(PID, 1, third, ctl_flags::LINKED);
        list(trace, &[edge, first, third]);
    });
    assert_eq!((audit.comparisons, told(&audit)), (1, vec![]));
}

/// What a scan left over comes before both.
#[test]
fn what_a_scan_left_over_stays_before_what_came_during_it() {
    let audit = audited(|trace| {
        let (first, second) = two(trace, LT);
        trace.enter(101, ep(1));
        trace.scan(101, ep(1), 1, scan_flags::REQUEUED);
        trace.leave(101, ep(1), Ok(&[first]));
        trace.first(second);
        trace.scan_leaving(102, ep(1), DELIVERED_UNKNOWN, scan_flags::LEFT_OVER | scan_flags::OVERFLOW, first.epi);
        trace.callback(second, callback_flags::SCANNING, 0);
        list(trace, &[first, second]);
    });
    assert_eq!((audit.comparisons, told(&audit)), (1, vec![]));
}

/// `ep_done_scan` puts what came meanwhile before what was put back.
#[test]
fn what_came_at_the_very_end_of_a_scan_comes_before_what_it_put_back() {
    let audit = audited(|trace| {
        let (level, second) = two(trace, LT);
        let edge = Item { events: ET, ..second };
        trace.ctl(PID, 3, edge, 0);
        trace.enter(101, ep(1));
        trace.scan(101, ep(1), 1, scan_flags::REQUEUED);
        trace.callback(edge, callback_flags::SCANNING, 0);
        trace.leave(101, ep(1), Ok(&[level]));
        trace.enter_with(101, ep(1), -1, 1);
        trace.scan_leaving(101, ep(1), 1, scan_flags::LEFT_OVER, level.epi);
        walk(trace, 101, audit_moment::SCAN_END, VALID, &[], &[level]);
        trace.leave(101, ep(1), Ok(&[edge]));
        list(trace, &[level]);
    });
    assert_eq!((audit.comparisons, told(&audit)), (3, vec![]));
}

#[test]
fn only_the_first_differences_are_kept_in_full() {
    let audit = audited(|trace| {
        let (first, second) = two(trace, LT);
        for _ in 0..40 {
            list(trace, &[]);
            list(trace, &[first, second]);
        }
    });
    assert_eq!((audit.comparisons, audit.differences, audit.first.len()), (80, 80, 32));
}

/// A walk by `PID` that finds the second item, which only the kernel has, after `before` and with `after` behind it.
fn around(before: impl FnOnce(&mut Trace, Item), after: impl FnOnce(&mut Trace, Item)) -> (u64, bool) {
    let audit = audited(|trace| {
        let (first, second) = two(trace, LT);
        list(trace, &[first]);
        before(trace, first);
        list(trace, &[first, second]);
        after(trace, first);
    });
    assert_eq!(audit.differences, 1);
    (audit.contended, audit.first.iter().any(|difference| difference.contended))
}

const ALONE: (u64, bool) = (0, false);
const CONTENDED: (u64, bool) = (1, true);

const OTHER: u32 = PID + 7;

fn nothing(_: &mut Trace, _: Item) {}

/// Another task changes the mask.
fn other_mods(trace: &mut Trace, item: Item) {
    trace.ctl(OTHER, 3, item, 0);
}

/// The same, of another eventpoll.
fn elsewhere(trace: &mut Trace, item: Item) {
    other_mods(trace, Item { ep: ep(2), ..item });
}

/// In the context of another task the source calls back.
fn other_calls_back(trace: &mut Trace, item: Item) {
    trace.first(item);
    if let Some(Event::Callback(callback)) = trace.events.last_mut() {
        callback.header.tid = OTHER;
    }
}

/// Another task scans the list and finds nothing ready.
fn other_scans(trace: &mut Trace, _: Item) {
    trace.scan(OTHER, ep(1), 0, 0);
}

fn other_closes(trace: &mut Trace, item: Item) {
    let header = trace.header(OTHER);
    trace.events.push(Event::FileGone(FileGone { header, file: item.file }));
}

#[test]
fn a_difference_where_one_task_acts_is_a_mistake() {
    assert_eq!(around(nothing, nothing), ALONE);
    let mods = |trace: &mut Trace, item| trace.ctl(PID, 3, item, 0);
    assert_eq!(around(mods, mods), ALONE);
}

#[test]
fn a_difference_is_contended_where_another_task_acted_before() {
    for acts in [other_mods, other_scans, other_closes] {
        assert_eq!(around(acts, nothing), CONTENDED);
    }
    let long_ago = |trace: &mut Trace, item: Item| {
        other_mods(trace, item);
        list(trace, &[item]);
    };
    assert_eq!(around(long_ago, nothing), CONTENDED, "what came of it may show later");
}

#[test]
fn a_difference_is_contended_where_another_task_may_have_been_in_a_call() {
    for acts in [other_mods, other_closes, other_scans] {
        assert_eq!(around(nothing, acts), CONTENDED);
        let later = |trace: &mut Trace, item: Item| {
            elsewhere(trace, item);
            acts(trace, item);
        };
        assert_eq!(around(nothing, later), ALONE, "its last call ended after the walk");
    }
}

#[test]
fn a_call_of_a_task_that_began_later_was_not_under_way() {
    let born = |trace: &mut Trace, item: Item| {
        trace.fork(PID, PID, OTHER, "other");
        other_mods(trace, item);
    };
    assert_eq!(around(nothing, born), ALONE);
}

#[test]
fn a_callback_in_the_context_of_another_task_is_not_its_act() {
    assert_eq!(around(other_calls_back, nothing), ALONE);
    assert_eq!(around(nothing, other_calls_back), ALONE);
}

#[test]
fn what_another_task_does_to_another_eventpoll_makes_no_difference_contended() {
    assert_eq!(around(elsewhere, nothing), ALONE);
    assert_eq!(around(nothing, elsewhere), ALONE);
}

#[test]
fn a_difference_that_is_decided_late_is_told_once() {
    let audit = audited(|trace| {
        let (first, _) = two(trace, LT);
        trace.enter(101, ep(1));
        trace.scan_leaving(101, ep(1), 1, scan_flags::REQUEUED, 0);
        list(trace, &[]);
        trace.leave(101, ep(1), Ok(&[first]));
        list(trace, &[]);
    });
    assert_eq!(told(&audit), [("the ready list, decided later", vec![], vec![Some(3)])]);
    assert_eq!(audit.contended, 1);
}

//! What the demo `stays` says of itself.

mod common;

use common::{json, number};

#[test]
fn every_stay_that_began_has_ended() {
    let said = json(&["stays", "--json"]);
    let sum = |side: &str| said[side].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum::<u64>();
    assert!(sum("came") > 0);
    assert_eq!(sum("came"), sum("went"));
    assert_eq!(said["came"]["carried_over"], said["went"]["carried_over"]);
    assert_eq!(number(&said["truth"], "wait_errors"), 3);
}

#[test]
fn one_way_alone_is_gone_as_often_as_is_asked() {
    let said = json(&["stays", "--json", "--only", "one-shot", "--rounds", "7"]);
    assert_eq!((&said["came"]["callback"], &said["came"]["ready_at_mod"]), (&7.into(), &7.into()));
    assert_eq!((&said["went"]["oneshot"], &said["went"]["delivered"]), (&14.into(), &0.into()));
}

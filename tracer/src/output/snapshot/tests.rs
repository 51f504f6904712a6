use std::collections::BTreeMap;

use super::View;
use crate::snapshot::testing::{EP, PIPE_FOPS, SOCKET_FOPS, told};
use crate::snapshot::{Eventpoll, Holder, OpenFiles, Scan, Snapshot, Torn, read};

const HOSTILE: &str = "<script>\x1b]0;x\x07\"\\";

fn kinds() -> BTreeMap<u64, String> {
    [(PIPE_FOPS, "pipe".to_owned()), (SOCKET_FOPS, "socket".to_owned())].into()
}

fn holder(pid: u32, comm: &str, epfd: i32) -> Holder {
    Holder { pid, comm: comm.to_owned(), epfd }
}

/// Two eventpolls, one in the other, with something of everything.
fn snapshot() -> Snapshot {
    let mut outer = told(6, &[4, 1], 2);
    outer.nodes[2].inner = EP + 1;
    outer.nodes[5].events = 0xd000_0001;
    outer.fdinfo = outer.fdinfo.replace("tfd:       10 events:       19", "tfd:       10 events: d0000001");
    let listener = &mut outer.files[0];
    (listener.f_op, listener.family, listener.sock_type, listener.state) = (SOCKET_FOPS, 2, 1, 10);
    (listener.local, listener.local_port) = ([127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 8080);
    let mut open = OpenFiles::default();
    for node in outer.nodes.iter().skip(1) {
        let header = node.header;
        open.add(70, &tracer_common::snapshot::OpenFile { header, file: node.file, ep: 0, tgid: 70, fd: node.fd });
    }
    let mut first = read(EP, &outer.records(), &outer.fdinfo);
    first.look_up(&open);
    let mut inner = told(1, &[], 0);
    (inner.begun.ep, inner.rooted.ep) = (EP + 1, EP + 1);
    let mut second = read(EP + 1, &inner.records(), &inner.fdinfo);
    second.torn.push(Torn::Waiters);
    second.scan = Some(Scan { overflow: Vec::new(), more: false });
    second.polled = 1;
    Snapshot {
        kernel: "6.1.0".to_owned(),
        pid: 70,
        comm: HOSTILE.to_owned(),
        eventpolls: vec![
            Eventpoll {
                address: EP,
                holders: vec![holder(70, HOSTILE, 3), holder(71, "child", 3)],
                attempts: 1,
                reading: first,
            },
            Eventpoll { address: EP + 1, holders: vec![holder(70, "server", 4)], attempts: 8, reading: second },
        ],
        notes: vec![format!("A note {HOSTILE}.")],
    }
}

fn show(max_items: usize, how: impl Fn(&View<'_>) -> String) -> String {
    how(&View { snapshot: &snapshot(), file_kinds: &kinds(), max_items })
}

fn dot(view: &View<'_>) -> String {
    view.dot()
}

fn svg(view: &View<'_>) -> String {
    view.svg()
}

fn json(view: &View<'_>) -> String {
    view.json()
}

fn coloured(view: &View<'_>) -> String {
    view.text(80, true)
}

#[test]
fn text_of_a_snapshot() {
    let text = show(1000, |view| view.text(80, false));
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn dot_of_a_snapshot() {
    insta::assert_snapshot!(show(1000, dot));
}

#[test]
fn svg_of_a_snapshot() {
    let picture = show(1000, svg);
    assert!(picture.starts_with("<svg ") && picture.ends_with("</svg>\n"));
    assert_eq!(picture.matches("<circle").count(), 7);
    insta::assert_snapshot!(picture);
}

#[test]
fn json_of_a_snapshot() {
    let value: serde_json::Value = serde_json::from_str(&show(1000, json)).unwrap();
    insta::assert_snapshot!(serde_json::to_string_pretty(&value).unwrap());
}

#[test]
fn what_is_not_shown_is_counted_and_what_is_stands_nearest_to_the_root() {
    let value: serde_json::Value = serde_json::from_str(&show(3, json)).unwrap();
    let tree = &value["eventpolls"][0]["tree"];
    assert_eq!((&tree["items"], &tree["left_out"]), (&6.into(), &3.into()));
    let depths: Vec<_> =
        value["eventpolls"][0]["items"].as_array().unwrap().iter().map(|item| &item["depth"]).collect();
    assert_eq!(depths, [2, 1, 2]);
    for how in [dot, svg, coloured] {
        assert!(show(3, how).contains("3 items are not shown"));
    }
}

#[test]
fn what_could_not_be_read_is_not_shown_as_empty() {
    let mut held = snapshot();
    held.eventpolls.remove(0);
    held.eventpolls[0].reading = read(EP + 1, &[], "");
    let (kinds, max_items) = (kinds(), 9);
    let view = View { snapshot: &held, file_kinds: &kinds, max_items };
    let value: serde_json::Value = serde_json::from_str(&view.json()).unwrap();
    for list in ["tree", "items", "ready", "waiters", "polled"] {
        assert!(value["eventpolls"][0][list].is_null(), "{list}");
    }
    for text in [view.text(80, false), view.svg(), view.dot()] {
        assert!(
            text.contains("could not be read") && !text.contains("empty") && !text.contains("ready list"),
            "{text}"
        );
    }
}

#[test]
fn names_that_are_not_trusted_stay_text_in_every_format() {
    for text in [show(9, |view| view.text(80, false)), show(9, dot), show(9, svg), show(9, json)] {
        assert!(!text.contains('\x1b') && !text.contains('\x07'), "{text}");
    }
    assert!(!show(9, svg).contains("<script"));
    for line in show(9, dot).lines().filter(|line| line.contains("script")) {
        let bare = line.replace("\\\\", "").replace("\\\"", "");
        assert!(bare.matches('"').count().is_multiple_of(2), "{line}");
    }
}

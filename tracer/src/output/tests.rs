//! Snapshots of the outputs.

use proptest::prelude::proptest;
use tracer_common::events::softirq;

use super::{Json, Markdown, Output, Text, lines};
use crate::analysis::{Report, compare};
use crate::event::{Event, Header, ItemSeen, Path};
use crate::model::Model;
use crate::model::testing::nonsense::event;
use crate::model::testing::{Item, LISTENER, LT, RING_FULL, Trace, ep, exclusive, info, lt, workers};

const TEXT: Text = Text { width: 100, colour: false };

fn report(trace: &Trace) -> Report {
    Report::new(&trace.model(), &info())
}

fn every_line(trace: &Trace, line: impl Fn(&crate::event::Event, &Model) -> String) -> String {
    let mut model = Model::new();
    let mut text = String::new();
    for event in &trace.events {
        model.apply(event);
        text.push_str(line(event, &model).trim_end());
        text.push('\n');
    }
    text
}

/// One connection that wakes one worker.
fn one_connection() -> Trace {
    let mut trace = Trace::new();
    workers(&mut trace, 1, LT);
    let item = Item::socket(1, LISTENER, LT);
    let callback = trace.first(item);
    trace.woken(ep(1), 101, callback);
    trace.scan(101, ep(1), 1, 2);
    trace.leave(101, ep(1), Ok(&[item]));
    trace.accept(101, LISTENER, 7);
    trace.accept(101, LISTENER, -11);
    trace.ctl(101, 1, item, -17);
    trace.lost(tracer_common::Hook::Wake, RING_FULL, 2);
    trace.file_gone(LISTENER);
    trace.eventpoll_gone(ep(1));
    trace.exit(101, "worker-1");
    trace.mark(crate::event::MarkKind::Stopped);
    trace
}

#[test]
fn text_of_the_herd() {
    insta::assert_snapshot!(TEXT.report(&report(&lt())));
}

#[test]
fn text_of_exclusive() {
    insta::assert_snapshot!(TEXT.report(&report(&exclusive())));
}

#[test]
fn text_of_the_comparison() {
    insta::assert_snapshot!(TEXT.comparison(&compare(&report(&lt()), &report(&exclusive()))));
}

#[test]
fn markdown_of_the_herd() {
    insta::assert_snapshot!(Markdown.report(&report(&lt())));
}

#[test]
fn markdown_of_exclusive() {
    insta::assert_snapshot!(Markdown.report(&report(&exclusive())));
}

#[test]
fn markdown_of_the_comparison() {
    insta::assert_snapshot!(Markdown.comparison(&compare(&report(&lt()), &report(&exclusive()))));
}

#[test]
fn json_of_the_herd() {
    let line = Json.report(&report(&lt()));
    assert!(line.ends_with('\n') && line.lines().count() == 1);
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    insta::assert_snapshot!(serde_json::to_string_pretty(&value).unwrap());
}

#[test]
fn json_of_exclusive() {
    let value: serde_json::Value = serde_json::from_str(&Json.report(&report(&exclusive()))).unwrap();
    insta::assert_snapshot!(serde_json::to_string_pretty(&value["herd"]).unwrap());
}

#[test]
fn lines_of_one_connection() {
    insta::assert_snapshot!(every_line(&one_connection(), |event, model| lines::line(event, &info(), model)));
}

#[test]
fn json_lines_of_one_connection() {
    insta::assert_snapshot!(every_line(&one_connection(), |event, model| lines::json_line(event, &info(), model)));
}

/// An item that was registered before, its file told after it as the probes do, and what happens then.
fn found_before() -> Trace {
    let mut trace = Trace::new();
    let item = Item::socket(1, LISTENER, LT);
    let header = trace.header(101);
    let Item { ep, epi, file, data, events, fd, .. } = item;
    trace.events.push(Event::ItemSeen(ItemSeen { header, ep, epi, file, data, events, fd, flags: 0, pad: 0 }));
    trace.listens(LISTENER, 80);
    trace.first(item);
    trace.ctl(101, 3, item, 0);
    trace
}

#[test]
fn the_first_event_of_what_was_registered_before_names_its_file() {
    let trace = found_before();
    let text = every_line(&trace, |event, model| lines::line(event, &info(), model));
    for words in [
        "found registered: fd 3 in ",
        " is tcp 127.0.0.1:80 listening, inode ",
        "callback fd 3 (tcp 127.0.0.1:80 listening) of ",
        "EPOLL_CTL_MOD, fd 3 (tcp 127.0.0.1:80 listening), EPOLLIN",
    ] {
        assert!(text.contains(words), "no `{words}` in\n{text}");
    }
    let json = every_line(&trace, |event, model| lines::json_line(event, &info(), model));
    let named = |line: &str| {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        ["item-seen", "callback", "ctl"].contains(&value["event"].as_str().unwrap()).then(|| value["source"].clone())
    };
    let sources: Vec<_> = json.lines().filter_map(named).collect();
    let listener = serde_json::json!("tcp 127.0.0.1:80 listening");
    assert_eq!(sources, [serde_json::Value::Null, listener.clone(), listener]);
}

#[test]
fn a_kind_of_file_from_a_hostile_recording_is_no_markup_and_no_second_line() {
    let mut trace = Trace::new();
    let item = Item::socket(1, 0x77, LT);
    trace.describes(0x77, 0x99);
    trace.first(item);
    let mut hostile = info();
    hostile.file_kinds.insert(0x99, "pipe\u{1b}]0;x\u{7}\nsecond".to_owned());
    let text = every_line(&trace, |event, model| lines::line(event, &hostile, model));
    assert!(text.contains("callback fd 3 (pipe\\u{1b}]0;x\\u{7}\\u{a}second) of "), "{text}");
    let json = every_line(&trace, |event, model| lines::json_line(event, &hostile, model));
    assert!(!json.contains('\u{1b}') && json.lines().count() == trace.events.len(), "{json}");
}

#[test]
fn what_was_lost_stands_at_the_very_top() {
    let report = report(&one_connection());
    let first = |text: String| text.lines().next().unwrap_or_default().to_owned();
    assert_eq!(first(TEXT.report(&report)), "LOST: 2 events from wake on CPU 1 (ring-full)");
    assert_eq!(first(Markdown.report(&report)), "> **LOST: 2 events from wake on CPU 1 (ring-full)**");
    let comparison = compare(&report, &report);
    assert_eq!(first(TEXT.comparison(&comparison)), "LOST before: 2 events");
    assert_eq!(first(Markdown.comparison(&comparison)), "> **LOST before: 2 events**");
}

#[test]
fn latencies_stand_only_where_something_returned_and_what_was_not_measured_is_said() {
    let both = |report: &Report| [TEXT.report(report), Markdown.report(report)];
    let mut idle = Trace::new();
    workers(&mut idle, 1, LT);
    for text in both(&report(&idle)) {
        assert!(!text.contains("to return") && !text.contains("Not measured"), "{text}");
    }
    let mut report = report(&lt());
    report.exceeded.latencies = 1;
    for text in both(&report) {
        assert!(text.contains("From callback to return") && text.contains("From wake to return"), "{text}");
        assert!(text.contains("Not measured, because there were too many eventpolls: 1 return."), "{text}");
    }
}

#[test]
fn text_keeps_to_the_width() {
    for width in [40, 60, 80, 120] {
        let text = Text { width, colour: false }.report(&report(&lt()));
        let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= usize::from(width), "{widest} > {width}\n{text}");
    }
}

#[test]
fn colour_codes_come_only_when_asked_for() {
    let report = report(&lt());
    assert!(!TEXT.report(&report).contains('\x1b'));
    let coloured = Text { colour: true, ..TEXT }.report(&report);
    assert!(coloured.contains("\x1b["));
    assert_eq!(anstyle_free(&coloured), TEXT.report(&report));
}

/// Text without `ESC [ ... m`.
fn anstyle_free(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\x1b[") {
        plain.push_str(before);
        rest = after.split_once('m').unwrap().1;
    }
    plain + rest
}

#[test]
fn hostile_names_reach_neither_terminal_nor_markup() {
    let mut trace = lt();
    trace.named(101, "\x1b]0;x\x07<b>|`");
    trace.named(100, "<img>\u{202e}");
    let mut info = info();
    info.target = "-- \x1b[2J<script>alert(1)</script>".to_owned();
    info.limits = vec!["[x](http://example.org) \u{9b}31m".to_owned()];
    let report = Report::new(&trace.model(), &info);
    let text = TEXT.report(&report);
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text}");
    let markdown = Markdown.report(&report);
    assert!(markdown.chars().all(|c| c == '\n' || !c.is_control()), "{markdown}");
    for markup in ["<b>", "<img>", "<script>", "[x](", "://", "\u{202e}"] {
        assert!(!markdown.contains(markup), "{markup} in {markdown}");
    }
}

#[test]
fn the_way_to_a_cpu_is_told_with_what_its_callback_ran_in_and_nothing_else() {
    let header = Header { cpu: 1, ts_ns: 9_000, tgid: 100, tid: 101, ..Header::default() };
    let path = Event::Path(Path {
        header,
        ep: 0xe,
        cause_ts: 5_000,
        softirq_ts: 2_000,
        interrupt_ts: 0,
        sock_ts: 4_000,
        wake_ts: 5_200,
        cause_cpu: 0,
        softirq: softirq::NET_RX,
    });
    let line = lines::line(&path, &info(), &Model::new());
    let way = "is on a CPU 4000 ns after a callback of 0xe on CPU 0 \
               (in softirq NET_RX since 3000 ns before, in sock_def_readable since 1000 ns before, wake 200 ns after)";
    assert!(line.ends_with(way), "{line}");
    let json = lines::json_line(&path, &info(), &Model::new());
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["softirq"], &json["interrupt_ts_ns"]), (&"NET_RX".into(), &serde_json::Value::Null));
}

proptest! {
    #[test]
    fn nonsense_is_printed_without_panic_or_control_characters(events in proptest::collection::vec(event(), 0..200)) {
        let info = crate::event::TraceInfo::default();
        let mut model = Model::new();
        for event in &events {
            model.apply(event);
            let line = lines::line(event, &info, &model);
            assert!(!line.chars().any(char::is_control), "{line:?}");
            assert_eq!(lines::json_line(event, &info, &model).lines().count(), 1);
        }
        model.finish();
        let report = Report::new(&model, &info);
        for row in &report.herd {
            assert!(row.woken.total >= row.returned.total && row.returned.total >= row.useful.total, "{row:?}");
        }
        for text in [TEXT.report(&report), Markdown.report(&report), TEXT.comparison(&compare(&report, &report))] {
            assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
        }
        assert_eq!(Json.report(&report).lines().count(), 1);
    }
}

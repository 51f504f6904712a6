//! The pages: what they say in words, and that nothing in a trace can make them say or do something else.

use proptest::prelude::{ProptestConfig, any, prop, proptest};

use super::{Pictured, comparison, report};
use crate::analysis::history::{History, Watch};
use crate::analysis::player::{Camera, Plan, Play};
use crate::analysis::{Report, compare};
use crate::event::Event;
use crate::model::Model;
use crate::model::testing::nonsense::event;
use crate::model::testing::{LT, RING_FULL, Trace, exclusive, info, lt, workers};

fn seen(events: &[Event]) -> (Report, History, Play) {
    let mut model = Model::new();
    model.keep_journal();
    let mut watch = Watch::new();
    for event in events {
        model.apply(event);
        watch.see(event, &model);
    }
    model.finish();
    let (report, history) = (Report::new(&model, &info()), watch.finish(&model, &info()));
    let mut model = Model::new();
    model.keep_journal();
    let mut camera = Camera::new(Plan::of_history(&history));
    for event in events {
        model.apply(event);
        camera.see(event, &model, &info());
    }
    (report, history, camera.finish())
}

fn page(events: &[Event]) -> String {
    let (known, history, play) = seen(events);
    report(Pictured { report: &known, history: &history }, &play)
}

/// The words of a page: what stands between its tags, a line each, without style, script and drawings.
fn words(page: &str) -> String {
    let mut text = String::new();
    let mut rest = page;
    while let Some(start) = rest.find('<') {
        text.push_str(&rest[..start]);
        rest = &rest[start..];
        let skipped =
            ["style", "script", "svg", "select"].into_iter().find(|name| rest.starts_with(&format!("<{name}")));
        let end = skipped.map_or_else(|| ">".to_owned(), |name| format!("</{name}>"));
        let block = ["p", "li", "h1", "h2", "h3", "tr", "dt", "div", "figure", "aside", "section", "summary"];
        if block.iter().any(|name| rest.starts_with(&format!("<{name}>")) || rest.starts_with(&format!("<{name} "))) {
            text.push('\n');
        } else {
            text.push(' ');
        }
        rest = rest.split_once(&end).map_or("", |(_, rest)| rest);
    }
    let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

/// The JSON that the player reads.
fn data(page: &str) -> serde_json::Value {
    let (_, rest) = page.split_once("<script id=\"data\" type=\"application/json\">").unwrap();
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}

#[test]
fn the_page_of_a_herd_in_words() {
    insta::assert_snapshot!(words(&page(&lt().events)));
}

#[test]
fn the_page_of_a_trace_with_losses_says_so_beside_its_verdict() {
    let mut trace = lt();
    trace.lost(tracer_common::Hook::Wake, RING_FULL, 9);
    let words = words(&page(&trace.events));
    let (head, _) = words.split_once("Moments to look at").unwrap();
    insta::assert_snapshot!(head);
}

#[test]
fn the_comparison_in_words() {
    let ((one, before, _), (other, after, _)) = (seen(&lt().events), seen(&exclusive().events));
    let sides = (Pictured { report: &one, history: &before }, Pictured { report: &other, history: &after });
    insta::assert_snapshot!(words(&comparison(&compare(&one, &other), sides.0, sides.1)));
}

#[test]
fn the_lines_of_the_player() {
    let data = data(&page(&lt().events));
    let steps = data["parts"][0]["scenes"][0]["steps"].as_array().unwrap();
    let lines: Vec<&str> = steps.iter().map(|step| step["l"].as_str().unwrap()).collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn an_empty_trace_has_a_page() {
    assert!(words(&page(&[])).contains("No listening socket was seen"));
}

fn named(name: &str) -> Trace {
    let mut trace = Trace::new();
    workers(&mut trace, 2, LT);
    trace.named(101, name);
    let tid = 101;
    trace.enter(tid, crate::model::testing::ep(1));
    trace
}

#[test]
fn hostile_names_stay_text() {
    for name in ["<script>x()//", "</script><b>", "\u{1b}]0;owned\u{7}", "\"><img src=x>", "-->&lt;"] {
        let page = page(&named(name).events);
        assert_eq!(page.matches("<script").count(), 2, "{name}");
        assert_eq!(page.matches("</script").count(), 2, "{name}");
        assert!(!page.contains("<b>\"") && !page.contains("<img"), "{name}");
        assert!(!page.chars().any(|c| c.is_control() && c != '\n'), "{name}");
        let data = data(&page);
        let shown = data.to_string();
        assert!(shown.contains("/100/101"), "{name}");
        assert!(!shown.contains('\u{1b}'), "{name}");
    }
}

#[test]
fn the_page_asks_for_nothing_from_anywhere() {
    let page = page(&lt().events);
    for word in ["http://", "https://", "@import", "url(", "<iframe", "fetch(", "XMLHttpRequest", "WebSocket"] {
        assert!(!page.contains(word), "{word}");
    }
    assert!(page.contains("default-src 'none'; script-src 'sha256-"));
}

proptest! {
    // A page takes its time in an unoptimised build.
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_trace_breaks_the_page(events in prop::collection::vec(event(), 0..60)) {
        let page = page(&events);
        assert_eq!(page.matches("<script").count(), 2);
        data(&page);
    }

    #[test]
    fn no_name_gets_out_of_its_place(name in any::<String>()) {
        let name = format!("a{name}");
        let (mut known, history, play) = seen(&exclusive().events);
        let plain = report(Pictured { report: &known, history: &history }, &play);
        for task in &mut known.herd[0].tasks {
            task.comm.clone_from(&name);
        }
        known.target.clone_from(&name);
        let page = report(Pictured { report: &known, history: &history }, &play);
        assert_eq!(page.matches('<').count(), plain.matches('<').count());
    }
}

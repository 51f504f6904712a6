//! The player: its controls, and the data that its script draws.
//!
//! The script (`player.js`) follows a stream of steps, each with a merge patch of the eventpoll's state; the page brings some
//! stretches of them as JSON, a live source could feed others.

use maud::{Markup, PreEscaped, html};
use serde::Serialize;

use super::super::names::EPOLL_BITS;
use super::head::what_happened;
use super::steps::{kind, line};
use super::text;
use super::words::{moment, number};
use crate::analysis::history::History;
use crate::analysis::player::{ItemState, Patch, Play, State, TaskState};

/// What the script reads.
#[derive(Debug, Serialize)]
struct Data {
    /// The state before the first step.
    empty: State,
    /// Bits of event masks and their names.
    bits: Vec<(u32, &'static str)>,
    parts: Vec<PartData>,
    moments: Vec<MomentData>,
}

/// One eventpoll.
#[derive(Debug, Serialize)]
struct PartData {
    ep: u64,
    name: String,
    steps: u64,
    scenes: Vec<SceneData>,
}

/// Steps that follow each other.
#[derive(Debug, Serialize)]
struct SceneData {
    /// The number of the first.
    first: u64,
    steps: Vec<StepData>,
}

/// One step: its time, its kind, its line, the item it is about, and what it changes.
#[derive(Debug, Serialize)]
struct StepData {
    t: i64,
    k: &'static str,
    l: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    i: Option<u64>,
    p: Patch,
}

#[derive(Debug, Serialize)]
struct MomentData {
    t: u64,
    ep: Option<u64>,
    text: String,
}

pub(super) fn section(history: &History, play: &Play) -> Markup {
    let shown = u64::try_from(play.steps()).unwrap_or(u64::MAX);
    let all = history.eventpolls.iter().fold(0_u64, |sum, ep| sum.saturating_add(ep.steps));
    html! {
        section.card #player tabindex="-1" aria-label="Player" {
            h2 { "Player: what the kernel did, step by step" }
            p.hint {
                @if shown >= all && history.more_eventpolls == 0 {
                    "All " (number(all)) " steps of this trace are here: a step is an event that touches the eventpoll. "
                } @else {
                    b { (number(shown)) " of " (number(all)) " steps are in this page" }
                    ": how each eventpoll begins, and what follows the moments named above. The rest is in the recording. "
                    @if history.more_eventpolls > 0 { (history.more_eventpolls) " eventpolls are left out altogether. " }
                }
                "Keys, when the player has the focus: " kbd { "←" } " " kbd { "→" } " a step, " kbd { "space" } " play, "
                kbd { "Home" } " " kbd { "End" } " first and last."
            }
            noscript { p { "The player needs JavaScript; everything else on this page does not." } }
            div #player-body hidden tabindex="0" role="group" aria-label="Step through an eventpoll" {
                div.controls {
                    label { "Eventpoll " select #p-ep {} }
                    label { "Go to " select #p-moment { option value="" { "a moment …" } } }
                    span.buttons {
                        button #p-first type="button" title="First step" { "|◀" }
                        button #p-back type="button" title="Back" { "◀" }
                        button #p-play type="button" title="Play" { "play" }
                        button #p-next type="button" title="Forward" { "▶" }
                        button #p-last type="button" title="Last step" { "▶|" }
                    }
                    input #p-slider type="range" min="0" value="0" aria-label="Step";
                }
                p #p-where aria-live="polite" {}
                p #p-line {}
                div.stage {
                    div.place { h3 { "Items " span #n-items {} } ol #d-items {} p.hint #more-items {} }
                    div.place { h3 { "Ready list " span #n-ready {} } ol.chain #d-ready {} p.hint #more-ready {} }
                    div.place { h3 { "Overflow list " span #n-overflow {} } ol.chain #d-overflow {} p.hint #more-overflow {} }
                    div.place {
                        h3 { "Wait queue " span #n-tasks {} } ol.chain #d-tasks {} p.hint #more-tasks {}
                        h3 { "Woken, on their way " span #n-woken {} } ol #d-woken {} p.hint #more-woken {}
                    }
                }
                div.place.hangs { h3 { "Red-black tree of the items" } div.wide { svg #d-tree role="img" aria-label="Red-black tree" {} } p.hint #more-tree {} }
                div.place.hangs { h3 { "How an item hangs on its source" } ol.across #d-chain {} }
                ol #p-log aria-label="Steps around this one" {}
                p.hint {
                    "Reconstructed from the trace's events. Items stand in the order in which they were registered; the red-black tree is what the
                     kernel's own algorithm makes of them, sorted by the address of the file. Tasks stand with the latest to begin its wait first, as
                     the kernel wakes them."
                }
            }
        }
    }
}

/// The data of the script, as a block that the browser does not run.
pub(super) fn data(history: &History, play: &Play) -> Markup {
    // In the order of the page: the busiest first.
    let parts = history.eventpolls.iter().filter_map(|ep| Some((ep, play.parts.get(&ep.id)?)));
    let parts = parts.filter(|(_, part)| part.scenes.iter().any(|scene| !scene.steps.is_empty()));
    let data = Data {
        empty: State::default(),
        bits: EPOLL_BITS.to_vec(),
        parts: parts
            .map(|(ep, part)| PartData {
                ep: ep.id.number(),
                name: text(&ep.name),
                steps: part.steps,
                scenes: part
                    .scenes
                    .iter()
                    .map(|scene| SceneData {
                        first: scene.steps.first().map_or(0, |step| step.number),
                        steps: scene.steps.iter().map(step_data).collect(),
                    })
                    .collect(),
            })
            .collect(),
        moments: history
            .moments
            .iter()
            .map(|one| MomentData {
                t: one.at_ns,
                ep: one.ep.map(crate::model::EpId::number),
                text: format!("{}: {}", moment(one.at_ns), what_happened(one)),
            })
            .collect(),
    };
    html! { script #data type="application/json" { (PreEscaped(json(&data))) } }
}

fn step_data(step: &crate::analysis::player::Step) -> StepData {
    StepData { t: step.at_ns, k: kind(&step.event), l: line(step), i: step.item, p: shown(&step.patch) }
}

/// A patch whose names may be shown.
fn shown(patch: &Patch) -> Patch {
    let mut patch = patch.clone();
    for item in patch.items.values_mut().flatten() {
        let ItemState { source, .. } = item;
        *source = text(source);
    }
    for TaskState { name, .. } in patch.tasks.iter_mut().flatten() {
        *name = text(name);
    }
    patch
}

/// JSON that cannot end the block it stands in: `<`, `>` and `&` occur within strings alone, and are written there as their codes.
fn json<T: Serialize>(value: &T) -> String {
    let plain = super::super::json::one_line(value);
    let mut safe = String::with_capacity(plain.len());
    for c in plain.trim_end().chars() {
        match c {
            '<' => safe.push_str("\\u003c"),
            '>' => safe.push_str("\\u003e"),
            '&' => safe.push_str("\\u0026"),
            '\u{2028}' => safe.push_str("\\u2028"),
            '\u{2029}' => safe.push_str("\\u2029"),
            other => safe.push(other),
        }
    }
    safe
}

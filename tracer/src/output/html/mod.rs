//! Reports as one HTML file that needs nothing else: no network, no second file; light and dark, on paper, by keyboard.
//!
//! In: a [`Report`], its [`History`] and the [`Play`] of its player. Out: the page. Its script may only be the one that stands in
//! this folder: the page forbids every other (Content-Security-Policy), and names from the trace reach it as text alone.

mod charts;
mod compare;
mod details;
mod eventpolls;
mod fanout;
mod head;
mod player;
mod steps;
#[cfg(test)]
mod tests;
mod words;

use base64::Engine as _;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest as _, Sha256};

use super::sanitize;
use crate::analysis::history::History;
use crate::analysis::player::Play;
use crate::analysis::{Comparison, Report};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("player.js");

/// A report with what its pictures show.
#[derive(Debug, Clone, Copy)]
pub struct Pictured<'a> {
    /// The report.
    pub report: &'a Report,
    /// How it went over time.
    pub history: &'a History,
}

/// A report as a page.
#[must_use]
pub fn report(pictured: Pictured<'_>, play: &Play) -> String {
    let Pictured { report, history } = pictured;
    let scales = charts::Scales::of(&[pictured]);
    let body = html! {
        (head::of_report(report, history))
        main {
            @for row in &report.herd {
                (fanout::section(row, history, &scales))
            }
            (eventpolls::section(history, &scales))
            (player::section(history, play))
            (details::section(report))
        }
        (foot(report))
        (player::data(history, play))
        script { (PreEscaped(SCRIPT)) }
    };
    page("eptrace report", &body)
}

/// Two reports side by side as a page.
#[must_use]
pub fn comparison(comparison: &Comparison, before: Pictured<'_>, after: Pictured<'_>) -> String {
    let mut histories = (before.history.clone(), after.history.clone());
    let cell_ns = histories.0.cell_ns.max(histories.1.cell_ns);
    histories.0.widen(cell_ns);
    histories.1.widen(cell_ns);
    let before = Pictured { history: &histories.0, ..before };
    let after = Pictured { history: &histories.1, ..after };
    let body = html! {
        (compare::head(comparison, before, after))
        main { (compare::sides(comparison, before, after)) }
        (foot(after.report))
    };
    page("eptrace comparison", &body)
}

fn page(title: &str, body: &Markup) -> String {
    let hash = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(SCRIPT));
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{hash}'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    );
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                link rel="icon" href="data:,";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body { (body) }
        }
    };
    let mut page = page.into_string();
    page.push('\n');
    page
}

fn foot(report: &Report) -> Markup {
    html! {
        footer {
            p { "Made by eptrace " (text(&report.eptrace)) ". The page needs no network, and sends nothing anywhere." }
        }
    }
}

/// A string of the trace as it may be shown: what is not printable stands as its code.
fn text(untrusted: &str) -> String {
    sanitize::text(untrusted)
}

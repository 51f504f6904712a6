//! The rest of a report: totals and tables, as text and Markdown have them.

use maud::{Markup, html};

use super::super::layout::{self, Grid};
use super::text;
use crate::analysis::Report;

pub(super) fn section(report: &Report) -> Markup {
    let tables = [
        ("Tasks", layout::tasks(report)),
        ("Eventpolls", layout::eventpolls(report)),
        ("Sources", layout::sources(report)),
        ("Callbacks", layout::callbacks(report)),
    ];
    html! {
        section.card {
            details {
                summary { h2 { "All numbers" } }
                dl.facts { @for (name, value) in layout::facts(report) { dt { (name) } dd { (text(&value)) } } }
                ul { @for line in layout::totals(report) { li { (text(&line)) } } }
                @for (title, grid) in tables.iter().filter(|(_, grid)| !grid.rows.is_empty()) {
                    h3 { (title) }
                    (table(grid))
                }
            }
        }
    }
}

/// A table; the first column is words, the others are numbers.
pub(super) fn table(grid: &Grid) -> Markup {
    html! {
        div.wide { table {
            thead { tr { @for (index, cell) in grid.head.iter().enumerate() { th.num[index > 0] { (cell) } } } }
            tbody { @for row in &grid.rows { tr { @for (index, cell) in row.iter().enumerate() { td.num[index > 0] { (text(cell)) } } } } }
        } }
        @if grid.more > 0 { p.hint { "and " (grid.more) " more (all of them in JSON)" } }
    }
}

//! What each statement predicts. Every file is a table: statement, the demo that shows it, and the numbers that decide.

mod callback;
mod loops;
mod others;
mod pitfalls;
mod sharing;
mod structures;
mod trigger;

use super::Claim;

/// All statements, in the chapter's order.
pub(crate) fn all() -> impl Iterator<Item = &'static Claim> {
    [
        structures::CLAIMS,
        callback::CLAIMS,
        trigger::CLAIMS,
        sharing::CLAIMS,
        pitfalls::CLAIMS,
        others::CLAIMS,
        loops::CLAIMS,
    ]
    .into_iter()
    .flatten()
}

//! What the program says beside its output.

use std::io::Write;

use crate::output::sanitize;

/// A line on standard error, cleaned. That nobody may read it is no error.
pub(super) fn say(text: &str) {
    let mut stderr = std::io::stderr().lock();
    for line in text.lines() {
        let _ = writeln!(stderr, "eptrace: {}", sanitize::text(line));
    }
}

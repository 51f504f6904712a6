//! What is said while it happens: lines on stderr. Data never goes through here.

use std::time::Instant;

/// Says one line of progress.
pub(crate) fn say(text: &str) {
    eprintln!("xtask: {text}");
}

/// Says what begins, runs it, and says how long it took when that was longer than a moment.
pub(crate) fn timed<T>(what: &str, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    say(&format!("{what} ..."));
    let start = Instant::now();
    let outcome = work()?;
    let seconds = start.elapsed().as_secs_f64();
    if seconds >= 1.0 {
        say(&format!("{what}: done in {seconds:.1} s"));
    }
    Ok(outcome)
}

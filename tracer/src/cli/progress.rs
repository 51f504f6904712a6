//! What happens during long work, on standard error where that is a terminal, and nowhere else: how much of a file is read, what a
//! recording holds. It comes late and goes without a trace, so that short work stays calm.

mod margin;

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use anstyle::{AnsiColor, Style};
use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

use self::margin::Margin;
use super::format::colour;

/// Work that is over sooner shows nothing.
const CALM: Duration = Duration::from_millis(500);
/// Times a second that a terminal is written to at most.
const HZ: u8 = 5;
/// How often the line of a recording changes.
const EVERY: Duration = Duration::from_millis(500);

/// One line on a terminal that is there while work is under way.
struct Line {
    bar: ProgressBar,
    since: Instant,
    shown: bool,
}

impl Line {
    /// `None` where nobody would see it.
    fn new(length: Option<u64>, template: &str) -> Option<Self> {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        if dumb || !std::io::stderr().is_terminal() {
            return None;
        }
        let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::hidden());
        bar.set_style(ProgressStyle::with_template(template).ok()?.progress_chars("=> "));
        Some(Self { bar, since: Instant::now(), shown: false })
    }

    /// Whether the line is there by now.
    fn shows(&mut self) -> bool {
        if !self.shown && self.since.elapsed() >= CALM {
            self.shown = true;
            self.bar.set_draw_target(ProgressDrawTarget::term_like_with_hz(Box::new(Margin::stderr()), HZ));
        }
        self.shown
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// How much of a file is read.
pub(super) struct Reading(Option<Line>);

impl Reading {
    /// A file of this many bytes is read; 0 when that is not known.
    pub(super) fn new(bytes: u64) -> Self {
        Self(if bytes == 0 {
            Line::new(None, "reading: {bytes} ({bytes_per_sec})")
        } else {
            Line::new(Some(bytes), "reading: {percent}% [{bar:30}] {bytes} of {total_bytes}, {eta} left")
        })
    }

    /// So many bytes of it are read now.
    pub(super) fn at(&mut self, bytes: u64) {
        if let Some(line) = &mut self.0
            && line.shows()
        {
            line.bar.set_position(bytes);
        }
    }
}

/// What a live trace has so far.
pub(super) struct Tracing {
    line: Option<Line>,
    events: u64,
    lost: u64,
    /// What was there when the line changed last.
    before: (Instant, u64),
}

impl Tracing {
    /// A trace begins; `wanted` where nothing else is written to the terminal meanwhile.
    pub(super) fn new(wanted: bool) -> Self {
        let line = if wanted { Line::new(None, "{msg}") } else { None };
        Self { line, events: 0, lost: 0, before: (Instant::now(), 0) }
    }

    /// Whether anybody sees it.
    pub(super) fn is_shown(&self) -> bool {
        self.line.is_some()
    }

    /// More events, and how many were lost among them; `written` is how large the file is by now.
    pub(super) fn more(&mut self, events: usize, lost: u64, written: Option<u64>) {
        self.events = self.events.saturating_add(u64::try_from(events).unwrap_or_default());
        self.lost = self.lost.saturating_add(lost);
        let Some(line) = &mut self.line else { return };
        let (since, events) = self.before;
        let passed = since.elapsed();
        if !line.shows() || passed < EVERY {
            return;
        }
        let rate = per_second(self.events.saturating_sub(events), passed);
        self.before = (Instant::now(), self.events);
        line.bar.set_message(words(self.events, rate, self.lost, written, colour(true)));
        line.bar.tick();
    }
}

fn per_second(count: u64, passed: Duration) -> u64 {
    let rate = u128::from(count) * 1_000 / passed.as_millis().max(1);
    u64::try_from(rate).unwrap_or(u64::MAX)
}

/// The line of a live trace.
fn words(events: u64, rate: u64, lost: u64, written: Option<u64>, colour: bool) -> String {
    let mut words = format!("{} events, {} a second", HumanCount(events), HumanCount(rate));
    if let Some(bytes) = written {
        // Writing to a String does not fail.
        let _ = write!(words, ", {} written", HumanBytes(bytes));
    }
    let missing = match lost {
        0 => ", nothing lost".to_owned(),
        lost if colour => {
            let red = Style::new().fg_color(Some(AnsiColor::Red.into())).bold();
            format!(", {red}{} LOST{red:#}", HumanCount(lost))
        }
        lost => format!(", {} LOST", HumanCount(lost)),
    };
    words + &missing
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{per_second, words};

    #[test]
    fn a_recording_says_events_rate_size_and_losses() {
        let calm = words(1_234_567, 89_000, 0, Some(3 << 20), true);
        assert_eq!(calm, "1,234,567 events, 89,000 a second, 3.00 MiB written, nothing lost");
        assert_eq!(words(2, 1, 7, None, false), "2 events, 1 a second, 7 LOST");
        assert_eq!(words(2, 1, 7, None, true), "2 events, 1 a second, \u{1b}[1m\u{1b}[31m7 LOST\u{1b}[0m");
    }

    #[test]
    fn a_rate_is_that_of_the_time_that_passed() {
        assert_eq!(per_second(500, Duration::from_millis(250)), 2_000);
        assert_eq!(per_second(5, Duration::ZERO), 5_000);
    }
}

//! A terminal as a progress line sees it: a little narrower than it is.
//!
//! indicatif leaves the cursor at the end of the terminal's line. The `^C` that a terminal shows for Ctrl-C would go to the next line from
//! there, and the line would be cleared there instead of where it stands.

use std::io;

use console::Term;
use indicatif::TermLike;

/// `^C`, and the column where the cursor then stands.
const COLUMNS: u16 = 3;

/// Standard error but for its last columns.
#[derive(Debug)]
pub(super) struct Margin(Term);

impl Margin {
    pub(super) fn stderr() -> Self {
        Self(Term::stderr())
    }
}

impl TermLike for Margin {
    fn width(&self) -> u16 {
        TermLike::width(&self.0).saturating_sub(COLUMNS).max(1)
    }

    fn height(&self) -> u16 {
        TermLike::height(&self.0)
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.0.move_cursor_up(n)
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.0.move_cursor_down(n)
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.0.move_cursor_right(n)
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.0.move_cursor_left(n)
    }

    fn write_line(&self, s: &str) -> io::Result<()> {
        self.0.write_line(s)
    }

    fn write_str(&self, s: &str) -> io::Result<()> {
        self.0.write_str(s)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.0.clear_line()
    }

    fn flush(&self) -> io::Result<()> {
        self.0.flush()
    }
}

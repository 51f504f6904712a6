//! Strings that nobody vouches for: process names, targets, symbols from trace files.
//!
//! A process may call itself `\x1b]0;owned\x07` or `<img src=x>`. [`text`] leaves nothing that a terminal obeys or that
//! disguises what is shown; [`markdown`] leaves nothing besides that Markdown or HTML obeys.

/// The most characters that are shown of one string.
pub const MAX_CHARS: usize = 1_000;

/// A string that is safe on a terminal: one line, control and formatting characters as `\u{1b}`, of bounded length.
#[must_use]
pub fn text(untrusted: &str) -> String {
    let mut safe = String::with_capacity(untrusted.len().min(MAX_CHARS));
    let mut rest = untrusted.chars();
    for c in rest.by_ref().take(MAX_CHARS) {
        if c.is_control() || is_format(c) {
            safe.extend(c.escape_unicode());
        } else {
            safe.push(c);
        }
    }
    if rest.next().is_some() {
        safe.push('…');
    }
    safe
}

/// A string that is safe in Markdown, in a table cell as well: beyond [`text`], no markup, no HTML, no link, no mention.
#[must_use]
pub fn markdown(untrusted: &str) -> String {
    let mut safe = String::new();
    for c in text(untrusted).chars() {
        match c {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '|' => safe.push_str("&#124;"),
            // Backslashes do not stop mentions and references to issues: a word joiner does.
            '@' | '#' => {
                safe.push('\\');
                safe.push(c);
                safe.push('\u{2060}');
            }
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '!' | '~' | '$' | '^' | '=' => {
                safe.push('\\');
                safe.push(c);
            }
            other => safe.push(other),
        }
    }
    unlink(&safe)
}

/// Bare addresses would become links: `://` and `www.` are taken apart.
fn unlink(text: &str) -> String {
    let mut safe = text.replace("://", ":\u{2060}//");
    for prefix in ["www.", "WWW.", "Www."] {
        safe = safe.replace(prefix, &format!("{}\u{2060}.", prefix.trim_end_matches('.')));
    }
    safe
}

/// Characters that change how others are shown, or are not shown (general category Cf, and the line separators).
const fn is_format(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{8e2}' | '\u{180e}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}' | '\u{110bd}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::{MAX_CHARS, markdown, text};

    #[test]
    fn terminals_find_nothing_to_obey() {
        assert_eq!(text("\x1b]0;owned\x07\n"), "\\u{1b}]0;owned\\u{7}\\u{a}");
        assert_eq!(text("\u{9b}31m"), "\\u{9b}31m");
        assert_eq!(text("a\u{202e}b\u{200b}c"), "a\\u{202e}b\\u{200b}c");
        assert_eq!(text("nginx: worker"), "nginx: worker");
        assert_eq!(text("grün"), "grün");
    }

    #[test]
    fn markdown_finds_no_markup() {
        assert_eq!(markdown("<img src=x>"), "&lt;img src\\=x&gt;");
        assert_eq!(markdown("a|b`c*d_e[f](g)"), "a&#124;b\\`c\\*d\\_e\\[f\\](g)");
        assert_eq!(markdown("@user #1"), "\\@\u{2060}user \\#\u{2060}1");
        assert!(!markdown("https://www.example.org").contains("://"));
        assert!(!markdown("www.example.org").contains("www."));
    }

    #[test]
    fn long_strings_are_cut() {
        assert_eq!(text(&"x".repeat(MAX_CHARS + 1)).chars().count(), MAX_CHARS + 1);
        assert!(text(&"x".repeat(MAX_CHARS + 1)).ends_with('…'));
        assert_eq!(text(&"x".repeat(MAX_CHARS)).chars().count(), MAX_CHARS);
    }
}

//! Numbers and durations as the page writes them.

pub(super) use super::super::latency::duration;

/// A moment: seconds since the origin, microseconds kept.
pub(super) fn moment(ns: u64) -> String {
    format!("{}.{:06} s", ns / 1_000_000_000, ns % 1_000_000_000 / 1_000)
}

/// A number with its thousands apart: `1 234 567`.
pub(super) fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut apart = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            // A narrow space that does not break.
            apart.push('\u{202f}');
        }
        apart.push(digit);
    }
    apart
}

/// `1 task`, `2 tasks`.
pub(super) fn count(n: u64, one: &str) -> String {
    format!("{} {one}{}", number(n), if n == 1 { "" } else { "s" })
}

/// Whole per cent; 0 of nothing.
pub(super) fn percent(part: u64, whole: u64) -> u64 {
    part.saturating_mul(100).checked_div(whole).unwrap_or(0)
}

/// How far along a bar something is, per cent with two decimals.
#[expect(clippy::cast_precision_loss, reason = "a place on a screen")]
pub(super) fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { (part as f64 / whole as f64 * 10_000.0).round() / 100.0 }
}

#[cfg(test)]
mod tests {
    use super::{count, moment, number, percent, share};

    #[test]
    fn moments_keep_their_microseconds() {
        assert_eq!(moment(1_000_001_000), "1.000001 s");
    }

    #[test]
    fn thousands_stand_apart() {
        assert_eq!(number(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!((count(1, "task"), count(20, "task")), ("1 task".to_owned(), "20 tasks".to_owned()));
    }

    #[test]
    fn parts_of_nothing_are_nothing() {
        assert_eq!((percent(1, 0), percent(1, 3)), (0, 33));
        assert!(share(1, 0).abs() < f64::EPSILON);
        assert!((share(1, 3) - 33.33).abs() < f64::EPSILON);
    }
}

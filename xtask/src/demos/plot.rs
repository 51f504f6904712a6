//! A table of numbers as a picture: both axes logarithmic, so that O(1) is a level line and O(n) a slope.

use std::fmt::Write as _;

use super::story::Table;

/// Columns of the picture for each power of ten across, rows for each up.
const ACROSS: f64 = 14.0;
const UP: f64 = 3.0;

/// The first column is drawn across, every other one up, by the first letter of its name; `None` of a table that has anything but
/// positive numbers, or fewer than two rows.
///
/// Where two would stand in one place, they stand side by side, in the order of the table.
pub(crate) fn log_log(table: &Table) -> Option<String> {
    let rows = table.rows.iter().map(|row| row.iter().map(|cell| positive(cell)).collect::<Option<Vec<f64>>>());
    let rows = rows.collect::<Option<Vec<_>>>().filter(|rows| rows.len() > 1)?;
    let all = |of: fn(&[f64]) -> &[f64]| rows.iter().flat_map(move |row| of(row).iter().copied());
    let (left, right) = bounds(all(|row| row.get(..1).unwrap_or_default()))?;
    let (bottom, top) = bounds(all(|row| row.get(1..).unwrap_or_default()))?;
    let (bottom, top) = (bottom.floor(), top.ceil());
    let width = place(right - left, ACROSS) + 1;
    let mut lines = vec![vec![' '; width]; place(top - bottom, UP) + 1];
    for row in &rows {
        let (x, values) = row.split_first()?;
        for (value, name) in values.iter().zip(table.columns.iter().skip(1)) {
            let line = lines.get_mut(place(top - value.log10(), UP))?;
            let mut at = place(x.log10() - left, ACROSS);
            while line.get(at).is_some_and(|taken| *taken != ' ') {
                at += 1;
            }
            line.resize(line.len().max(at + 1), ' ');
            line[at] = name.chars().next().unwrap_or('?');
        }
    }
    let mut drawn = String::new();
    // Writing to a String does not fail.
    for (number, line) in lines.iter().enumerate() {
        let label = if number % place(1.0, UP) == 0 { power(top, number / place(1.0, UP)) } else { String::new() };
        let line: String = line.iter().collect();
        let _ = writeln!(drawn, "{label:>11} |{}", line.trim_end());
    }
    let _ = write!(drawn, "{:>11} +{}\n{:>13}", "", "-".repeat(width), "");
    let mut labels = String::new();
    for (row, cells) in rows.iter().zip(&table.rows) {
        let at = place(row.first()?.log10() - left, ACROSS);
        let _ = write!(labels, "{}{}", " ".repeat(at.saturating_sub(labels.len())), cells.first()?);
    }
    let names: Vec<String> =
        table.columns.iter().skip(1).map(|name| format!("{} {name}", name.chars().next().unwrap_or('?'))).collect();
    Some(drawn + &format!("{labels}  {}\n{:>13}{}\n", table.columns.first()?, "", names.join(", ")))
}

fn positive(cell: &str) -> Option<f64> {
    cell.parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0)
}

/// The least and the greatest of these numbers' logarithms.
fn bounds(numbers: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let logs = numbers.map(f64::log10);
    logs.fold(None, |found: Option<(f64, f64)>, log| {
        Some(found.map_or((log, log), |(least, greatest)| (least.min(log), greatest.max(log))))
    })
}

/// So many characters are so many powers of ten.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "logarithms of numbers fit well")]
fn place(powers: f64, each: f64) -> usize {
    (powers * each).round().max(0.0) as usize
}

/// The power of ten that is `below` under the top one.
fn power(top: f64, below: usize) -> String {
    let below = i32::try_from(below).unwrap_or(i32::MAX);
    #[expect(clippy::cast_possible_truncation, reason = "the ceiling of a logarithm")]
    let exponent = (top as i32).saturating_sub(below);
    format!("{}", 10_f64.powi(exponent))
}

#[cfg(test)]
mod tests {
    use super::log_log;
    use crate::demos::story::Table;

    fn table(rows: &[[&str; 3]]) -> Table {
        Table {
            title: "t".to_owned(),
            columns: ["registered", "epoll_wait", "poll"].map(str::to_owned).into(),
            rows: rows.iter().map(|row| row.map(str::to_owned).into()).collect(),
        }
    }

    #[test]
    fn what_does_not_grow_is_level_and_what_grows_is_a_slope() {
        let drawn = log_log(&table(&[["10", "1000", "1500"], ["100", "1000", "15000"], ["1000", "1000", "150000"]]));
        let expected = "    1000000 |
            |
            |                            p
     100000 |
            |
            |              p
      10000 |
            |
            |p
       1000 |e             e             e
            +-----------------------------
             10            100           1000  registered
             e epoll_wait, p poll
";
        assert_eq!(drawn.as_deref(), Some(expected));
    }

    #[test]
    fn those_that_meet_stand_side_by_side() {
        let mut table = table(&[["10", "1000", "100"], ["100", "1000", "1010"]]);
        table.columns[2] = "select".to_owned();
        let drawn = log_log(&table).unwrap();
        assert!(drawn.lines().any(|line| line.ends_with("1000 |e             es")), "{drawn}");
    }

    #[test]
    fn words_zeros_and_a_single_row_are_no_picture() {
        assert_eq!(log_log(&table(&[["10", "1", "2"]])), None);
        assert_eq!(log_log(&table(&[["10", "1", "2"], ["100", "0", "2"]])), None);
        assert_eq!(log_log(&table(&[["10", "1", "2"], ["x", "1", "2"]])), None);
    }
}

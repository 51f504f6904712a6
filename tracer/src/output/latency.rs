//! How long returns took: what is measured, in words, and the tables of text and Markdown.

use super::layout::{Grid, count};
use crate::analysis::{EventpollRow, LatencyRow, Report};

/// Something that is measured for each eventpoll.
pub(super) struct Measure {
    pub(super) title: &'static str,
    /// From where to where, and what is left out.
    pub(super) what: &'static str,
    of: fn(&EventpollRow) -> &LatencyRow,
}

/// From an item's callback.
pub(super) const CALLBACK_TO_RETURN: Measure = Measure {
    title: "From callback to return",
    what: "from the callback that put an item on the ready list to the end of the wait that returned it",
    of: |ep| &ep.callback_to_return,
};

/// From the callback that woke a task.
pub(super) const CALLBACK_TO_WAKE: Measure = Measure {
    title: "From callback to wake",
    what: "from the callback that woke a task until it was awake; not in recordings of format 1.1 and before",
    of: |ep| &ep.callback_to_wake,
};

/// From the wake of a task.
pub(super) const WOKEN_TO_RETURN: Measure = Measure {
    title: "From wake to return",
    what: "from the wake of a task by a callback to the end of its wait with events; not counted: waits that nobody woke, and wakes \
           after which the task slept on",
    of: |ep| &ep.woken_to_return,
};

/// What is measured and not empty, each with its table: a row for every eventpoll that has any.
pub(super) fn tables(report: &Report) -> impl Iterator<Item = (Measure, Grid)> {
    [CALLBACK_TO_RETURN, CALLBACK_TO_WAKE, WOKEN_TO_RETURN].into_iter().filter_map(|measure| {
        let grid = table(report, measure.of);
        (!grid.rows.is_empty()).then_some((measure, grid))
    })
}

fn table(report: &Report, of: fn(&EventpollRow) -> &LatencyRow) -> Grid {
    let measured: Vec<&EventpollRow> = report.eventpolls.iter().filter(|ep| of(ep).times > 0).collect();
    Grid::new(&["eventpoll", "times", "p50", "p90", "p99", "longest"], &measured, |ep| {
        let row = of(ep);
        let took = [row.p50_ns, row.p90_ns, row.p99_ns, row.longest_ns].map(or_dash);
        [ep.name.clone(), row.times.to_string()].into_iter().chain(took).collect()
    })
}

/// What has not been measured for want of room.
pub(super) fn left_out(report: &Report) -> Option<String> {
    let times = report.exceeded.latencies;
    (times > 0).then(|| format!("Not measured, because there were too many eventpolls: {}.", count(times, "return")))
}

/// A duration, or a dash where there is none.
pub(super) fn or_dash(ns: Option<u64>) -> String {
    ns.map_or_else(|| "–".to_owned(), duration)
}

/// A duration with three digits or so: `870 ns`, `12.4 µs`, `3.02 ms`, `1.50 s`.
pub(super) fn duration(ns: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let scaled = |unit: u64, name: &str| {
        let value = ns as f64 / unit as f64;
        let decimals = if value >= 100.0 { 0 } else { 1 + usize::from(value < 10.0) };
        format!("{value:.decimals$} {name}")
    };
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => scaled(1_000, "µs"),
        1_000_000..1_000_000_000 => scaled(1_000_000, "ms"),
        _ => scaled(1_000_000_000, "s"),
    }
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn durations_have_the_unit_that_fits() {
        let all = [0, 870, 12_400, 3_020_000, 1_500_000_000, 120_000_000_000].map(duration);
        assert_eq!(all, ["0 ns", "870 ns", "12.4 µs", "3.02 ms", "1.50 s", "120 s"]);
    }
}

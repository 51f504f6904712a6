//! The servers side by side.

use super::{Row, Server};
use crate::story::Table;

/// What is known of other systems, and cannot be run here.
const ELSEWHERE: [[&str; 2]; 2] = [
    ["kqueue", "kevent, read, write: 3 calls a request, 2 when the next change travels with the wait (kqueue(2))"],
    [
        "IOCP",
        "GetQueuedCompletionStatus and the next WSARecv/WSASend; the data is in the buffer (Microsoft's documentation)",
    ],
];

/// One row for each server.
pub(crate) fn of(rows: &[Row]) -> Table {
    let columns =
        ["server", "in flight", "calls/request", "scanned/request", "switches/request", "ns/request", "speed", "calls"];
    let base = |row: &Row| {
        let mut same = rows.iter().filter(|other| other.in_flight == row.in_flight);
        same.find(|other| other.server == Server::EpollLt).map(|lt| lt.took.as_secs_f64() / row.took.as_secs_f64())
    };
    let mut cells: Vec<Vec<String>> = rows.iter().map(|row| cells(row, base(row))).collect();
    cells.extend(ELSEWHERE.iter().map(|[name, fact]| {
        let mut cells = vec![(*name).to_owned(); 1];
        cells.extend(std::iter::repeat_n("not Linux".to_owned(), 1));
        cells.extend(std::iter::repeat_n("-".to_owned(), 5));
        cells.push((*fact).to_owned());
        cells
    }));
    Table {
        title: "Of one request, in steady state; speed is requests per second, with epoll-lt as 1".to_owned(),
        columns: columns.map(str::to_owned).to_vec(),
        rows: cells,
    }
}

fn cells(row: &Row, speed: Option<f64>) -> Vec<String> {
    #[expect(clippy::cast_precision_loss, reason = "averages of counts far below 2^52")]
    let per = |number: u64| format!("{:.2}", number as f64 / row.requests.max(1) as f64);
    let measured = &row.measured;
    let calls = measured.calls.as_ref().map_or_else(
        || "not counted: needs root and tracefs".to_owned(),
        |calls| calls.iter().map(|(name, number)| format!("{name} {}", per(*number))).collect::<Vec<_>>().join(", "),
    );
    vec![
        row.server.name().to_owned(),
        row.in_flight.to_string(),
        measured.calls_per(row.requests).map_or_else(|| "?".to_owned(), |calls| format!("{calls:.3}")),
        per(row.scanned),
        per(measured.voluntary_switches + measured.involuntary_switches),
        (measured.cpu_ns / row.requests.max(1)).to_string(),
        speed.map_or_else(|| "?".to_owned(), |speed| format!("{speed:.2}")),
        calls,
    ]
}

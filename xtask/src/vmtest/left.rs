//! The demo `left` asks with `FIONREAD`, behind each of its reads, how much there is to read: `left` of the read's row must be that, in the
//! kernel's own units, for connections by TCP (open, ended, reset), unix sockets, pipes and FIFOs, and a listening socket.

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::recorded::{self, Said};
use crate::vmtest::Case;

const DEMO: &[&str] = &["demos", "left", "--json"];

pub(super) fn cases() -> Vec<Case> {
    let what = "what a read leaves is what FIONREAD says";
    recorded::cases(what, (&["--io"], DEMO), Some("\"event\":\"io\""), |Said { demo, .. }, rows| judge(demo, rows))
}

/// Every read and accept of a source, in their order, and no other.
fn judge(demo: &Value, rows: &[Value]) -> Result<()> {
    let sources =
        demo["sources"].as_array().filter(|sources| !sources.is_empty()).context("the demo has no sources")?;
    for source in sources {
        one(demo, source, rows)
            .with_context(|| format!("{} of {:?}, fd {}", source["name"], source["written"], source["fd"]))?;
    }
    Ok(())
}

fn one(demo: &Value, source: &Value, rows: &[Value]) -> Result<()> {
    let name = if source["unit"] == "connections" { "accept" } else { "read" };
    let of_it = |row: &&Value| row["pid"] == demo["pid"] && row["fd"] == source["fd"] && row["call"] != "close";
    let rows: Vec<&Value> = rows.iter().filter(of_it).collect();
    let calls = source["calls"].as_array().filter(|calls| !calls.is_empty()).context("the demo made no calls")?;
    ensure!(rows.len() == calls.len(), "{} calls were traced, {} were made", rows.len(), calls.len());
    let mut stock = Stock::new(demo, source)?;
    for (number, (row, call)) in rows.iter().zip(calls).enumerate() {
        let ret = call["ret"].as_i64().with_context(|| format!("no result in {call}"))?;
        if ret >= 0 {
            stock.take(usize::try_from(ret)?);
        }
        let (left, unread) = stock.told();
        ensure!(
            call["unread"] == unread,
            "{unread} should be to read behind call {number}, and the kernel says {call}"
        );
        // A descriptor that accept returns is another each time.
        let ends = if name == "read" {
            row["ret"] == ret
        } else {
            row["ret"].as_i64().is_some_and(|fd| (fd >= 0) == (ret > 0))
        };
        let same = row["call"] == name && ends && row["will_sleep"] == false && row["left"] == left;
        ensure!(same, "call {number}, a {name}, was {call} and leaves {left}, and was traced as {row}");
    }
    Ok(())
}

/// How a source's bytes lie in the kernel.
struct Stock {
    unit: String,
    /// What is left of each part: a write, a page, a connection.
    parts: Vec<usize>,
}

impl Stock {
    fn new(demo: &Value, source: &Value) -> Result<Self> {
        let number = |value: &Value| value.as_u64().and_then(|number| usize::try_from(number).ok());
        let written = source["written"].as_array().context("the demo does not say what it wrote")?;
        let written: Vec<usize> = written.iter().map(number).collect::<Option<_>>().context("no sizes")?;
        let page = number(&demo["page"]).context("the demo does not say how large a page is")?;
        let unit = source["unit"].as_str().unwrap_or_default().to_owned();
        let parts = match unit.as_str() {
            "bytes" | "messages" | "datagrams" | "packets" | "connections" => written,
            "buffers" => pages(&written, page),
            _ => bail!("the demo counts in no known unit: {unit}"),
        };
        Ok(Self { unit, parts })
    }

    /// A datagram or packet goes as a whole, whatever was read of it.
    fn take(&mut self, mut bytes: usize) {
        if matches!(self.unit.as_str(), "datagrams" | "packets") {
            self.parts.drain(..1.min(self.parts.len()));
            return;
        }
        for part in &mut self.parts {
            let taken = bytes.min(*part);
            (*part, bytes) = (*part - taken, bytes - taken);
        }
        self.parts.retain(|part| *part > 0);
    }

    /// What eptrace is to say, and what `FIONREAD` says.
    fn told(&self) -> (usize, usize) {
        let bytes = self.parts.iter().sum();
        match self.unit.as_str() {
            "bytes" => (bytes, bytes),
            "datagrams" => (self.parts.len(), self.parts.first().copied().unwrap_or(0)),
            _ => (self.parts.len(), bytes),
        }
    }
}

/// The buffers of a pipe: what of a write fills no page goes first, to the last buffer if it has room (`pipe_write`, `fs/pipe.c`, 5.10 to 7.3).
fn pages(written: &[usize], page: usize) -> Vec<usize> {
    let mut buffers: Vec<usize> = Vec::new();
    for &bytes in written {
        let (mut bytes, odd) = (bytes, bytes % page);
        if let Some(last) = buffers.last_mut().filter(|last| **last + odd <= page) {
            *last += odd;
            bytes -= odd;
        }
        while bytes > 0 {
            buffers.push(bytes.min(page));
            bytes -= bytes.min(page);
        }
    }
    buffers
}

#[cfg(test)]
mod tests {
    use super::{judge, pages};
    use serde_json::{Value, json};

    fn demo(unit: &str, calls: &[(i64, u64)]) -> Value {
        let calls: Vec<Value> = calls.iter().map(|(ret, unread)| json!({"ret": ret, "unread": unread})).collect();
        json!({"pid": 4, "page": 4096, "sources": [{"name": "x", "fd": 5, "unit": unit, "written": [5_000, 10], "calls": calls}]})
    }

    fn row(ret: i64, left: u64) -> Value {
        json!({"pid": 4, "fd": 5, "call": "read", "ret": ret, "left": left, "will_sleep": false})
    }

    #[test]
    fn what_a_write_does_not_fill_goes_to_the_last_page_that_has_room() {
        assert_eq!(pages(&[1, 2], 4096), [3]);
        assert_eq!(pages(&[8_292, 50, 4_096], 4096), [4096, 4096, 150, 4096]);
        assert_eq!(pages(&[4_000, 200], 4096), [4000, 200]);
    }

    #[test]
    fn each_source_is_counted_in_its_own_unit_and_another_number_is_a_failure() {
        for (unit, first, second) in
            [("bytes", (4_096, 914, 914), 4), ("messages", (4_096, 914, 2), 1), ("buffers", (4_096, 914, 1), 1)]
        {
            let (ret, unread, left) = first;
            let demo = demo(unit, &[(ret, unread), (910, 4)]);
            judge(&demo, &[row(ret, left), row(910, second)]).unwrap();
            assert!(judge(&demo, &[row(ret, left + 1), row(910, second)]).is_err(), "{unit}");
            assert!(judge(&demo, &[row(ret - 1, left), row(910, second)]).is_err(), "{unit}");
            assert!(judge(&demo, &[row(ret, left)]).is_err(), "{unit}");
        }
        judge(&demo("datagrams", &[(7, 10), (10, 0), (-11, 0)]), &[row(7, 1), row(10, 0), row(-11, 0)]).unwrap();
        assert!(judge(&demo("bytes", &[(7, 10)]), &[row(7, 10)]).is_err(), "FIONREAD says something else");
    }
}

//! Pages straight from a live trace: `herd --format html` and `record --report` show what the recording's report says.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::vm::plan::Job;
use crate::vm::session::JobResult;
use crate::vmtest::Case;

const TIMEOUT_S: u64 = 120;
const LIVE: &str = "live.html";
const RECORDED: &str = "recorded.html";
const TRACE: &str = "pages.arrow";

/// Four workers that share a socket, level-triggered: each of so many connections wakes all.
const DEMO: [&str; 9] = ["demos", "herd", "--mode", "lt", "--rhythm", "step", "--connections", "40", "--json"];

pub(super) fn cases() -> Vec<Case> {
    let herd = [&["eptrace", "herd", "--format", "html", "-o", LIVE, "--"], &DEMO[..]].concat();
    let record = [&["eptrace", "record", "-o", TRACE, "--report", RECORDED, "--"], &DEMO[..]].concat();
    vec![Case {
        name: "a live trace becomes a page, and a recording one with its report's numbers".to_owned(),
        jobs: vec![
            Job::new("the live page", &herd, TIMEOUT_S).returning(&[LIVE]),
            Job::new("the recording and its page", &record, TIMEOUT_S).returning(&[RECORDED]),
            Job::new("the report", &["eptrace", "report", "--json", TRACE], TIMEOUT_S),
            Job::new("the removal", &["rm", "-f", TRACE, LIVE, RECORDED], 10),
        ],
        check: Box::new(|results| {
            let live = page(&results[0], LIVE)?;
            ensure!(results[0].out().trim().is_empty(), "something besides the page: {}", results[0].out());
            // Only a loss can make the verdict another: where the kernel skips probes there may be one.
            let herd = live.contains("THUNDERING HERD") && live.contains("Nothing lost");
            ensure!(herd || live.contains("lost</h2>"), "neither a herd nor a loss in the live page");
            let report: Value = serde_json::from_str(results[2].out().trim()).context("the report is no JSON")?;
            shows(&page(&results[1], RECORDED)?, &report)
        }),
    }]
}

fn page(result: &JobResult, name: &str) -> Result<String> {
    let file = result.files.iter().find(|(file, _)| file.ends_with(name));
    let (_, bytes) = file.with_context(|| format!("there is no {name}: {}", result.err()))?;
    let page = String::from_utf8(bytes.clone()).with_context(|| format!("{name} is not UTF-8"))?;
    ensure!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"), "{name} is not whole");
    Ok(page)
}

/// The page has the numbers of the report in its head.
fn shows(page: &str, report: &Value) -> Result<()> {
    for (pointer, words) in [
        ("/herd/0/wakeups", "source wakeups"),
        ("/herd/0/woken/total", "tasks woken"),
        ("/herd/0/useful/total", "got a connection"),
        ("/herd/0/wasted/total", "woke for nothing"),
    ] {
        let number = report.pointer(pointer).and_then(Value::as_u64).with_context(|| format!("no {pointer}"))?;
        ensure!(page.contains(&format!("<b>{number}</b> {words}")), "the page does not say that {number} {words}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::shows;
    use serde_json::json;

    #[test]
    fn a_number_that_differs_is_a_failure() {
        let page = "<b>3</b> source wakeups<b>12</b> tasks woken<b>3</b> got a connection<b>9</b> woke for nothing";
        let report = |wasted: u64| json!({"herd": [{"wakeups": 3, "woken": {"total": 12}, "useful": {"total": 3}, "wasted": {"total": wasted}}]});
        assert!(shows(page, &report(9)).is_ok());
        assert!(shows(page, &report(8)).is_err());
        assert!(shows(page, &json!({})).is_err());
    }
}

//! Demos with one set of counts: the report of the trace, and whether its counts are the demo's own.

use anyhow::{Result, ensure};

use super::{OtherArgs, TIMEOUT_S, print_json};
use crate::demos::Demo;
use crate::herd::outcome::{Outcome, succeeded};
use crate::herd::spec::word;
use crate::vm::place::Place;
use crate::vm::plan::Job;
use crate::vm::session::JobResult;

/// Runs one demo in one place and prints its report; the result is whether all counts are its own.
pub(super) fn run(demo: &Demo, audit: bool, arguments: &OtherArgs, place: &Place<'_>, name: &str) -> Result<bool> {
    let trace = format!("{}.arrow", demo.name);
    let mut record: Vec<String> =
        ["eptrace", "record", "-o", &trace, "--backend", &word(arguments.place.backend)].map(str::to_owned).to_vec();
    if audit {
        record.push("--audit".to_owned());
    }
    record.push("--".to_owned());
    record.extend(demo.argv(&arguments.options));
    let jobs = [
        Job { name: "the recording".to_owned(), argv: record, timeout_s: TIMEOUT_S, ..Job::default() },
        Job::new("the report", &["eptrace", "report", &trace], TIMEOUT_S),
        Job::new("the JSON report", &["eptrace", "report", "--json", &trace], TIMEOUT_S),
    ];
    let results = place.run(&jobs, &mut |_| {})?;
    let (outcome, report) = Outcome::of(&last_line(&results[0]), &results[2])?;
    if arguments.json {
        print_json(&serde_json::to_value(&outcome)?)?;
    } else {
        succeeded(&results[1], "eptrace report")?;
        println!("\n===== {}, kernel {}, backend {} =====\n", demo.name, outcome.kernel, outcome.backend);
        println!("{}\n", results[1].out().trim_end());
        if outcome.equal {
            println!("On {name} every count is the demo's own; {} lost.", outcome.lost);
        } else {
            println!(
                "The counts are NOT the demo's own ({} lost):\n  {}",
                outcome.lost,
                outcome.differences().join("\n  ")
            );
        }
    }
    let differ = report.pointer("/audit/differences").and_then(serde_json::Value::as_u64).unwrap_or(0);
    ensure!(!audit || report["audit"].is_object(), "the report has no audit");
    Ok(outcome.equal && differ == 0)
}

/// A demo's truth is the last that it prints.
fn last_line(record: &JobResult) -> JobResult {
    let out = record.out();
    let last = out.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    JobResult { stdout: last.as_bytes().to_vec(), ..record.clone() }
}

#[cfg(test)]
mod tests {
    use super::last_line;
    use crate::vm::session::JobResult;

    #[test]
    fn the_truth_is_the_last_line_that_is_not_empty() {
        let of = |out: &str| last_line(&JobResult { stdout: out.into(), ..JobResult::default() }).out();
        assert_eq!(of("{\"items\":[]}\n{\"truth\":{}}\n\n"), "{\"truth\":{}}");
        assert_eq!(of(""), "");
    }
}

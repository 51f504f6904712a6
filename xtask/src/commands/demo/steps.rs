//! Demos that are told in steps: the story of what was done and what the kernel did.

use anyhow::Result;
use serde_json::json;

use super::{OtherArgs, TIMEOUT_S, print_json};
use crate::demos::story::{Run, Table, job};
use crate::demos::tell::tell;
use crate::demos::{Demo, path};
use crate::herd::outcome::succeeded;
use crate::herd::spec::word;
use crate::vm::place::Place;
use crate::vm::plan::Job;

/// Runs one demo in one place and tells its story; the result is whether all counts are its own.
pub(super) fn run(demo: &Demo, arguments: &OtherArgs, place: &Place<'_>, name: &str) -> Result<bool> {
    let mut jobs = vec![job(&word(arguments.place.backend), demo.tracing, &[demo.argv(&arguments.options)], TIMEOUT_S)];
    if !demo.beside.is_empty() && arguments.options.is_empty() && !arguments.json {
        jobs.push(Job::new(demo.name, &[&["demos", demo.name], demo.beside].concat(), TIMEOUT_S));
    }
    let results = place.run(&jobs, &mut |_| {})?;
    let run = Run::of(&results[0])?;
    let mut all_equal = true;
    for story in &run.stories {
        let differences = run.differences(story);
        let lost = run.losses()["lost"]["total"].as_u64().unwrap_or(0);
        all_equal &= differences.is_empty();
        let found: Vec<String> = differences.iter().map(ToString::to_string).collect();
        let ways = path::ways(&run, story)?;
        let of_ways = path::table(&ways);
        let tables: Vec<&Table> = story.tables.iter().chain(&of_ways).collect();
        if arguments.json {
            print_json(&json!({"demo": story.demo, "options": story.options, "kernel": run.kernel,
                "backend": run.backend, "steps": run.traced(story), "missing": story.missing, "tables": tables, "truth": story.truth,
                "lost": lost, "equal": found.is_empty(), "differences": found}))?;
            continue;
        }
        println!("\n===== {}, kernel {}, backend {} =====", story.demo, run.kernel, run.backend);
        println!("{}", tell(&run, story, &tables));
        if found.is_empty() {
            println!("On {name} every count of every step is the demo's own; {lost} lost.");
        } else {
            println!("The counts are NOT the demo's own ({lost} lost):\n  {}", found.join("\n  "));
        }
    }
    for (result, job) in results.iter().zip(&jobs).skip(1) {
        succeeded(result, &job.name)?;
        println!("\n===== {} =====\n{}", job.argv.join(" "), result.out());
    }
    Ok(all_equal)
}

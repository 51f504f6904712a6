//! User stacks: of calls that are made again and again, the function of the program that called libc is named, though neither libc nor
//! the demos have frame pointers.

use anyhow::{Result, ensure};

use crate::herd::spec::{Backend, word};
use crate::vm::plan::Job;
use crate::vmtest::{Case, attach};

/// Out: the first name of the demos that is told. Unwind tables are read while the calls go on: it is waited for, not timed.
const SCRIPT: &str = r#"
rm -f lines && mkfifo lines || exit 1
eptrace trace --json --stacks --backend BACKEND --pid $demo > lines 2> said &
tracer=$!
grep -m1 -o '"symbol":"[^"]*demos::[^"]*"' lines || cat said >&2
kill $tracer 2> /dev/null; wait $tracer
kill $demo; wait $demo
rm -f lines said
"#;

pub(super) fn cases() -> Vec<Case> {
    [Backend::Kprobe, Backend::Fentry].map(case).into()
}

fn case(backend: Backend) -> Case {
    let script = attach::DEMO.to_owned() + &SCRIPT.replace("BACKEND", &word(backend));
    Case {
        name: format!("the function that waits is named by its user stack with {}", word(backend)),
        jobs: vec![Job::new("the trace", &["sh", "-c", &script], 120)],
        check: Box::new(|results| -> Result<()> {
            let (out, said) = (results[0].out(), results[0].err());
            ensure!(out.contains("demos::"), "no function of the demos was named: {out}{said}");
            Ok(())
        }),
    }
}

//! A tracer that is killed leaves nothing in the kernel.

use anyhow::{Result, anyhow};

use crate::herd::outcome::succeeded;
use crate::herd::spec::{Backend, word};
use crate::vm::plan::Job;
use crate::vmtest::Case;

/// Starts a long recording, kills the tracer when its probes are on, and compares what the kernel holds. The kernel
/// frees programs and maps a moment after their last user has gone: that moment is waited for, not assumed.
const SCRIPT: &str = r#"
held() { guest bpf-ids; cat /sys/kernel/debug/kprobes/list; }
running() { cat /proc/[0-9]*/comm 2> /dev/null | grep -qxE 'eptrace|demos|herd-.*'; }
held > before
rm -f ready
eptrace record -o killed.arrow --backend BACKEND --ready-file ready -- \
    demos herd --json --mode lt --workers 4 --connections 1000000 --pause 10 > /dev/null &
tracer=$!
until [ -e ready ]; do kill -0 $tracer || { echo "eptrace ended before it was ready"; exit 1; }; usleep 50000; done
held > during
cmp -s before during && { echo "the kernel held nothing of eptrace while it ran"; exit 1; }
running || { echo "neither eptrace nor the demo was seen running"; exit 1; }
kill -KILL $tracer
wait $tracer
until held > after; cmp -s before after; do usleep 50000; done
while running; do usleep 50000; done
echo "nothing is left"
"#;

pub(super) fn cases() -> Vec<Case> {
    [Backend::Kprobe, Backend::Fentry].map(case).into()
}

fn case(backend: Backend) -> Case {
    let script = SCRIPT.replace("BACKEND", &word(backend));
    Case {
        name: format!("a killed eptrace leaves no probe, map or process behind with {}", word(backend)),
        jobs: vec![
            Job::new("the killing", &["sh", "-c", &script], 60),
            Job::new(
                "what is left",
                &[
                    "sh",
                    "-c",
                    "echo before; cat before; echo after; cat after; ps; rm -f before during after killed.arrow",
                ],
                10,
            ),
        ],
        check: Box::new(|results| -> Result<()> {
            succeeded(&results[0], "the killing")
                .map_err(|error| anyhow!("{error:#}\nthe kernel held, and these ran:\n{}", results[1].out()))
        }),
    }
}

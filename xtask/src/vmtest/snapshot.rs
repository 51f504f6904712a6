//! `eptrace snapshot` against programs whose structures are known by construction: trees, lists, sleeping tasks and wait queues must
//! be exactly those, on every kernel.

mod played;
mod standing;
mod tree;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::exec;
use crate::herd::outcome::{lines, succeeded};
use crate::vm::plan::Job;
use crate::vm::session::JobResult;
use crate::vmtest::Case;

const TIMEOUT_S: u64 = 240;

/// Out: what the demo built, and what it says when its scan goes on; a snapshot taken while the scan was stuck, one that waited for
/// its end, and one from after it.
const STANDING: &str = "
rm -f go said
mkfifo go
demos standing --json --held-scan < go > said & demo=$!
exec 3> go
until grep -q '}$' said; do kill -0 $demo || exit 1; usleep 10000; done
held=$(sed 's/.*\"what\":\"held\",\"epfd\":\\([0-9]*\\).*/\\1/' said)
eptrace snapshot -p $demo --format json --epfd $held --patience 60 > waiting & waiting=$!
until grep -q 'State:.D' /proc/$waiting/task/*/status; do kill -0 $waiting || exit 1; usleep 10000; done
eptrace snapshot -p $demo --format json --patience 2 > stuck & stuck=$!
until [ -s stuck ]; do kill -0 $stuck || exit 1; usleep 10000; done
echo >&3
wait $waiting || exit 1
wait $stuck || exit 1
until [ $(wc -l < said) = 2 ]; do kill -0 $demo || exit 1; usleep 10000; done
eptrace snapshot -p $demo --format json > after || exit 1
echo >&3
wait $demo || exit 1
cat said stuck waiting after
";

/// Out: what the demo built; a snapshot; and what fdinfo says.
const MANY: &str = "
rm -f go said
mkfifo go
demos standing --json --items 10000 < go > said & demo=$!
exec 3> go
until grep -q '}$' said; do kill -0 $demo || exit 1; usleep 10000; done
cat said
epfd=$(sed 's/.*\"what\":\"ready\",\"epfd\":\\([0-9]*\\).*/\\1/' said)
eptrace snapshot -p $demo --format json --epfd $epfd --max-items 100000 || exit 1
grep ^tfd: /proc/$demo/fdinfo/$epfd
echo >&3
wait $demo
";

/// Out: snapshots of programs that change everything all the time, and still leave the processors to eptrace.
const BUSY: &str = "
sh -c 'renice -n 19 -p $$ && exec demos churn --threads 2 --operations 100000000' > /dev/null & demo=$!
until [ $(ls /proc/$demo/task | wc -l) = 3 ]; do kill -0 $demo || exit 1; usleep 10000; done
eptrace snapshot -p $demo --format json || exit 1
kill $demo
sh -c 'renice -n 19 -p $$ && exec demos herd --mode lt --workers 4 --connections 1000000' > /dev/null & demo=$!
until [ $(ls /proc/$demo/task | wc -l) -ge 5 ]; do kill -0 $demo || exit 1; usleep 10000; done
eptrace snapshot -p $demo --format json || exit 1
kill $demo
";

/// Out: exit codes; on standard error what was said.
const REFUSED: &str = "
sleep 1000 & other=$!
eptrace snapshot -p 4000000; echo $?
eptrace snapshot -p $other; echo $?
eptrace snapshot -p $other --epfd 0; echo $?
eptrace snapshot -p $other --epfd 77; echo $?
kill $other
";

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("a snapshot shows what stands in the kernel, a stuck scan as well", STANDING, standing::judge),
        case("a snapshot of 10000 items has the tree that fdinfo lists", MANY, tree::judge),
    ]
}

/// Where a snapshot has it hard.
pub(super) fn troubled() -> Vec<Case> {
    vec![
        case("a snapshot of a busy program is consistent or says that it may be torn", BUSY, busy),
        case("a snapshot of what is not there is refused in a sentence", REFUSED, refused),
    ]
}

/// Beside the recording that a page was made of.
pub(super) fn played() -> Case {
    let mut case = case(
        "the player of a page draws the trees that a snapshot reads from the kernel",
        played::PLAYED,
        played::judge,
    );
    case.jobs = case.jobs.into_iter().map(|job| job.returning(&[played::PAGE])).collect();
    case
}

fn case(name: &str, script: &'static str, judge: fn(&JobResult) -> Result<()>) -> Case {
    Case {
        name: name.to_owned(),
        jobs: vec![Job::new("the snapshots", &["sh", "-c", script], TIMEOUT_S)],
        check: Box::new(move |results| judge(&results[0])),
    }
}

/// The snapshots among what a job printed.
fn snapshots(result: &JobResult) -> Result<Vec<Value>> {
    lines(result, "the snapshots")
}

fn array<'a>(value: &'a Value, key: &str) -> Result<&'a Vec<Value>> {
    value[key].as_array().with_context(|| format!("no list {key} in {value:.300}"))
}

fn number(value: &Value, key: &str) -> Result<u64> {
    value[key].as_u64().with_context(|| format!("no number {key} in {value:.300}"))
}

fn busy(result: &JobResult) -> Result<()> {
    let snapshots = snapshots(result)?;
    ensure!(snapshots.len() == 2, "{} snapshots were taken, not 2", snapshots.len());
    let mut whole = 0;
    let each = snapshots.iter().map(|snapshot| array(snapshot, "eventpolls")).collect::<Result<Vec<_>>>()?;
    for eventpoll in each.into_iter().flatten() {
        let torn = array(eventpoll, "torn")?;
        ensure!(torn.is_empty() == (eventpoll["consistent"] == true), "torn and consistent: {eventpoll:.500}");
        // A busy machine may not have got through a tree in time, and then says so.
        if torn.iter().any(|torn| torn["what"] == "incomplete") {
            continue;
        }
        // The tree is read under the mutex: what is torn is never the tree.
        let only = |torn: &Value| ["waiters", "ready"].iter().any(|what| torn["what"] == *what);
        ensure!(torn.iter().all(only), "more than the lists may be torn: {torn:?}");
        tree::sound(eventpoll)?;
        whole += u32::from(torn.is_empty());
    }
    ensure!(whole > 0, "no eventpoll could be read in one piece");
    Ok(())
}

fn refused(result: &JobResult) -> Result<()> {
    succeeded(result, "the refused snapshots")?;
    ensure!(result.out() == "2\n2\n2\n2\n", "the exit codes are {}", result.out());
    let said = result.err();
    let words = ["there is no process 4000000", "has no eventpoll open", "is no eventpoll", "has no descriptor 77"];
    for (line, word) in said.lines().zip(words) {
        ensure!(line.contains(word), "{line} does not say {word}");
    }
    ensure!(said.lines().count() == words.len(), "it said {}", exec::last_lines(&said, 10));
    Ok(())
}

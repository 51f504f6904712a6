//! The tests that need a kernel of their own: all cases of one kernel run in one virtual machine.

mod attach;
mod churn;
pub(crate) mod foreign;
mod herd;
mod hooks;
mod independent;
mod killed;
mod life;
mod limits;
mod lint;
mod loss;
pub(crate) mod matrix;
mod pages;
mod path;
mod preempted;
mod registered;
mod snapshot;
mod steps;
pub(crate) mod terminal;

use anyhow::Result;

use crate::vm::plan::Job;
use crate::vm::session::JobResult;

/// One named case: jobs for the guest, and what their results must be.
pub(crate) struct Case {
    /// Says which behaviour is tested.
    pub(crate) name: String,
    pub(crate) jobs: Vec<Job>,
    pub(crate) check: Check,
}

/// Judges the results of a case's jobs, in their order.
pub(crate) type Check = Box<dyn Fn(&[JobResult]) -> Result<()> + Send + Sync>;

/// All cases whose name contains `filter`.
pub(crate) fn cases(filter: &str) -> Vec<Case> {
    let mut cases = hooks::cases();
    cases.extend(herd::cases());
    cases.extend(independent::cases());
    cases.extend(killed::cases());
    cases.extend(attach::cases());
    cases.extend(churn::cases());
    cases.extend(registered::cases());
    cases.extend(snapshot::cases());
    cases.extend(loss::cases());
    cases.extend(limits::cases());
    cases.extend(life::cases());
    cases.extend(pages::cases());
    cases.extend(terminal::cases());
    cases.extend(steps::cases());
    cases.extend(path::cases());
    cases.extend(lint::cases());
    cases.extend(foreign::cases());
    cases.retain(|case| case.name.contains(filter));
    cases
}

#[cfg(test)]
mod tests {
    use super::cases;
    use std::collections::BTreeSet;

    #[test]
    fn every_case_has_a_name_of_its_own_and_jobs() {
        let all = cases("");
        let names: BTreeSet<&str> = all.iter().map(|case| case.name.as_str()).collect();
        assert_eq!(names.len(), all.len());
        assert!(all.iter().all(|case| !case.jobs.is_empty()));
    }

    #[test]
    fn the_filter_keeps_the_cases_whose_name_contains_it() {
        assert!(cases("no such case").is_empty());
        assert!(cases("exclusive").iter().all(|case| case.name.contains("exclusive")));
    }
}

//! The tests that need a kernel of their own: all cases of one kernel run in one virtual machine.

mod again;
mod attach;
mod busy_poll;
mod callbacks;
mod calls;
mod churn;
pub(crate) mod foreign;
mod herd;
mod hooks;
mod independent;
mod killed;
mod left;
mod life;
mod limits;
mod lint;
mod loss;
pub(crate) mod matrix;
mod namespaces;
mod pages;
mod path;
mod recorded;
mod registered;
mod replaced;
mod reuse;
mod skipped;
mod snapshot;
mod sources;
mod stacks;
mod stays;
mod steps;
pub(crate) mod terminal;
mod waits;
mod wakes;

use anyhow::{Result, bail};

use crate::vm::plan::Job;
use crate::vm::session::JobResult;

/// Major and minor number of a kernel's release.
fn version(release: &str) -> Result<(u32, u32)> {
    let mut parts = release.split(['.', '-', '+']).map(str::parse);
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Ok((major, minor)),
        _ => bail!("{release} is no release of a kernel"),
    }
}

/// One named case: jobs for the guest, and what their results must be.
pub(crate) struct Case {
    /// Says which behaviour is tested.
    pub(crate) name: String,
    pub(crate) jobs: Vec<Job>,
    pub(crate) check: Check,
}

/// Judges the results of a case's jobs, in their order.
pub(crate) type Check = Box<dyn Fn(&[JobResult]) -> Result<()> + Send + Sync>;

/// What is to be tested.
pub(crate) struct Suite {
    /// On each kernel.
    pub(crate) each: Vec<Case>,
    /// On the first and the last of them: what many other cases rest on too, and what is long and much the same on each.
    pub(crate) ends: Vec<Case>,
    /// On the last of them: the longest.
    pub(crate) last: Vec<Case>,
    /// On one of them: what eptrace does with its terminal, its files and its verdicts, whatever kernel the events are from.
    pub(crate) once: Vec<Case>,
}

impl Suite {
    /// The cases whose names contain `filter`.
    pub(crate) fn new(filter: &str) -> Self {
        let mut suite = Self { each: each(), ends: ends(), last: vec![foreign::selftest()], once: once() };
        for cases in [&mut suite.each, &mut suite.ends, &mut suite.last, &mut suite.once] {
            cases.retain(|case| case.name.contains(filter));
        }
        suite
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<&Case> {
        self.each.iter().chain(&self.ends).chain(&self.last).chain(&self.once).collect()
    }
}

fn once() -> Vec<Case> {
    let mut cases = terminal::cases();
    cases.extend(pages::cases());
    cases.push(loss::verdict());
    cases.push(snapshot::played());
    cases
}

fn ends() -> Vec<Case> {
    let mut cases = attach::endings();
    cases.extend(snapshot::troubled());
    cases.extend(stacks::cases());
    cases.extend(foreign::others());
    cases.push(lint::others());
    cases.push(limits::most());
    cases.push(limits::beyond());
    cases.extend(limits::dying());
    cases
}

fn each() -> Vec<Case> {
    let mut cases = hooks::cases();
    cases.extend(herd::cases());
    cases.extend(independent::cases());
    cases.extend(killed::cases());
    cases.extend(attach::cases());
    cases.extend(churn::cases());
    cases.extend(registered::cases());
    cases.extend(sources::cases());
    cases.extend(left::cases());
    cases.extend(callbacks::cases());
    cases.extend(snapshot::cases());
    cases.extend(loss::cases());
    cases.extend(limits::cases());
    cases.extend(life::cases());
    cases.extend(waits::cases());
    cases.extend(wakes::cases());
    cases.extend(reuse::cases());
    cases.extend(replaced::cases());
    cases.extend(namespaces::cases());
    cases.extend(busy_poll::cases());
    cases.extend(stays::cases());
    cases.extend(steps::cases());
    cases.extend(path::cases());
    cases.extend(lint::cases());
    cases.extend(foreign::cases());
    cases
}

#[cfg(test)]
mod tests {
    use super::{Suite, version};
    use std::collections::BTreeSet;

    #[test]
    fn releases_of_debian_have_a_version() {
        assert_eq!(version("5.10.0-46-cloud-amd64").unwrap(), (5, 10));
        assert_eq!(version("7.3.4+deb13-cloud-amd64").unwrap(), (7, 3));
        assert!(version("vmlinuz").is_err());
    }

    #[test]
    fn every_case_has_a_name_of_its_own_and_jobs() {
        let suite = Suite::new("");
        let all = suite.all();
        let names: BTreeSet<&str> = all.iter().map(|case| case.name.as_str()).collect();
        assert_eq!(names.len(), all.len());
        assert!(all.iter().all(|case| !case.jobs.is_empty()));
    }

    #[test]
    fn the_filter_keeps_the_cases_whose_name_contains_it() {
        assert!(Suite::new("no such case").all().is_empty());
        let (exclusive, pages) = (Suite::new("exclusive"), Suite::new("becomes a page"));
        assert!(!exclusive.each.is_empty() && exclusive.once.is_empty());
        assert!(exclusive.each.iter().all(|case| case.name.contains("exclusive")));
        assert!(pages.each.is_empty() && pages.once.len() == 1);
    }
}

//! Programs that nobody here wrote: what they, a witness inside them, or strace say of themselves is compared with what
//! eptrace reconstructs.

mod selftest;
mod servers;
mod strace;
mod witnessed;

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::herd::spec::Backend;
use crate::setup::foreign;
use crate::setup::tools;
use crate::vmtest::Case;

pub(super) fn cases() -> Vec<Case> {
    servers::cases()
}

/// More of them.
pub(super) fn others() -> Vec<Case> {
    servers::others()
}

/// The kernel's own epoll test.
pub(super) fn selftest() -> Case {
    selftest::case(Backend::Fentry)
}

/// What the guest needs for these cases, each file with its place there. The first word of a case's name is the program's.
pub(crate) fn files(cases: &[&Case], build: &Path) -> Result<Vec<(PathBuf, String)>> {
    let wanted = |program: &str| cases.iter().any(|case| case.name.split(' ').next() == Some(program));
    let mut files = Vec::new();
    if wanted(selftest::PROGRAM) {
        files.push((foreign::wakeup_test(build)?, format!("/bin/{}", selftest::PROGRAM)));
    }
    for server in servers::SERVERS.iter().filter(|server| wanted(server.name)) {
        files.extend(foreign::server(server)?);
    }
    Ok(files)
}

/// The programs of this machine that these cases need in the guest.
pub(crate) fn programs(cases: &[&Case]) -> Result<Vec<PathBuf>> {
    let traced =
        cases.iter().any(|case| case.jobs.iter().any(|job| job.env.iter().any(|(name, _)| name == strace::CALLS)));
    traced.then(|| tools::find_or_install(&tools::STRACE, "")).into_iter().collect()
}

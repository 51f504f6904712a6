//! The kernel's epoll test, `epoll_wakeup_test`, out of Debian's package of the kernel's source.
//!
//! The source is under the GPL: it is fetched for each machine and never becomes part of this project.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use crate::setup::apt::{self, Suite};
use crate::setup::{guest_build, tools};
use crate::{cache, exec, progress};

/// Depends on the source of the suite's own kernel.
const METAPACKAGE: &str = "linux-source";
/// Below the source's top folder.
const TEST: &str = "tools/testing/selftests/filesystems/epoll";
const HARNESS: [&str; 2] = ["tools/testing/selftests/kselftest_harness.h", "tools/testing/selftests/kselftest.h"];
const PROGRAM: &str = "epoll_wakeup_test";
/// The calls that go through the witness.
const WRAPPED: [&str; 5] = ["epoll_ctl", "epoll_wait", "epoll_pwait", "syscall", "write"];

/// Compiles the test with the witness into `into`.
pub(crate) fn wakeup_test(into: &Path) -> Result<PathBuf> {
    let source = source()?.join(TEST).join(format!("{PROGRAM}.c"));
    let witness = guest_build::workspace().join("xtask/src/setup/foreign/witness.c");
    let cc = tools::find_or_install(&tools::CC, "")?;
    let object = into.join("witness.o");
    compile(Command::new(&cc).args(["-O1", "-Wall", "-Wextra", "-c", "-o"]).arg(&object).arg(witness))?;
    let program = into.join(PROGRAM);
    let wraps: Vec<String> = WRAPPED.iter().map(|call| format!("-Wl,--wrap={call}")).collect();
    // Its warnings are not ours to mend.
    compile(
        Command::new(&cc)
            .args(["-O1", "-w", "-static", "-pthread"])
            .args(wraps)
            .arg("-o")
            .arg(&program)
            .args([&source, &object]),
    )?;
    Ok(program)
}

fn compile(command: &mut Command) -> Result<()> {
    exec::output(command).map(drop).context(
        "cannot compile the kernel's epoll test: it needs a C compiler and the C library's headers and static form \
         (`sudo apt-get install --no-install-recommends gcc libc6-dev`)",
    )
}

/// The top folder of the few files that are needed, fetched once for each version.
fn source() -> Result<PathBuf> {
    let suite = Suite::open(&apt::machine_suite()?, apt::INDEX_AGE)?;
    let package = suite
        .dependencies(METAPACKAGE)?
        .into_iter()
        .find(|name| name.starts_with("linux-source-"))
        .with_context(|| format!("the package {METAPACKAGE} names no source of a kernel"))?;
    cache::directory(&format!("{package}-epoll-test"), |into| {
        let unpacked = tempfile::tempdir().context("cannot create a temporary directory")?;
        progress::timed(&format!("fetching {package}, for the kernel's own epoll test"), || {
            suite.unpack(&package, unpacked.path())?;
            extract(&unpacked.path().join(format!("usr/src/{package}.tar.xz")), &package, into)
        })
    })
}

/// Takes the test and its harness out of the source's archive; the folder that its names begin with is left out.
fn extract(archive: &Path, top: &str, into: &Path) -> Result<()> {
    ensure!(archive.is_file(), "the package {top} holds no {}", archive.display());
    let Some(xz) = exec::on_path("xz") else {
        bail!("xz is not installed: run `sudo apt-get install --no-install-recommends xz-utils`");
    };
    let mut unpacking = Command::new(xz)
        .args(["-dc", "-T0"])
        .arg(archive)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run xz")?;
    let bytes = unpacking.stdout.take().context("xz has no output")?;
    let mut taking = Command::new("tar");
    taking.args(["-x", "--strip-components=1", "-C"]).arg(into).arg(format!("{top}/{TEST}"));
    taking.args(HARNESS.map(|file| format!("{top}/{file}")));
    let taken = taking.stdin(bytes).output().context("cannot run tar")?;
    let unpacked = unpacking.wait().context("cannot wait for xz")?;
    ensure!(
        taken.status.success() && unpacked.success(),
        "cannot take the epoll test out of {}: {}",
        archive.display(),
        String::from_utf8_lossy(&taken.stderr)
    );
    Ok(())
}

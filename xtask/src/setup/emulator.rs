//! QEMU: the machine's own where it is new enough, else the newer one of Debian's backports, unpacked beside it.
//!
//! In: the path that the user gave, if any. Out: a QEMU, and whether its processors may run in parallel.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use crate::setup::apt::{self, INDEX_AGE, Suite};
use crate::setup::tools;
use crate::{cache, exec, progress};

/// The first QEMU whose translator holds an instruction's page before it reads it (`translator_loop`, accel/tcg). One before that may
/// translate code while another of its processors patches it, and then runs the old bytes: a kernel that patches itself dies of
/// breakpoints that it has taken away.
const SOUND: (u32, u32) = (8, 1);

/// What a newer QEMU is made of, beside the libraries that Debian's own brings.
const PACKAGES: [&str; 3] = ["qemu-system-x86", "qemu-system-common", "qemu-system-data"];

/// A QEMU on this machine.
#[derive(Debug, Clone)]
pub(crate) struct Emulator {
    pub(crate) program: PathBuf,
    /// What it says of its version, for what is remembered of it.
    pub(crate) version: String,
    /// Whether a guest that patches its code may have more than one processor at work.
    pub(crate) sound: bool,
}

/// Finds or installs QEMU.
pub(crate) fn find(given: Option<&PathBuf>) -> Result<Emulator> {
    if let Some(path) = given {
        ensure!(
            path.is_file(),
            "there is no QEMU at {}: --qemu takes the path of a qemu-system-x86_64",
            path.display()
        );
        return Emulator::at(path.clone());
    }
    let own = Emulator::at(tools::find_or_install(&tools::QEMU, ", or give a QEMU with --qemu PATH")?)?;
    if own.sound {
        return Ok(own);
    }
    match newer() {
        Ok(newer) => Ok(newer),
        Err(error) => {
            progress::say(&format!(
                "{} may run code that a guest has patched away: where guests patch much, their processors take turns, which is slow \
                 (no newer one: {error:#})",
                own.version
            ));
            Ok(own)
        }
    }
}

impl Emulator {
    fn at(program: PathBuf) -> Result<Self> {
        let text = exec::output(Command::new(&program).arg("--version"))?;
        let version = text.lines().next().unwrap_or_default().trim().to_owned();
        let number = number(&version).with_context(|| format!("{} is no QEMU: {version:?}", program.display()))?;
        Ok(Self { program, version, sound: number >= SOUND })
    }

    /// Where the programs lie that it runs in the guest before the kernel: those of its own version.
    pub(crate) fn data(program: &Path) -> Option<PathBuf> {
        let data = program.parent()?.parent()?.join("share/qemu");
        data.is_dir().then_some(data)
    }
}

/// The major and the minor number in `QEMU emulator version 7.2.22 (...)`.
fn number(version: &str) -> Option<(u32, u32)> {
    let number = version.strip_prefix("QEMU emulator version ")?;
    let mut parts = number.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// The QEMU of the backports to this machine's release, unpacked into the cache.
fn newer() -> Result<Emulator> {
    let directory = cache::directory("qemu", |into| {
        let suite = Suite::open(&format!("{}-backports", apt::machine_suite()?), INDEX_AGE)?;
        let versions = suite.versions(PACKAGES[0])?;
        let version = versions.first().context("Debian's backports have no QEMU")?;
        progress::timed(&format!("unpacking QEMU {version}"), || {
            PACKAGES.iter().try_for_each(|package| suite.unpack(&format!("{package}={version}"), into))
        })
    })?;
    let newer = Emulator::at(directory.join("usr/bin/qemu-system-x86_64"))?;
    if !newer.sound {
        bail!("the backports have {}", newer.version);
    }
    Ok(newer)
}

#[cfg(test)]
mod tests {
    use super::{SOUND, number};

    #[test]
    fn the_version_is_read_off_the_first_line() {
        assert_eq!(number("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b2)"), Some((7, 2)));
        assert_eq!(number("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2+deb13u1~bpo12+1)"), Some((10, 0)));
        assert_eq!(number("QEMU emulator version 8.1"), Some(SOUND));
        assert_eq!(number("GNU grep 3.8"), None);
        assert!((7, 2) < SOUND && (10, 0) > SOUND);
    }
}

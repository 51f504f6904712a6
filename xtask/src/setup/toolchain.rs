//! The toolchain of the BPF object: which one is pinned, which one is here, and where the library sources lie.
//!
//! Building for BPF needs the sources of `core`. Where the toolchain lacks them and rustup cannot bring them, they come
//! from Debian's package into a sysroot of our own, made of links: the user's toolchain stays as it is.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::setup::apt::{self, Suite};
use crate::{cache, exec, progress};

/// The compiler whose output is committed.
pub(crate) const RUSTC: &str = "1.95.0";
/// The linker whose output is committed: 0.10.1 breaks objects with globals, 0.11 needs a system LLVM 22.
pub(crate) const BPF_LINKER: &str = "0.10.4";
/// Where Debian keeps the sources of current compilers.
const SOURCE_SUITE: &str = "trixie-backports";
/// Below a sysroot.
const LIBRARY_SOURCES: &str = "lib/rustlib/src/rust";

/// A compiler and the sysroot to run it with.
pub(crate) struct Toolchain {
    pub(crate) rustc: PathBuf,
    /// Where the compiler looks for its libraries and their sources.
    pub(crate) sysroot: PathBuf,
    pub(crate) version: String,
}

/// The compiler that is here, without any setup.
pub(crate) fn installed() -> Result<Toolchain> {
    let sysroot = PathBuf::from(exec::output(Command::new("rustc").args(["--print", "sysroot"]))?.trim());
    let said = exec::output(Command::new("rustc").arg("-vV"))?;
    let version = release_of(&said).context("`rustc -vV` prints no release")?.to_owned();
    Ok(Toolchain { rustc: sysroot.join("bin/rustc"), sysroot, version })
}

/// The same compiler with a sysroot that holds the sources of the standard library.
pub(crate) fn with_sources(toolchain: Toolchain) -> Result<Toolchain> {
    if has_sources(&toolchain.sysroot) {
        return Ok(toolchain);
    }
    let place = format!("sysroot-{}-{}", toolchain.version, fingerprint(&toolchain.sysroot));
    if cache::dir()?.join(&place).is_dir() {
        return Ok(Toolchain { sysroot: cache::dir()?.join(place), ..toolchain });
    }
    if rustup_brings_sources() && has_sources(&toolchain.sysroot) {
        return Ok(toolchain);
    }
    let sources = debian_sources(&toolchain.version)?;
    let sysroot = cache::directory(&place, |into| link_sysroot(&toolchain.sysroot, &sources, into))?;
    Ok(Toolchain { sysroot, ..toolchain })
}

fn has_sources(sysroot: &Path) -> bool {
    sysroot.join(LIBRARY_SOURCES).join("library/core/src/lib.rs").is_file()
}

/// Tells one installed toolchain from another of the same version.
fn fingerprint(sysroot: &Path) -> String {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    sysroot.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

fn rustup_brings_sources() -> bool {
    let Some(rustup) = exec::on_path("rustup") else { return false };
    progress::say("asking rustup for the component rust-src ...");
    let mut command = Command::new("timeout");
    command.args(["120"]).arg(rustup).args(["component", "add", "rust-src"]).env("RUSTUP_MAX_RETRIES", "0");
    let brought = exec::captured(&mut command).is_ok_and(|done| done.status.success());
    if !brought {
        progress::say("rustup cannot bring it: trying Debian's package rust-src instead");
    }
    brought
}

/// The source tree of a version, from Debian's package.
fn debian_sources(version: &str) -> Result<PathBuf> {
    let by_hand = format!("the sources of Rust {version} are needed: run `rustup component add rust-src`");
    let place = cache::directory(&format!("rust-src-{version}"), |into| {
        let suite = Suite::open(SOURCE_SUITE, apt::INDEX_AGE)?;
        let offered = suite.versions("rust-src")?;
        let Some(exact) = package_version(&offered, version) else {
            bail!("Debian {SOURCE_SUITE} has no rust-src {version}: it has {}", offered.join(", "));
        };
        progress::timed(&format!("fetching the sources of Rust {version}"), || {
            suite.unpack(&format!("rust-src={exact}"), into)
        })
    })
    .with_context(|| by_hand.clone())?;
    let tree = place.join(format!("usr/src/rustc-{version}"));
    if !tree.join("library/core/src/lib.rs").is_file() {
        bail!("{by_hand}; Debian's package holds no library at {}", tree.display());
    }
    Ok(tree)
}

/// Makes `into` look like the sysroot `from` with the sources added.
fn link_sysroot(from: &Path, sources: &Path, into: &Path) -> Result<()> {
    link_all(from, into, "lib")?;
    link_all(&from.join("lib"), &into.join("lib"), "rustlib")?;
    link_all(&from.join("lib/rustlib"), &into.join("lib/rustlib"), "src")?;
    let place = into.join(LIBRARY_SOURCES);
    let parent = place.parent().context("a sysroot has directories")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    symlink(sources, &place).with_context(|| format!("cannot link {}", place.display()))
}

/// Links every entry of a directory but one, which becomes a directory of its own.
fn link_all(from: &Path, into: &Path, own: &str) -> Result<()> {
    fs::create_dir_all(into.join(own)).with_context(|| format!("cannot create {}", into.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot list {}", from.display()))? {
        let entry = entry.with_context(|| format!("cannot list {}", from.display()))?;
        if entry.file_name() != own {
            let link = into.join(entry.file_name());
            symlink(entry.path(), &link).with_context(|| format!("cannot link {}", link.display()))?;
        }
    }
    Ok(())
}

/// The folder that holds the pinned `bpf-linker`, which is built once.
pub(crate) fn bpf_linker() -> Result<PathBuf> {
    if let Some(found) = exec::on_path("bpf-linker")
        && exec::output(Command::new(&found).arg("--version")).is_ok_and(|said| said.trim().ends_with(BPF_LINKER))
    {
        return Ok(found.parent().unwrap_or(Path::new("/")).to_path_buf());
    }
    let place = cache::directory(&format!("bpf-linker-{BPF_LINKER}"), |into| {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(["install", "bpf-linker", "--quiet", "--locked", "--version", BPF_LINKER, "--root"]).arg(into);
        command.env_remove("CARGO_TARGET_DIR").env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
        let what = format!("building bpf-linker {BPF_LINKER} (once, about two minutes)");
        progress::timed(&what, || exec::run(&mut command))
    })?;
    Ok(place.join("bin"))
}

fn release_of(said: &str) -> Option<&str> {
    said.lines().find_map(|line| line.strip_prefix("release: "))
}

/// The package version that carries an upstream version.
fn package_version<'a>(offered: &'a [String], version: &str) -> Option<&'a String> {
    offered.iter().find(|offer| offer.strip_prefix(version).is_some_and(|rest| rest.starts_with(['+', '-', '~'])))
}

#[cfg(test)]
mod tests {
    use super::{LIBRARY_SOURCES, has_sources, link_sysroot, package_version, release_of};
    use std::fs;

    #[test]
    fn the_release_is_read_from_the_verbose_version() {
        assert_eq!(release_of("rustc 1.95.0 (x)\nhost: h\nrelease: 1.95.0\n"), Some("1.95.0"));
        assert_eq!(release_of("rustc"), None);
    }

    #[test]
    fn a_package_must_carry_exactly_the_version() {
        let offered = ["1.96.1+dfsg1-2~bpo13+1".to_owned(), "1.95.0+dfsg1-2~bpo13+1".to_owned()];
        assert_eq!(package_version(&offered, "1.95.0"), Some(&offered[1]));
        assert_eq!(package_version(&offered, "1.9"), None);
        assert_eq!(package_version(&offered, "1.95.00"), None);
    }

    #[test]
    fn a_linked_sysroot_has_all_of_the_real_one_and_the_sources() {
        let real = tempfile::tempdir().unwrap();
        let sources = tempfile::tempdir().unwrap();
        let own = tempfile::tempdir().unwrap();
        fs::create_dir_all(real.path().join("lib/rustlib/x86_64/lib")).unwrap();
        fs::create_dir_all(real.path().join("bin")).unwrap();
        fs::write(real.path().join("lib/librustc.so"), "so").unwrap();
        fs::create_dir_all(sources.path().join("library/core/src")).unwrap();
        fs::write(sources.path().join("library/core/src/lib.rs"), "").unwrap();
        link_sysroot(real.path(), sources.path(), own.path()).unwrap();
        assert!(has_sources(own.path()) && !has_sources(real.path()));
        assert!(own.path().join("lib/librustc.so").is_file());
        assert!(own.path().join("lib/rustlib/x86_64/lib").is_dir());
        assert!(own.path().join("bin").is_dir());
        assert!(!real.path().join(LIBRARY_SOURCES).exists());
    }
}

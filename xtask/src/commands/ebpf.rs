//! `cargo xtask ebpf`: the BPF object, built with the pinned toolchain, and the check that it is what the sources say.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::setup::guest_build::{cargo, workspace};
use crate::setup::toolchain::{self, Toolchain};
use crate::{cache, exec, progress};

const EXAMPLES: &str = "\
Examples:
  cargo xtask ebpf            build the probes and put the object into the source tree
  cargo xtask ebpf --check    build them and compare with the committed object
  cargo xtask ebpf --log      build them with log messages, for `eptrace -vv ... --object FILE`

The toolchain is pinned, because another compiler makes other bytes. What is missing (the
standard library's sources, bpf-linker) is fetched into the user's cache directory. Exit status:
0 done, or not comparable with the compiler that is here; 1 the object differs; 2 an error.";

/// Build the BPF object of eptrace, or check the committed one
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct EbpfArgs {
    /// Compare a fresh build with the committed object instead of replacing it
    #[arg(long)]
    check: bool,
    /// Build an object whose probes log what they could not do, and leave the committed one alone
    #[arg(long, conflicts_with = "check")]
    log: bool,
}

/// What the comparison of the committed object with a fresh one came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The bytes are the same.
    Same,
    /// They are not; the sentence says what to do.
    Differs(String),
    /// This toolchain cannot tell; the sentence says why.
    Skipped(String),
}

/// Builds or checks.
pub(crate) fn run(arguments: &EbpfArgs) -> Result<ExitCode> {
    if arguments.log {
        let bytes = build(toolchain::installed()?, "ebpf-log", &["--features", "log"])?;
        let path = workspace().join("target/eptrace-log.bpf.o");
        cache::write_whole(&path, &bytes)?;
        println!("{} ({} bytes)", shown(&path), bytes.len());
        return Ok(ExitCode::SUCCESS);
    }
    if !arguments.check {
        let toolchain = toolchain::installed()?;
        if toolchain.version != toolchain::RUSTC {
            progress::say(&format!(
                "rustc {} makes other bytes than the pinned {}: do not commit this object",
                toolchain.version,
                toolchain::RUSTC
            ));
        }
        let bytes = build(toolchain, "ebpf", &[])?;
        cache::write_whole(&committed(), &bytes)?;
        println!("{} ({} bytes)", shown(&committed()), bytes.len());
        return Ok(ExitCode::SUCCESS);
    }
    Ok(match check()? {
        Verdict::Same => {
            println!("the committed object is what the sources say");
            ExitCode::SUCCESS
        }
        Verdict::Skipped(why) => {
            println!("skipped: {why}");
            ExitCode::SUCCESS
        }
        Verdict::Differs(what) => {
            println!("{what}");
            ExitCode::FAILURE
        }
    })
}

/// Compares the committed object with a fresh build.
pub(crate) fn check() -> Result<Verdict> {
    let toolchain = toolchain::installed()?;
    if toolchain.version != toolchain::RUSTC {
        return Ok(Verdict::Skipped(format!(
            "cannot compare: the object is built with rustc {}, this is {}; run `rustup toolchain install {}` and \
             `cargo +{} xtask ebpf --check`",
            toolchain::RUSTC,
            toolchain.version,
            toolchain::RUSTC,
            toolchain::RUSTC
        )));
    }
    let fresh = build(toolchain, "ebpf-check", &[])?;
    let path = committed();
    let known = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(compare(&known, &fresh, &shown(&path)))
}

fn compare(known: &[u8], fresh: &[u8], path: &str) -> Verdict {
    if known == fresh {
        return Verdict::Same;
    }
    let at = known.iter().zip(fresh).take_while(|(left, right)| left == right).count();
    Verdict::Differs(format!(
        "{path} is not what the sources say: {} bytes committed, {} built, first difference at byte {at}. \
         Run `cargo xtask ebpf` and commit the object with the change to its sources",
        known.len(),
        fresh.len()
    ))
}

fn committed() -> PathBuf {
    workspace().join("tracer/src/probes/eptrace.bpf.o")
}

fn shown(path: &Path) -> String {
    path.strip_prefix(workspace()).unwrap_or(path).display().to_string()
}

/// Builds the object in a folder of its own below `target` and returns its bytes.
fn build(toolchain: Toolchain, folder: &str, features: &[&str]) -> Result<Vec<u8>> {
    let toolchain = toolchain::with_sources(toolchain)?;
    let linker = toolchain::bpf_linker()?;
    let target = workspace().join("target").join(folder);
    fs::create_dir_all(&target).with_context(|| format!("cannot create {}", target.display()))?;
    let compiler = target.join("rustc");
    fs::write(&compiler, wrapper(&toolchain)?).with_context(|| format!("cannot write {}", compiler.display()))?;
    make_executable(&compiler)?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(linker).chain(std::env::split_paths(&path)))
        .context("cannot put bpf-linker on PATH")?;
    let mut command = cargo();
    command
        .current_dir(workspace().join("tracer-ebpf"))
        .args(["build", "--quiet", "--release", "--locked", "--target", "bpfel-unknown-none", "-Z", "build-std=core"])
        .args(features)
        .arg("--target-dir")
        .arg(&target)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTC", &compiler)
        .env("PATH", path)
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("CARGO_BUILD_RUSTFLAGS")
        .env_remove("RUSTC_WRAPPER");
    progress::timed("building the BPF object", || exec::run(&mut command))?;
    let object = target.join("bpfel-unknown-none/release/eptrace");
    fs::read(&object).with_context(|| format!("cannot read {}", object.display()))
}

fn make_executable(path: &Path) -> Result<()> {
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(path, permissions).with_context(|| format!("cannot make {} executable", path.display()))
}

/// A compiler that knows its sysroot and writes no path of this machine into what it makes.
///
/// The flags stand here and not in `RUSTFLAGS`, whose text cargo mixes into the names of symbols.
fn wrapper(toolchain: &Toolchain) -> Result<String> {
    let mut remaps = vec![(workspace(), "/eptrace".to_owned())];
    for registry in registries()? {
        remaps.push((registry, "/registry".to_owned()));
    }
    let sources = toolchain.sysroot.join("lib/rustlib/src/rust");
    if let Ok(real) = sources.canonicalize() {
        remaps.push((real, "/rust".to_owned()));
    }
    remaps.push((sources, "/rust".to_owned()));
    Ok(script(&toolchain.rustc, &toolchain.sysroot, &remaps))
}

fn script(rustc: &Path, sysroot: &Path, remaps: &[(PathBuf, String)]) -> String {
    let mut words = vec!["exec".to_owned(), quoted(rustc), "--sysroot".to_owned(), quoted(sysroot)];
    for (from, to) in remaps {
        words.push(format!("--remap-path-prefix={}={to}", quoted(from)));
    }
    format!("#!/bin/sh\n{} \"$@\"\n", words.join(" "))
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

/// The folders below which cargo unpacks crates, one for each registry.
fn registries() -> Result<Vec<PathBuf>> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home
        .or_else(|| Some(std::env::home_dir()?.join(".cargo")))
        .context("there is no home directory: set CARGO_HOME")?;
    let Ok(entries) = fs::read_dir(home.join("registry/src")) else {
        return Ok(Vec::new());
    };
    Ok(entries.flatten().map(|entry| entry.path()).collect())
}

#[cfg(test)]
mod tests {
    use super::{Verdict, compare, script};
    use std::path::{Path, PathBuf};

    #[test]
    fn equal_bytes_are_the_same_and_others_are_located() {
        assert_eq!(compare(b"abc", b"abc", "o"), Verdict::Same);
        let Verdict::Differs(text) = compare(b"abc", b"abd!", "o") else { panic!("they differ") };
        assert!(text.contains("3 bytes committed, 4 built") && text.contains("at byte 2"), "{text}");
    }

    #[test]
    fn the_wrapper_quotes_what_a_shell_would_split() {
        let text = script(Path::new("/a b/rustc"), Path::new("/it's"), &[(PathBuf::from("/x y"), "/z".into())]);
        assert_eq!(text, "#!/bin/sh\nexec '/a b/rustc' --sysroot '/it'\\''s' --remap-path-prefix='/x y'=/z \"$@\"\n");
    }
}

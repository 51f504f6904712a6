//! Kernels for the guest: the newest cloud kernel of a Debian suite, or a file.
//!
//! A selector names a line (`6.1`), the newest of a major version (`7`), `newest`, `previous` (the line before), or a path. The package is looked up
//! in the archive's index, never pinned, for versions leave the archive as new ones come.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::setup::apt::{self, Suite};
use crate::{cache, progress};

/// Which suite carries which line. A line that is not here is looked for among the backports.
const LINES: &[(&str, &str)] = &[("5.10", "bullseye"), ("6.1", "bookworm"), ("6.12", "trixie")];
const BACKPORTS: &str = "trixie-backports";
/// Stands for the line before the newest, which only the index can tell.
const PREVIOUS: &str = "previous";
/// Depends on the suite's current cloud kernel.
const METAPACKAGE: &str = "linux-image-cloud-amd64";

/// What the guest's serial port and its network card need where it is not built in; later kernels have most of it built in.
const DRIVERS: &[&str] = &[
    "virtio",
    "virtio_ring",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "virtio_console",
    "failover",
    "net_failover",
    "virtio_net",
];
/// Where they lie beside the image.
const MODULES: &str = "modules";

/// A kernel as the command line names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Selector {
    /// The newest kernel of the machine's own suite.
    Default,
    /// The newest kernel there is.
    Newest,
    /// The newest kernel of the line before the newest.
    Previous,
    /// The newest whose version begins so, such as `6.1` or `7`.
    Line(String),
    /// A bootable kernel file.
    File(PathBuf),
}

impl FromStr for Selector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_line = |text: &str| !text.is_empty() && text.split('.').all(|part| part.parse::<u32>().is_ok());
        match text {
            "default" => Ok(Self::Default),
            "newest" => Ok(Self::Newest),
            "previous" => Ok(Self::Previous),
            path if path.contains('/') || Path::new(path).is_file() => Ok(Self::File(PathBuf::from(path))),
            line if is_line(line) => Ok(Self::Line(line.to_owned())),
            other => Err(format!(
                "`{other}` names no kernel: give a line such as 6.1 or 7, `newest`, `previous`, `default`, or a path to a vmlinuz"
            )),
        }
    }
}

/// A kernel on this machine's disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kernel {
    /// What to call it: its release, or its file.
    pub(crate) name: String,
    /// The file QEMU boots.
    pub(crate) image: PathBuf,
}

impl Kernel {
    /// The modules that the guest's init loads.
    pub(crate) fn modules(&self) -> Result<Vec<PathBuf>> {
        let place = self.image.with_file_name(MODULES);
        if !place.is_dir() {
            return Ok(Vec::new());
        }
        let mut modules = fs::read_dir(&place)
            .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>())
            .with_context(|| format!("cannot list {}", place.display()))?;
        modules.retain(|path| path.extension().is_some_and(|extension| extension == "ko"));
        modules.sort();
        Ok(modules)
    }
}

/// Finds the kernel of a selector, downloading it when the cache lacks it.
pub(crate) fn resolve(selector: &Selector) -> Result<Kernel> {
    let (suite, line) = match selector {
        Selector::File(path) => return from_file(path),
        Selector::Default => (apt::machine_suite()?, String::new()),
        Selector::Newest => (BACKPORTS.to_owned(), String::new()),
        Selector::Previous => (BACKPORTS.to_owned(), PREVIOUS.to_owned()),
        Selector::Line(line) => (suite_of(line).to_owned(), line.clone()),
    };
    let key = format!("{}-{suite}-{line}", place().replace('/', "-"));
    let known = cache::recall::<Kernel>(&key).filter(|(kernel, _)| kernel.image.is_file());
    if let Some((kernel, age)) = &known
        && *age < apt::INDEX_AGE
    {
        return Ok(kernel.clone());
    }
    match fetch(&suite, &line) {
        Ok(kernel) => {
            cache::remember(&key, &kernel)?;
            Ok(kernel)
        }
        // A machine that is offline today still has yesterday's kernel.
        Err(error) => match known {
            Some((kernel, _)) => {
                progress::say(&format!("no newer kernel could be looked up ({error:#}): using {}", kernel.name));
                Ok(kernel)
            }
            None => Err(error),
        },
    }
}

/// Where kernels lie in the cache: another place whenever [`DRIVERS`] become more, for those that are there have the fewer.
fn place() -> String {
    format!("kernels/with-{}-drivers", DRIVERS.len())
}

fn from_file(path: &Path) -> Result<Kernel> {
    let image = path.canonicalize().with_context(|| format!("cannot read the kernel {}", path.display()))?;
    Ok(Kernel { name: image.file_name().unwrap_or_default().to_string_lossy().into_owned(), image })
}

fn suite_of(line: &str) -> &'static str {
    LINES.iter().find(|(known, _)| *known == line).map_or(BACKPORTS, |(_, suite)| suite)
}

fn fetch(suite: &str, line: &str) -> Result<Kernel> {
    let index = Suite::open(suite, apt::INDEX_AGE)?;
    // Without a line, the suite's own choice counts: its security updates may carry kernels of later releases too.
    let names = if line.is_empty() && suite != BACKPORTS {
        index.dependencies(METAPACKAGE)?
    } else {
        index.package_names("linux-")?
    };
    let found = if line == PREVIOUS { previous(&names) } else { newest(&names, line) };
    let Some(package) = found else {
        let others: Vec<&str> = LINES.iter().map(|(line, _)| *line).collect();
        bail!(
            "Debian {suite} has no kernel {line}: give one of {}, {}",
            others.join(", "),
            available(&names).join(", ")
        );
    };
    let place = cache::directory(&format!("{}/{}", place(), package.release), |into| {
        progress::timed(&format!("fetching the kernel {} of Debian {suite}", package.release), || {
            let whole = into.join("package");
            index.unpack(&package.name, &whole)?;
            // From 7.2 on the modules are a package of their own.
            let modules = format!("linux-modules-{}", package.release);
            if index.package_names(&modules)?.contains(&modules) {
                index.unpack(&modules, &whole)?;
            }
            let image = find_image(&whole, &package.release)
                .with_context(|| format!("the package {} holds no vmlinuz", package.name))?;
            keep_modules(&whole, &into.join(MODULES))?;
            fs::rename(&image, into.join("vmlinuz")).with_context(|| format!("cannot move {}", image.display()))?;
            fs::remove_dir_all(&whole).with_context(|| format!("cannot remove {}", whole.display()))
        })
    })?;
    Ok(Kernel { name: package.release, image: place.join("vmlinuz") })
}

/// Up to 7.1 the image lies in boot/, from 7.2 on beside the modules.
fn find_image(package: &Path, release: &str) -> Option<PathBuf> {
    [
        format!("boot/vmlinuz-{release}"),
        format!("usr/lib/modules/{release}/vmlinuz"),
        format!("lib/modules/{release}/vmlinuz"),
    ]
    .iter()
    .map(|path| package.join(path))
    .find(|path| path.is_file())
}

/// Copies the modules of [`DRIVERS`] that are not part of the image.
fn keep_modules(package: &Path, into: &Path) -> Result<()> {
    fs::create_dir(into).with_context(|| format!("cannot create {}", into.display()))?;
    for driver in DRIVERS {
        let Some(module) = find_module(package, driver) else { continue };
        let target = into.join(format!("{driver}.ko"));
        if module.extension().is_some_and(|extension| extension == "xz") {
            let plain = fs::File::create(&target).with_context(|| format!("cannot create {}", target.display()))?;
            let status = Command::new("xz").arg("-dc").arg(&module).stdout(plain).status().context("cannot run xz")?;
            ensure!(status.success(), "xz cannot unpack {}", module.display());
        } else {
            fs::rename(&module, &target).with_context(|| format!("cannot move {}", module.display()))?;
        }
    }
    Ok(())
}

fn find_module(directory: &Path, driver: &str) -> Option<PathBuf> {
    for entry in fs::read_dir(directory).ok()?.flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        let kind = entry.file_type().ok()?;
        if kind.is_dir() {
            if let Some(found) = find_module(&path, driver) {
                return Some(found);
            }
        } else if name.strip_prefix(driver).is_some_and(|rest| rest == ".ko" || rest == ".ko.xz") {
            return Some(path);
        }
    }
    None
}

/// A package that holds a kernel image.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ImagePackage {
    name: String,
    release: String,
}

/// The newest cloud kernel among package names whose version begins with `line` (everything does with an empty one).
fn newest(names: &[String], line: &str) -> Option<ImagePackage> {
    names
        .iter()
        .filter_map(|name| image_package(name))
        .filter(|(_, package)| line.is_empty() || package.release.starts_with(&format!("{line}.")))
        .max_by(|(left_kind, left), (right_kind, right)| {
            (numbers(&left.release), left_kind).cmp(&(numbers(&right.release), right_kind))
        })
        .map(|(_, package)| package)
}

/// The newest cloud kernel of the line before the newest.
fn previous(names: &[String]) -> Option<ImagePackage> {
    let line = |name: &str| Some(numbers(&image_package(name)?.1.release).get(..2)?.to_vec());
    let newest_line = names.iter().filter_map(|name| line(name)).max()?;
    let older: Vec<String> =
        names.iter().filter(|name| line(name).is_some_and(|line| line < newest_line)).cloned().collect();
    newest(&older, "")
}

/// `linux-image-RELEASE` holds the image up to 6.18; later it is empty and depends on `linux-binary-RELEASE`.
fn image_package(name: &str) -> Option<(u8, ImagePackage)> {
    let (kind, release) = match (name.strip_prefix("linux-image-"), name.strip_prefix("linux-binary-")) {
        (Some(release), _) => (0, release),
        (_, Some(release)) => (1, release),
        _ => return None,
    };
    let begins_with_number = release.starts_with(|first: char| first.is_ascii_digit());
    (begins_with_number && release.ends_with("-cloud-amd64"))
        .then(|| (kind, ImagePackage { name: name.to_owned(), release: release.to_owned() }))
}

fn numbers(release: &str) -> Vec<u64> {
    release.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

/// The lines that a list of package names offers, for the message when the wanted one is missing.
fn available(names: &[String]) -> Vec<String> {
    let mut lines: Vec<Vec<u64>> =
        names.iter().filter_map(|name| Some(numbers(&image_package(name)?.1.release)[..2].to_vec())).collect();
    lines.sort();
    lines.dedup();
    lines.iter().map(|line| format!("{}.{}", line[0], line[1])).collect()
}

#[cfg(test)]
mod tests {
    use super::{Selector, available, newest, previous, suite_of};
    use std::path::PathBuf;

    fn names() -> Vec<String> {
        [
            "linux-image-6.1.0-9-cloud-amd64",
            "linux-image-6.1.0-50-cloud-amd64",
            "linux-image-6.1.0-51-cloud-amd64-unsigned",
            "linux-image-6.1.0-52-cloud-amd64-dbg",
            "linux-image-6.19.14+deb13-cloud-amd64",
            "linux-binary-6.19.14+deb13-cloud-amd64",
            "linux-binary-6.19.6+deb13-cloud-amd64",
            "linux-binary-7.3.4+deb13-cloud-amd64",
            "linux-binary-unsigned-7.4.0+deb13-cloud-amd64",
            "linux-image-cloud-amd64",
            "linux-headers-7.9.0-cloud-amd64",
        ]
        .map(str::to_owned)
        .to_vec()
    }

    #[test]
    fn the_newest_of_a_line_is_chosen_by_number_and_is_a_signed_image() {
        assert_eq!(newest(&names(), "6.1").unwrap().name, "linux-image-6.1.0-50-cloud-amd64");
        assert_eq!(newest(&names(), "6.19").unwrap().name, "linux-binary-6.19.14+deb13-cloud-amd64");
        assert_eq!(newest(&names(), "7").unwrap().release, "7.3.4+deb13-cloud-amd64");
        assert_eq!(newest(&names(), "").unwrap().release, "7.3.4+deb13-cloud-amd64");
        assert_eq!(newest(&names(), "6.2"), None);
        assert_eq!(previous(&names()).unwrap().name, "linux-binary-6.19.14+deb13-cloud-amd64");
        assert_eq!(previous(&names()[..4]), None);
        assert_eq!(available(&names()), ["6.1", "6.19", "7.3"]);
    }

    #[test]
    fn selectors_are_lines_words_or_paths() {
        assert_eq!("6.1".parse(), Ok(Selector::Line("6.1".into())));
        assert_eq!("7".parse(), Ok(Selector::Line("7".into())));
        assert_eq!("newest".parse(), Ok(Selector::Newest));
        assert_eq!("previous".parse(), Ok(Selector::Previous));
        assert_eq!("default".parse(), Ok(Selector::Default));
        assert_eq!("./vmlinuz".parse(), Ok(Selector::File(PathBuf::from("./vmlinuz"))));
        assert!("sixone".parse::<Selector>().is_err());
        assert!("".parse::<Selector>().is_err());
    }

    #[test]
    fn known_lines_have_their_suite_and_others_are_backports() {
        assert_eq!(suite_of("6.1"), "bookworm");
        assert_eq!(suite_of("7.3"), "trixie-backports");
    }
}

//! Debian packages of any suite, read without root and without touching /etc.
//!
//! In: the machine's own mirror, as apt knows it. Out: package names of a suite and unpacked packages. Each suite has
//! a private apt root in the cache, so that apt's own signature checks hold.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::setup::tools;
use crate::{cache, exec, progress};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// How long a suite's index is taken as new.
pub(crate) const INDEX_AGE: Duration = Duration::from_hours(24);

/// The machine's own archive, from `apt-get indextargets`.
#[derive(Debug, PartialEq, Eq)]
struct Archive {
    main: String,
    security: Option<String>,
}

/// A private apt root for one suite.
pub(crate) struct Suite {
    root: PathBuf,
    name: String,
}

impl Suite {
    /// Opens a suite; its index is fetched when there is none or when it is older than `max_age`.
    pub(crate) fn open(name: &str, max_age: Duration) -> Result<Self> {
        let _lock = cache::lock(&format!("apt-{name}"))?;
        let root = cache::subdir(&format!("apt/{name}"))?;
        let suite = Self { root, name: name.to_owned() };
        let known = cache::recall::<bool>(&format!("apt-{name}"));
        if known.is_none_or(|(_, age)| age > max_age) {
            progress::timed(&format!("reading the package index of Debian {name}"), || suite.update())?;
            cache::remember(&format!("apt-{name}"), &true)?;
        }
        Ok(suite)
    }

    fn update(&self) -> Result<()> {
        let archive = machine_archive()?;
        for directory in ["lists/partial", "cache/archives/partial"] {
            let path = self.root.join(directory);
            fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        }
        let status = self.root.join("status");
        fs::write(&status, b"").with_context(|| format!("cannot write {}", status.display()))?;
        // A suite without security updates of its own (backports, or one that is long archived) goes without.
        let full = sources(&archive, &self.name, true);
        let plain = sources(&archive, &self.name, false);
        self.write_sources(&full)?;
        let first = exec::output(self.command("apt-get").args(["update", "-q"]));
        if first.is_err() && full != plain {
            self.write_sources(&plain)?;
            exec::output(self.command("apt-get").args(["update", "-q"]))?;
            return Ok(());
        }
        first.map(drop).with_context(|| {
            format!("cannot read Debian {}: check the network, or give a kernel with --kernel PATH", self.name)
        })
    }

    fn write_sources(&self, text: &str) -> Result<()> {
        let path = self.root.join("sources.list");
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// An apt command that reads this root and nothing of the machine's own state.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for (option, path) in [
            ("Dir::Etc::SourceList", "sources.list"),
            ("Dir::Etc::SourceParts", "none"),
            ("Dir::State::Lists", "lists"),
            ("Dir::State::status", "status"),
            ("Dir::Cache", "cache"),
        ] {
            command.arg("-o").arg(format!("{option}={}", self.root.join(path).display()));
        }
        // Only the package names are wanted; and as root, the sandbox user could not write below a home directory.
        command.args(["-o", "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false"]);
        command.args(["-o", "Acquire::Languages=none"]);
        command.args(["-o", "APT::Sandbox::User=root"]);
        command.env("LC_ALL", "C");
        command
    }

    /// All package names of the suite that begin with `prefix`.
    pub(crate) fn package_names(&self, prefix: &str) -> Result<Vec<String>> {
        let text = exec::output(self.command("apt-cache").args(["pkgnames", prefix]))?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// The names a package depends on, in its newest version.
    pub(crate) fn dependencies(&self, package: &str) -> Result<Vec<String>> {
        let text = exec::output(self.command("apt-cache").args(["depends", package]))?;
        Ok(dependency_names(&text))
    }

    /// All versions of a package in the suite.
    pub(crate) fn versions(&self, package: &str) -> Result<Vec<String>> {
        let text = exec::output(self.command("apt-cache").args(["madison", package]))?;
        Ok(madison_versions(&text))
    }

    /// Downloads a package (`NAME` or `NAME=VERSION`) and unpacks its files below `into`.
    pub(crate) fn unpack(&self, package: &str, into: &Path) -> Result<()> {
        let download = tempfile::tempdir().context("cannot create a temporary directory")?;
        exec::output(self.command("apt-get").args(["download", "-q", package]).current_dir(download.path()))
            .with_context(|| format!("cannot download the package {package} of Debian {}", self.name))?;
        let archive = fs::read_dir(download.path())
            .context("cannot list the downloaded package")?
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
            .with_context(|| format!("apt-get download {package} left no package behind"))?;
        exec::output(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(into)).map(drop)
    }
}

/// The codename of the Debian release that this machine runs, such as `bookworm`.
pub(crate) fn machine_suite() -> Result<String> {
    let text = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    debian_codename(&text).context(
        "this machine is not a Debian release, so there is no package archive to take a kernel from: \
         give one with --kernel PATH (a vmlinuz or bzImage file)",
    )
}

fn debian_codename(os_release: &str) -> Option<String> {
    let field = |name: &str| {
        os_release
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
            .map(|value| value.trim_matches('"').to_owned())
    };
    (field("ID")? == "debian").then(|| field("VERSION_CODENAME")).flatten()
}

fn machine_archive() -> Result<Archive> {
    if exec::on_path("apt-get").is_none() || !Path::new(KEYRING).exists() {
        bail!(
            "Debian's apt-get and debian-archive-keyring are needed to fetch packages: \
             on another distribution give a kernel with --kernel PATH and QEMU with --qemu PATH"
        );
    }
    let codename = machine_suite()?;
    if let Some(archive) = archive_of(&index_targets()?, &codename) {
        return Ok(archive);
    }
    // A fresh image has sources but has never read them.
    let by_hand = format!("apt knows no package index of Debian {codename}: run `sudo apt-get update`, and try again");
    tools::refresh_lists().with_context(|| by_hand.clone())?;
    archive_of(&index_targets()?, &codename).context(by_hand)
}

fn index_targets() -> Result<String> {
    let format = "$(REPO_URI) $(CODENAME) $(COMPONENT)";
    exec::output(Command::new("apt-get").args(["indextargets", "--format", format, "Identifier: Packages"]))
}

/// Picks the main and the security archive out of lines of `URI CODENAME COMPONENT`.
fn archive_of(targets: &str, codename: &str) -> Option<Archive> {
    let uri_of = |wanted: &str| {
        targets.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            let (uri, name, component) = (words.next()?, words.next()?, words.next()?);
            (name == wanted && component == "main").then(|| uri.to_owned())
        })
    };
    Some(Archive { main: uri_of(codename)?, security: uri_of(&format!("{codename}-security")) })
}

/// The sources.list of one suite, with its security updates when asked for and when the machine has such an archive.
fn sources(archive: &Archive, suite: &str, security: bool) -> String {
    let plain = format!("deb [signed-by={KEYRING}] {} {suite} main\n", archive.main);
    match archive.security.as_ref().filter(|_| security && !suite.ends_with("-backports")) {
        Some(uri) => format!("{plain}deb [signed-by={KEYRING}] {uri} {suite}-security main\n"),
        None => plain,
    }
}

/// The names in what `apt-cache depends` prints: `  Depends: NAME`.
fn dependency_names(text: &str) -> Vec<String> {
    text.lines().filter_map(|line| line.trim().strip_prefix("Depends: ")).map(str::to_owned).collect()
}

/// The versions in the table that `apt-cache madison` prints: `package | version | source`.
fn madison_versions(text: &str) -> Vec<String> {
    text.lines().filter_map(|line| line.split('|').nth(1)).map(|version| version.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::{Archive, archive_of, debian_codename, dependency_names, madison_versions, sources};

    const TARGETS: &str = "http://mirror.test/debian/ bookworm main\n\
                           http://mirror.test/debian/ bookworm-updates main\n\
                           http://mirror.test/sec/ bookworm-security main\n\
                           http://other.test/ nodistro main\n";

    #[test]
    fn the_archive_is_the_one_of_the_machines_own_release() {
        let found = archive_of(TARGETS, "bookworm").unwrap();
        assert_eq!(found.main, "http://mirror.test/debian/");
        assert_eq!(found.security.as_deref(), Some("http://mirror.test/sec/"));
        assert_eq!(archive_of(TARGETS, "trixie"), None);
    }

    #[test]
    fn a_suite_takes_its_security_updates_along_except_backports() {
        let archive = Archive { main: "http://m/".into(), security: Some("http://s/".into()) };
        assert!(sources(&archive, "trixie", true).contains("http://s/ trixie-security main"));
        assert!(!sources(&archive, "trixie", false).contains("security"));
        assert!(!sources(&archive, "trixie-backports", true).contains("security"));
    }

    #[test]
    fn only_debian_has_a_codename() {
        assert_eq!(debian_codename("ID=debian\nVERSION_CODENAME=bookworm\n").as_deref(), Some("bookworm"));
        assert_eq!(debian_codename("ID=ubuntu\nVERSION_CODENAME=noble\n"), None);
        assert_eq!(debian_codename(""), None);
    }

    #[test]
    fn dependencies_are_the_lines_that_say_so() {
        let text = "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-50-cloud-amd64\n  Suggests: x\n";
        assert_eq!(dependency_names(text), ["linux-image-6.1.0-50-cloud-amd64"]);
    }

    #[test]
    fn madison_lines_give_versions() {
        let text = " rust-src | 1.95.0+dfsg1-1~bpo13+1 | http://m trixie-backports/main amd64 Packages\n";
        assert_eq!(madison_versions(text), ["1.95.0+dfsg1-1~bpo13+1"]);
    }
}

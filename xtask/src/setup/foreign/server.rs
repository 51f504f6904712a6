//! Servers of Debian's archive, unpacked beside the libraries they load; nothing is installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::setup::apt::{self, Suite};
use crate::{cache, exec, progress};

/// A server's package, which has its name, and the program in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) name: &'static str,
    pub(crate) path: &'static str,
}

/// Where Debian's libraries lie.
const LIBRARIES: [&str; 2] = ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"];

/// The server as `/bin/NAME` and its libraries: where they lie here, and where in the guest.
pub(crate) fn server(server: &Server) -> Result<Vec<(PathBuf, String)>> {
    let suite_name = apt::machine_suite()?;
    // What it loads is the machine's own C library, so the release is part of the name.
    let tree = cache::directory(&format!("server-{}-{suite_name}", server.name), |into| {
        let suite = Suite::open(&suite_name, apt::INDEX_AGE)?;
        progress::timed(&format!("fetching {} for the guest", server.name), || {
            suite.unpack(server.name, into)?;
            suite
                .dependencies(server.name)?
                .iter()
                .filter(|name| is_library(name))
                .try_for_each(|name| suite.unpack(name, into))
        })
    })?;
    let program = tree.join(server.path);
    if !program.is_file() {
        bail!("the package {} holds no {}: look into {}", server.name, server.path, tree.display());
    }
    let places: Vec<String> = LIBRARIES.iter().map(|place| tree.join(place).display().to_string()).collect();
    let said =
        exec::output(Command::new("ldd").arg(&program).env("LC_ALL", "C").env("LD_LIBRARY_PATH", places.join(":")))?;
    let mut files = vec![(program, format!("/bin/{}", server.name))];
    for library in libraries(&said).with_context(|| format!("cannot pack {} for the guest", server.name))? {
        files.push((real(&library)?, in_guest(&library, &tree)));
    }
    Ok(files)
}

/// The C library and its parts are the machine's own.
fn is_library(package: &str) -> bool {
    (package.starts_with("lib") || package.starts_with("zlib")) && package != "libc6"
}

fn real(library: &Path) -> Result<PathBuf> {
    fs::canonicalize(library).with_context(|| format!("cannot read {}", library.display()))
}

/// A library lies in the guest where it would lie if it were installed.
fn in_guest(library: &Path, tree: &Path) -> String {
    let inside = library.strip_prefix(tree).unwrap_or(library);
    format!("/{}", inside.display().to_string().trim_start_matches('/'))
}

/// The absolute paths in what `ldd` prints.
fn libraries(said: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for line in said.lines().map(str::trim) {
        if line.ends_with("=> not found") {
            bail!("a shared library is missing: {line}");
        }
        let place = line.split_once("=> ").map_or(line, |(_, place)| place);
        if let Some((path, _)) = place.split_once(" (0x").filter(|(path, _)| path.starts_with('/')) {
            found.push(PathBuf::from(path));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::{in_guest, is_library, libraries};
    use std::path::{Path, PathBuf};

    #[test]
    fn libraries_beside_the_server_lie_in_the_guest_as_if_installed() {
        let tree = Path::new("/cache/server-x");
        assert_eq!(in_guest(&tree.join("usr/lib/liba.so.1"), tree), "/usr/lib/liba.so.1");
        assert_eq!(in_guest(Path::new("/lib64/ld.so"), tree), "/lib64/ld.so");
    }

    #[test]
    fn a_missing_library_is_named_and_others_are_paths() {
        let said = "\tlinux-vdso.so.1 (0x7f)\n\tliba.so.1 => /t/liba.so.1 (0x7f)\n\t/lib64/ld.so (0x7f)\n";
        assert_eq!(libraries(said).unwrap(), [PathBuf::from("/t/liba.so.1"), PathBuf::from("/lib64/ld.so")]);
        assert!(libraries("\tlibb.so.2 => not found\n").unwrap_err().to_string().contains("libb.so.2"));
    }

    #[test]
    fn only_libraries_come_along() {
        assert!(is_library("libevent-2.1-7") && is_library("zlib1g"));
        assert!(!is_library("libc6") && !is_library("adduser"));
    }
}

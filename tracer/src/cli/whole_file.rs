//! A file that has its name only when it is whole: until then it has none, and whatever ends us takes it away. Where the file system knows
//! no such files, it stands beside under another name.

use std::ffi::CString;
use std::fs::{File, remove_file, rename};
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A file in the making. Dropped before [`WholeFile::finish`], it leaves nothing behind, and what had the name before keeps it.
pub(super) struct WholeFile {
    path: PathBuf,
    /// The name under which it stands beside. `None` when `path` is a pipe or a device, which is written as it is.
    beside: Option<PathBuf>,
    /// Whether it has that name already.
    named: bool,
    file: File,
}

impl WholeFile {
    /// Makes a file that will be `path`.
    pub(super) fn create(path: &Path) -> Result<Self> {
        let is_special = path.metadata().is_ok_and(|data| !data.is_file() && !data.is_dir());
        let cannot = || format!("cannot write {}", path.display());
        if is_special {
            let file = File::options().write(true).open(path).with_context(cannot)?;
            return Ok(Self { path: path.to_owned(), beside: None, named: false, file });
        }
        // A link is followed: what it points to is replaced, not the link.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        anyhow::ensure!(!path.is_dir(), "cannot write {}: it is a directory", path.display());
        let mut name = path.file_name().with_context(|| format!("{} names no file", path.display()))?.to_owned();
        name.push(format!(".{}.part", std::process::id()));
        let beside = path.with_file_name(name);
        if let Ok(file) = nameless(&beside) {
            return Ok(Self { path, beside: Some(beside), named: false, file });
        }
        let file = File::options().write(true).create_new(true).open(&beside).with_context(cannot)?;
        Ok(Self { path, beside: Some(beside), named: true, file })
    }

    /// Where its bytes are written.
    pub(super) fn writer(&self) -> Result<File> {
        self.file.try_clone().with_context(|| format!("cannot write {}", self.path.display()))
    }

    /// Writes all of it, and gives the file its name.
    pub(super) fn write(self, text: &str) -> Result<()> {
        self.writer()?.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", self.path.display()))?;
        self.finish()
    }

    /// Gives the file its name.
    pub(super) fn finish(mut self) -> Result<()> {
        let Some(beside) = self.beside.take() else { return Ok(()) };
        let mut named = self.file.sync_data();
        if named.is_ok() && !self.named {
            named = give_name(&self.file, &beside);
            self.named = named.is_ok();
        }
        let named = named.and_then(|()| rename(&beside, &self.path));
        if named.is_err() {
            self.beside = Some(beside);
        }
        named.with_context(|| format!("cannot write {}", self.path.display()))
    }
}

impl Drop for WholeFile {
    fn drop(&mut self) {
        if let Some(beside) = self.beside.as_ref().filter(|_| self.named) {
            // Whoever drops it has a more important error to tell.
            let _ = remove_file(beside);
        }
    }
}

/// A file without a name, in the directory of `beside`.
fn nameless(beside: &Path) -> io::Result<File> {
    let directory = beside.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::options().write(true).mode(0o666).custom_flags(libc::O_TMPFILE).open(directory)
}

/// Gives a nameless file a name (`open(2)`, `O_TMPFILE`).
fn give_name(file: &File, name: &Path) -> io::Result<()> {
    let from = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    let to = CString::new(name.as_os_str().as_bytes())?;
    // SAFETY: both are strings that end in zero and live until the call returns.
    let done =
        unsafe { libc::linkat(libc::AT_FDCWD, from.as_ptr(), libc::AT_FDCWD, to.as_ptr(), libc::AT_SYMLINK_FOLLOW) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::WholeFile;
    use std::io::Write as _;

    fn names(directory: &std::path::Path) -> Vec<String> {
        let entries = std::fs::read_dir(directory).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn until_it_is_whole_there_is_nothing_and_the_old_file_keeps_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("report");
        WholeFile::create(&path).unwrap().write("old").unwrap();
        let new = WholeFile::create(&path).unwrap();
        new.writer().unwrap().write_all(b"new").unwrap();
        assert_eq!(names(directory.path()), ["report"]);
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        new.finish().unwrap();
        assert_eq!(
            (names(directory.path()), std::fs::read(&path).unwrap()),
            (vec!["report".to_owned()], b"new".to_vec())
        );
    }

    #[test]
    fn one_that_is_let_go_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        drop(WholeFile::create(&directory.path().join("report")).unwrap());
        assert!(names(directory.path()).is_empty());
    }
}

//! A file that has its name only when it is whole: until then it stands beside under another.

use std::fs::{File, remove_file, rename};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A file in the making. Dropped before [`WholeFile::finish`], it leaves nothing behind, and what had the name before keeps it.
pub(super) struct WholeFile {
    path: PathBuf,
    /// Where the bytes go. `None` when `path` is a pipe or a device, which is written as it is.
    beside: Option<PathBuf>,
    file: File,
}

impl WholeFile {
    /// Makes a file that will be `path`.
    pub(super) fn create(path: &Path) -> Result<Self> {
        let is_special = path.metadata().is_ok_and(|data| !data.is_file() && !data.is_dir());
        let cannot = || format!("cannot write {}", path.display());
        if is_special {
            let file = File::options().write(true).open(path).with_context(cannot)?;
            return Ok(Self { path: path.to_owned(), beside: None, file });
        }
        // A link is followed: what it points to is replaced, not the link.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        anyhow::ensure!(!path.is_dir(), "cannot write {}: it is a directory", path.display());
        let mut name = path.file_name().with_context(|| format!("{} names no file", path.display()))?.to_owned();
        name.push(format!(".{}.part", std::process::id()));
        let beside = path.with_file_name(name);
        let file = File::options().write(true).create_new(true).open(&beside).with_context(cannot)?;
        Ok(Self { path, beside: Some(beside), file })
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
        let named = self.file.sync_data().and_then(|()| rename(&beside, &self.path));
        if named.is_err() {
            self.beside = Some(beside);
        }
        named.with_context(|| format!("cannot write {}", self.path.display()))
    }
}

impl Drop for WholeFile {
    fn drop(&mut self) {
        if let Some(beside) = &self.beside {
            // Whoever drops it has a more important error to tell.
            let _ = remove_file(beside);
        }
    }
}

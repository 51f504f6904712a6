//! The user's cache directory: what was downloaded or built once, and answers worth remembering.
//!
//! Everything enters whole: it is made under a temporary name beside its place and renamed. Two runs at the same
//! time are kept apart by a lock per subject.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The cache directory, created when missing: `$XDG_CACHE_HOME/eptrace`, else `~/.cache/eptrace`.
pub(crate) fn dir() -> Result<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME").filter(|value| Path::new(value).is_absolute()) {
        Some(base) => PathBuf::from(base),
        None => std::env::home_dir()
            .context("there is no home directory to keep downloads in: set XDG_CACHE_HOME to a writable directory")?
            .join(".cache"),
    };
    subdir_of(&base.join("eptrace"))
}

/// A directory below the cache directory, created when missing.
pub(crate) fn subdir(name: &str) -> Result<PathBuf> {
    subdir_of(&dir()?.join(name))
}

fn subdir_of(path: &Path) -> Result<PathBuf> {
    fs::create_dir_all(path)
        .with_context(|| format!("cannot create {}: set XDG_CACHE_HOME to a writable directory", path.display()))?;
    Ok(path.to_path_buf())
}

/// Waits for and takes the lock of a subject; dropping the file gives it back.
pub(crate) fn lock(subject: &str) -> Result<File> {
    let path = subdir("locks")?.join(subject);
    let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}

/// The directory `name` of the cache, filled by `fill` the first time it is asked for.
///
/// `fill` gets an empty directory that takes its place only when `fill` succeeded.
pub(crate) fn directory(name: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let place = dir()?.join(name);
    if place.is_dir() {
        return Ok(place);
    }
    let _lock = lock(&name.replace('/', "-"))?;
    if place.is_dir() {
        return Ok(place);
    }
    let parent = subdir_of(place.parent().context("a cache entry has a parent")?)?;
    let fresh = tempfile::Builder::new()
        .prefix(".new-")
        .tempdir_in(&parent)
        .with_context(|| format!("cannot create a directory in {}", parent.display()))?;
    fill(fresh.path())?;
    let fresh = fresh.keep();
    fs::rename(&fresh, &place).with_context(|| format!("cannot rename {} to {}", fresh.display(), place.display()))?;
    Ok(place)
}

/// Writes a file so that a reader sees the old bytes or the new ones, never half of them.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::io::Write as _;
    let parent = path.parent().with_context(|| format!("{} has no directory", path.display()))?;
    let mut fresh = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(parent)
        .with_context(|| format!("cannot create a file in {}", parent.display()))?;
    fresh.write_all(bytes).with_context(|| format!("cannot write {}", path.display()))?;
    fresh.persist(path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}

/// An answer remembered under `key`, with its age.
pub(crate) fn recall<T: DeserializeOwned>(key: &str) -> Option<(T, Duration)> {
    let path = dir().ok()?.join("answers").join(key);
    let written = fs::metadata(&path).ok()?.modified().ok()?;
    let answer = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
    // A file from the future (a clock that was set back) is as good as new.
    Some((answer, SystemTime::now().duration_since(written).unwrap_or_default()))
}

/// Remembers an answer under `key`.
pub(crate) fn remember<T: Serialize>(key: &str, answer: &T) -> Result<()> {
    let path = subdir("answers")?.join(key);
    write_whole(&path, &serde_json::to_vec(answer).with_context(|| format!("cannot encode the answer {key}"))?)
}

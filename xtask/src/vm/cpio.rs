//! Writes a cpio archive in the `newc` format, which the kernel unpacks as its initramfs.
//!
//! Format: Documentation/driver-api/early-userspace/buffer-format.rst in the kernel's tree.

use std::collections::BTreeSet;
use std::io::{self, Write};

const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;

/// An archive being written. Parent directories are added by themselves; all files belong to root.
pub(crate) struct Archive<W: Write> {
    out: W,
    written: u64,
    inode: u32,
    known: BTreeSet<String>,
}

impl<W: Write> Archive<W> {
    /// Begins an archive on `out`.
    pub(crate) fn new(out: W) -> Self {
        Self { out, written: 0, inode: 0, known: BTreeSet::new() }
    }

    /// Adds a directory. Adding it again changes nothing.
    pub(crate) fn directory(&mut self, path: &str) -> io::Result<()> {
        let path = relative(path);
        if path.is_empty() || self.known.contains(path) {
            return Ok(());
        }
        self.parents(path)?;
        self.known.insert(path.to_owned());
        self.entry(path, DIRECTORY | 0o755, &[])
    }

    /// Adds a file with the given permission bits. The first file under a path stays.
    pub(crate) fn file(&mut self, path: &str, permissions: u32, bytes: &[u8]) -> io::Result<()> {
        self.leaf(path, FILE | (permissions & 0o7777), bytes)
    }

    /// Adds a symbolic link. The first entry under a path stays.
    pub(crate) fn symlink(&mut self, path: &str, target: &str) -> io::Result<()> {
        self.leaf(path, SYMLINK | 0o777, target.as_bytes())
    }

    /// Whether a path is in the archive already.
    pub(crate) fn contains(&self, path: &str) -> bool {
        self.known.contains(relative(path))
    }

    /// Ends the archive and gives the writer back.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.inode = u32::MAX;
        self.entry("TRAILER!!!", 0, &[])?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn leaf(&mut self, path: &str, mode: u32, bytes: &[u8]) -> io::Result<()> {
        let path = relative(path);
        if !self.known.contains(path) {
            self.parents(path)?;
            self.known.insert(path.to_owned());
            self.entry(path, mode, bytes)?;
        }
        Ok(())
    }

    fn parents(&mut self, path: &str) -> io::Result<()> {
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.directory(parent)?;
        }
        Ok(())
    }

    fn entry(&mut self, name: &str, mode: u32, bytes: &[u8]) -> io::Result<()> {
        let too_large = |_| io::Error::new(io::ErrorKind::InvalidInput, "larger than an initramfs can hold");
        let size = u32::try_from(bytes.len()).map_err(too_large)?;
        let name_size = u32::try_from(name.len() + 1).map_err(too_large)?;
        self.inode = self.inode.wrapping_add(1);
        // ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
        let fields = [self.inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
        self.put(b"070701")?;
        for field in fields {
            self.put(format!("{field:08x}").as_bytes())?;
        }
        self.put(name.as_bytes())?;
        self.put(&[0])?;
        self.pad()?;
        self.put(bytes)?;
        self.pad()
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Names and bodies end on a multiple of four.
    fn pad(&mut self) -> io::Result<()> {
        while !self.written.is_multiple_of(4) {
            self.put(&[0])?;
        }
        Ok(())
    }
}

fn relative(path: &str) -> &str {
    path.trim_matches('/')
}

#[cfg(test)]
mod tests {
    use super::Archive;

    /// Reads names, modes and bodies back, as the kernel's unpacker would.
    fn read(bytes: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let number = |at: usize| {
            let text = std::str::from_utf8(&bytes[at..at + 8]).unwrap();
            usize::try_from(u32::from_str_radix(text, 16).unwrap()).unwrap()
        };
        let mut entries = Vec::new();
        let mut at = 0;
        loop {
            assert_eq!(&bytes[at..at + 6], b"070701");
            let (mode, size, name_size) = (number(at + 14), number(at + 54), number(at + 94));
            let name = String::from_utf8(bytes[at + 110..at + 110 + name_size - 1].to_vec()).unwrap();
            let body = (at + 110 + name_size).next_multiple_of(4);
            if name == "TRAILER!!!" {
                return entries;
            }
            entries.push((name, u32::try_from(mode).unwrap(), bytes[body..body + size].to_vec()));
            at = (body + size).next_multiple_of(4);
        }
    }

    #[test]
    fn files_bring_their_directories_along_once() {
        let mut archive = Archive::new(Vec::new());
        archive.file("/lib/x/one", 0o755, b"1").unwrap();
        archive.file("/lib/x/three", 0o600, b"333").unwrap();
        archive.symlink("/bin/sh", "busybox").unwrap();
        let entries = read(&archive.finish().unwrap());
        let names: Vec<&str> = entries.iter().map(|(name, ..)| name.as_str()).collect();
        assert_eq!(names, ["lib", "lib/x", "lib/x/one", "lib/x/three", "bin", "bin/sh"]);
        assert_eq!(entries[2].1, 0o100_755);
        assert_eq!(entries[3].2, b"333");
        assert_eq!((entries[5].1, entries[5].2.as_slice()), (0o120_777, b"busybox".as_slice()));
    }

    #[test]
    fn the_first_file_under_a_path_stays() {
        let mut archive = Archive::new(Vec::new());
        archive.file("a", 0o644, b"first").unwrap();
        archive.file("/a", 0o644, b"second").unwrap();
        assert!(archive.contains("/a"));
        let entries = read(&archive.finish().unwrap());
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].2, b"first");
    }
}

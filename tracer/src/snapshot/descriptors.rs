//! Whether an item's descriptor is still what it was registered with.

use std::collections::BTreeMap;

use tracer_common::snapshot::OpenFile;

/// What the descriptor of an item is now, in the process that is looked at. The item belongs to the file: it stays when the descriptor
/// is closed, as long as another one has the file open, in whatever process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Descriptor {
    /// Nobody has looked.
    #[default]
    Unknown,
    /// It is this file.
    Same,
    /// It is not, or no longer, this file.
    Other {
        /// The number is open: it stands for another file.
        reused: bool,
        /// Other descriptors of the process that stand for the item's file.
        instead: Vec<i32>,
    },
}

/// What the process has open, and who has eventpolls open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenFiles {
    /// Of the process: the files that were seen behind each descriptor.
    files: BTreeMap<i32, Vec<u64>>,
    /// Of the process: the descriptors of each file.
    descriptors: BTreeMap<u64, Vec<i32>>,
    /// Of all processes: process and descriptor of each eventpoll.
    eventpolls: BTreeMap<u64, Vec<(u32, i32)>>,
}

impl OpenFiles {
    /// Adds what one walk over the open files told; what any walk saw counts as open.
    pub fn add(&mut self, pid: u32, open: &OpenFile) {
        if open.tgid == pid {
            put(self.files.entry(open.fd).or_default(), open.file);
            put(self.descriptors.entry(open.file).or_default(), open.fd);
        }
        if open.ep != 0 {
            put(self.eventpolls.entry(open.ep).or_default(), (open.tgid, open.fd));
        }
    }

    /// What an item's descriptor is.
    #[must_use]
    pub fn descriptor(&self, fd: i32, file: u64) -> Descriptor {
        let seen = self.files.get(&fd);
        if seen.is_some_and(|files| files.contains(&file)) {
            return Descriptor::Same;
        }
        Descriptor::Other { reused: seen.is_some(), instead: self.descriptors.get(&file).cloned().unwrap_or_default() }
    }

    /// Who has an eventpoll open: processes and descriptors, those of `first` first.
    #[must_use]
    pub fn holders(&self, ep: u64, first: u32) -> Vec<(u32, i32)> {
        let mut holders = self.eventpolls.get(&ep).cloned().unwrap_or_default();
        holders.sort_unstable_by_key(|&(pid, fd)| (pid != first, pid, fd));
        holders
    }

    /// The eventpolls of a process, by their lowest descriptors: descriptor and address.
    #[must_use]
    pub fn eventpolls_of(&self, pid: u32) -> Vec<(i32, u64)> {
        let lowest = |(ep, holders): (&u64, &Vec<(u32, i32)>)| {
            let fds = holders.iter().filter(|(holder, _)| *holder == pid).map(|(_, fd)| *fd);
            fds.min().map(|fd| (fd, *ep))
        };
        let mut found: Vec<_> = self.eventpolls.iter().filter_map(lowest).collect();
        found.sort_unstable();
        found
    }

    /// The eventpoll behind a descriptor of a process.
    #[must_use]
    pub fn eventpoll(&self, pid: u32, fd: i32) -> Option<u64> {
        self.eventpolls.iter().find(|(_, holders)| holders.contains(&(pid, fd))).map(|(ep, _)| *ep)
    }
}

fn put<T: PartialEq>(list: &mut Vec<T>, value: T) {
    if !list.contains(&value) {
        list.push(value);
    }
}

#[cfg(test)]
mod tests {
    use tracer_common::snapshot::OpenFile;

    use super::{Descriptor, OpenFiles};
    use crate::event::Header;

    fn open(tgid: u32, fd: i32, file: u64, ep: u64) -> OpenFile {
        OpenFile { header: Header::default(), file, ep, tgid, fd }
    }

    #[test]
    fn a_descriptor_that_was_closed_is_told_from_one_that_is_another_file_now() {
        let mut files = OpenFiles::default();
        for (tgid, fd, file) in [(1, 5, 50), (1, 6, 60), (1, 7, 60), (2, 8, 80)] {
            files.add(1, &open(tgid, fd, file, 0));
        }
        assert_eq!(files.descriptor(5, 50), Descriptor::Same);
        assert_eq!(files.descriptor(9, 60), Descriptor::Other { reused: false, instead: vec![6, 7] });
        assert_eq!(files.descriptor(5, 70), Descriptor::Other { reused: true, instead: vec![] });
        // Another process has it open: that is not looked at.
        assert_eq!(files.descriptor(8, 80), Descriptor::Other { reused: false, instead: vec![] });
        // A second walk saw the number as another file: both count.
        files.add(1, &open(1, 5, 51, 0));
        assert_eq!((files.descriptor(5, 50), files.descriptor(5, 51)), (Descriptor::Same, Descriptor::Same));
    }

    #[test]
    fn an_eventpoll_is_found_by_all_who_have_it_open() {
        let mut files = OpenFiles::default();
        for (tgid, fd, ep) in [(1, 4, 40), (1, 3, 40), (2, 9, 40), (1, 8, 10), (1, 3, 40)] {
            files.add(1, &open(tgid, fd, ep + 1, ep));
        }
        assert_eq!(files.eventpolls_of(1), [(3, 40), (8, 10)]);
        assert_eq!(files.holders(40, 1), [(1, 3), (1, 4), (2, 9)]);
        assert_eq!(files.holders(40, 2), [(2, 9), (1, 3), (1, 4)]);
        assert_eq!((files.eventpoll(1, 4), files.eventpoll(2, 4)), (Some(40), None));
    }
}

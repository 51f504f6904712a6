//! `/proc/PID/maps`: what is mapped where.

/// A part of a process's memory that can be executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mapping {
    pub(super) start: u64,
    pub(super) end: u64,
    /// Where in the file it begins.
    pub(super) offset: u64,
    /// Device and inode of the file as the line has them; zeros where no file is mapped.
    pub(super) file: FileNumbers,
    /// The path as it stands there, or what the kernel calls it.
    pub(super) path: Vec<u8>,
}

/// Device and inode of a file.
pub(super) type FileNumbers = (u32, u32, u64);

impl Mapping {
    /// The last part of its path, without what the kernel adds when the file is gone.
    pub(super) fn name(&self) -> &[u8] {
        let path = self.path.strip_suffix(b" (deleted)").unwrap_or(&self.path);
        if path.is_empty() {
            return b"[anonymous]";
        }
        path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
    }
}

/// Most mappings that are looked at: the kernel allows 65530 unless it is told otherwise (`DEFAULT_MAX_MAP_COUNT`).
const MAX_MAPPINGS: usize = 1 << 17;

/// The mappings that can be executed, by address (`show_map_vma`, `fs/proc/task_mmu.c`, 5.10 to 7.3). Lines that make no sense are left
/// out.
pub(super) fn executable(maps: &[u8]) -> Vec<Mapping> {
    maps.split(|byte| *byte == b'\n').take(MAX_MAPPINGS).filter_map(line).collect()
}

/// `7f0000001000-7f0000002000 r-xp 00001000 08:01 1234      /usr/lib/libc.so.6`
fn line(line: &[u8]) -> Option<Mapping> {
    let mut rest = line;
    let mut word = || {
        let start = rest.iter().position(|byte| *byte != b' ')?;
        let from = rest.get(start..)?;
        let end = from.iter().position(|byte| *byte == b' ').unwrap_or(from.len());
        let (word, left) = from.split_at(end);
        rest = left;
        std::str::from_utf8(word).ok()
    };
    let (start, end) = word()?.split_once('-')?;
    let flags = word()?;
    let offset = word()?;
    let (major, minor) = word()?.split_once(':')?;
    let inode = word()?;
    let hex = |text| u64::from_str_radix(text, 16).ok();
    let number = |text| u32::from_str_radix(text, 16).ok();
    let path = rest.iter().position(|byte| *byte != b' ').and_then(|start| rest.get(start..)).unwrap_or_default();
    if flags.as_bytes().get(2) != Some(&b'x') {
        return None;
    }
    Some(Mapping {
        start: hex(start)?,
        end: hex(end)?,
        offset: hex(offset)?,
        file: (number(major)?, number(minor)?, inode.parse().ok()?),
        path: path.to_vec(),
    })
}

/// The mapping that holds an address.
pub(super) fn at(mappings: &[Mapping], address: u64) -> Option<&Mapping> {
    let after = mappings.partition_point(|mapping| mapping.start <= address);
    mappings.get(after.checked_sub(1)?).filter(|mapping| address < mapping.end)
}

#[cfg(test)]
mod tests {
    use super::{at, executable};

    const MAPS: &[u8] = b"\
55d0a0000000-55d0a0001000 r--p 00000000 fe:01 77                         /opt/my server/bin (old)
55d0a0001000-55d0a0003000 r-xp 00001000 fe:01 77                         /opt/my server/bin (old)
7f0000000000-7f0000002000 rwxp 00000000 00:00 0
7f0000010000-7f0000012000 r-xp 00026000 fe:01 99                         /usr/lib/\x1b[2Jlibc.so.6 (deleted)
7ffd00000000-7ffd00002000 r-xp 00000000 00:00 0                          [vdso]
nonsense
";

    #[test]
    fn what_can_be_executed_is_found_with_its_file() {
        let mappings = executable(MAPS);
        assert_eq!(mappings.len(), 4);
        let server = at(&mappings, 0x55d0_a000_2fff).unwrap();
        assert_eq!((server.offset, server.file), (0x1000, (0xfe, 1, 77)));
        assert_eq!(server.name(), b"bin (old)");
        assert_eq!(at(&mappings, 0x7f00_0000_0000).unwrap().name(), b"[anonymous]");
        assert_eq!(at(&mappings, 0x7f00_0001_1234).unwrap().name(), b"\x1b[2Jlibc.so.6");
        assert_eq!(at(&mappings, 0x7ffd_0000_0000).unwrap().name(), b"[vdso]");
    }

    #[test]
    fn what_lies_between_is_no_code() {
        let mappings = executable(MAPS);
        for address in [0, 0x55d0_a000_0fff, 0x55d0_a000_3000, 0x7ffd_0000_2000, u64::MAX] {
            assert_eq!(at(&mappings, address), None, "{address:#x}");
        }
        assert_eq!(at(&[], 0), None);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(maps in proptest::collection::vec(proptest::num::u8::ANY, 0..400), address: u64) {
            let _ = at(&executable(&maps), address);
        }
    }
}

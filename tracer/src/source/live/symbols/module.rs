//! One mapped ELF file: its functions, and how far up the stack their return addresses lie.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;

use gimli::{BaseAddresses, CfaRule, EhFrame, LittleEndian, UnwindContext, UnwindSection as _, X86_64};
use object::{Object as _, ObjectSection as _, ObjectSegment as _, ObjectSymbol as _, SymbolKind};

/// The largest file whose tables are read.
const MAX_BYTES: u64 = 512 << 20;
/// Functions of a file that are kept.
const MAX_FUNCTIONS: usize = 1 << 21;
/// How many functions that begin before an address are looked at for one that holds it: one may lie in another.
const NESTED: usize = 16;
/// The farthest above the stack pointer that a return address is looked for.
const MAX_ABOVE: u64 = 4096;

/// What is known of a file.
#[derive(Debug, Default)]
pub(super) struct Module {
    file: Option<File>,
    segments: Vec<Segment>,
    /// By address.
    functions: Vec<Function>,
    names: Vec<u8>,
    /// Address and contents of `.eh_frame`.
    unwind: Option<(u64, Vec<u8>)>,
}

/// A part of the file and where it is meant to lie.
#[derive(Debug)]
struct Segment {
    offset: u64,
    bytes: u64,
    address: u64,
}

#[derive(Debug)]
struct Function {
    address: u64,
    bytes: u64,
    /// Where its name lies among all.
    name: (usize, usize),
}

impl Module {
    /// Reads the tables of a file; what cannot be read is not known.
    pub(super) fn read(mut file: File) -> Self {
        let mut contents = Vec::new();
        let small = file.metadata().is_ok_and(|data| data.len() <= MAX_BYTES);
        let mut module = match (small, file.by_ref().take(MAX_BYTES).read_to_end(&mut contents)) {
            (true, Ok(_)) => Self::parse(&contents),
            _ => Self::default(),
        };
        module.file = Some(file);
        module
    }

    /// The tables of an ELF file.
    pub(super) fn parse(contents: &[u8]) -> Self {
        let mut module = Self::default();
        let Ok(elf) = object::File::parse(contents) else { return module };
        for segment in elf.segments() {
            let (offset, bytes) = segment.file_range();
            module.segments.push(Segment { offset, bytes, address: segment.address() });
        }
        for symbol in elf.symbols().chain(elf.dynamic_symbols()) {
            let (address, bytes) = (symbol.address(), symbol.size());
            if symbol.kind() != SymbolKind::Text || symbol.is_undefined() || bytes == 0 {
                continue;
            }
            let Ok(name) = symbol.name_bytes() else { continue };
            if name.is_empty() || module.functions.len() >= MAX_FUNCTIONS {
                continue;
            }
            let start = module.names.len();
            module.names.extend_from_slice(name);
            module.functions.push(Function { address, bytes, name: (start, module.names.len()) });
        }
        let names = &module.names;
        // Of several names for one function the plainest comes last, where it is found first.
        module.functions.sort_by_key(|function| {
            let name = names.get(function.name.0..function.name.1).unwrap_or_default();
            let underscores = name.iter().take_while(|byte| **byte == b'_').count();
            (function.address, std::cmp::Reverse((underscores, name.len())))
        });
        if let Some(section) = elf.section_by_name(".eh_frame")
            && let Ok(data) = section.data()
        {
            module.unwind = Some((section.address(), data.to_vec()));
        }
        module
    }

    /// Where a place in the file is meant to lie; `None` when it is in none of its segments.
    pub(super) fn address_of(&self, offset: u64) -> Option<u64> {
        let behind = |segment: &Segment| offset.checked_sub(segment.offset).filter(|behind| *behind < segment.bytes);
        self.segments.iter().find_map(|segment| segment.address.checked_add(behind(segment)?))
    }

    /// The function that holds an address, and where it begins.
    pub(super) fn function(&self, address: u64) -> Option<(&[u8], u64)> {
        let after = self.functions.partition_point(|function| function.address <= address);
        let before = self.functions.get(..after)?.iter().rev().take(NESTED);
        let function = before.into_iter().find(|function| address - function.address < function.bytes)?;
        Some((self.names.get(function.name.0..function.name.1)?, function.address))
    }

    /// How many bytes above the stack pointer the return address lies when the instruction before this address has run; `None` where
    /// that is not known, or the function has a frame pointer.
    pub(super) fn return_above(&self, address: u64) -> Option<u32> {
        let (base, contents) = self.unwind.as_ref()?;
        let frames = EhFrame::new(contents, LittleEndian);
        let bases = BaseAddresses::default().set_eh_frame(*base);
        let mut context = UnwindContext::new();
        let row = frames
            .unwind_info_for_address(&bases, &mut context, address.checked_sub(1)?, EhFrame::cie_from_offset)
            .ok()?;
        let CfaRule::RegisterAndOffset { register: X86_64::RSP, offset } = row.cfa() else { return None };
        // The return address lies right below (System V ABI for x86-64, 3.7).
        let above = u64::try_from(*offset).ok()?.checked_sub(8).filter(|above| *above <= MAX_ABOVE)?;
        u32::try_from(above).ok()
    }

    /// Bytes of the file.
    pub(super) fn bytes<const N: usize>(&self, offset: u64) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.file.as_ref()?.read_exact_at(&mut bytes, offset).ok()?;
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::Module;
    use std::fs::File;
    use std::io::Read as _;

    #[inline(never)]
    fn a_function_to_find() -> u64 {
        std::hint::black_box(7)
    }

    fn own() -> Module {
        Module::read(File::open("/proc/self/exe").unwrap())
    }

    #[test]
    fn a_function_of_this_very_program_is_found_by_its_address() {
        let module = own();
        let maps = super::super::maps::executable(&std::fs::read("/proc/self/maps").unwrap());
        let address = a_function_to_find as fn() -> u64 as usize as u64;
        let mapping = super::super::maps::at(&maps, address).unwrap();
        let place = module.address_of(address - mapping.start + mapping.offset).unwrap();
        let (name, start) = module.function(place).unwrap();
        let name = super::super::demangle::readable(name);
        assert!(String::from_utf8_lossy(&name).ends_with("a_function_to_find"), "{}", String::from_utf8_lossy(&name));
        assert_eq!(start, place);
        // Before its first instruction the return address is on top of the stack.
        assert_eq!(module.return_above(place + 1), Some(0));
        assert_eq!(a_function_to_find(), 7);
    }

    #[test]
    fn an_address_in_no_function_has_no_name() {
        let module = own();
        assert_eq!(module.function(0), None);
        assert_eq!(module.function(u64::MAX), None);
        assert_eq!(module.return_above(0), None);
        assert_eq!(module.address_of(u64::MAX), None);
    }

    /// The head of this very program, large enough for its own tables of segments, and a table of sections that is not there.
    fn head() -> &'static [u8] {
        static HEAD: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
        HEAD.get_or_init(|| {
            let mut head = Vec::new();
            File::open("/proc/self/exe").unwrap().take(8_192).read_to_end(&mut head).unwrap();
            head
        })
    }

    proptest::proptest! {
        #[test]
        fn a_broken_file_panics_nowhere(at in 0..1_024_usize, byte: u8, address: u64, cut in 0..8_192_usize) {
            let mut contents = head().to_vec();
            contents.truncate(8_192 - cut);
            if let Some(broken) = contents.get_mut(at) {
                *broken = byte;
            }
            let module = Module::parse(&contents);
            let _ = (module.function(address), module.return_above(address), module.address_of(address));
        }
    }
}

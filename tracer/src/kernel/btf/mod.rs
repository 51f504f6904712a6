//! A small checked reader of BTF, the kernel's own description of its types.
//!
//! In: `/sys/kernel/btf/vmlinux`, or any bytes: nothing in them is trusted. Out: sizes, field offsets and prototypes.
//! One pass notes where each type starts and hashes the names of structs, unions, typedefs and functions; strings are
//! only made for answers. The format: `include/uapi/linux/btf.h` and `Documentation/bpf/btf.rst`. Little-endian BTF of a
//! 64-bit kernel only; of a split BTF (a module's), which refers to the types of vmlinux, nothing is found or it is refused.

mod ctype;
mod error;
mod fields;
mod reduced;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

pub use ctype::{Parameter, Prototype};
pub use error::{BtfError, LoadError};
pub use fields::Field;

/// Where the kernel shows its own types.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// The most that is read of a file; vmlinux has about 5 MiB.
const MAX_FILE: u64 = 64 << 20;
/// `BTF_MAX_TYPE`
const MAX_TYPES: usize = 0xf_ffff;
/// `KSYM_NAME_LEN` (include/linux/kallsyms.h, since 6.1), which limits the names of BTF (kernel/bpf/btf.c, `__btf_name_valid`).
const MAX_NAME: usize = 512;
/// Typedefs and qualifiers that may follow each other; the kernel's own limit for resolving is 32 (`MAX_RESOLVE_DEPTH`).
const MAX_CHAIN: usize = 64;
/// Bytes of `struct btf_type`.
const TYPE_BYTES: usize = 12;
/// Bytes of the header before the kernels that describe the length of each kind (`layout_off`, `layout_len`).
const OLD_HEADER_BYTES: usize = 24;

/// `BTF_KIND_*`
mod kind {
    pub(super) const INT: u8 = 1;
    pub(super) const PTR: u8 = 2;
    pub(super) const ARRAY: u8 = 3;
    pub(super) const STRUCT: u8 = 4;
    pub(super) const UNION: u8 = 5;
    pub(super) const ENUM: u8 = 6;
    pub(super) const FWD: u8 = 7;
    pub(super) const TYPEDEF: u8 = 8;
    pub(super) const VOLATILE: u8 = 9;
    pub(super) const CONST: u8 = 10;
    pub(super) const RESTRICT: u8 = 11;
    pub(super) const FUNC: u8 = 12;
    pub(super) const FUNC_PROTO: u8 = 13;
    pub(super) const VAR: u8 = 14;
    pub(super) const DATASEC: u8 = 15;
    pub(super) const FLOAT: u8 = 16;
    pub(super) const DECL_TAG: u8 = 17;
    pub(super) const TYPE_TAG: u8 = 18;
    pub(super) const ENUM64: u8 = 19;
}

/// The types of a kernel.
#[derive(Debug, Clone)]
pub struct Btf {
    data: Vec<u8>,
    strings: Range<usize>,
    /// Where type `id` starts in `data`, at `id - 1`.
    types: Vec<u32>,
    /// Hash of the name and id of each struct, union, typedef and function that has a name, sorted.
    names: Vec<(u32, u32)>,
}

/// `struct btf_type`: what all kinds have in common.
#[derive(Debug, Clone, Copy)]
struct Type {
    name: u32,
    info: u32,
    /// The size, or the id of another type: the kind decides.
    of: u32,
    /// Where the kind's own data starts.
    rest: usize,
}

impl Type {
    /// The seven bits of kernels that know more than 31 kinds; the bits were zero before.
    fn kind(self) -> u8 {
        ((self.info >> 24) & 0x7f) as u8
    }

    /// The 24 bits of kernels that allow more than 65535 members; the bits were zero before.
    fn count(self) -> usize {
        (self.info & 0xff_ffff) as usize
    }

    fn flag(self) -> bool {
        self.info >> 31 == 1
    }
}

impl Btf {
    /// Reads a kernel's BTF from a file such as [`VMLINUX`].
    ///
    /// # Errors
    /// [`LoadError`]: the file cannot be read, is far too long, or is not usable BTF.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        let read = |source| LoadError::Read { path: path.to_owned(), source };
        let mut data = Vec::new();
        let file = File::open(path).map_err(read)?;
        file.take(MAX_FILE + 1).read_to_end(&mut data).map_err(read)?;
        if data.len() as u64 > MAX_FILE {
            return Err(LoadError::TooLarge { path: path.to_owned(), limit: MAX_FILE });
        }
        Self::parse(data).map_err(|source| LoadError::Parse { path: path.to_owned(), source })
    }

    /// Takes over the bytes of a BTF file and indexes them.
    ///
    /// # Errors
    /// [`BtfError`]: they are not BTF, of a kind that is not supported, or damaged. Damage inside of a type that no question
    /// asks for may stay unseen.
    pub fn parse(data: impl Into<Vec<u8>>) -> Result<Self, BtfError> {
        let data = data.into();
        let sections = Sections::parse(&data)?;
        let mut btf = Self { data, strings: sections.strings, types: Vec::new(), names: Vec::new() };
        btf.index(sections.types, &sections.layout)?;
        Ok(btf)
    }

    /// How many types there are, `void` not counted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.types.len()
    }

    /// Whether there are no types.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.types.is_empty()
    }

    /// Walks the type section once.
    fn index(&mut self, section: Range<usize>, layout: &Range<usize>) -> Result<(), BtfError> {
        // Measured on 6.18: 22 bytes a type, a name in five of ten.
        self.types.reserve(section.len() / 20);
        self.names.reserve(section.len() / 40);
        let mut at = section.start;
        while at < section.end {
            if self.types.len() >= MAX_TYPES {
                return Err(BtfError::Malformed("it has more than 1048575 types"));
            }
            let start = u32::try_from(at).map_err(|_| BtfError::Malformed("it is larger than 4 GiB"))?;
            self.types.push(start);
            // Fits: at most MAX_TYPES.
            let id = u32::try_from(self.types.len()).unwrap_or(u32::MAX);
            let ty = read_type(&self.data, at)?;
            at = self
                .bytes_after(ty, id, layout)?
                .checked_add(ty.rest)
                .filter(|&end| end <= section.end)
                .ok_or(BtfError::Truncated("its last type goes on after the end"))?;
            if ty.name != 0 && matches!(ty.kind(), kind::STRUCT | kind::UNION | kind::TYPEDEF | kind::FUNC) {
                self.names.push((hash(self.name_bytes(ty.name)?), id));
            }
        }
        self.names.sort_unstable();
        Ok(())
    }

    /// Bytes of a type after `struct btf_type`.
    fn bytes_after(&self, ty: Type, id: u32, layout: &Range<usize>) -> Result<usize, BtfError> {
        let count = ty.count();
        Ok(match ty.kind() {
            kind::INT | kind::VAR | kind::DECL_TAG => 4,
            kind::PTR
            | kind::FWD
            | kind::TYPEDEF
            | kind::VOLATILE
            | kind::CONST
            | kind::RESTRICT
            | kind::FUNC
            | kind::FLOAT
            | kind::TYPE_TAG => 0,
            kind::ARRAY => 12,
            kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => count * 12,
            kind::ENUM | kind::FUNC_PROTO => count * 8,
            unknown => {
                // `struct btf_layout`: one u8 for the kind's own data, one for each of its elements, 16 bits unused.
                let entry = layout.start + 4 * usize::from(unknown);
                let known = unknown != 0 && entry + 4 <= layout.end;
                match self.data.get(entry..entry + 2) {
                    Some(&[info, element]) if known => usize::from(info) + count * usize::from(element),
                    _ => return Err(BtfError::UnknownKind { id, kind: unknown }),
                }
            }
        })
    }

    /// The type `id`; not for 0, which is `void` and has no entry.
    fn ty(&self, id: u32) -> Result<Type, BtfError> {
        let entry = (id as usize).checked_sub(1).and_then(|i| self.types.get(i));
        read_type(&self.data, *entry.ok_or(BtfError::NoType(id))? as usize)
    }

    fn name(&self, offset: u32) -> Result<&str, BtfError> {
        std::str::from_utf8(self.name_bytes(offset)?).map_err(|_| BtfError::BadName(offset))
    }

    fn name_bytes(&self, offset: u32) -> Result<&[u8], BtfError> {
        let strings = self.data.get(self.strings.clone()).unwrap_or_default();
        let tail = strings.get(offset as usize..).unwrap_or_default();
        let end = tail.iter().take(MAX_NAME).position(|&byte| byte == 0);
        end.and_then(|end| tail.get(..end)).ok_or(BtfError::BadName(offset))
    }

    fn has_name(&self, offset: u32, name: &str) -> bool {
        self.name_bytes(offset).is_ok_and(|bytes| bytes == name.as_bytes())
    }

    /// The ids of the structs, unions, typedefs and functions of this name, ascending.
    fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (u32, Type)> + 'a {
        let wanted = hash(name.as_bytes());
        let first = self.names.partition_point(|&(hash, _)| hash < wanted);
        self.names[first..]
            .iter()
            .take_while(move |&&(hash, _)| hash == wanted)
            .filter_map(|&(_, id)| Some((id, self.ty(id).ok()?)))
            .filter(move |(_, ty)| self.has_name(ty.name, name))
    }

    /// The id of a function, as a call of it names it; `None` if there is none.
    #[must_use]
    pub fn function_id(&self, name: &str) -> Option<u32> {
        self.named(name).find(|(_, ty)| ty.kind() == kind::FUNC).map(|(id, _)| id)
    }

    /// The id of a struct; `None` if there is none.
    #[must_use]
    pub fn struct_id(&self, name: &str) -> Option<u32> {
        self.named(name).find(|(_, ty)| ty.kind() == kind::STRUCT).map(|(id, _)| id)
    }

    /// Follows typedefs, qualifiers and tags; `None` is `void`.
    fn resolve(&self, id: u32) -> Result<Option<(u32, Type)>, BtfError> {
        let mut at = id;
        for _ in 0..MAX_CHAIN {
            if at == 0 {
                return Ok(None);
            }
            let ty = self.ty(at)?;
            if !is_alias(ty.kind()) {
                return Ok(Some((at, ty)));
            }
            at = ty.of;
        }
        Err(BtfError::TooDeep(id))
    }
}

/// Where the sections lie in the file.
struct Sections {
    types: Range<usize>,
    strings: Range<usize>,
    layout: Range<usize>,
}

impl Sections {
    fn parse(data: &[u8]) -> Result<Self, BtfError> {
        let Some(&[magic_low, magic_high, version, flags]) = data.first_chunk() else {
            return Err(BtfError::Truncated("it has no header"));
        };
        match u16::from_le_bytes([magic_low, magic_high]) {
            0xeb9f => {}
            0x9feb => return Err(BtfError::BigEndian),
            other => return Err(BtfError::NotBtf(other)),
        }
        if version != 1 {
            return Err(BtfError::Unsupported { what: "version", value: version });
        }
        if flags != 0 {
            return Err(BtfError::Unsupported { what: "flags", value: flags });
        }
        let header = read_u32(data, 4)? as usize;
        if header < OLD_HEADER_BYTES {
            return Err(BtfError::Malformed("its header is too short"));
        }
        let section = |at| -> Result<Range<usize>, BtfError> {
            let start = header.checked_add(read_u32(data, at)? as usize);
            let end = start.and_then(|start| start.checked_add(read_u32(data, at + 4).ok()? as usize));
            match (start, end) {
                (Some(start), Some(end)) if end <= data.len() => Ok(start..end),
                _ => Err(BtfError::Truncated("a section lies outside of it")),
            }
        };
        let types = section(8)?;
        let strings = section(16)?;
        let layout = if header >= OLD_HEADER_BYTES + 8 { section(24)? } else { 0..0 };
        match &data[strings.clone()] {
            [0] | [0, .., 0] => Ok(Self { types, strings, layout }),
            _ => Err(BtfError::Malformed("its strings do not start and end with a zero byte")),
        }
    }
}

fn read_u32(data: &[u8], at: usize) -> Result<u32, BtfError> {
    let bytes = data.get(at..).and_then(|tail| tail.first_chunk());
    bytes.map(|bytes| u32::from_le_bytes(*bytes)).ok_or(BtfError::Truncated("a number goes on after the end"))
}

fn read_type(data: &[u8], at: usize) -> Result<Type, BtfError> {
    Ok(Type {
        name: read_u32(data, at)?,
        info: read_u32(data, at + 4)?,
        of: read_u32(data, at + 8)?,
        rest: at + TYPE_BYTES,
    })
}

/// Whether a type of this kind only gives another type a name or a qualifier.
fn is_alias(kind: u8) -> bool {
    matches!(kind, kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG)
}

/// FNV-1a: short, and good enough for identifiers. Equal hashes only cost a comparison.
fn hash(name: &[u8]) -> u32 {
    name.iter().fold(0x811c_9dc5, |hash, &byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

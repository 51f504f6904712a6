//! BTF made by hand.

use super::btf::Btf;

/// BTF that grows type by type; ids count from 1.
#[derive(Debug, Clone)]
pub(crate) struct Blob {
    types: Vec<u8>,
    strings: Vec<u8>,
    count: u32,
    layout: Option<Vec<u8>>,
}

pub(crate) const INT: u32 = 1;
pub(crate) const PTR: u32 = 2;
pub(crate) const ARRAY: u32 = 3;
pub(crate) const STRUCT: u32 = 4;
pub(crate) const UNION: u32 = 5;
pub(crate) const TYPEDEF: u32 = 8;
pub(crate) const CONST: u32 = 10;
pub(crate) const FUNC: u32 = 12;
pub(crate) const FUNC_PROTO: u32 = 13;
pub(crate) const TYPE_TAG: u32 = 18;

impl Blob {
    pub(crate) fn new() -> Self {
        Self { types: Vec::new(), strings: vec![0], count: 0, layout: None }
    }

    pub(crate) fn string(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let at = u32::try_from(self.strings.len()).unwrap();
        self.strings.extend_from_slice(text.as_bytes());
        self.strings.push(0);
        at
    }

    /// `info` is the kind, with the count and the flag where they matter.
    pub(crate) fn raw(&mut self, name: &str, info: u32, size_or_type: u32, rest: &[u32]) -> u32 {
        let name = self.string(name);
        for word in [name, info, size_or_type].iter().chain(rest) {
            self.types.extend_from_slice(&word.to_le_bytes());
        }
        self.count += 1;
        self.count
    }

    pub(crate) fn ty(&mut self, name: &str, kind: u32, of: u32) -> u32 {
        self.raw(name, kind << 24, of, &[])
    }

    pub(crate) fn int(&mut self, name: &str, bytes: u32) -> u32 {
        self.raw(name, INT << 24, bytes, &[bytes * 8])
    }

    pub(crate) fn array(&mut self, of: u32, elements: u32) -> u32 {
        self.raw("", ARRAY << 24, 0, &[of, of, elements])
    }

    /// Members are name, type and offset in bytes.
    pub(crate) fn composite(&mut self, kind: u32, name: &str, size: u32, members: &[(&str, u32, u32)]) -> u32 {
        let bits: Vec<_> = members.iter().map(|&(name, ty, offset)| (name, ty, offset * 8)).collect();
        self.composite_of_bits(kind << 24, name, size, &bits)
    }

    pub(crate) fn composite_of_bits(&mut self, info: u32, name: &str, size: u32, members: &[(&str, u32, u32)]) -> u32 {
        let rest: Vec<_> = members.iter().flat_map(|&(name, ty, offset)| [self.string(name), ty, offset]).collect();
        self.raw(name, info | u32::try_from(members.len()).unwrap(), size, &rest)
    }

    pub(crate) fn function(&mut self, name: &str, returns: u32, parameters: &[(&str, u32)]) -> u32 {
        let proto = self.prototype(returns, parameters);
        self.ty(name, FUNC, proto)
    }

    pub(crate) fn prototype(&mut self, returns: u32, parameters: &[(&str, u32)]) -> u32 {
        let rest: Vec<_> = parameters.iter().flat_map(|&(name, ty)| [self.string(name), ty]).collect();
        self.raw("", FUNC_PROTO << 24 | u32::try_from(parameters.len()).unwrap(), returns, &rest)
    }

    /// Adds the section that says how long each kind is, from kind 0 on: own bytes and bytes of an element.
    pub(crate) fn describe_kinds(&mut self, kinds: &[(u8, u8)]) {
        self.layout = Some(kinds.iter().flat_map(|&(own, element)| [own, element, 0, 0]).collect());
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let length = |part: &[u8]| u32::try_from(part.len()).unwrap();
        let (types, strings) = (length(&self.types), length(&self.strings));
        let mut words = vec![0, types, types, strings];
        let layout = self.layout.as_deref();
        words.extend(layout.iter().flat_map(|layout| [types + strings, length(layout)]));
        let header = u32::try_from(8 + 4 * words.len()).unwrap();
        let mut bytes = vec![0x9f, 0xeb, 1, 0];
        bytes.extend_from_slice(&header.to_le_bytes());
        bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        bytes.extend_from_slice(&self.types);
        bytes.extend_from_slice(&self.strings);
        bytes.extend_from_slice(layout.unwrap_or_default());
        bytes
    }

    pub(crate) fn btf(&self) -> Btf {
        Btf::parse(self.bytes()).unwrap()
    }
}

/// The BTF of the machine that runs the tests; `None` (said on stderr) where it shows none.
pub(super) fn own_btf() -> Option<Btf> {
    let path = std::path::Path::new(super::btf::VMLINUX);
    if !path.exists() {
        eprintln!("skipped: this kernel has no {}", path.display());
        return None;
    }
    Some(Btf::load(path).unwrap())
}

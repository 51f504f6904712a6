//! BTF that names a few functions and nothing else.
//!
//! In: the kernel's BTF, names. Out: bytes of BTF in which the functions of these names have the ids that the kernel knows them by, and
//! every other id is a type without a name. Who looks a function up by name and goes through all types for it is through them at once.

use super::{Btf, OLD_HEADER_BYTES, TYPE_BYTES, kind};

impl Btf {
    /// BTF with the functions of these names, at their ids; of several that share a name, the first.
    #[must_use]
    pub fn reduced_to(&self, functions: &[&str]) -> Vec<u8> {
        let mut found: Vec<(u32, &str)> =
            functions.iter().filter_map(|name| Some((self.function_id(name)?, *name))).collect();
        found.sort_unstable();
        found.dedup();
        let mut types = Vec::new();
        let mut strings = vec![0];
        let mut next = 1;
        for (id, name) in found {
            for _ in next..id {
                types.extend(entry(0, kind::FWD));
            }
            types.extend(entry(length(&strings), kind::FUNC));
            strings.extend_from_slice(name.as_bytes());
            strings.push(0);
            next = id + 1;
        }
        let mut bytes = vec![0x9f, 0xeb, 1, 0];
        // Fits: the header is 24 bytes long.
        let header = u32::try_from(OLD_HEADER_BYTES).unwrap_or_default();
        let words = [header, 0, length(&types), length(&types), length(&strings)];
        bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        bytes.extend(types);
        bytes.extend(strings);
        bytes
    }
}

/// A `struct btf_type` of a kind that has nothing after it.
fn entry(name: u32, kind: u8) -> [u8; TYPE_BYTES] {
    let mut bytes = [0; TYPE_BYTES];
    bytes[..4].copy_from_slice(&name.to_le_bytes());
    bytes[4..8].copy_from_slice(&(u32::from(kind) << 24).to_le_bytes());
    bytes
}

/// Fits: there are no more types than the kernel's BTF had, which was shorter than 4 GiB.
fn length(part: &[u8]) -> u32 {
    u32::try_from(part.len()).unwrap_or(u32::MAX)
}

//! Why BTF could not be read, or does not answer a question.

use std::io;
use std::path::PathBuf;

/// Why a file gave no [`Btf`](super::Btf).
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file could not be read.
    #[error("cannot read BTF from {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is longer than any kernel's BTF.
    #[error("{} is longer than {limit} bytes, which no kernel's BTF is", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The most that is read.
        limit: u64,
    },
    /// The file was read, but is no usable BTF.
    #[error("{} cannot be used as BTF", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong with its bytes.
        source: BtfError,
    },
}

/// Why bytes are no usable BTF, or why BTF has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BtfError {
    /// The magic number is another.
    #[error("this is not BTF: it starts with {0:#06x} instead of 0xeb9f")]
    NotBtf(u16),
    /// BTF of a big-endian kernel.
    #[error("this is BTF of a big-endian kernel; only little-endian kernels are supported")]
    BigEndian,
    /// A version or flag that did not exist when this was written.
    #[error("{what} {value:#x} of BTF is unknown")]
    Unsupported {
        /// "version" or "flags".
        what: &'static str,
        /// Its value.
        value: u8,
    },
    /// The bytes end too early, or a section lies outside of them.
    #[error("the BTF is cut short: {0}")]
    Truncated(&'static str),
    /// The bytes contradict themselves.
    #[error("the BTF is damaged: {0}")]
    Malformed(&'static str),
    /// A kind of type that is unknown and whose length the BTF does not say.
    #[error("type {id} of the BTF is of the unknown kind {kind}")]
    UnknownKind {
        /// The type.
        id: u32,
        /// Its kind.
        kind: u8,
    },
    /// A type id that does not exist.
    #[error("the BTF is damaged: it refers to type {0}, which it does not have")]
    NoType(u32),
    /// A name that is not UTF-8, too long, or outside the strings.
    #[error("the BTF is damaged: there is no name at {0} of its strings")]
    BadName(u32),
    /// Chains or nesting of types beyond what any kernel has: most likely a cycle.
    #[error("the BTF is damaged: type {0} is nested too deep")]
    TooDeep(u32),
    /// There is no struct, union, or typedef of one.
    #[error("this kernel has no struct {0}")]
    NoStruct(String),
    /// There is no such function. It may still exist as a symbol that BTF leaves out.
    #[error("this kernel's BTF has no function {0}")]
    NoFunction(String),
    /// The struct is there, the field is not.
    #[error("this kernel's {owner} has no field {field}")]
    NoField {
        /// The struct, with the path walked so far.
        owner: String,
        /// The missing part.
        field: String,
    },
    /// A path goes on after a field that has no fields of its own, such as a pointer.
    #[error("{0} is no struct, so it has no fields")]
    NotAStruct(String),
    /// The field does not start and end at a byte.
    #[error("{0} is a bitfield")]
    Bitfield(String),
    /// Several structs share the name and put the field at different places.
    #[error("this kernel has several structs {owner} that put {field} at different offsets")]
    Ambiguous {
        /// The struct.
        owner: String,
        /// The path of the field.
        field: String,
    },
}

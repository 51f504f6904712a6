//! Reads of kernel memory in place: the calls of `bpf_rdonly_cast`, which aya cannot link, are put into the object before it is loaded.
//!
//! In: the object, and what this kernel's BTF says. Out: the object whose calls of [`CAST`], a helper that no kernel has, are calls of the
//! kernel's function (`BPF_PSEUDO_KFUNC_CALL`, uapi/linux/bpf.h). Where the kernel has no such function, the calls stay, in branches
//! that the verifier takes out.

use std::borrow::Cow;

use tracer_common::{CAST, Config, MAX_LONGS_IN_PLACE};

use crate::kernel::btf::Btf;

/// `BPF_JMP | BPF_CALL`
const CALL: u8 = 0x85;
/// `BPF_PSEUDO_KFUNC_CALL` as source register, no destination.
const KERNEL_FUNCTION: u8 = 2 << 4;
/// Bytes of an instruction.
const INSTRUCTION: usize = 8;

/// The function, and a structure whose first [`MAX_LONGS_IN_PLACE`] fields are plain longs, by their BTF ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InPlace {
    /// `bpf_rdonly_cast`
    pub function: u32,
    /// `struct pt_regs`
    pub longs: u32,
}

/// The fields of x86-64's `struct pt_regs` that are plain longs on every kernel (arch/x86/include/asm/ptrace.h, 6.2 to 7.3).
const LONGS: [&str; MAX_LONGS_IN_PLACE] =
    ["r15", "r14", "r13", "r12", "bp", "bx", "r11", "r10", "r9", "r8", "ax", "cx", "dx", "si", "di"];

impl InPlace {
    /// What this kernel has; `None` where it lacks the function, or the structure is another.
    #[must_use]
    pub fn of(btf: &Btf) -> Option<Self> {
        let place = |name: &str| btf.field("pt_regs", name).ok().and_then(|field| Some((field.offset, field.size?)));
        let plain = (0_u32..).zip(LONGS).all(|(index, name)| place(name) == Some((index * 8, 8)));
        let (function, longs) = (btf.function_id("bpf_rdonly_cast")?, btf.struct_id("pt_regs")?);
        plain.then_some(Self { function, longs })
    }
}

/// The object with the calls that the configuration names.
#[must_use]
pub(super) fn linked<'a>(object: &'a [u8], config: &Config) -> Cow<'a, [u8]> {
    if config.longs_type == 0 {
        return Cow::Borrowed(object);
    }
    let mut object = object.to_vec();
    for instruction in object.chunks_exact_mut(INSTRUCTION) {
        if *instruction == call(0, CAST.cast_unsigned()) {
            instruction.copy_from_slice(&call(KERNEL_FUNCTION, config.cast_function));
        }
    }
    Cow::Owned(object)
}

fn call(registers: u8, number: u32) -> [u8; INSTRUCTION] {
    let [a, b, c, d] = number.to_le_bytes();
    [CALL, registers, 0, 0, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::{call, linked};
    use crate::probes::OBJECT;
    use tracer_common::{CAST, Config};

    fn calls(object: &[u8], registers: u8, number: u32) -> usize {
        object.chunks_exact(8).filter(|instruction| **instruction == call(registers, number)).count()
    }

    #[test]
    fn every_call_becomes_one_of_the_kernels_function_where_there_is_one() {
        let placeholder = CAST.cast_unsigned();
        let all = calls(OBJECT, 0, placeholder);
        assert!(all > 0);
        let found = linked(OBJECT, &Config { longs_type: 7, cast_function: 0x0102_0304, ..Config::EMPTY });
        assert_eq!((calls(&found, 0, placeholder), calls(&found, 0x20, 0x0102_0304)), (0, all));
        assert_eq!(*linked(OBJECT, &Config::EMPTY), *OBJECT);
    }
}

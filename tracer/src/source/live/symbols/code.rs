//! Whether an address of a stack can be one: what stands in the code before it.
//!
//! A program without frame pointers has any number where the kernel looks for them, and what lies behind it need not be an address of
//! code. Then the stack ends there.

/// Bytes of code that are looked at, before an address and from it on.
pub(super) const BEFORE: usize = 8;
pub(super) const BEHIND: usize = 9;

/// `mov $15, %rax; syscall`: where a signal handler returns to.
const SIGRETURN: [u8; BEHIND] = [0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05];

/// Whether a system call, or a call, ends where these bytes have their middle (x86-64; Intel's manual, volume 2: CALL, SYSCALL,
/// SYSENTER, INT).
pub(super) fn returns_here(code: [u8; BEFORE + BEHIND]) -> bool {
    let (before, behind) = code.split_at(BEFORE);
    let back = |bytes: usize| before.get(BEFORE - bytes).copied().unwrap_or(0);
    let system_call = matches!([back(2), back(1)], [0x0f, 0x05 | 0x34] | [0xcd, 0x80]);
    // To a place that lies so many bytes away.
    let near = back(5) == 0xe8;
    // To an address from a register or from memory: so many bytes from the opcode on, as its second byte says.
    let indirect = (2..=7).any(|bytes| {
        let (modrm, sib) = (back(bytes - 1), if bytes > 2 { back(bytes - 2) } else { 0 });
        back(bytes) == 0xff && modrm >> 3 & 7 == 2 && length(modrm, sib) == bytes
    });
    system_call || near || indirect || behind == SIGRETURN
}

/// Bytes of an instruction of one opcode byte with this `ModRM` byte, and this `SIB` byte if it has one.
const fn length(modrm: u8, sib: u8) -> usize {
    let (mode, register) = (modrm >> 6, modrm & 7);
    if mode == 3 {
        return 2;
    }
    let with_sib = register == 4;
    let displacement = match mode {
        0 if register == 5 || (with_sib && sib & 7 == 5) => 4,
        0 => 0,
        1 => 1,
        _ => 4,
    };
    2 + with_sib as usize + displacement
}

#[cfg(test)]
mod tests {
    use super::{BEFORE, BEHIND, SIGRETURN, returns_here};

    fn after(instruction: &[u8]) -> bool {
        let mut code = [0x90; BEFORE + BEHIND];
        code[BEFORE - instruction.len()..BEFORE].copy_from_slice(instruction);
        returns_here(code)
    }

    #[test]
    fn calls_and_system_calls_are_known_in_every_form() {
        for instruction in [
            &[0x0f, 0x05][..],
            &[0x0f, 0x34],
            &[0xcd, 0x80],
            &[0xe8, 1, 2, 3, 4],
            &[0xff, 0xd0],                   // call *%rax
            &[0x41, 0xff, 0xd4],             // call *%r12
            &[0xff, 0x10],                   // call *(%rax)
            &[0xff, 0x50, 0x18],             // call *24(%rax)
            &[0xff, 0x14, 0xc5, 0, 0, 0, 0], // call *0(,%rax,8)
            &[0xff, 0x54, 0x24, 0x08],       // call *8(%rsp)
            &[0xff, 0x15, 1, 2, 3, 4],       // call *place(%rip)
            &[0xff, 0x94, 0x24, 0, 1, 0, 0], // call *256(%rsp)
        ] {
            assert!(after(instruction), "{instruction:02x?}");
        }
        let mut handler = [0x90; BEFORE + BEHIND];
        handler[BEFORE..].copy_from_slice(&SIGRETURN);
        assert!(returns_here(handler));
    }

    #[test]
    fn other_code_is_none() {
        for instruction in [
            &[0x0f, 0x0b][..],
            &[0xff, 0xe0],             // jmp *%rax
            &[0xff, 0x25, 1, 2, 3, 4], // jmp *place(%rip)
            &[0xff, 0x50],             // cut short
            &[0xe8, 1, 2, 3],
            &[0xc3],
        ] {
            assert!(!after(instruction), "{instruction:02x?}");
        }
        assert!(!returns_here([0; BEFORE + BEHIND]));
    }
}

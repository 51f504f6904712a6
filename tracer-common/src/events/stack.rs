//! Where in its program a task makes a call: the user stack, and the names of its addresses.

use crate::Header;

/// The call that the task's next record of the same `ts_ns` and CPU tells was made with this user stack.
///
/// Only with `--stacks`, and only of calls: [`Ctl`](super::Ctl), [`WaitExit`](super::WaitExit), [`Accept`](super::Accept),
/// [`Io`](super::Io).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(zerocopy::FromBytes))]
#[repr(C)]
pub struct Stack {
    /// As in the record that follows.
    pub header: Header,
    /// Which stack: a number that no other stack of the trace has, never 0. Its [`Frame`]s were told before.
    pub stack: u64,
}

/// One address of a user stack, told once for each stack of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(zerocopy::FromBytes))]
#[repr(C)]
pub struct Frame {
    /// The task that was first seen with this stack.
    pub header: Header,
    /// The number of the stack.
    pub stack: u64,
    /// The address of the code: behind the instruction that makes the system call, then where each function returns to.
    pub address: u64,
    /// Its place in the stack, from 0: the innermost.
    pub index: u32,
    /// How many addresses the stack has.
    pub count: u32,
}

/// The most addresses of a stack.
pub const MAX_FRAMES: usize = 32;

/// What an address of a process stands for, as the collector read it from `/proc/PID/maps` and the files that are mapped there.
///
/// Made by the collector alone. A text that is longer than a record goes on in the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(zerocopy::FromBytes))]
#[repr(C)]
pub struct Symbol {
    /// The process, and the moment at which it was looked up.
    pub header: Header,
    /// The address.
    pub address: u64,
    /// How far the address lies behind the beginning of what is named.
    pub offset: u64,
    /// One of [`symbol_of`].
    pub of: u32,
    /// Which part of the text this is, from 0.
    pub part: u32,
    /// A part of the text, padded with zero bytes; not a string to trust.
    pub text: [u8; SYMBOL_PART],
}

/// Bytes of a text in one [`Symbol`].
pub const SYMBOL_PART: usize = 56;

/// What a [`Symbol`] names.
pub mod symbol_of {
    /// The file that is mapped there.
    pub const MODULE: u32 = 0;
    /// The function.
    pub const FUNCTION: u32 = 1;
    /// Nothing: the text says why the address has no name.
    pub const UNKNOWN: u32 = 2;
    /// No call can return to this address, and the text says why: a program without frame pointers had something else there. What
    /// lies behind it in a stack is none of the stack's either.
    pub const NO_CODE: u32 = 3;
}

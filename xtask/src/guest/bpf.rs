//! Counts what is loaded in the kernel, by asking the kernel itself: `bpf(BPF_*_GET_NEXT_ID)`.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use nix::errno::Errno;

const PROG_GET_NEXT_ID: libc::c_long = 11;
const MAP_GET_NEXT_ID: libc::c_long = 12;
const LINK_GET_NEXT_ID: libc::c_long = 31;

/// The part of `union bpf_attr` that the three commands read and write.
#[repr(C)]
struct NextId {
    start: u32,
    next: u32,
    flags: u32,
}

/// Prints the ids of all programs, maps and links as one line of JSON.
pub(crate) fn print_ids() -> Result<()> {
    let ids = serde_json::json!({
        "programs": ids(PROG_GET_NEXT_ID)?,
        "maps": ids(MAP_GET_NEXT_ID)?,
        "links": ids(LINK_GET_NEXT_ID)?,
    });
    println!("{ids}");
    Ok(())
}

fn ids(command: libc::c_long) -> Result<BTreeSet<u32>> {
    let mut found = BTreeSet::new();
    let mut attr = NextId { start: 0, next: 0, flags: 0 };
    loop {
        // SAFETY: the command reads and writes the three words of `attr`, whose size is given, and nothing else.
        let done = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut attr, size_of::<NextId>()) };
        match Errno::result(done) {
            Ok(_) => {
                found.insert(attr.next);
                attr.start = attr.next;
            }
            Err(Errno::ENOENT) => return Ok(found),
            Err(error) => {
                return Err(error).with_context(|| format!("bpf command {command} failed: root is needed"));
            }
        }
    }
}

//! Tries every hook on this kernel and lets go of it again.

use aya::maps::MapType;
use aya::sys::is_map_supported;

use super::OBJECT;
use super::attach::{How, Outcome, Sizes, attach, load};
use super::facts::Facts;
use super::plan::{Preference, Purpose, plan};

/// What the tries said.
#[derive(Debug)]
pub struct Survey {
    /// Whether the kernel has BPF ring buffers, or why that is not known.
    pub ring_buffer: Result<bool, String>,
    /// Whether the object's maps could be made, or what the kernel said.
    pub loaded: Result<(), String>,
    /// Each hook, as tried; empty when nothing could be loaded.
    pub outcomes: Vec<Outcome>,
}

/// Loads the object, attaches hook by hook, and drops everything. Tracing is never switched on.
#[must_use]
pub fn survey(facts: &Facts, preference: Preference, sizes: Sizes, full_log: bool) -> Survey {
    let ring_buffer = is_map_supported(MapType::RingBuf).map_err(|error| error.to_string());
    let mut outcomes = Vec::new();
    let btf = Some(&facts.attachable);
    let loaded = load(OBJECT, facts.config(), sizes, btf).map_err(|error| error.to_string()).map(|mut ebpf| {
        outcomes = attach(
            &mut ebpf,
            plan(&facts.names, preference, Purpose { running: true, audit: true, io: true, path: true, stacks: true }),
            btf,
            How { twins: false, full_log },
        );
    });
    Survey { ring_buffer, loaded, outcomes }
}

//! What the probes could not report, by hook, reason and CPU.
//!
//! The counters are read where they lie: to look into a map makes the kernel skip the kprobes of that CPU meanwhile
//! (`bpf_disable_instrumentation`, kernel/bpf/syscall.c, 5.10 to 7.3).

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::ptr::NonNull;
use std::slice;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::Ebpf;
use aya::maps::Map;
use tracer_common::{Hook, LOSS_STRIDE, LOSSES_MAP, Miss};

/// The probes' counters, mapped into this process for as long as this lives.
#[derive(Debug)]
pub struct Losses {
    counters: NonNull<AtomicU64>,
    length: usize,
}

// SAFETY: the counters are atomic, and nothing else is shared.
unsafe impl Send for Losses {}

impl Losses {
    /// Maps the counters of a loaded object.
    ///
    /// # Errors
    ///
    /// Those of `mmap(2)`; `NotFound` when the object has no such map.
    pub fn open(ebpf: &Ebpf) -> io::Result<Self> {
        let Some(Map::Array(map)) = ebpf.map(LOSSES_MAP) else {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("the object has no array {LOSSES_MAP}")));
        };
        let entries = map.info().map_err(io::Error::other)?.max_entries();
        let length = usize::try_from(entries).map_err(io::Error::other)?;
        let (bytes, fd) = (length * size_of::<AtomicU64>(), map.fd().as_fd().as_raw_fd());
        // SAFETY: a new mapping, which the kernel refuses if the map is smaller.
        let place = unsafe { libc::mmap(std::ptr::null_mut(), bytes, libc::PROT_READ, libc::MAP_SHARED, fd, 0) };
        if place == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let counters = NonNull::new(place.cast()).ok_or_else(|| io::Error::other("mapped to nowhere"))?;
        Ok(Self { counters, length })
    }

    /// Every counter that is not 0: where, on which CPU, why, and how often so far.
    pub fn counted(&self) -> impl Iterator<Item = (Hook, u32, Miss, u64)> {
        // SAFETY: the mapping has this length and lives as long as `self`; a page begins aligned, and any bits are a number.
        let counters = unsafe { slice::from_raw_parts(self.counters.as_ptr(), self.length) };
        let by_cpu = (0_u32..).zip(counters.chunks(LOSS_STRIDE as usize));
        by_cpu.flat_map(|(cpu, counters)| {
            let at = move |hook: Hook, miss: Miss| {
                let counter = counters.get(miss.slot(hook) as usize)?;
                let count = counter.load(Ordering::Relaxed);
                (count > 0).then_some((hook, cpu, miss, count))
            };
            Hook::ALL.into_iter().flat_map(move |hook| Miss::ALL.into_iter().filter_map(move |miss| at(hook, miss)))
        })
    }
}

impl Drop for Losses {
    fn drop(&mut self) {
        let bytes = self.length * size_of::<AtomicU64>();
        // SAFETY: what `open` mapped.
        unsafe { libc::munmap(self.counters.as_ptr().cast(), bytes) };
    }
}

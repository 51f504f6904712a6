//! Globals: read-only ones, which the loader sets before the object is loaded and the verifier folds into constants, and words that change.

use core::cell::UnsafeCell;

use tracer_common::{Config, Layout};

/// The configuration; the loader replaces it by name.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".rodata")]
static CONFIG: Config = Config::EMPTY;

/// Reads one field of the kernel's layout, as an offset in bytes.
macro_rules! offset {
    ($field:ident) => {
        $crate::globals::read(|layout| unsafe { &raw const (*layout).$field }) as usize
    };
}
pub(crate) use offset;

/// Reads one field of the configuration.
macro_rules! config {
    ($field:ident) => {
        $crate::globals::read_config(|config| unsafe { &raw const (*config).$field })
    };
}
pub(crate) use config;

/// The value at the place in the layout that `field` points out.
#[inline(always)]
pub(crate) fn read(field: impl FnOnce(*const Layout) -> *const u32) -> u32 {
    // SAFETY: `field` points into a static; volatile, because the loader has replaced the initial value.
    unsafe { core::ptr::read_volatile(field(&raw const CONFIG.layout)) }
}

/// The value at the place in the configuration that `field` points out.
#[inline(always)]
pub(crate) fn read_config<T: Copy>(field: impl FnOnce(*const Config) -> *const T) -> T {
    // SAFETY: as in `read`.
    unsafe { core::ptr::read_volatile(field(&raw const CONFIG)) }
}

/// A word that changes while the probes run. Its section is a map of one entry, to which the loader gives programs the address: they
/// need not look it up.
#[repr(transparent)]
pub(crate) struct Word<T>(UnsafeCell<T>);

// SAFETY: a word is read and written in one instruction each.
unsafe impl<T: Copy> Sync for Word<T> {}

impl<T: Copy> Word<T> {
    /// What it is now.
    #[inline(always)]
    pub(crate) fn get(&self) -> T {
        // SAFETY: a static lives for ever; volatile, because others write to it.
        unsafe { core::ptr::read_volatile(self.0.get()) }
    }

    /// Where it is.
    #[inline(always)]
    pub(crate) const fn as_ptr(&self) -> *mut T {
        self.0.get()
    }
}

/// 1 while tracing is on: [`ENABLED_MAP`](tracer_common::ENABLED_MAP) is named after the section.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".data.enabled")]
pub(crate) static ENABLED: Word<u32> = Word(UnsafeCell::new(0));

/// How often an eventpoll came into [`EVENTPOLLS`](crate::maps::EVENTPOLLS) or left it.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".data.epoch")]
pub(crate) static EPOCH: Word<u64> = Word(UnsafeCell::new(0));

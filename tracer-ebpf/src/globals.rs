//! Read-only globals: set by the loader before the object is loaded, folded into constants by the verifier.

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

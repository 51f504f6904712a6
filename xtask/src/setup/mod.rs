//! What a fresh machine lacks: found, fetched or built, each once.

pub(crate) mod apt;
pub(crate) mod busybox;
pub(crate) mod foreign;
pub(crate) mod guest_build;
pub(crate) mod python;
pub(crate) mod toolchain;
pub(crate) mod tools;

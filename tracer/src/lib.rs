//! eptrace shows what epoll really does inside a live Linux kernel.
//!
//! Data flows one way: probes → `decode` → [`event`] → `model` → `analysis` → `output`; see ARCHITECTURE.md.

pub mod analysis;
pub mod cli;
pub mod decode;
pub mod event;
pub mod kernel;
pub mod model;
pub mod output;
pub mod probes;
pub mod snapshot;
pub mod source;
pub mod top;
pub mod trace_file;

//! One file per topic: the body, and its entries. The doc comment of each entry carries the kernel's prototype.

mod baseline;
mod callback;
pub(crate) mod ctl;
mod hooked;
mod inventory;
pub(crate) mod io;
mod io_uring;
mod lifecycle;
mod path;
mod release;
mod scan;
mod snapshot;
mod syscall;
mod timeout;
mod wait;
mod wake;

//! Programs that nobody here wrote, for the tests: the kernel's own epoll test with a witness linked in, and servers of
//! Debian. In: the machine's package archive. Out: files for the guest.

mod selftest;
mod server;

pub(crate) use selftest::wakeup_test;
pub(crate) use server::{Server, server};

//! What kind of file a `struct file_operations` belongs to.
//!
//! In: the symbol at `file.f_op`. Out: a word for a report. The kernel has no other name for the kind of a registered file that is
//! the same for all of them; only files that can be polled are here, because only they can be registered.

/// Symbols of `struct file_operations` and the kinds of file they stand for. A kernel has only some of them: configuration,
/// version and loaded modules decide.
pub const FILE_OPERATIONS: &[(&str, &str)] = &[
    ("eventpoll_fops", "epoll"),
    ("socket_file_ops", "socket"),
    ("pipefifo_fops", "pipe"),
    // Anonymous pipes have their own since 6.15; named ones keep `pipefifo_fops`.
    ("pipeanon_fops", "pipe"),
    ("eventfd_fops", "eventfd"),
    ("timerfd_fops", "timerfd"),
    ("signalfd_fops", "signalfd"),
    ("inotify_fops", "inotify"),
    ("fanotify_fops", "fanotify"),
    // Up to 6.8, and from 6.9 on.
    ("pidfd_fops", "pidfd"),
    ("pidfs_file_operations", "pidfd"),
    ("io_uring_fops", "io_uring"),
    ("tty_fops", "terminal"),
    ("ptmx_fops", "terminal"),
    ("hung_up_tty_fops", "terminal"),
    ("console_fops", "terminal"),
    ("perf_fops", "perf event"),
    // A ring buffer, for one.
    ("bpf_map_fops", "BPF map"),
    ("userfaultfd_fops", "userfaultfd"),
    ("mqueue_file_operations", "message queue"),
    ("seccomp_notify_ops", "seccomp notification"),
    ("fuse_dev_operations", "FUSE device"),
    ("tun_fops", "TUN/TAP device"),
    ("evdev_fops", "input device"),
    ("dma_buf_fops", "DMA buffer"),
    ("sync_file_fops", "DMA fence"),
    ("random_fops", "random device"),
    ("kmsg_fops", "kernel log"),
    ("proc_reg_file_ops", "proc file"),
    // `/proc/self/mounts`
    ("proc_mounts_operations", "proc file"),
    // sysfs attributes and cgroup files.
    ("kernfs_file_fops", "sysfs or cgroup file"),
];

/// The kind of file that a symbol stands for; `None` for an unknown one.
#[must_use]
pub fn kind_of(symbol: &str) -> Option<&'static str> {
    FILE_OPERATIONS.iter().find(|(name, _)| *name == symbol).map(|(_, kind)| *kind)
}

/// All symbols of [`FILE_OPERATIONS`], to look for.
pub fn symbols() -> impl Iterator<Item = &'static str> {
    FILE_OPERATIONS.iter().map(|(symbol, _)| *symbol)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{FILE_OPERATIONS, kind_of, symbols};

    #[test]
    fn each_symbol_stands_once() {
        assert_eq!(symbols().collect::<HashSet<_>>().len(), FILE_OPERATIONS.len());
        assert_eq!(kind_of("pipeanon_fops"), Some("pipe"));
        assert_eq!(kind_of("ext4_file_operations"), None);
    }
}

//! The way of an event to the task that it woke: in which context its callback ran, and when the task was on a CPU.

use crate::Header;

/// A task that a callback took out of an `epoll_wait` comes on a CPU: `sched_switch` (kernel/sched/core.c, 5.10 to 7.3).
///
/// Only with `--path`. The return of the wait is a [`WaitExit`](super::WaitExit), the wake a [`Wake`](super::Wake).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(zerocopy::FromBytes))]
#[repr(C)]
pub struct Path {
    /// The woken task, and the CPU and the moment at which it runs again.
    pub header: Header,
    /// Address of the eventpoll.
    pub ep: u64,
    /// `ts_ns` of the callback, on the CPU `cause_cpu`.
    pub cause_ts: u64,
    /// When the softirq began in which the callback ran; 0 when it ran in none.
    pub softirq_ts: u64,
    /// When the handler of a device's interrupt or of a timer (`hrtimer`) began in which the callback ran; 0 when it ran in none.
    pub interrupt_ts: u64,
    /// When the `sock_def_readable` began that called back; 0 when the source is another.
    pub sock_ts: u64,
    /// When `ep_autoremove_wake_function` began to wake the task.
    pub wake_ts: u64,
    /// The CPU that the callback ran on.
    pub cause_cpu: u32,
    /// The softirq's number: one of [`softirq`]'s; of no meaning where `softirq_ts` is 0.
    pub softirq: u32,
}

/// Numbers of softirqs (include/linux/interrupt.h, 5.10 to 7.3).
pub mod softirq {
    /// `NET_RX_SOFTIRQ`
    pub const NET_RX: u32 = 3;
    /// `HRTIMER_SOFTIRQ`
    pub const HRTIMER: u32 = 8;
    /// The kernel's names, by number.
    pub const NAMES: [&str; 10] =
        ["HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED", "HRTIMER", "RCU"];
}

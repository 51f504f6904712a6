//! What is counted of the whole trace and of each task.

use serde::Serialize;
use tracer_common::events::{BY_IO_URING, Ctl, WaitExit};

use super::limits::bump;

/// `-EAGAIN`: nothing there.
pub(crate) const EAGAIN: i32 = -11;
/// `-EINTR`: a signal came.
pub(crate) const EINTR: i32 = -4;

/// `epoll_ctl` operations, uapi/linux/eventpoll.h.
pub(crate) mod op {
    /// `EPOLL_CTL_ADD`
    pub(crate) const ADD: i32 = 1;
    /// `EPOLL_CTL_DEL`
    pub(crate) const DEL: i32 = 2;
    /// `EPOLL_CTL_MOD`
    pub(crate) const MOD: i32 = 3;
}

/// Counters, of the whole trace or of one task. All of them stay at their greatest value instead of overflowing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// `EPOLL_CTL_ADD` calls, whatever came of them.
    pub ctl_add: u64,
    /// `EPOLL_CTL_MOD` calls.
    pub ctl_mod: u64,
    /// `EPOLL_CTL_DEL` calls.
    pub ctl_del: u64,
    /// Calls with an operation that does not exist.
    pub ctl_other: u64,
    /// Calls of any operation that failed.
    pub ctl_failed: u64,
    /// Waits that ended.
    pub waits: u64,
    /// Waits that ended with events.
    pub waits_returned: u64,
    /// Events that waits returned, those through io_uring included.
    pub events: u64,
    /// Waits that ended with 0.
    pub timeouts: u64,
    /// Waits that ended with `-EINTR`.
    pub interrupted: u64,
    /// Waits that ended with another error.
    pub wait_errors: u64,
    /// `EPOLL_WAIT` operations of io_uring that ended with events or an error; they are not among the waits.
    pub uring_waits: u64,
    /// Waits that had not ended with the trace, or with their task.
    pub waits_open: u64,
    /// Connections accepted.
    pub accepts: u64,
    /// Accepts that found none: `-EAGAIN`.
    pub accept_eagain: u64,
    /// Accepts that failed otherwise.
    pub accept_failed: u64,
    /// Times a task was taken off an eventpoll's wait queue and woken.
    pub woken: u64,
    /// Times a task was taken off the wait queue while it was running anyway.
    pub already_running: u64,
    /// Wakes of sources after which the wait ended with events.
    pub returned: u64,
    /// Wakes of sources after which the task accepted a connection of that source.
    pub useful: u64,
    /// Wakes after which the task found nothing and slept on inside the same wait.
    pub swallowed: u64,
    /// Wakes that no source wakeup caused, as far as could be seen: ready at ADD or MOD, an eventpoll's end.
    pub other_wakes: u64,
}

impl Counts {
    /// Counts the end of an `epoll_ctl`.
    pub(crate) const fn ctl(&mut self, ctl: &Ctl) {
        bump(match ctl.op {
            op::ADD => &mut self.ctl_add,
            op::MOD => &mut self.ctl_mod,
            op::DEL => &mut self.ctl_del,
            _ => &mut self.ctl_other,
        });
        if ctl.ret < 0 {
            bump(&mut self.ctl_failed);
        }
    }

    /// Counts the end of a wait.
    pub(crate) fn wait_exit(&mut self, exit: &WaitExit) {
        let ret = exit.ret;
        if exit.epfd == BY_IO_URING {
            bump(&mut self.uring_waits);
            self.events = self.events.saturating_add(u64::try_from(ret).unwrap_or(0));
            return;
        }
        bump(&mut self.waits);
        match u64::try_from(ret) {
            Ok(0) => bump(&mut self.timeouts),
            Ok(events) => {
                bump(&mut self.waits_returned);
                self.events = self.events.saturating_add(events);
            }
            Err(_) if ret == EINTR => bump(&mut self.interrupted),
            Err(_) => bump(&mut self.wait_errors),
        }
    }

    /// Counts the end of an accept.
    pub(crate) const fn accept(&mut self, ret: i32) {
        bump(match ret {
            0.. => &mut self.accepts,
            EAGAIN => &mut self.accept_eagain,
            _ => &mut self.accept_failed,
        });
    }

    /// Adds another's numbers.
    pub(crate) fn add(&mut self, other: &Self) {
        let pairs = [
            (&mut self.ctl_add, other.ctl_add),
            (&mut self.ctl_mod, other.ctl_mod),
            (&mut self.ctl_del, other.ctl_del),
            (&mut self.ctl_other, other.ctl_other),
            (&mut self.ctl_failed, other.ctl_failed),
            (&mut self.waits, other.waits),
            (&mut self.waits_returned, other.waits_returned),
            (&mut self.events, other.events),
            (&mut self.timeouts, other.timeouts),
            (&mut self.interrupted, other.interrupted),
            (&mut self.wait_errors, other.wait_errors),
            (&mut self.uring_waits, other.uring_waits),
            (&mut self.waits_open, other.waits_open),
            (&mut self.accepts, other.accepts),
            (&mut self.accept_eagain, other.accept_eagain),
            (&mut self.accept_failed, other.accept_failed),
            (&mut self.woken, other.woken),
            (&mut self.already_running, other.already_running),
            (&mut self.returned, other.returned),
            (&mut self.useful, other.useful),
            (&mut self.swallowed, other.swallowed),
            (&mut self.other_wakes, other.other_wakes),
        ];
        for (mine, theirs) in pairs {
            *mine = mine.saturating_add(theirs);
        }
    }

    /// Whether nothing at all was counted.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }
}

//! Masks, operations and results by the names that the kernel and its headers give them.

use super::errno;

/// Bits of an event mask (`include/uapi/linux/eventpoll.h`), in the order in which they are printed.
pub(super) const EPOLL_BITS: [(u32, &str); 17] = [
    (1, "EPOLLIN"),
    (1 << 1, "EPOLLPRI"),
    (1 << 2, "EPOLLOUT"),
    (1 << 3, "EPOLLERR"),
    (1 << 4, "EPOLLHUP"),
    (1 << 5, "EPOLLNVAL"),
    (1 << 6, "EPOLLRDNORM"),
    (1 << 7, "EPOLLRDBAND"),
    (1 << 8, "EPOLLWRNORM"),
    (1 << 9, "EPOLLWRBAND"),
    (1 << 10, "EPOLLMSG"),
    (1 << 13, "EPOLLRDHUP"),
    (1 << 27, "EPOLL_URING_WAKE"),
    (1 << 28, "EPOLLEXCLUSIVE"),
    (1 << 29, "EPOLLWAKEUP"),
    (1 << 30, "EPOLLONESHOT"),
    (1 << 31, "EPOLLET"),
];

/// An event mask by names: `EPOLLIN|EPOLLET`; bits without a name as one hexadecimal number; `0` when empty.
#[must_use]
pub fn epoll_events(mask: u32) -> String {
    let mut names: Vec<String> =
        EPOLL_BITS.iter().filter(|(bit, _)| mask & bit != 0).map(|(_, name)| (*name).to_owned()).collect();
    let unnamed = EPOLL_BITS.iter().fold(mask, |rest, (bit, _)| rest & !bit);
    if unnamed != 0 {
        names.push(format!("{unnamed:#x}"));
    }
    if names.is_empty() { "0".to_owned() } else { names.join("|") }
}

/// An `epoll_ctl` operation: `EPOLL_CTL_ADD`.
#[must_use]
pub fn ctl_op(op: i32) -> String {
    match op {
        1 => "EPOLL_CTL_ADD".to_owned(),
        2 => "EPOLL_CTL_DEL".to_owned(),
        3 => "EPOLL_CTL_MOD".to_owned(),
        other => format!("operation {other}"),
    }
}

/// The name of a negative result: `EAGAIN`; `None` when it is not negative.
#[must_use]
pub fn errno(ret: i32) -> Option<String> {
    let number = (ret < 0).then(|| ret.unsigned_abs())?;
    Some(errno::name(number).map_or_else(|| format!("errno {number}"), str::to_owned))
}

/// The result of a system call: the number, or `-1 EAGAIN` as strace writes it.
#[must_use]
pub fn result(ret: i32) -> String {
    errno(ret).map_or_else(|| ret.to_string(), |name| format!("-1 {name}"))
}

#[cfg(test)]
mod tests {
    use super::{ctl_op, epoll_events, errno, result};

    #[test]
    fn masks_are_printed_by_name() {
        assert_eq!(epoll_events(0x8000_0001), "EPOLLIN|EPOLLET");
        assert_eq!(epoll_events(0), "0");
        assert_eq!(epoll_events(1 << 20), "0x100000");
        assert_eq!(epoll_events(0x1800_0019), "EPOLLIN|EPOLLERR|EPOLLHUP|EPOLL_URING_WAKE|EPOLLEXCLUSIVE");
        assert_eq!(epoll_events(u32::MAX).matches("EPOLL").count(), 17);
    }

    #[test]
    fn results_carry_their_errno() {
        assert_eq!(result(3), "3");
        assert_eq!(result(-11), "-1 EAGAIN");
        assert_eq!(errno(-4).as_deref(), Some("EINTR"));
        assert_eq!(errno(i32::MIN).as_deref(), Some("errno 2147483648"));
        assert_eq!(errno(0), None);
        assert_eq!(ctl_op(3), "EPOLL_CTL_MOD");
        assert_eq!(ctl_op(-9), "operation -9");
    }
}

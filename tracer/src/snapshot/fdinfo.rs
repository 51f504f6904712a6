//! What `/proc/PID/fdinfo/FD` of an eventpoll says of its items (`ep_show_fdinfo`, fs/eventpoll.c, 5.10 to 7.3).

/// One item as the kernel writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// The descriptor it was registered with.
    pub fd: i32,
    /// Its mask.
    pub events: u32,
    /// Its data.
    pub data: u64,
    /// The inode of its file.
    pub ino: u64,
}

/// The items, in the order of the text: `tfd: 5 events: 19 data: 7  pos:0 ino:2a sdev:10`. What is no such line is left out.
#[must_use]
pub fn lines(text: &str) -> Vec<Line> {
    text.lines().filter(|line| line.starts_with("tfd:")).filter_map(line).collect()
}

fn line(text: &str) -> Option<Line> {
    let value = |key: &str| {
        let (_, rest) = text.split_once(key)?;
        rest.split_whitespace().next()
    };
    Some(Line {
        fd: value("tfd:")?.parse().ok()?,
        events: u32::from_str_radix(value("events:")?, 16).ok()?,
        data: u64::from_str_radix(value("data:")?, 16).ok()?,
        ino: u64::from_str_radix(value("ino:")?, 16).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::{Line, lines};

    #[test]
    fn the_items_are_read_and_all_else_is_left_out() {
        let text = "pos:\t0\nflags:\t02\nmnt_id:\t15\nino:\t1057\n\
            tfd:        5 events:       19 data:             1005  pos:0 ino:421 sdev:f\n\
            tfd:       12 events: c0000001 data: ffffffffffffffff  pos:0 ino:2a sdev:9\ntfd: x\n";
        let expected = [
            Line { fd: 5, events: 0x19, data: 0x1005, ino: 0x421 },
            Line { fd: 12, events: 0xc000_0001, data: u64::MAX, ino: 0x2a },
        ];
        assert_eq!(lines(text), expected);
        assert!(lines("tfd: 5 events: 1").is_empty());
    }
}

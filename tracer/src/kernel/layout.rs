//! From the running kernel's BTF to the offsets that the probes read with.
//!
//! In: [`Btf`]. Out: [`Layout`], and the fields that this kernel does not have. Whether a missing field matters is for the plan
//! of the probes to say: it knows which probe needs it.

use std::fmt;

use tracer_common::{Layout, MAX_BYTES_OF_EPITEM, OFFSET_UNKNOWN};

use super::btf::{Btf, BtfError};

/// A field that stays [`OFFSET_UNKNOWN`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingField {
    /// The field's name in [`Layout`].
    pub field: &'static str,
    /// The kernel's names for it that were tried, as `struct.field`.
    pub tried: Vec<String>,
    /// What BTF says of the first of them.
    pub why: BtfError,
}

impl fmt::Display for MissingField {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.tried.join(" or "), self.why)
    }
}

/// One field of [`Layout`] and the kernel's names for it, the newest first.
struct Wanted {
    field: &'static str,
    slot: fn(&mut Layout) -> &mut u32,
    names: &'static [(&'static str, &'static str)],
}

macro_rules! wanted {
    ($($field:ident: $($owner:literal $path:literal)or+;)*) => {
        &[$(Wanted {
            field: stringify!($field),
            slot: |layout| &mut layout.$field,
            names: &[$(($owner, $path)),+],
        }),*]
    };
}

/// What a probe reads of an epitem at once: these decide [`Layout::epitem_bytes`].
const EPITEM: &[Wanted] = wanted! {
    epitem_rdllink: "epitem" "rdllink";
    // Renamed in 7.1, and by stable updates of older kernels.
    epitem_ovflist_next: "epitem" "ovflist_next" or "epitem" "next";
    epitem_file: "epitem" "ffd.file";
    epitem_fd: "epitem" "ffd.fd";
    epitem_ep: "epitem" "ep";
    epitem_events: "epitem" "event.events";
    epitem_data: "epitem" "event.data";
};

const OTHERS: &[Wanted] = wanted! {
    ep_rdllist: "eventpoll" "rdllist";
    ep_ovflist: "eventpoll" "ovflist";
    ep_poll_wait: "eventpoll" "poll_wait";
    ep_pqueue_epi: "ep_pqueue" "epi";
    pwq_wait: "eppoll_entry" "wait";
    pwq_base: "eppoll_entry" "base";
    pwq_whead: "eppoll_entry" "whead";
    wait_flags: "wait_queue_entry" "flags";
    wait_private: "wait_queue_entry" "private";
    wait_entry: "wait_queue_entry" "entry";
    whead_head: "wait_queue_head" "head";
    task_files: "task_struct" "files";
    task_tgid: "task_struct" "tgid";
    task_pid: "task_struct" "pid";
    task_comm: "task_struct" "comm";
    task_thread_pid: "task_struct" "thread_pid";
    task_group_leader: "task_struct" "group_leader";
    pid_level: "pid" "level";
    pid_numbers: "pid" "numbers";
    files_fdt: "files_struct" "fdt";
    fdt_max_fds: "fdtable" "max_fds";
    fdt_fd: "fdtable" "fd";
    file_private_data: "file" "private_data";
    file_f_op: "file" "f_op";
    file_f_inode: "file" "f_inode";
    inode_i_ino: "inode" "i_ino";
    socket_type: "socket" "type";
    socket_sk: "socket" "sk";
    skc_family: "sock_common" "skc_family";
    skc_state: "sock_common" "skc_state";
    skc_num: "sock_common" "skc_num";
    skc_dport: "sock_common" "skc_dport";
    skc_rcv_saddr: "sock_common" "skc_rcv_saddr";
    skc_daddr: "sock_common" "skc_daddr";
    // Only with CONFIG_IPV6.
    skc_v6_rcv_saddr: "sock_common" "skc_v6_rcv_saddr";
    skc_v6_daddr: "sock_common" "skc_v6_daddr";
    file_f_ep: "file" "f_ep";
    // 5.10: a list of another kind.
    file_f_ep_links: "file" "f_ep_links";
    // A node of the list of the watched file's epitems; only where it lies matters, so it is not among those to be read.
    epitem_fllink: "epitem" "fllink";
    epitem_rbn: "epitem" "rbn";
    ep_rb_root: "eventpoll" "rbr.rb_root.rb_node";
    ep_rb_leftmost: "eventpoll" "rbr.rb_leftmost";
    rb_left: "rb_node" "rb_left";
    rb_right: "rb_node" "rb_right";
    ep_wq: "eventpoll" "wq";
    ep_mtx_owner: "eventpoll" "mtx.owner";
    epitem_pwqlist: "epitem" "pwqlist";
    // 5.10: a list of another kind, whose first word is the next one all the same.
    pwq_next: "eppoll_entry" "next" or "eppoll_entry" "llink";
    wait_func: "wait_queue_entry" "func";
    rb_parent_color: "rb_node" "__rb_parent_color";
    file_f_flags: "file" "f_flags";
    sk_protocol: "sock" "sk_protocol";
    sk_ack_backlog: "sock" "sk_ack_backlog";
    sk_receive_queue_len: "sock" "sk_receive_queue.qlen";
    tcp_rcv_nxt: "tcp_sock" "rcv_nxt";
    tcp_copied_seq: "tcp_sock" "copied_seq";
    pipe_head: "pipe_inode_info" "head";
    pipe_tail: "pipe_inode_info" "tail";
    task_stack: "task_struct" "stack";
    task_self_exec_id: "task_struct" "self_exec_id";
    io_epoll_epfd: "io_epoll" "epfd";
    skc_flags: "sock_common" "skc_flags";
    // Only with CONFIG_NET_NS.
    skc_net: "sock_common" "skc_net.net";
    net_inum: "net" "ns.inum";
};

// Every slot but `epitem_bytes` is looked up.
const _: () = assert!(EPITEM.len() + OTHERS.len() + 1 == size_of::<Layout>() / size_of::<u32>());

/// Looks up every field of [`Layout`].
#[must_use]
pub fn resolve(btf: &Btf) -> (Layout, Vec<MissingField>) {
    let mut layout = Layout::UNKNOWN;
    let mut missing = Vec::new();
    let mut end = 0_u32;
    for wanted in EPITEM {
        if let Some(end_of_field) = fill(btf, wanted, &mut layout, &mut missing) {
            end = end.max(end_of_field);
        }
    }
    if missing.len() < EPITEM.len() {
        match epitem_bytes(end) {
            Ok(bytes) => layout.epitem_bytes = bytes,
            Err(why) => forget_epitem(&mut layout, &mut missing, &why),
        }
    }
    for wanted in OTHERS {
        fill(btf, wanted, &mut layout, &mut missing);
    }
    (layout, missing)
}

/// Sets one field and returns where it ends; or notes that it is missing.
fn fill(btf: &Btf, wanted: &Wanted, layout: &mut Layout, missing: &mut Vec<MissingField>) -> Option<u32> {
    let mut refused = None;
    for (owner, path) in wanted.names {
        match btf.field(owner, path) {
            Ok(field) => {
                *(wanted.slot)(layout) = field.offset;
                return Some(field.offset.saturating_add(field.size.unwrap_or(0)));
            }
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    missing.push(wanted.missing(refused.unwrap_or(BtfError::Malformed("a field has no name"))));
    None
}

impl Wanted {
    fn missing(&self, why: BtfError) -> MissingField {
        let tried = self.names.iter().map(|(owner, path)| format!("{owner}.{path}")).collect();
        MissingField { field: self.field, tried, why }
    }
}

/// The bytes to read so that everything before `end` is covered, in whole words.
fn epitem_bytes(end: u32) -> Result<u32, BtfError> {
    let bytes = end.checked_next_multiple_of(8).unwrap_or(u32::MAX);
    if bytes as usize > MAX_BYTES_OF_EPITEM {
        return Err(BtfError::Malformed("struct epitem is larger than any known kernel's"));
    }
    Ok(bytes)
}

/// A probe that reads beyond its buffer does not load: without a sound length no field of the epitem is known.
fn forget_epitem(layout: &mut Layout, missing: &mut Vec<MissingField>, why: &BtfError) {
    for wanted in EPITEM {
        let slot = (wanted.slot)(layout);
        if *slot != OFFSET_UNKNOWN {
            *slot = OFFSET_UNKNOWN;
            missing.push(wanted.missing(why.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use tracer_common::{Layout, OFFSET_UNKNOWN};

    use super::{EPITEM, OTHERS, resolve};
    use crate::kernel::btf::BtfError;
    use crate::kernel::testing::{Blob, INT, PTR, STRUCT, own_btf};

    /// The epitem of 5.10 (`next`, 128 bytes) or of 7.2 (`ovflist_next`, 120 bytes), with an `event` where it is asked for.
    fn epitem(overflow: &str, ffd: u32, ep: u32, event_at: u32) -> Blob {
        let mut blob = Blob::new();
        let pointer = blob.ty("", PTR, 0);
        let int = blob.int("int", 4);
        let long = blob.raw("long", INT << 24, 8, &[64]);
        let list = blob.composite(STRUCT, "list_head", 16, &[("next", pointer, 0), ("prev", pointer, 8)]);
        let key = blob.composite(STRUCT, "epoll_filefd", 12, &[("file", pointer, 0), ("fd", int, 8)]);
        let event = blob.composite(STRUCT, "epoll_event", 12, &[("events", int, 0), ("data", long, 4)]);
        let members = [
            ("rdllink", list, 24),
            (overflow, pointer, 40),
            ("ffd", key, ffd),
            ("ep", pointer, ep),
            ("event", event, event_at),
        ];
        blob.composite(STRUCT, "epitem", event_at + 16, &members);
        blob
    }

    #[test]
    fn both_names_of_the_overflow_link_serve() {
        for (overflow, ep, event, bytes) in [("next", 80, 112, 128), ("ovflist_next", 72, 104, 120)] {
            let (layout, _) = resolve(&epitem(overflow, 48, ep, event).btf());
            let expected = Layout {
                epitem_bytes: bytes,
                epitem_rdllink: 24,
                epitem_ovflist_next: 40,
                epitem_file: 48,
                epitem_fd: 56,
                epitem_ep: ep,
                epitem_events: event,
                epitem_data: event + 4,
                ..Layout::UNKNOWN
            };
            assert_eq!(layout, expected);
        }
    }

    #[test]
    fn missing_fields_are_listed_with_all_names_tried() {
        let (layout, missing) = resolve(&epitem("something", 48, 72, 104).btf());
        assert_eq!(layout.epitem_ovflist_next, OFFSET_UNKNOWN);
        assert_eq!(layout.epitem_bytes, 120);
        assert_eq!(missing[0].field, "epitem_ovflist_next");
        assert_eq!(
            missing[0].to_string(),
            "epitem.ovflist_next or epitem.next: this kernel's epitem has no field ovflist_next"
        );
        assert_eq!(missing[1].why, BtfError::NoStruct("eventpoll".to_owned()));
        // Every field of the layout but the epitem's seven and its length, and the padding.
        assert_eq!(missing.len(), 1 + OTHERS.len());
    }

    #[test]
    fn an_epitem_beyond_the_buffer_of_the_probes_is_not_read() {
        let (layout, missing) = resolve(&epitem("next", 48, 72, 120).btf());
        assert_eq!(layout, Layout::UNKNOWN);
        assert_eq!(missing.len(), EPITEM.len() + OTHERS.len());
        let (layout, missing) = resolve(&Blob::new().btf());
        assert_eq!(layout, Layout::UNKNOWN);
        assert_eq!(missing.len(), EPITEM.len() + OTHERS.len());
    }

    /// What holds on every kernel from 5.10 to 7.3 on x86-64 and arm64.
    #[test]
    fn the_running_kernel_has_every_field() {
        let Some(btf) = own_btf() else { return };
        let (layout, missing) = resolve(&btf);
        // 5.10 has no `f_ep`, and a kernel may be built without io_uring.
        let may_be_missing = |field: &str| field.starts_with("file_f_ep") || field == "io_epoll_epfd";
        assert!(missing.iter().all(|missing| may_be_missing(missing.field)), "{missing:?}");
        assert_eq!(layout.epitem_rdllink, 24);
        assert_eq!(layout.epitem_ovflist_next, 40);
        assert_eq!(layout.epitem_file, 48);
        assert_eq!(layout.epitem_fd, 56);
        assert_eq!((layout.wait_flags, layout.wait_private, layout.wait_entry), (0, 8, 24));
        assert_eq!((layout.wait_func, layout.pwq_next, layout.rb_parent_color), (16, 0, 0));
        assert_eq!(layout.pwq_base + 8, layout.pwq_wait);
        assert_eq!(layout.pwq_wait + 40, layout.pwq_whead);
        assert_eq!(layout.ep_pqueue_epi, 16);
        assert_eq!(layout.ep_ovflist, layout.ep_rdllist + 40);
        assert_eq!(layout.epitem_events, layout.epitem_ep + 32);
        assert!(layout.epitem_bytes.is_multiple_of(8));
        assert!(layout.epitem_bytes <= btf.struct_size("epitem").unwrap());
        assert_eq!((layout.skc_daddr, layout.skc_rcv_saddr, layout.skc_dport, layout.skc_num), (0, 4, 12, 14));
        assert_eq!((layout.skc_family, layout.skc_state), (16, 18));
    }
}

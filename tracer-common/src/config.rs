//! What user space tells the probes before they are loaded: read-only globals, which the verifier folds into constants.

/// An offset of a field that this kernel's BTF does not have.
pub const OFFSET_UNKNOWN: u32 = u32::MAX;

/// The most bytes of an epitem that a probe reads at once. `sizeof(struct epitem)` is 128 on 5.10, 120 from 6.1 on.
pub const MAX_BYTES_OF_EPITEM: usize = 128;

/// Byte offsets of the kernel's fields, from the running kernel's BTF; [`OFFSET_UNKNOWN`] where there is no such field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Layout {
    /// Bytes of `struct epitem` to read so that all fields below are covered; at most [`MAX_BYTES_OF_EPITEM`].
    pub epitem_bytes: u32,
    /// `epitem.rdllink`
    pub epitem_rdllink: u32,
    /// `epitem.ovflist_next`, before 6.12.100 and 7.1 `epitem.next`
    pub epitem_ovflist_next: u32,
    /// `epitem.ffd.file`
    pub epitem_file: u32,
    /// `epitem.ffd.fd`
    pub epitem_fd: u32,
    /// `epitem.ep`
    pub epitem_ep: u32,
    /// `epitem.event.events`
    pub epitem_events: u32,
    /// `epitem.event.data`
    pub epitem_data: u32,
    /// `eventpoll.rdllist`
    pub ep_rdllist: u32,
    /// `eventpoll.ovflist`
    pub ep_ovflist: u32,
    /// `eventpoll.poll_wait`
    pub ep_poll_wait: u32,
    /// `file.f_ep_links`, before 5.11
    pub file_f_ep_links: u32,
    /// `ep_pqueue.epi`
    pub ep_pqueue_epi: u32,
    /// `eppoll_entry.wait`
    pub pwq_wait: u32,
    /// `eppoll_entry.base`
    pub pwq_base: u32,
    /// `eppoll_entry.whead`
    pub pwq_whead: u32,
    /// `wait_queue_entry.flags`
    pub wait_flags: u32,
    /// `wait_queue_entry.private`
    pub wait_private: u32,
    /// `wait_queue_entry.entry`
    pub wait_entry: u32,
    /// `wait_queue_head.head`
    pub whead_head: u32,
    /// `task_struct.files`
    pub task_files: u32,
    /// `task_struct.tgid`
    pub task_tgid: u32,
    /// `task_struct.pid`
    pub task_pid: u32,
    /// `task_struct.comm`
    pub task_comm: u32,
    /// `task_struct.thread_pid`
    pub task_thread_pid: u32,
    /// `task_struct.group_leader`
    pub task_group_leader: u32,
    /// `pid.level`
    pub pid_level: u32,
    /// `pid.numbers`, an array of `struct upid`
    pub pid_numbers: u32,
    /// `files_struct.fdt`
    pub files_fdt: u32,
    /// `fdtable.max_fds`
    pub fdt_max_fds: u32,
    /// `fdtable.fd`
    pub fdt_fd: u32,
    /// `file.private_data`
    pub file_private_data: u32,
    /// `file.f_op`
    pub file_f_op: u32,
    /// `file.f_inode`
    pub file_f_inode: u32,
    /// `inode.i_ino`
    pub inode_i_ino: u32,
    /// `socket.type`
    pub socket_type: u32,
    /// `socket.sk`
    pub socket_sk: u32,
    /// `sock_common.skc_family`
    pub skc_family: u32,
    /// `sock_common.skc_state`
    pub skc_state: u32,
    /// `sock_common.skc_num`, host byte order
    pub skc_num: u32,
    /// `sock_common.skc_dport`, network byte order
    pub skc_dport: u32,
    /// `sock_common.skc_rcv_saddr`
    pub skc_rcv_saddr: u32,
    /// `sock_common.skc_daddr`
    pub skc_daddr: u32,
    /// `sock_common.skc_v6_rcv_saddr`
    pub skc_v6_rcv_saddr: u32,
    /// `sock_common.skc_v6_daddr`
    pub skc_v6_daddr: u32,
    /// `file.f_ep`, from 5.11 on
    pub file_f_ep: u32,
    /// `epitem.fllink`
    pub epitem_fllink: u32,
    /// `epitem.rbn`
    pub epitem_rbn: u32,
    /// `eventpoll.rbr.rb_root.rb_node`
    pub ep_rb_root: u32,
    /// `eventpoll.rbr.rb_leftmost`
    pub ep_rb_leftmost: u32,
    /// `rb_node.rb_left`
    pub rb_left: u32,
    /// `rb_node.rb_right`
    pub rb_right: u32,
    /// `eventpoll.wq`
    pub ep_wq: u32,
    /// `eventpoll.mtx.owner`
    pub ep_mtx_owner: u32,
    /// `epitem.pwqlist`: a pointer to the first `eppoll_entry`, before 5.11 a list of them
    pub epitem_pwqlist: u32,
    /// `eppoll_entry.next`, before 5.11 `eppoll_entry.llink`
    pub pwq_next: u32,
    /// `wait_queue_entry.func`
    pub wait_func: u32,
    /// `rb_node.__rb_parent_color`
    pub rb_parent_color: u32,
    /// `file.f_flags`
    pub file_f_flags: u32,
    /// `sock.sk_protocol`
    pub sk_protocol: u32,
    /// `sock.sk_ack_backlog`
    pub sk_ack_backlog: u32,
    /// `sock.sk_receive_queue.qlen`
    pub sk_receive_queue_len: u32,
    /// `tcp_sock.rcv_nxt`
    pub tcp_rcv_nxt: u32,
    /// `tcp_sock.copied_seq`
    pub tcp_copied_seq: u32,
    /// `pipe_inode_info.head`
    pub pipe_head: u32,
    /// `pipe_inode_info.tail`
    pub pipe_tail: u32,
    /// `task_struct.stack`
    pub task_stack: u32,
    /// `task_struct.self_exec_id`
    pub task_self_exec_id: u32,
    /// `io_epoll.epfd`
    pub io_epoll_epfd: u32,
    /// `sock_common.skc_flags`
    pub skc_flags: u32,
    /// `sock_common.skc_net`, a pointer, only with `CONFIG_NET_NS`
    pub skc_net: u32,
    /// `net.ns.inum`
    pub net_inum: u32,
}

impl Layout {
    /// Every field unknown.
    pub const UNKNOWN: Self = Self {
        epitem_bytes: OFFSET_UNKNOWN,
        epitem_rdllink: OFFSET_UNKNOWN,
        epitem_ovflist_next: OFFSET_UNKNOWN,
        epitem_file: OFFSET_UNKNOWN,
        epitem_fd: OFFSET_UNKNOWN,
        epitem_ep: OFFSET_UNKNOWN,
        epitem_events: OFFSET_UNKNOWN,
        epitem_data: OFFSET_UNKNOWN,
        ep_rdllist: OFFSET_UNKNOWN,
        ep_ovflist: OFFSET_UNKNOWN,
        ep_poll_wait: OFFSET_UNKNOWN,
        file_f_ep_links: OFFSET_UNKNOWN,
        ep_pqueue_epi: OFFSET_UNKNOWN,
        pwq_wait: OFFSET_UNKNOWN,
        pwq_base: OFFSET_UNKNOWN,
        pwq_whead: OFFSET_UNKNOWN,
        wait_flags: OFFSET_UNKNOWN,
        wait_private: OFFSET_UNKNOWN,
        wait_entry: OFFSET_UNKNOWN,
        whead_head: OFFSET_UNKNOWN,
        task_files: OFFSET_UNKNOWN,
        task_tgid: OFFSET_UNKNOWN,
        task_pid: OFFSET_UNKNOWN,
        task_comm: OFFSET_UNKNOWN,
        task_thread_pid: OFFSET_UNKNOWN,
        task_group_leader: OFFSET_UNKNOWN,
        pid_level: OFFSET_UNKNOWN,
        pid_numbers: OFFSET_UNKNOWN,
        files_fdt: OFFSET_UNKNOWN,
        fdt_max_fds: OFFSET_UNKNOWN,
        fdt_fd: OFFSET_UNKNOWN,
        file_private_data: OFFSET_UNKNOWN,
        file_f_op: OFFSET_UNKNOWN,
        file_f_inode: OFFSET_UNKNOWN,
        inode_i_ino: OFFSET_UNKNOWN,
        socket_type: OFFSET_UNKNOWN,
        socket_sk: OFFSET_UNKNOWN,
        skc_family: OFFSET_UNKNOWN,
        skc_state: OFFSET_UNKNOWN,
        skc_num: OFFSET_UNKNOWN,
        skc_dport: OFFSET_UNKNOWN,
        skc_rcv_saddr: OFFSET_UNKNOWN,
        skc_daddr: OFFSET_UNKNOWN,
        skc_v6_rcv_saddr: OFFSET_UNKNOWN,
        skc_v6_daddr: OFFSET_UNKNOWN,
        file_f_ep: OFFSET_UNKNOWN,
        epitem_fllink: OFFSET_UNKNOWN,
        epitem_rbn: OFFSET_UNKNOWN,
        ep_rb_root: OFFSET_UNKNOWN,
        ep_rb_leftmost: OFFSET_UNKNOWN,
        rb_left: OFFSET_UNKNOWN,
        rb_right: OFFSET_UNKNOWN,
        ep_wq: OFFSET_UNKNOWN,
        ep_mtx_owner: OFFSET_UNKNOWN,
        epitem_pwqlist: OFFSET_UNKNOWN,
        pwq_next: OFFSET_UNKNOWN,
        wait_func: OFFSET_UNKNOWN,
        rb_parent_color: OFFSET_UNKNOWN,
        file_f_flags: OFFSET_UNKNOWN,
        sk_protocol: OFFSET_UNKNOWN,
        sk_ack_backlog: OFFSET_UNKNOWN,
        sk_receive_queue_len: OFFSET_UNKNOWN,
        tcp_rcv_nxt: OFFSET_UNKNOWN,
        tcp_copied_seq: OFFSET_UNKNOWN,
        pipe_head: OFFSET_UNKNOWN,
        pipe_tail: OFFSET_UNKNOWN,
        task_stack: OFFSET_UNKNOWN,
        task_self_exec_id: OFFSET_UNKNOWN,
        io_epoll_epfd: OFFSET_UNKNOWN,
        skc_flags: OFFSET_UNKNOWN,
        skc_net: OFFSET_UNKNOWN,
        net_inum: OFFSET_UNKNOWN,
    };
}

/// What the probes must know before they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Config {
    /// The kernel's field offsets.
    pub layout: Layout,
    /// Address of `eventpoll_fops`, 0 where kallsyms does not show it.
    pub eventpoll_fops: u64,
    /// Address of `socket_file_ops`, 0 where kallsyms does not show it.
    pub socket_fops: u64,
    /// Addresses of `pipefifo_fops` and, from 6.15 on, `pipeanon_fops`; 0 where kallsyms does not show them.
    pub pipe_fops: [u64; 2],
    /// The tracer's own thread group, which is never traced.
    pub own_tgid: u32,
    /// 1: every process is traced; 0: those in the filter map.
    pub trace_all: u32,
    /// 1: children of traced processes are traced too.
    pub follow_forks: u32,
    /// Bytes of `struct epoll_event` in user memory: 12 on x86-64 (packed), 16 elsewhere (uapi/linux/eventpoll.h, `EPOLL_PACKED`).
    pub user_event_bytes: u32,
    /// 1: the last argument of `do_epoll_wait` is milliseconds (5.10); 0: a `struct timespec64 *`.
    pub timeout_is_ms: u32,
    /// 1: the second argument of `ep_done_scan` (5.10: of `ep_send_events_proc`) is a `struct list_head *`.
    pub scan_list_is_head: u32,
    /// 1: the probes walk the kernel's lists, to compare the model with.
    pub audit: u32,
    /// 1: the kernel can be preempted, so that the programs have twins.
    pub rescue: u32,
    /// How the fields of an epitem lie to each other: [`epitem_shape`].
    pub epitem_shape: u32,
    /// The BTF id of a structure of plain longs in the kernel, as which the probes read its memory in place; 0 where the kernel has no
    /// `bpf_rdonly_cast` (kernel/bpf/helpers.c, 6.2 on).
    pub longs_type: u32,
    /// The BTF id of `bpf_rdonly_cast`: the loader puts it into the calls ([`CAST`]).
    pub cast_function: u32,
    /// 1: the probes tell the way of an event to the task that it wakes.
    pub path: u32,
    /// 1: the kernel gives the current task as a pointer whose type the verifier knows (`bpf_get_current_task_btf`, 5.11 on).
    pub typed_task: u32,
    /// 1: the probes tell the user stacks of calls.
    pub stacks: u32,
}

/// The number of a helper that no kernel has, which the object calls where the loader puts a call of `bpf_rdonly_cast`.
pub const CAST: i32 = 0x6570_7401;

/// Longs that can be read in place at once: those at the head of the `struct pt_regs` of x86-64, which all kernels from 6.2 to 7.3 have as plain
/// longs.
pub const MAX_LONGS_IN_PLACE: usize = 15;

/// Where the fields of an epitem lie behind `rdllink`, for [`Config::epitem_shape`]: a place that the compiler knows costs a probe one
/// instruction, one that the loader sets costs seven.
pub mod epitem_shape {
    use super::Layout;

    /// None of those below: each field has its own offset.
    pub const OTHER: u32 = 0;
    /// 5.11 to 7.3 on x86-64.
    pub const NEW: u32 = 1;
    /// 5.10 on x86-64: eight bytes more before `ep`.
    pub const OLD: u32 = 2;

    /// As [`NEW`], where the probes can read in place ([`Config::longs_type`](super::Config::longs_type)).
    pub const NEW_IN_PLACE: u32 = 3;
    /// Where `rdllink` lies in each of them.
    pub const RDLLINK: u32 = 24;

    /// The shape that these offsets make.
    #[must_use]
    pub const fn of(layout: &Layout) -> u32 {
        let start = layout.epitem_rdllink;
        let same = start == RDLLINK
            && layout.epitem_ovflist_next == start.wrapping_add(16)
            && layout.epitem_file == start.wrapping_add(24)
            && layout.epitem_fd == start.wrapping_add(32)
            && layout.epitem_data == layout.epitem_events.wrapping_add(4);
        match (same, layout.epitem_ep.wrapping_sub(start), layout.epitem_events.wrapping_sub(start)) {
            (true, 48, 80) => NEW,
            (true, 56, 88) => OLD,
            _ => OTHER,
        }
    }
}

impl Config {
    /// No field known, nothing traced.
    pub const EMPTY: Self = Self {
        layout: Layout::UNKNOWN,
        eventpoll_fops: 0,
        socket_fops: 0,
        pipe_fops: [0; 2],
        own_tgid: 0,
        trace_all: 0,
        follow_forks: 1,
        user_event_bytes: 12,
        timeout_is_ms: 0,
        scan_list_is_head: 0,
        audit: 0,
        rescue: 0,
        epitem_shape: epitem_shape::OTHER,
        longs_type: 0,
        cast_function: 0,
        path: 0,
        typed_task: 0,
        stacks: 0,
    };
}

const _: () = assert!(size_of::<Layout>() == 72 * 4);
const _: () = assert!(size_of::<Config>() == 72 * 4 + 4 * 8 + 14 * 4 && align_of::<Config>() == 8);

#[cfg(test)]
mod tests {
    use super::{Layout, epitem_shape};

    #[test]
    fn a_shape_is_known_only_where_every_field_lies_as_it_says() {
        let new = Layout {
            epitem_rdllink: 24,
            epitem_ovflist_next: 40,
            epitem_file: 48,
            epitem_fd: 56,
            epitem_ep: 72,
            epitem_events: 104,
            epitem_data: 108,
            ..Layout::UNKNOWN
        };
        assert_eq!(epitem_shape::of(&new), epitem_shape::NEW);
        let old = Layout { epitem_ep: 80, epitem_events: 112, epitem_data: 116, ..new };
        assert_eq!(epitem_shape::of(&old), epitem_shape::OLD);
        for other in [
            Layout { epitem_fd: 60, ..new },
            Layout { epitem_data: 112, ..new },
            Layout { epitem_ep: 80, ..new },
            Layout {
                epitem_rdllink: 32,
                epitem_ovflist_next: 48,
                epitem_file: 56,
                epitem_fd: 64,
                epitem_ep: 80,
                epitem_events: 112,
                epitem_data: 116,
                ..Layout::UNKNOWN
            },
        ] {
            assert_eq!(epitem_shape::of(&other), epitem_shape::OTHER);
        }
        assert_eq!(epitem_shape::of(&Layout::UNKNOWN), epitem_shape::OTHER);
    }
}

//! What a file is: its operations, its inode, and its addresses when it is an internet socket.

use tracer_common::events::FileInfo;
use tracer_common::{Miss, OFFSET_UNKNOWN};

use crate::emit::{Now, emit};
use crate::globals::{config, offset};
use crate::kread;

/// `AF_INET`, `AF_INET6` (include/linux/socket.h)
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// Reports it.
#[inline(always)]
pub(crate) fn emit_info(now: Now, file: u64) -> Result<(), Miss> {
    let f_op: u64 = kread::kernel(file + offset!(file_f_op) as u64)?;
    let inode: u64 = kread::kernel(file + offset!(file_f_inode) as u64)?;
    let ino: u64 = kread::kernel(inode + offset!(inode_i_ino) as u64)?;
    let mut socket = Socket::NONE;
    let socket_fops = config!(socket_fops);
    if socket_fops != 0 && f_op == socket_fops {
        socket = Socket::of(kread::kernel(file + offset!(file_private_data) as u64)?)?;
    }
    emit::<FileInfo>(now, |record| {
        // SAFETY: `emit` gives a slot for one record.
        let record = unsafe { &mut *record };
        record.file = file;
        record.f_op = f_op;
        record.ino = ino;
        record.local = socket.local;
        record.remote = socket.remote;
        record.local_port = socket.local_port;
        record.remote_port = socket.remote_port;
        record.family = socket.family;
        record.sock_type = socket.sock_type;
        record.state = socket.state;
        record.netns = socket.netns;
        record.pad = 0;
    })
}

/// Of a `struct socket` and its `struct sock_common` (include/net/sock.h).
struct Socket {
    local: [u8; 16],
    remote: [u8; 16],
    local_port: u16,
    remote_port: u16,
    family: u16,
    sock_type: u8,
    state: u8,
    netns: u32,
}

impl Socket {
    const NONE: Self = Self {
        local: [0; 16],
        remote: [0; 16],
        local_port: 0,
        remote_port: 0,
        family: 0,
        sock_type: 0,
        state: 0,
        netns: 0,
    };

    #[inline(always)]
    fn of(socket: u64) -> Result<Self, Miss> {
        let sock_type: u16 = kread::kernel(socket + offset!(socket_type) as u64)?;
        let sk: u64 = kread::kernel(socket + offset!(socket_sk) as u64)?;
        let mut this = Self::NONE;
        this.sock_type = sock_type as u8;
        this.family = kread::kernel(sk + offset!(skc_family) as u64)?;
        this.state = kread::kernel(sk + offset!(skc_state) as u64)?;
        this.netns = network_namespace(sk)?;
        if this.family != AF_INET && this.family != AF_INET6 {
            return Ok(this);
        }
        this.local_port = kread::kernel(sk + offset!(skc_num) as u64)?;
        this.remote_port = u16::from_be(kread::kernel(sk + offset!(skc_dport) as u64)?);
        if this.family == AF_INET6 && offset!(skc_v6_rcv_saddr) != OFFSET_UNKNOWN as usize {
            this.local = kread::kernel(sk + offset!(skc_v6_rcv_saddr) as u64)?;
            this.remote = kread::kernel(sk + offset!(skc_v6_daddr) as u64)?;
            return Ok(this);
        }
        let local: [u8; 4] = kread::kernel(sk + offset!(skc_rcv_saddr) as u64)?;
        let remote: [u8; 4] = kread::kernel(sk + offset!(skc_daddr) as u64)?;
        this.local = widen(local);
        this.remote = widen(remote);
        Ok(this)
    }
}

/// The inode number of a `struct sock`'s network namespace (`sock_net`, include/net/sock.h, 5.10 to 7.3); 0 where the kernel has none.
#[inline(always)]
fn network_namespace(sk: u64) -> Result<u32, Miss> {
    if offset!(skc_net) == OFFSET_UNKNOWN as usize || offset!(net_inum) == OFFSET_UNKNOWN as usize {
        return Ok(0);
    }
    let net: u64 = kread::kernel(sk + offset!(skc_net) as u64)?;
    kread::kernel(net + offset!(net_inum) as u64)
}

#[inline(always)]
const fn widen([a, b, c, d]: [u8; 4]) -> [u8; 16] {
    [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
}

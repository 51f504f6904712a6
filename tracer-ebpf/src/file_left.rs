//! How much of a file can be read now, without reading it.

use tracer_common::Miss;
use tracer_common::events::LEFT_UNKNOWN;

use crate::globals::{config, offset};
use crate::kread;

/// `AF_UNIX`, `AF_INET`, `AF_INET6` (include/linux/socket.h)
const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
/// `SOCK_STREAM` (include/linux/net.h)
const STREAM: u16 = 1;
/// `IPPROTO_TCP` (uapi/linux/in.h)
const TCP: u16 = 6;
/// `1 << SOCK_DONE` (`enum sock_flags`, include/net/sock.h, 5.10 to 7.3): the peer's FIN has come.
const SOCK_DONE: u64 = 1 << 1;
/// `TCP_LISTEN` (include/net/tcp_states.h)
const LISTEN: u8 = 10;

/// Bytes of a TCP connection, connections of a listening socket, messages of a unix socket, buffers of a pipe; [`LEFT_UNKNOWN`] of
/// every other file. No lock is held.
///
/// `tcp_inq` (include/net/tcp.h), `sk_acceptq_added` (include/net/sock.h), `unix_inq_len` (net/unix/af_unix.c), `pipe_occupancy`
/// (include/linux/pipe_fs_i.h), 5.10 to 7.3.
#[inline(always)]
pub(crate) fn of(file: u64) -> Result<u32, Miss> {
    let f_op: u64 = kread::kernel(file + offset!(file_f_op) as u64)?;
    if f_op == 0 {
        return Ok(LEFT_UNKNOWN);
    }
    let private: u64 = kread::kernel(file + offset!(file_private_data) as u64)?;
    if f_op == config!(socket_fops) {
        return socket(private);
    }
    let [fifo, anonymous] = config!(pipe_fops);
    if f_op == fifo || f_op == anonymous {
        let head: u32 = kread::kernel(private + offset!(pipe_head) as u64)?;
        let tail: u32 = kread::kernel(private + offset!(pipe_tail) as u64)?;
        return Ok(head.wrapping_sub(tail));
    }
    Ok(LEFT_UNKNOWN)
}

#[inline(always)]
fn socket(socket: u64) -> Result<u32, Miss> {
    let sk: u64 = kread::kernel(socket + offset!(socket_sk) as u64)?;
    let family: u16 = kread::kernel(sk + offset!(skc_family) as u64)?;
    if family == AF_UNIX {
        return kread::kernel(sk + offset!(sk_receive_queue_len) as u64);
    }
    if family != AF_INET && family != AF_INET6 {
        return Ok(LEFT_UNKNOWN);
    }
    let sock_type: u16 = kread::kernel(socket + offset!(socket_type) as u64)?;
    let protocol: u16 = kread::kernel(sk + offset!(sk_protocol) as u64)?;
    if sock_type != STREAM || protocol != TCP {
        return Ok(LEFT_UNKNOWN);
    }
    let state: u8 = kread::kernel(sk + offset!(skc_state) as u64)?;
    if state == LISTEN {
        return kread::kernel(sk + offset!(sk_ack_backlog) as u64);
    }
    let next: u32 = kread::kernel(sk + offset!(tcp_rcv_nxt) as u64)?;
    let copied: u32 = kread::kernel(sk + offset!(tcp_copied_seq) as u64)?;
    let left = next.wrapping_sub(copied);
    let flags: u64 = kread::kernel(sk + offset!(skc_flags) as u64)?;
    // The peer's FIN takes a number of its own; a reset has none.
    Ok(if flags & SOCK_DONE != 0 { left.saturating_sub(1) } else { left })
}

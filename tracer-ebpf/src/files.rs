//! From a descriptor of the current task to its file, from a file to its eventpoll.

use aya_ebpf::helpers::bpf_get_current_task;
use aya_ebpf::helpers::generated::bpf_get_current_task_btf;
use tracer_common::{Miss, OFFSET_UNKNOWN};

use crate::globals::{config, offset};
use crate::{filter, kread};

/// The `struct file` behind a descriptor of the current task; 0 when it is not open.
///
/// `current->files->fdt->fd[fd]` (include/linux/fdtable.h, 5.10 to 7.3). The table is read without a lock: a close in another
/// thread at this very moment can be missed.
#[inline(always)]
pub(crate) fn of_current(fd: i32) -> Result<u64, Miss> {
    let (max, array) = if config!(typed_task) != 0 { typed_table() } else { table()? };
    if fd < 0 || fd as u32 >= max {
        return Ok(0);
    }
    kread::kernel(array + fd as u64 * 8)
}

/// `fdtable.max_fds` and `fdtable.fd` of the current task, loaded without a copy: the verifier knows the type of each pointer on the
/// way, and lets a load that fails give 0 (5.11 to 7.3).
#[inline(always)]
fn typed_table() -> (u32, u64) {
    let (files, fdt) = (offset!(task_files), offset!(files_fdt));
    let (max_fds, fd) = (offset!(fdt_max_fds), offset!(fdt_fd));
    // SAFETY: a helper without arguments, and loads that the verifier has checked.
    unsafe {
        let task = bpf_get_current_task_btf().cast_const().cast::<u8>();
        let table = *(*task.add(files).cast::<*const u8>()).add(fdt).cast::<*const u8>();
        (*table.add(max_fds).cast::<u32>(), *table.add(fd).cast::<u64>())
    }
}

/// As [`typed_table`], copied.
#[inline(always)]
fn table() -> Result<(u32, u64), Miss> {
    // SAFETY: a helper without arguments.
    let task = unsafe { bpf_get_current_task() };
    let files: u64 = kread::kernel(task + offset!(task_files) as u64)?;
    let table: u64 = kread::kernel(files + offset!(files_fdt) as u64)?;
    bounds(table)
}

/// `fdtable.max_fds` and `fdtable.fd`: neighbours from 5.10 to 7.3, so one read gives both.
#[inline(always)]
fn bounds(table: u64) -> Result<(u32, u64), Miss> {
    if offset!(fdt_fd) == offset!(fdt_max_fds) + 8 {
        let [max, array]: [u64; 2] = kread::kernel(table + offset!(fdt_max_fds) as u64)?;
        return Ok((max as u32, array));
    }
    Ok((kread::kernel(table + offset!(fdt_max_fds) as u64)?, kread::kernel(table + offset!(fdt_fd) as u64)?))
}

/// The eventpoll of a file, 0 when the file is not one; and whether the filter knows it already.
#[inline(always)]
pub(crate) fn eventpoll(file: u64) -> Result<(u64, bool), Miss> {
    eventpoll_or(file, 0)
}

/// As [`eventpoll`], where the filter need not be asked whether it knows `known`.
#[inline(always)]
pub(crate) fn eventpoll_or(file: u64, known: u64) -> Result<(u64, bool), Miss> {
    if file == 0 {
        return Ok((0, false));
    }
    let private: u64 = kread::kernel(file + offset!(file_private_data) as u64)?;
    // No other kind of file keeps the address of a known eventpoll.
    if (private != 0 && private == known) || filter::known(private) {
        return Ok((private, true));
    }
    let fops = config!(eventpoll_fops);
    if fops != 0 {
        let f_op: u64 = kread::kernel(file + offset!(file_f_op) as u64)?;
        if f_op != fops {
            return Ok((0, false));
        }
    }
    Ok((private, false))
}

/// The eventpoll that the kernel found behind a descriptor of the current task, of which a probe found `ep` (0: none) before that; 0 when it
/// was none. `succeeded`: the call did, so there was one.
///
/// Between the two looks another thread may close the descriptor, and its number be used again. An eventpoll that the kernel found does not
/// end before it is done with it: if `ep` has ended, the kernel found another file, or was done with this one a moment ago.
#[inline(always)]
pub(crate) fn found_behind(epfd: i32, ep: u64, succeeded: bool) -> Result<u64, Miss> {
    if ep != 0 && !filter::adopt(ep, true)? {
        return Ok(ep);
    }
    // New to the filter; or it has ended, and nobody would make the filter forget it again.
    let (now, known) = eventpoll(of_current(epfd)?)?;
    if now == ep {
        return Ok(ep);
    }
    if ep != 0 {
        filter::forget(ep);
    }
    let found = if known { now } else { ep };
    Ok(if succeeded { found } else { 0 })
}

/// Where the list of a file's watchers begins, the `fllink` of its epitems, and the link that ends it; 0 for a file that has no list.
///
/// From 5.11 on the list lies behind `file->f_ep`, is never empty and ends with 0; before that it is `file->f_ep_links`, and its head ends
/// it (include/linux/fs.h, 5.10 to 7.3).
#[inline(always)]
pub(crate) fn watchers(file: u64) -> Result<(u64, u64), Miss> {
    let (new, old) = (offset!(file_f_ep), offset!(file_f_ep_links));
    if new != OFFSET_UNKNOWN as usize {
        return Ok((kread::kernel(file + new as u64)?, 0));
    }
    if old != OFFSET_UNKNOWN as usize {
        return Ok((file + old as u64, file + old as u64));
    }
    Ok((0, 0))
}

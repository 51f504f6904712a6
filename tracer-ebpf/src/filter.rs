//! Who is traced. Kernel objects carry the decision: a callback runs in the context of whoever writes, not of the owner.

use tracer_common::Miss;

use crate::atomic::add_one;
use crate::globals::{ENABLED, EPOCH, config};
use crate::maps::{EVENTPOLLS, TGIDS};

/// Whether tracing is on.
#[inline(always)]
pub(crate) fn enabled() -> bool {
    ENABLED.get() != 0
}

/// Whether a thread group is traced; the tracer's own never is.
#[inline(always)]
pub(crate) fn traced(tgid: u32) -> bool {
    if tgid == config!(own_tgid) {
        return false;
    }
    config!(trace_all) != 0 || TGIDS.get_ptr(tgid).is_some()
}

/// Whether an eventpoll is traced.
#[inline(always)]
pub(crate) fn traced_ep(ep: u64) -> bool {
    match EVENTPOLLS.get_ptr(ep) {
        // SAFETY: a map value outlives the program's run.
        Some(traced) => unsafe { *traced != 0 },
        None => config!(trace_all) != 0,
    }
}

/// Whether an eventpoll is remembered, as traced or as the tracer's own.
#[inline(always)]
pub(crate) fn known(ep: u64) -> bool {
    EVENTPOLLS.get_ptr(ep).is_some()
}

/// Remembers an eventpoll that a task under trace uses (`traced` true), or the tracer itself (false). The first word stands.
///
/// Returns whether it is new.
#[inline(always)]
pub(crate) fn adopt(ep: u64, traced: bool) -> Result<bool, Miss> {
    if ep == 0 || known(ep) {
        return Ok(false);
    }
    EVENTPOLLS.insert(ep, u32::from(traced), 0).map_err(|_| Miss::MapFull)?;
    changed();
    Ok(true)
}

/// Forgets an eventpoll that is gone.
#[inline(always)]
pub(crate) fn forget(ep: u64) {
    let _ = EVENTPOLLS.remove(ep);
    changed();
}

/// How often the filter has changed: for as long as this stays, so do its answers. Taken before it is asked.
#[inline(always)]
pub(crate) fn epoch() -> u64 {
    EPOCH.get()
}

/// What a CPU or a task remembers of the filter is out of date.
#[inline(always)]
fn changed() {
    // SAFETY: a static lives for ever.
    unsafe { add_one(EPOCH.as_ptr()) };
}

/// Follows a child process.
#[inline(always)]
pub(crate) fn follow(tgid: u32) -> Result<(), Miss> {
    TGIDS.insert(tgid, 1, 0).map_err(|_| Miss::MapFull)
}

//! All maps of the object. Their sizes are defaults: the loader sets those that the user chose.

use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, RingBuf};
use tracer_common::LOSS_STRIDE;

use crate::context::CpuContext;
use crate::tasks::TaskState;

/// Records on their way to the collector. The name carries the ABI version.
#[map(name = "EVENTS_V6")]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(16 << 20, 0);

/// What could not be reported, by CPU, hook and reason (`Miss::slot`). The collector maps it, which a per-CPU array does not allow. The
/// loader makes room for all CPUs there can be.
#[map]
pub(crate) static LOSSES: Array<u64> = Array::with_max_entries(LOSS_STRIDE, BPF_F_MMAPABLE);

/// Thread groups under trace.
#[map]
pub(crate) static TGIDS: HashMap<u32, u32> = HashMap::with_max_entries(16_384, 0);

/// Eventpolls by address: 1 under trace, 0 the tracer's own.
#[map]
pub(crate) static EVENTPOLLS: HashMap<u64, u32> = HashMap::with_max_entries(16_384, 0);

/// What tasks under trace are doing, by thread id.
#[map]
pub(crate) static TASKS: HashMap<u32, TaskState> = HashMap::with_max_entries(32_768, 0);

/// The callbacks that are running, by CPU. The loader makes room for all there can be; a per-CPU array is slower to look into, since
/// the verifier puts the look into a plain one in place of the call (`array_map_gen_lookup`, kernel/bpf/arraymap.c).
#[map]
pub(crate) static CONTEXT: Array<CpuContext> = Array::with_max_entries(256, 0);

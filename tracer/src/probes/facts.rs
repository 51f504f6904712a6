//! From the facts about this kernel to what the probes must know: names, layout, and the configuration.

use std::path::Path;

use anyhow::Context as _;
use aya::Endianness;
use tracer_common::{Config, Layout, OFFSET_UNKNOWN, epitem_shape};

use super::catalog::{Attach, CATALOG};
use super::in_place::InPlace;
use super::plan::Names;
use super::prototypes;
use crate::kernel::btf::{Btf, VMLINUX};
use crate::kernel::capabilities::System;
use crate::kernel::files;
use crate::kernel::layout::{MissingField, resolve};
use crate::kernel::symbols::Symbols;

const EVENTPOLL_FOPS: &str = "eventpoll_fops";
/// The functions that stand for the kernel's iterators, [`Attach::Iter`].
const ITERATORS: [&str; 1] = ["bpf_iter_task_file"];

/// What was found out about this kernel before anything is loaded.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact by itself; no two of them are a state")]
pub struct Facts {
    /// The functions that programs are attached to, and no others: aya goes through all types for each program that it loads.
    pub attachable: aya::Btf,
    /// Functions that exist.
    pub names: Names,
    /// Field offsets; unknown ones stand in `missing`.
    pub layout: Layout,
    /// Fields that this kernel does not have.
    pub missing: Vec<MissingField>,
    /// Addresses of `struct file_operations` and their symbols; empty where kallsyms does not show data.
    pub file_operations: Vec<(u64, String)>,
    /// What the probes know beforehand ([`prototypes`]) as the kernel's BTF has it, in C.
    pub prototypes: Vec<String>,
    /// The last argument of `do_epoll_wait` is milliseconds (5.10).
    pub timeout_is_ms: bool,
    /// The second argument of `ep_done_scan` (5.10: of `ep_send_events_proc`) is a plain list.
    pub scan_list_is_head: bool,
    /// A task can be preempted anywhere in the kernel, also in the middle of a program.
    pub preemptible: bool,
    /// How the probes can read the kernel's memory in place.
    pub in_place: Option<InPlace>,
    /// The current task comes as a pointer whose type the verifier knows.
    pub typed_task: bool,
    /// Where `missed` lies in the kernel's `struct bpf_link_info`, if it counts skipped kprobes.
    pub missed_offset: Option<usize>,
}

impl Facts {
    /// Reads BTF and kallsyms.
    ///
    /// # Errors
    /// A sentence that says what is missing and what to do.
    pub fn gather(btf: Option<&Path>) -> anyhow::Result<Self> {
        let btf = Btf::load(btf.unwrap_or(Path::new(VMLINUX)))?;
        let functions = functions();
        let wanted: Vec<&str> = functions.iter().copied().chain(files::symbols()).collect();
        let symbols = Symbols::load(&wanted)?;
        let (layout, missing) = resolve(&btf);
        let names = Names {
            symbols: functions.iter().filter(|name| symbols.exact(name).is_some()).map(ToString::to_string).collect(),
            btf_functions: functions
                .iter()
                .filter(|name| btf.function(name).is_ok())
                .map(ToString::to_string)
                .collect(),
            changed: prototypes::changed(&btf),
        };
        let file_operations =
            files::symbols().filter_map(|name| Some((symbols.address(name)?, name.to_owned()))).collect();
        let parameter = |function: &str, index: usize| -> Option<String> {
            btf.function(function).ok()?.parameters.get(index).map(|parameter| parameter.c_type.clone())
        };
        Ok(Self {
            attachable: attachable(&btf, &functions)?,
            names,
            prototypes: prototypes::shown(&btf),
            layout,
            missing,
            file_operations,
            timeout_is_ms: parameter("do_epoll_wait", 3).as_deref() == Some("int"),
            scan_list_is_head: ["ep_done_scan", "ep_send_events_proc"]
                .iter()
                .any(|name| parameter(name, 1).is_some_and(|list| list.contains("struct list_head"))),
            preemptible: System::read().preemptible.unwrap_or(true),
            in_place: InPlace::of(&btf),
            typed_task: btf.function_id("bpf_get_current_task_btf").is_some(),
            missed_offset: btf
                .field_offset("bpf_link_info", "perf_event.kprobe.missed")
                .ok()
                .and_then(|offset| usize::try_from(offset).ok()),
        })
    }

    /// The configuration of the probes on this kernel; whom to trace is the caller's to fill in.
    #[must_use]
    pub fn config(&self) -> Config {
        let address = |name: &str| {
            self.file_operations.iter().find(|(_, symbol)| symbol == name).map_or(0, |(address, _)| *address)
        };
        Config {
            layout: self.layout,
            eventpoll_fops: address(EVENTPOLL_FOPS),
            socket_fops: address("socket_file_ops"),
            pipe_fops: [address("pipefifo_fops"), address("pipeanon_fops")],
            own_tgid: std::process::id(),
            user_event_bytes: if cfg!(target_arch = "x86_64") { 12 } else { 16 },
            timeout_is_ms: u32::from(self.timeout_is_ms),
            scan_list_is_head: u32::from(self.scan_list_is_head),
            rescue: u32::from(self.preemptible),
            epitem_shape: match epitem_shape::of(&self.layout) {
                epitem_shape::NEW if self.in_place.is_some() => epitem_shape::NEW_IN_PLACE,
                shape => shape,
            },
            longs_type: self.in_place.map_or(0, |found| found.longs),
            cast_function: self.in_place.map_or(0, |found| found.function),
            typed_task: u32::from(self.typed_task),
            ..Config::EMPTY
        }
    }

    /// Whether eventpolls can be told from other files: by the address of their operations.
    #[must_use]
    pub fn has_eventpoll_fops(&self) -> bool {
        self.file_operations.iter().any(|(_, symbol)| symbol == EVENTPOLL_FOPS)
    }

    /// The fields without which no event can be read, by their kernel names; empty when all are known.
    #[must_use]
    pub fn fatal_fields(&self) -> Vec<String> {
        let needed = [
            self.layout.epitem_bytes,
            self.layout.epitem_ep,
            self.layout.epitem_fd,
            self.layout.epitem_data,
            self.layout.epitem_rdllink,
            self.layout.epitem_ovflist_next,
            self.layout.epitem_file,
            self.layout.epitem_events,
            self.layout.ep_ovflist,
            self.layout.ep_poll_wait,
            self.layout.pwq_base,
            self.layout.pwq_wait,
            self.layout.wait_private,
            self.layout.task_files,
            self.layout.task_tgid,
            self.layout.task_pid,
            self.layout.task_comm,
            self.layout.fdt_max_fds,
            self.layout.wait_entry,
            self.layout.whead_head,
            self.layout.file_f_op,
            self.layout.ep_pqueue_epi,
            self.layout.files_fdt,
            self.layout.fdt_fd,
            self.layout.file_private_data,
        ];
        if needed.contains(&OFFSET_UNKNOWN) {
            return self.missing.iter().map(ToString::to_string).collect();
        }
        // The callback's probe reads an eppoll_entry from `base` to `whead` in one piece.
        let layout = &self.layout;
        let entry = [layout.pwq_wait, layout.pwq_whead, layout.wait_flags, layout.wait_entry];
        if entry == [layout.pwq_base + 8, layout.pwq_base + 48, 0, 24] {
            Vec::new()
        } else {
            vec!["struct eppoll_entry is laid out otherwise than in any kernel from 5.10 to 7.3".to_owned()]
        }
    }

    /// What `eptrace snapshot` must know and this kernel does not show; nothing when it can be taken.
    #[must_use]
    pub fn unknown_to_snapshot(&self) -> Vec<String> {
        let layout = &self.layout;
        let needed = [
            layout.ep_rb_root,
            layout.ep_rb_leftmost,
            layout.epitem_rbn,
            layout.rb_left,
            layout.rb_right,
            layout.rb_parent_color,
            layout.ep_wq,
            layout.ep_rdllist,
            layout.epitem_pwqlist,
            layout.pwq_next,
            layout.wait_func,
        ];
        let mut unknown = self.fatal_fields();
        if needed.contains(&OFFSET_UNKNOWN) {
            unknown.extend(self.missing.iter().map(ToString::to_string));
        } else if [layout.pwq_next, layout.wait_func, layout.wait_private] != [0, 16, 8] {
            // The probe reads a wait queue entry in one piece, and follows the first word of an eppoll_entry.
            unknown.push("struct eppoll_entry is laid out otherwise than in any kernel from 5.10 to 7.3".to_owned());
        }
        if !self.has_eventpoll_fops() {
            unknown.push("kallsyms shows no data, so that eventpolls cannot be told from other files".to_owned());
        }
        unknown
    }
}

fn attachable(btf: &Btf, functions: &[&str]) -> anyhow::Result<aya::Btf> {
    let names: Vec<&str> = functions.iter().copied().chain(ITERATORS).collect();
    let reduced = aya::Btf::parse(&btf.reduced_to(&names), Endianness::default());
    reduced.context("cannot make BTF of the functions that programs are attached to")
}

/// Every function that the catalogue names.
fn functions() -> Vec<&'static str> {
    let mut names: Vec<&str> = CATALOG
        .iter()
        .flat_map(|spec| spec.variants)
        .flat_map(|variant| variant.programs)
        .filter(|program| {
            !matches!(program.attach, Attach::Tracepoint(..) | Attach::RawTracepoint(_) | Attach::Iter(_))
        })
        .map(|program| program.attach.target())
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

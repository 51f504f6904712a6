//! Reads the eventpolls of a running process: loads the probes of `eptrace snapshot`, and has the kernel go through each tree.
//!
//! In: a process, perhaps a descriptor. Out: a [`Snapshot`]. A reading whose parts do not fit together is made again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use aya::Ebpf;
use aya::maps::{Array, MapData, RingBuf};
use aya::programs::Iter;
use tracer_common::snapshot::level;
use tracer_common::{EVENTS_MAP, Hook};

use super::begin::{raise_memlock, refused, targets};
use super::inventory::{EVENTPOLL, eventpolls};
use super::{Detail, Untraceable};
use crate::kernel::capabilities::System;
use crate::kernel::files::kind_of;
use crate::kernel::process::Process;
use crate::probes::OBJECT;
use crate::probes::attach::{How, Sizes, attach, load};
use crate::probes::facts::Facts;
use crate::probes::losses::Losses;
use crate::probes::plan::plan_snapshot;
use crate::snapshot::{Eventpoll, Holder, MAX_ITEMS_READ, OpenFiles, Reading, Record, Snapshot, Torn, read, record};

/// How often an eventpoll is read until its parts fit together.
const ATTEMPTS: u32 = 8;
/// The most eventpolls that are read.
const MAX_EVENTPOLLS: usize = 256;
/// How often the ring buffer is drained while the kernel writes.
const DRAIN_EVERY: Duration = Duration::from_millis(1);
/// Nothing holds the walk over open files up: when it tells nothing for so long, something is wrong.
const WALK_TAKES: Duration = Duration::from_mins(1);
/// The probes follow one process.
const ENTRIES: u32 = 64;

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// The process.
    pub pid: u32,
    /// Only the eventpoll behind this descriptor.
    pub epfd: Option<i32>,
    /// How long a reading waits for the eventpoll's mutex.
    pub patience: Duration,
    /// BTF of the running kernel, where the kernel itself does not offer it.
    pub btf: Option<PathBuf>,
    /// Probes to load instead of the built-in ones.
    pub object: Option<PathBuf>,
    /// How much to say.
    pub detail: Detail,
}

/// Takes a snapshot; with it, the kinds of file by the addresses of their operations.
///
/// # Errors
/// [`Untraceable`] when this kernel does not allow it; else one sentence: no such process, no eventpoll in it.
pub fn take(asked: &Asked) -> Result<(Snapshot, BTreeMap<u64, String>)> {
    let process = Process::find(asked.pid)?;
    demand_eventpoll(asked)?;
    let mut probes = Probes::attach(asked)?;
    probes.list_files(asked.pid)?;
    let wanted = wanted(asked, &probes.open)?;
    let mut snapshot = Snapshot {
        kernel: System::read().release.unwrap_or_else(|why| format!("unknown ({why})")),
        pid: process.pid,
        comm: process.comm,
        ..Snapshot::default()
    };
    probes.read_all(asked.pid, wanted, &mut snapshot);
    // What was opened since, and registered, is not to look closed.
    probes.list_files(asked.pid)?;
    for eventpoll in &mut snapshot.eventpolls {
        eventpoll.reading.look_up(&probes.open);
    }
    Ok((snapshot, probes.file_kinds))
}

/// What `/proc` can say already is not worth loading anything for.
fn demand_eventpoll(asked: &Asked) -> Result<()> {
    let pid = asked.pid;
    let Some(epfd) = asked.epfd else {
        if eventpolls(pid).is_empty() {
            bail!("process {pid} has no eventpoll open");
        }
        return Ok(());
    };
    match fs::read_link(format!("/proc/{pid}/fd/{epfd}")) {
        Ok(target) if target.as_os_str() == EVENTPOLL => Ok(()),
        Ok(_) => bail!("descriptor {epfd} of process {pid} is no eventpoll"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => bail!("process {pid} has no descriptor {epfd}"),
        Err(error) => Err(error).with_context(|| format!("cannot look at descriptor {epfd} of process {pid}")),
    }
}

/// The addresses of the eventpolls asked for.
fn wanted(asked: &Asked, open: &OpenFiles) -> Result<Vec<u64>> {
    let pid = asked.pid;
    let found: Vec<u64> = match asked.epfd {
        Some(epfd) => open.eventpoll(pid, epfd).into_iter().collect(),
        None => open.eventpolls_of(pid).into_iter().map(|(_, ep)| ep).collect(),
    };
    if found.is_empty() {
        bail!("process {pid} has closed its eventpolls meanwhile");
    }
    Ok(found)
}

/// The probes, attached, and what they have told of open files.
struct Probes {
    ebpf: Ebpf,
    ring: RingBuf<MapData>,
    open: OpenFiles,
    file_kinds: BTreeMap<u64, String>,
    patience: Duration,
}

impl Probes {
    fn attach(asked: &Asked) -> Result<Self> {
        let facts = match Facts::gather(asked.btf.as_deref()) {
            Err(error) if asked.btf.is_none() => return Err(Untraceable(format!("{error:#}")).into()),
            other => other?,
        };
        let unknown = facts.unknown_to_snapshot();
        if !unknown.is_empty() {
            return Err(Untraceable(unknown.join("; ")).into());
        }
        raise_memlock();
        let object = match &asked.object {
            Some(path) => fs::read(path).with_context(|| format!("cannot read {}", path.display()))?,
            None => OBJECT.to_vec(),
        };
        let btf = Some(&facts.attachable);
        let sizes = Sizes { entries: ENTRIES, ..Sizes::default() };
        let mut ebpf = load(&object, facts.config(), sizes, btf).map_err(refused)?;
        targets(&mut ebpf)?.insert(asked.pid, 1, 0).context("cannot name the process to the probes")?;
        let how = How { twins: false, full_log: asked.detail >= Detail::VerifierLog };
        let outcomes = attach(&mut ebpf, vec![plan_snapshot(&facts.names)], btf, how);
        if let Some(outcome) = outcomes.iter().find(|outcome| outcome.held.is_none()) {
            let last = outcome.refused.last().map_or("no way to attach the probes is known", String::as_str);
            bail!(Untraceable(last.to_owned()));
        }
        let ring = RingBuf::try_from(ebpf.take_map(EVENTS_MAP).context("the object has no ring buffer")?)?;
        let kind = |symbol: &str| kind_of(symbol).unwrap_or(symbol).to_owned();
        let file_kinds = facts.file_operations.iter().map(|(address, symbol)| (*address, kind(symbol))).collect();
        Ok(Self { ebpf, ring, open: OpenFiles::default(), file_kinds, patience: asked.patience })
    }

    /// Adds to what is open.
    fn list_files(&mut self, pid: u32) -> Result<()> {
        let lost = self.lost()?;
        let program = self.ebpf.program_mut("snapshot_files").context("the object has no walk over open files")?;
        let iter: &mut Iter = program.try_into()?;
        let link = iter.attach().context("cannot start the walk over open files")?;
        let mut file = iter.take_link(link)?.into_file().context("cannot read the walk over open files")?;
        let open = &mut self.open;
        let walked = during(
            &mut self.ring,
            WALK_TAKES,
            |record| {
                if let Record::OpenFile(found) = record {
                    open.add(pid, &found);
                }
            },
            move || io::copy(&mut file, &mut io::sink()),
        );
        walked.context("the walk over open files did not end")?.context("the walk over open files failed")?;
        let lost = self.lost()?.saturating_sub(lost);
        if lost > 0 {
            bail!("the walk over open files lost {lost} of them: try again");
        }
        Ok(())
    }

    /// What the walk over open files could not tell.
    fn lost(&self) -> Result<u64> {
        let losses = Losses::open(&self.ebpf).context("cannot read the losses")?;
        Ok(losses.counted().filter(|(hook, ..)| *hook == Hook::Inventory).map(|(.., count)| count).sum())
    }

    /// Reads these, each followed by what is nested in it.
    fn read_all(&mut self, pid: u32, mut left: Vec<u64>, snapshot: &mut Snapshot) {
        left.reverse();
        let mut seen = BTreeSet::new();
        while let Some(ep) = left.pop() {
            if !seen.insert(ep) {
                continue;
            }
            if snapshot.eventpolls.len() >= MAX_EVENTPOLLS {
                snapshot.notes.push(format!(
                    "Only the first {MAX_EVENTPOLLS} eventpolls were read; --epfd chooses one of the others."
                ));
                return;
            }
            match self.read_one(pid, ep) {
                Ok(eventpoll) => {
                    left.extend(eventpoll.reading.items.iter().rev().filter_map(|item| item.inner));
                    snapshot.eventpolls.push(eventpoll);
                }
                Err(error) => snapshot.notes.push(format!("The eventpoll at {ep:#x} could not be read: {error:#}.")),
            }
        }
    }

    fn read_one(&mut self, pid: u32, ep: u64) -> Result<Eventpoll> {
        let holders = self.open.holders(ep, pid);
        let (holder, epfd) = *holders.first().context("no process has it open by a descriptor")?;
        let path = PathBuf::from(format!("/proc/{holder}/fdinfo/{epfd}"));
        let mut best: Option<Reading> = None;
        let mut attempts = 0;
        while attempts < ATTEMPTS {
            attempts += 1;
            let reading = match self.attempt(ep, &path) {
                Ok(reading) => reading,
                // What was read before it was closed is better than nothing.
                Err(_) if best.is_some() => break,
                Err(error) => return Err(error),
            };
            let held = reading.torn.iter().any(|torn| matches!(torn, Torn::Held(_)));
            let doubts = |reading: &Reading| (!reading.whole, reading.torn.len());
            let is_better = best.as_ref().is_none_or(|best| doubts(&reading) <= doubts(best));
            if is_better {
                best = Some(reading);
            }
            if held || best.as_ref().is_some_and(|best| best.torn.is_empty()) {
                break;
            }
        }
        let holders = holders.into_iter().map(|(pid, epfd)| Holder { pid, comm: comm(pid), epfd }).collect();
        Ok(Eventpoll { address: ep, holders, attempts, reading: best.unwrap_or_default() })
    }

    /// One reading. The text is written twice: the second time it fits into the buffer that the kernel made for the first, so that
    /// the walk over the tree is one. The mutex may have to be waited for already the first time.
    fn attempt(&mut self, ep: u64, path: &Path) -> Result<Reading> {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        let mut records = Vec::new();
        self.set_level(level::BEGINNINGS)?;
        let mut done = during(&mut self.ring, self.patience, |record| records.push(record), text_of(file));
        let beginnings = records.len();
        if let Some(Ok((file, _))) = done {
            let mut items = 0_usize;
            let keep = |record: Record| {
                items += usize::from(matches!(record, Record::Node(_)));
                // More than that stays untold, and the reading incomplete.
                if items <= MAX_ITEMS_READ {
                    records.push(record);
                }
            };
            self.set_level(level::ALL)?;
            done = during(&mut self.ring, self.patience, keep, text_of(file));
        }
        self.set_level(level::NOTHING)?;
        let Some(done) = done else {
            let mut reading = read(ep, &records, "");
            reading.torn = vec![Torn::Held(self.patience.as_secs())];
            return Ok(reading);
        };
        let (_, text) = done.with_context(|| format!("cannot read {}", path.display()))?;
        if is_another(ep, records.get(beginnings..).unwrap_or_default(), path) {
            bail!("it was closed meanwhile");
        }
        Ok(read(ep, &records, &String::from_utf8_lossy(&text)))
    }

    fn set_level(&mut self, level: u32) -> Result<()> {
        let mut flag: Array<_, u32> =
            Array::try_from(self.ebpf.map_mut("SNAPSHOT_LEVEL").context("the object has no map SNAPSHOT_LEVEL")?)?;
        flag.set(0, level, 0).context("cannot switch the probes")
    }
}

/// Reads a file from its start; gives it back.
fn text_of(mut file: File) -> impl FnOnce() -> io::Result<(File, Vec<u8>)> + Send + 'static {
    move || {
        file.rewind()?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        Ok((file, text))
    }
}

/// Whether the descriptor behind this fdinfo has become another eventpoll's, or another file's. A kernel that skipped the probe
/// tells nothing either; then the descriptor is what it was.
fn is_another(ep: u64, records: &[Record], fdinfo: &Path) -> bool {
    let mut begun = records.iter().filter_map(|record| match record {
        Record::Begun(begun) => Some(begun.ep),
        _ => None,
    });
    if let Some(first) = begun.next() {
        return first != ep && begun.all(|other| other != ep);
    }
    let descriptor = fdinfo.to_string_lossy().replace("/fdinfo/", "/fd/");
    !fs::read_link(descriptor).is_ok_and(|target| target.as_os_str() == EVENTPOLL)
}

/// Runs `work` in a thread of its own, which the kernel may hold up, and takes what the probes tell meanwhile; `None` when the work
/// is not done in time.
fn during<T: Send + 'static>(
    ring: &mut RingBuf<MapData>,
    patience: Duration,
    mut keep: impl FnMut(Record),
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (tell, told) = channel();
    std::thread::spawn(move || {
        let _ = tell.send(work());
    });
    let mut deadline = Instant::now() + patience;
    loop {
        let done = told.recv_timeout(DRAIN_EVERY);
        let mut taken = false;
        while let Some(bytes) = ring.next() {
            taken = true;
            if let Some(record) = record(&bytes) {
                keep(record);
            }
        }
        match done {
            Ok(done) => break Some(done),
            Err(RecvTimeoutError::Disconnected) => break None,
            Err(RecvTimeoutError::Timeout) if taken => deadline = Instant::now() + patience,
            Err(RecvTimeoutError::Timeout) if Instant::now() > deadline => break None,
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// A process's name; `?` when it has ended.
fn comm(pid: u32) -> String {
    let name = fs::read(format!("/proc/{pid}/comm")).unwrap_or_else(|_| b"?".to_vec());
    String::from_utf8_lossy(name.strip_suffix(b"\n").unwrap_or(&name)).into_owned()
}

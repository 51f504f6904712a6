//! The sources of wakeups: watched files, listening sockets of one address taken together, and what to call them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::event::{FileInfo, TraceInfo};
use crate::model::{EpId, File, FileId, Model, SourceStats, TaskId};

const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const SOCK_STREAM: u8 = 1;
const SOCK_DGRAM: u8 = 2;

/// What listening sockets are grouped by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Listen {
    address: Address,
    /// The inode number of the network namespace, 0 when it is not known.
    netns: u32,
}

/// Where connections are made to, within one network namespace: family, type, address and port.
type Address = (u16, u8, [u8; 16], u16);

/// One source as it is reported.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) listening: bool,
    pub(crate) alive: bool,
    pub(crate) files: Vec<FileId>,
    pub(crate) stats: SourceStats,
}

impl Source {
    fn new(file: &File, info: &TraceInfo) -> Self {
        Self {
            name: name(file, info),
            kind: kind(file, info),
            listening: file.listening,
            alive: file.alive,
            files: vec![file.id],
            stats: file.stats.clone(),
        }
    }

    /// Eventpolls that any of its files has been registered in.
    pub(crate) fn eventpolls(&self, model: &Model) -> BTreeSet<EpId> {
        self.files.iter().flat_map(|file| model.registered(*file)).collect()
    }

    /// How many these are, with those that are no longer shown one by one.
    pub(crate) fn eventpolls_ever(&self, model: &Model) -> usize {
        let gone = self.files.iter().filter_map(|file| model.files().get(*file)).map(|file| file.eventpolls_gone);
        self.eventpolls(model).len().saturating_add(gone.sum())
    }

    /// Tasks that waited on one of these.
    pub(crate) fn workers(&self, model: &Model) -> BTreeSet<TaskId> {
        self.eventpolls(model).into_iter().flat_map(|ep| model.waiters(ep)).collect()
    }

    /// How many these are. Of those that are no longer shown one by one, one that waited on several eventpolls counts with each.
    pub(crate) fn workers_ever(&self, model: &Model) -> usize {
        workers_of(model, &self.eventpolls(model))
    }

    /// The most tasks that waited for one and the same of its files.
    pub(crate) fn most_workers_of_a_file(&self, model: &Model) -> usize {
        self.files.iter().map(|file| workers_of(model, &model.registered(*file).collect())).max().unwrap_or(0)
    }

    /// The most eventpolls that one and the same of its files was registered in.
    pub(crate) fn most_eventpolls_of_a_file(&self, model: &Model) -> usize {
        self.files.iter().map(|file| model.registered_ever(*file)).max().unwrap_or(0)
    }
}

/// How many tasks waited on any of these.
fn workers_of(model: &Model, eventpolls: &BTreeSet<EpId>) -> usize {
    let tasks: BTreeSet<TaskId> = eventpolls.iter().flat_map(|ep| model.waiters(*ep)).collect();
    let gone = eventpolls.iter().filter_map(|ep| model.eventpolls().get(*ep)).map(|ep| ep.waiters_gone);
    tasks.len().saturating_add(gone.sum())
}

/// All sources that were registered or called back: listening ones first, then the busiest.
pub(crate) fn sources(model: &Model, info: &TraceInfo) -> Vec<Source> {
    let mut groups: BTreeMap<Listen, Source> = BTreeMap::new();
    let mut sources = Vec::new();
    for file in model.files().iter().filter(|file| file.stats.flags.items > 0 || file.stats.outcomes.total() > 0) {
        match listen_key(file) {
            Some(key) => match groups.get_mut(&key) {
                Some(group) => {
                    group.files.push(file.id);
                    group.alive |= file.alive;
                    group.stats.merge(&file.stats);
                }
                None => {
                    groups.insert(key, Source::new(file, info));
                }
            },
            None => sources.push(Source::new(file, info)),
        }
    }
    name_namespaces(&mut groups);
    sources.extend(groups.into_values());
    sources.sort_by_key(|source| {
        let first = source.files.first().copied();
        (!source.listening, u64::MAX - source.stats.outcomes.total(), first)
    });
    for (f_op, files, stats) in model.files().ended() {
        let kind = info.file_kinds.get(&f_op).cloned().unwrap_or_else(|| "file".to_owned());
        sources.push(Source {
            name: format!("{files} ended files: {kind}"),
            kind,
            listening: false,
            alive: false,
            files: Vec::new(),
            stats: stats.clone(),
        });
    }
    sources
}

fn listen_key(file: &File) -> Option<Listen> {
    let info = file.info.filter(|_| file.listening)?;
    let internet = matches!(info.family, AF_INET | AF_INET6) && info.local_port != 0;
    let address = (info.family, info.sock_type, info.local, info.local_port);
    internet.then_some(Listen { address, netns: info.netns })
}

/// Adds the network namespace, as `/proc/PID/ns/net` shows it, to the names of sockets that listen at one address in several.
fn name_namespaces(groups: &mut BTreeMap<Listen, Source>) {
    let mut namespaces: BTreeMap<Address, usize> = BTreeMap::new();
    for key in groups.keys() {
        *namespaces.entry(key.address).or_default() += 1;
    }
    for (key, source) in groups {
        if namespaces.get(&key.address).is_some_and(|count| *count > 1) {
            let namespace = match key.netns {
                0 => "an unknown network namespace".to_owned(),
                netns => format!("net:[{netns}]"),
            };
            source.name = format!("{} in {namespace}", source.name);
        }
    }
}

/// What a file is called: `tcp 127.0.0.1:80`.
pub(crate) fn name(file: &File, info: &TraceInfo) -> String {
    let kind = kind(file, info);
    if let Some(addresses) = file.info.and_then(|known| addresses(&known, file.listening)) {
        return format!("{kind} {addresses}");
    }
    let mut details = Vec::new();
    if let Some(fd) = file.fd {
        details.push(format!("fd {fd}"));
    }
    if let Some(known) = file.info {
        details.push(format!("inode {}", known.ino));
    } else {
        details.push(format!("struct file {:#x}", file.address));
    }
    format!("{kind} ({})", details.join(", "))
}

fn kind(file: &File, info: &TraceInfo) -> String {
    match &file.info {
        Some(known) => file_kind(known, &info.file_kinds),
        None if file.listening => "socket".to_owned(),
        None => "file".to_owned(),
    }
}

/// What kind of file it is; `kinds` by the addresses of file operations.
pub(crate) fn file_kind(known: &FileInfo, kinds: &BTreeMap<u64, String>) -> String {
    match known.family {
        AF_INET | AF_INET6 => transport(known).to_owned(),
        AF_UNIX => "unix socket".to_owned(),
        0 => kinds.get(&known.f_op).cloned().unwrap_or_else(|| "file".to_owned()),
        other => format!("socket of family {other}"),
    }
}

/// What a file is, in a few words: `tcp 127.0.0.1:80`, `pipe, inode 12`, `eventfd`. An inode stands where several of the kind have
/// different ones.
pub(crate) fn description(known: &FileInfo, listening: bool, kinds: &BTreeMap<u64, String>) -> String {
    let kind = file_kind(known, kinds);
    match addresses(known, listening) {
        Some(addresses) => format!("{kind} {addresses}"),
        None if known.family != 0 || kind == "pipe" => format!("{kind}, inode {}", known.ino),
        None => kind,
    }
}

/// The addresses of an internet socket: its own, and the peer's if it has one.
fn addresses(known: &FileInfo, listening: bool) -> Option<String> {
    if !matches!(known.family, AF_INET | AF_INET6) {
        return None;
    }
    let local = address(known.family, known.local, known.local_port);
    if listening || known.remote_port == 0 {
        return Some(local);
    }
    Some(format!("{local} from {}", address(known.family, known.remote, known.remote_port)))
}

fn transport(info: &FileInfo) -> &'static str {
    match info.sock_type {
        SOCK_STREAM => "tcp",
        SOCK_DGRAM => "udp",
        _ => "ip socket",
    }
}

fn address(family: u16, bytes: [u8; 16], port: u16) -> String {
    let ip = ip(family, bytes).unwrap_or(IpAddr::V6(bytes.into()));
    std::net::SocketAddr::new(ip, port).to_string()
}

/// The address of a socket of this family; `None` where it has none.
pub(crate) fn ip(family: u16, bytes: [u8; 16]) -> Option<IpAddr> {
    let [a, b, c, d, ..] = bytes;
    match family {
        AF_INET => Some(Ipv4Addr::new(a, b, c, d).into()),
        AF_INET6 => Some(Ipv6Addr::from(bytes).into()),
        _ => None,
    }
}

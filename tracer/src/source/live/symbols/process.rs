//! The processes whose addresses are looked up: their mappings, kept for when they have ended, and the files that are mapped.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::linux::fs::MetadataExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::rc::Rc;

use super::code::{BEFORE, BEHIND, returns_here};
use super::demangle::readable;
use super::maps::{FileNumbers, Mapping, at, executable};
use super::module::Module;

/// Processes whose mappings are kept.
const MAX_PROCESSES: usize = 1024;
/// Files whose tables are kept.
const MAX_MODULES: usize = 256;

/// What an address stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// The name of the mapped file, and the address as the file's own tables count it.
    Module(Vec<u8>, u64),
    /// The function, and how far the address lies in it.
    Function(Vec<u8>, u64),
    /// It cannot be said: why.
    Unknown(String),
    /// No call returns there: why.
    NoCode(&'static str),
}

/// What is remembered of processes and files.
#[derive(Debug, Default)]
pub(super) struct Processes {
    mappings: BTreeMap<u32, Vec<Mapping>>,
    modules: BTreeMap<FileNumbers, Rc<Module>>,
}

impl Processes {
    /// What an address of a process stands for.
    pub(super) fn look_up(&mut self, tgid: u32, address: u64) -> Vec<Found> {
        let mapping = match self.mapping(tgid, address) {
            Ok(Some(mapping)) => mapping,
            Ok(None) => return vec![Found::NoCode("nothing is mapped there that can be executed")],
            Err(why) => return vec![Found::Unknown(why)],
        };
        let module = self.module(tgid, &mapping);
        let offset = address - mapping.start + mapping.offset;
        let code = code_around(tgid, address).or_else(|| module.bytes(offset.checked_sub(BEFORE as u64)?));
        if code.is_some_and(|code| !returns_here(code)) {
            return vec![Found::NoCode("no call ends there")];
        }
        let place = module.address_of(offset).unwrap_or(offset);
        let mut found = vec![Found::Module(mapping.name().to_vec(), place)];
        // The call itself: where it returns to may be another function, if it never does.
        if let Some((name, start)) = place.checked_sub(1).and_then(|before| module.function(before)) {
            found.push(Found::Function(readable(name), place - start));
        }
        found
    }

    /// Where the function that makes a system call before this address returns to, in bytes above the stack pointer; of an address that
    /// was looked up before.
    pub(super) fn return_above(&mut self, tgid: u32, address: u64) -> Option<u32> {
        let mapping = at(self.mappings.get(&tgid)?, address)?.clone();
        let module = self.module(tgid, &mapping);
        module.return_above(module.address_of(address - mapping.start + mapping.offset)?)
    }

    /// The mapping that holds an address: by now, or, when the process has ended, when it was last looked at.
    fn mapping(&mut self, tgid: u32, address: u64) -> Result<Option<Mapping>, String> {
        let ended = || "the process had ended before its mappings were read".to_owned();
        let mappings = match fs::read(format!("/proc/{tgid}/maps")) {
            // A process that has ended and is not waited for has none.
            Ok(maps) if maps.is_empty() => Err(ended()),
            Ok(maps) => Ok(executable(&maps)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(ended()),
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Err(ended()),
            Err(error) => Err(format!("/proc/{tgid}/maps: {error}")),
        };
        match mappings {
            Ok(mappings) => {
                let found = at(&mappings, address).cloned();
                if self.mappings.len() >= MAX_PROCESSES && !self.mappings.contains_key(&tgid) {
                    self.mappings.pop_first();
                }
                self.mappings.insert(tgid, mappings);
                Ok(found)
            }
            Err(why) => match self.mappings.get(&tgid) {
                Some(known) => Ok(at(known, address).cloned()),
                None => Err(why),
            },
        }
    }

    /// The tables of the file that is mapped there.
    fn module(&mut self, tgid: u32, mapping: &Mapping) -> Rc<Module> {
        if mapping.file.2 == 0 {
            return Rc::default();
        }
        if let Some(known) = self.modules.get(&mapping.file) {
            return Rc::clone(known);
        }
        let module = Rc::new(open(tgid, mapping).map(Module::read).unwrap_or_default());
        if self.modules.len() >= MAX_MODULES {
            self.modules.pop_first();
        }
        self.modules.insert(mapping.file, Rc::clone(&module));
        module
    }
}

/// The file itself, whatever its path means by now and in which mount namespace; else what has its path as the process sees it, if
/// it is the same file. Nothing but a regular file is opened.
fn open(tgid: u32, mapping: &Mapping) -> Option<File> {
    let mapped = PathBuf::from(format!("/proc/{tgid}/map_files/{:x}-{:x}", mapping.start, mapping.end));
    let regular = |path: &PathBuf| fs::metadata(path).is_ok_and(|data| data.is_file());
    if regular(&mapped)
        && let Ok(file) = File::open(&mapped)
    {
        return Some(file);
    }
    let mut path = PathBuf::from(format!("/proc/{tgid}/root"));
    path.push(std::ffi::OsStr::from_bytes(mapping.path.strip_prefix(b"/")?));
    let data = fs::metadata(&path).ok().filter(fs::Metadata::is_file)?;
    let device = data.st_dev();
    let same = (libc::major(device), libc::minor(device), data.st_ino()) == mapping.file;
    if same { File::open(path).ok() } else { None }
}

/// The code around an address, as the process has it.
fn code_around(tgid: u32, address: u64) -> Option<[u8; BEFORE + BEHIND]> {
    let mut code = [0; BEFORE + BEHIND];
    let memory = File::open(format!("/proc/{tgid}/mem")).ok()?;
    memory.read_exact_at(&mut code, address.checked_sub(BEFORE as u64)?).ok()?;
    Some(code)
}

#[cfg(test)]
mod tests {
    use super::{Found, Processes};

    /// An address that a call returns to: the one of whoever calls this.
    #[inline(never)]
    fn after_this_call() -> u64 {
        let address: u64;
        // SAFETY: reads where the next instruction lies, behind a call of it.
        unsafe { std::arch::asm!("call 2f", "2: pop {}", out(reg) address) };
        address
    }

    #[test]
    fn an_address_of_this_very_process_has_a_module_and_a_function() {
        let address = after_this_call();
        let found = Processes::default().look_up(std::process::id(), address);
        let [Found::Module(module, _), Found::Function(function, offset)] = found.as_slice() else {
            panic!("{found:?}")
        };
        assert!(String::from_utf8_lossy(module).starts_with("eptrace"), "{}", String::from_utf8_lossy(module));
        assert!(
            String::from_utf8_lossy(function).ends_with("after_this_call"),
            "{}",
            String::from_utf8_lossy(function)
        );
        assert!(*offset > 0);
    }

    #[test]
    fn what_no_call_returns_to_is_no_code() {
        let own = std::process::id();
        let address = after_this_call();
        assert_eq!(Processes::default().look_up(own, address + 1), [Found::NoCode("no call ends there")]);
        let local = 0_u64;
        let on_the_stack = std::ptr::from_ref(&local) as u64;
        for address in [0, 1, on_the_stack, u64::MAX] {
            let found = Processes::default().look_up(own, address);
            assert!(matches!(found.as_slice(), [Found::NoCode(_)]), "{address:#x}: {found:?}");
        }
    }

    #[test]
    fn a_process_that_has_ended_is_said_to_have_and_what_was_read_before_still_serves() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = child.id();
        let mut processes = Processes::default();
        let kill = |child: &mut std::process::Child| {
            child.kill().unwrap();
            child.wait().unwrap();
        };
        // Whatever it is: the mappings are read.
        processes.look_up(pid, 1);
        let code = processes.mappings.get(&pid).and_then(|mappings| mappings.first()).map(|mapping| mapping.start);
        kill(&mut child);
        let found = Processes::default().look_up(pid, 1);
        assert!(matches!(found.as_slice(), [Found::Unknown(why)] if why.contains("had ended")), "{found:?}");
        assert!(matches!(processes.look_up(pid, 1).as_slice(), [Found::NoCode(_)]));
        assert!(code.is_some(), "a program that runs has code");
    }
}

//! Which functions and tables the running kernel has, and at which addresses.
//!
//! In: `/proc/kallsyms` (all of it, some 200 000 lines, read as a stream) and tracefs' `available_filter_functions`. Out: the few
//! wanted names. A name matches exactly, or with a suffix that the compiler gave a changed copy: `ep_item_poll.isra.0` is reported
//! for `ep_item_poll`, as such, because a kprobe can be set on it but its arguments are not those of the source.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

/// Where the kernel shows its symbols.
pub const KALLSYMS: &str = "/proc/kallsyms";

/// One line of kallsyms that was wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Symbol {
    /// The wanted name.
    pub name: String,
    /// What the compiler appended: `.isra.0`, `.constprop.0`, `.part.0`, `.llvm.123`; empty for the function itself.
    pub suffix: String,
    /// 0 where the kernel hides it.
    pub address: u64,
    /// `nm`'s letter: `T` and `t` for functions, `D`, `d`, `R`, `r`, `B`, `b` for data; a capital for what other files can use.
    pub letter: char,
    /// The module it belongs to.
    pub module: Option<String>,
}

impl Symbol {
    /// The whole name, as a kprobe wants it.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}{}", self.name, self.suffix)
    }

    /// Whether it is code.
    #[must_use]
    pub fn is_function(&self) -> bool {
        matches!(self.letter.to_ascii_lowercase(), 't' | 'w')
    }
}

/// Why the symbols cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SymbolsError {
    /// The file cannot be read; without `CONFIG_KALLSYMS` it does not exist.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// A line is not what kallsyms writes.
    #[error("line {line} is no line of kallsyms: {text:?}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// Its beginning.
        text: String,
    },
    /// There is not one line.
    #[error("the list of kernel symbols is empty")]
    Empty,
}

/// The wanted symbols of a kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Symbols {
    found: Vec<Symbol>,
    hidden: bool,
    lines: usize,
}

impl Symbols {
    /// Reads [`KALLSYMS`].
    ///
    /// # Errors
    /// [`SymbolsError`]
    pub fn load(wanted: &[&str]) -> Result<Self, SymbolsError> {
        let file = File::open(KALLSYMS).map_err(|source| SymbolsError::Read { path: KALLSYMS.to_owned(), source })?;
        Self::read(BufReader::with_capacity(64 << 10, file), wanted)
    }

    /// Reads text in the form of kallsyms.
    ///
    /// # Errors
    /// [`SymbolsError`]
    pub fn parse(text: &[u8], wanted: &[&str]) -> Result<Self, SymbolsError> {
        Self::read(text, wanted)
    }

    fn read(mut from: impl BufRead, wanted: &[&str]) -> Result<Self, SymbolsError> {
        let wanted = Names::new(wanted);
        let mut symbols = Self { found: Vec::new(), hidden: true, lines: 0 };
        let mut line = Vec::new();
        while next_line(&mut from, &mut line)
            .map_err(|source| SymbolsError::Read { path: KALLSYMS.to_owned(), source })?
        {
            symbols.lines += 1;
            let foreign = || SymbolsError::Line {
                line: symbols.lines,
                text: String::from_utf8_lossy(&line[..line.len().min(80)]).into_owned(),
            };
            let parsed = Line::parse(&line).ok_or_else(foreign)?;
            // Hidden addresses are all zero, and some per-CPU symbols and absolute ones are zero anyway.
            symbols.hidden = symbols.hidden && parsed.address_is_zero();
            if let Some((name, suffix)) = wanted.split(parsed.name) {
                let symbol = parsed.symbol(name, suffix).ok_or_else(foreign)?;
                symbols.found.push(symbol);
            }
        }
        if symbols.lines == 0 { Err(SymbolsError::Empty) } else { Ok(symbols) }
    }

    /// Whether the kernel shows only zeros for addresses: to a reader without the right to see them (`kptr_restrict`,
    /// `CAP_SYSLOG`; `kallsyms_show_value()` in `kernel/ksyms_common.c`, before 6.4 in `kernel/kallsyms.c`).
    #[must_use]
    pub fn addresses_hidden(&self) -> bool {
        self.hidden
    }

    /// How many symbols the kernel has.
    #[must_use]
    pub fn total(&self) -> usize {
        self.lines
    }

    /// The symbol of exactly this name; of several, the first.
    #[must_use]
    pub fn exact(&self, name: &str) -> Option<&Symbol> {
        self.named(name).find(|symbol| symbol.suffix.is_empty())
    }

    /// The compiler's copies of a function, without the function itself.
    pub fn variants<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a Symbol> {
        self.named(name).filter(|symbol| !symbol.suffix.is_empty())
    }

    /// All symbols found for a wanted name, in the kernel's order. More than one without a suffix: static functions of several
    /// files share the name, and a kprobe by name is refused (since 6.7) or set on one of them.
    pub fn named<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a Symbol> {
        self.found.iter().filter(move |symbol| symbol.name == name)
    }

    /// The address of exactly this symbol, where the kernel shows it.
    #[must_use]
    pub fn address(&self, name: &str) -> Option<u64> {
        self.exact(name).map(|symbol| symbol.address).filter(|&address| address != 0)
    }
}

/// The functions that ftrace, and so fentry and a kprobe by ftrace, can be attached to: the wanted ones of tracefs'
/// `available_filter_functions`, with their suffixes.
///
/// # Errors
/// [`SymbolsError::Read`]: no such file (no `CONFIG_DYNAMIC_FTRACE`, tracefs elsewhere), or no permission; [`SymbolsError::Empty`].
pub fn ftrace_functions(tracefs: &Path, wanted: &[&str]) -> Result<HashSet<String>, SymbolsError> {
    let path = tracefs.join("available_filter_functions");
    let read = |source| SymbolsError::Read { path: path.display().to_string(), source };
    let file = File::open(&path).map_err(read)?;
    ftrace_functions_of(BufReader::with_capacity(64 << 10, file), wanted).map_err(read)?.ok_or(SymbolsError::Empty)
}

/// `None` if there is not one line.
fn ftrace_functions_of(mut from: impl BufRead, wanted: &[&str]) -> io::Result<Option<HashSet<String>>> {
    let wanted = Names::new(wanted);
    let mut found = HashSet::new();
    let mut line = Vec::new();
    let mut any = false;
    while next_line(&mut from, &mut line)? {
        any = true;
        let name = line.split(|&byte| byte == b' ' || byte == b'\t').next().unwrap_or_default();
        if let (Some(_), Ok(name)) = (wanted.split(name), std::str::from_utf8(name)) {
            found.insert(name.to_owned());
        }
    }
    Ok(any.then_some(found))
}

/// The next line without its end; `false` at the end of the file.
fn next_line(from: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    // No line of the kernel's is longer; a file without line ends must not fill the memory.
    let read = io::Read::take(from, MAX_LINE).read_until(b'\n', line)?;
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    Ok(read > 0)
}

/// `KSYM_NAME_LEN` is 512; address, letter and module are less than 100 more.
const MAX_LINE: u64 = 4096;

/// The wanted names, for a quick look at 200 000 others.
struct Names<'a> {
    by_name: HashMap<&'a [u8], &'a str>,
    /// By a name's first and third byte and its length: most lines need no hash.
    possible: Vec<bool>,
}

impl<'a> Names<'a> {
    fn new(wanted: &[&'a str]) -> Self {
        let mut possible = vec![false; 256 * 256];
        for name in wanted {
            possible[Self::slot(name.as_bytes())] = true;
        }
        Self { by_name: wanted.iter().map(|name| (name.as_bytes(), *name)).collect(), possible }
    }

    fn slot(name: &[u8]) -> usize {
        let first = usize::from(name.first().copied().unwrap_or(0));
        let third = usize::from(name.get(2).copied().unwrap_or(0));
        first << 8 | (third ^ (name.len() << 3)) & 0xff
    }

    /// The wanted name and the suffix that `name` is made of. A `.cold` part is no entry of a function: it never matches.
    fn split<'b>(&self, name: &'b [u8]) -> Option<(&'a str, &'b [u8])> {
        let end = name.iter().position(|&byte| byte == b'.').unwrap_or(name.len());
        let (base, suffix) = name.split_at(end);
        if !suffix.is_empty()
            && self.possible[Self::slot(name)]
            && let Some(whole) = self.by_name.get(name)
        {
            // Wanted with its suffix: a copy that has no other form.
            return Some((*whole, &[]));
        }
        if !self.possible[Self::slot(base)] {
            return None;
        }
        let base = self.by_name.get(base)?;
        let cold = suffix.split(|&byte| byte == b'.').any(|part| part == b"cold");
        (!cold).then_some((*base, suffix))
    }
}

/// `ffffffff813a1b20 t ep_poll_callback<TAB>[module]`
struct Line<'a> {
    address: &'a [u8],
    letter: u8,
    name: &'a [u8],
    module: Option<&'a [u8]>,
}

impl<'a> Line<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        let space = line.iter().take(17).position(|&byte| byte == b' ')?;
        let (address, rest) = line.split_at(space);
        let &[b' ', letter, b' ', ref rest @ ..] = rest else {
            return None;
        };
        let end = rest.iter().position(|&byte| byte == b'\t').unwrap_or(rest.len());
        let (name, module) = rest.split_at(end);
        if address.is_empty() || name.is_empty() {
            return None;
        }
        let module = module.strip_prefix(b"\t[").and_then(|module| module.strip_suffix(b"]"));
        Some(Self { address, letter, name, module })
    }

    fn address_is_zero(&self) -> bool {
        self.address.iter().all(|&digit| digit == b'0')
    }

    fn symbol(&self, name: &str, suffix: &[u8]) -> Option<Symbol> {
        let address = std::str::from_utf8(self.address).ok()?;
        Some(Symbol {
            name: name.to_owned(),
            suffix: String::from_utf8_lossy(suffix).into_owned(),
            address: u64::from_str_radix(address, 16).ok()?,
            letter: char::from(self.letter),
            module: self.module.map(|module| String::from_utf8_lossy(module).into_owned()),
        })
    }
}

#[cfg(test)]
mod tests;

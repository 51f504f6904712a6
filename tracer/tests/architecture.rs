//! The modules of the library depend on each other in one direction, and only a few of them may touch the kernel.
//!
//! In: every source file of `tracer/src`. Out: a failure for each path that leads where the tables below do not allow.
//! ARCHITECTURE.md says what the tables mean.

use std::fs;
use std::path::{Path, PathBuf};

/// Which module may name which others. A row names only rows above it, so nothing can flow back.
const MAY_USE: &[(&str, &[&str])] = &[
    ("event", &[]),
    ("kernel", &[]),
    ("decode", &["event"]),
    ("trace_file", &["event"]),
    ("probes", &["kernel", "event"]),
    ("snapshot", &["decode", "event"]),
    ("source", &["decode", "trace_file", "probes", "snapshot", "kernel", "event"]),
    ("model", &["event"]),
    ("analysis", &["model", "event"]),
    ("output", &["analysis", "model", "snapshot", "event"]),
    ("top", &["output", "analysis", "model", "event"]),
    (
        "cli",
        &[
            "event",
            "kernel",
            "decode",
            "trace_file",
            "probes",
            "snapshot",
            "source",
            "model",
            "analysis",
            "output",
            "top",
        ],
    ),
];

/// The files that may name aya: those that load, attach and drain. A name that ends in `/` is a folder.
const MAY_NAME_AYA: &[&str] = &["probes/", "source/live/"];

/// Tests that follow a trace further than their module may: file, module, why. One that is no longer needed is a failure.
const EXCEPTIONS: &[(&str, &str, &str)] =
    &[("trace_file/tests/files.rs", "source", "a file is opened as the commands open it")];

/// The modules that work on values alone: no kernel, no runtime, no files, no clock.
const PURE: &[&str] = &["event", "decode", "snapshot", "model", "analysis", "output", "top"];

/// Crates that a pure module does not name.
const IMPURE_CRATES: &[&str] = &["aya", "tokio", "libc"];

/// Parts of std that a pure module does not name.
const IMPURE_STD: &[&str] = &["env", "fs", "os", "process", "thread", "time"];

/// Places that a pure module does not name in a string.
const IMPURE_PLACES: &[&str] = &["/proc", "/sys"];

/// A piece of source text, with its line.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Text(String),
    Mark(char),
}

/// A path as it is written, with `crate`, `super` and `self` resolved: `["crate", "model", "Model"]`.
#[derive(Debug, PartialEq, Eq)]
struct Named {
    line: usize,
    path: Vec<String>,
}

/// Cuts source text into tokens. Comments vanish; numbers are words.
fn tokens(source: &str) -> Vec<(usize, Token)> {
    let chars: Vec<char> = source.chars().collect();
    let at = |index: usize| chars.get(index).copied().unwrap_or('\0');
    let mut found = Vec::new();
    let (mut index, mut line) = (0, 1);
    while index < chars.len() {
        let start = index;
        let token = match at(index) {
            '/' if at(index + 1) == '/' => {
                index = end_of_line(&chars, index);
                None
            }
            '/' if at(index + 1) == '*' => {
                index = end_of_comment(&chars, index);
                None
            }
            '"' => {
                let (text, end) = quoted(&chars, index);
                index = end;
                Some(Token::Text(text))
            }
            // A character, unless it is a lifetime.
            '\'' if at(index + 1) == '\\' || at(index + 2) == '\'' => {
                index += if at(index + 1) == '\\' { 3 } else { 2 };
                while index < chars.len() && at(index) != '\'' {
                    index += 1;
                }
                index += 1;
                None
            }
            first if first.is_alphanumeric() || first == '_' => {
                while at(index).is_alphanumeric() || at(index) == '_' {
                    index += 1;
                }
                let word: String = chars[start..index].iter().collect();
                let raw = word.ends_with('r') && word.len() <= 2;
                if let Some((text, end)) = raw.then(|| raw_quoted(&chars, index)).flatten() {
                    index = end;
                    Some(Token::Text(text))
                } else {
                    Some(Token::Word(word))
                }
            }
            other => {
                index += 1;
                (!other.is_whitespace()).then_some(Token::Mark(other))
            }
        };
        found.extend(token.map(|token| (line, token)));
        line += chars[start..index.min(chars.len())].iter().filter(|c| **c == '\n').count();
    }
    found
}

fn end_of_line(chars: &[char], from: usize) -> usize {
    chars[from..].iter().position(|c| *c == '\n').map_or(chars.len(), |length| from + length)
}

/// Block comments nest.
fn end_of_comment(chars: &[char], from: usize) -> usize {
    let (mut index, mut depth) = (from, 0);
    while index < chars.len() {
        match (chars[index], chars.get(index + 1)) {
            ('/', Some('*')) => {
                depth += 1;
                index += 2;
            }
            ('*', Some('/')) => {
                depth -= 1;
                index += 2;
                if depth == 0 {
                    return index;
                }
            }
            _ => index += 1,
        }
    }
    index
}

/// The text of a string literal, and where it ends.
fn quoted(chars: &[char], from: usize) -> (String, usize) {
    let mut index = from + 1;
    while index < chars.len() && chars[index] != '"' {
        index += if chars[index] == '\\' { 2 } else { 1 };
    }
    let end = index.min(chars.len());
    (chars[from + 1..end].iter().collect(), end + 1)
}

/// The text of a raw string whose `r` was just read, and where it ends; `None` when none begins here.
fn raw_quoted(chars: &[char], from: usize) -> Option<(String, usize)> {
    let hashes = chars[from..].iter().take_while(|c| **c == '#').count();
    let begin = from + hashes;
    if chars.get(begin) != Some(&'"') {
        return None;
    }
    let close: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    let body = &chars[begin + 1..];
    let length = body.windows(close.len()).position(|window| window == close).unwrap_or(body.len());
    Some((body[..length].iter().collect(), begin + 1 + length + close.len()))
}

/// The module that a file holds: `["trace_file", "tests", "torn"]`.
fn module_of(file: &str) -> Vec<String> {
    let stem = file.strip_suffix(".rs").unwrap_or(file);
    let mut path: Vec<String> = stem.split('/').map(str::to_owned).collect();
    if matches!(path.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        path.pop();
    }
    path
}

/// Every path of two names or more, with the branches of `use a::{b, c::d}` told apart.
fn paths(tokens: &[(usize, Token)], module: &[String]) -> Vec<Named> {
    let mut named = Vec::new();
    let mut inside = module.to_vec();
    let mut inline: Vec<usize> = Vec::new();
    let (mut index, mut depth) = (0, 0);
    while let Some((line, token)) = tokens.get(index) {
        match token {
            Token::Mark('{') => depth += 1,
            Token::Mark('}') => {
                depth -= 1;
                if inline.last() == Some(&depth) {
                    inline.pop();
                    inside.pop();
                }
            }
            Token::Word(word) if word == "mod" => {
                let next = |ahead: usize| tokens.get(index + ahead).map(|(_, token)| token);
                if let (Some(Token::Word(name)), Some(Token::Mark('{'))) = (next(1), next(2)) {
                    inside.push(name.clone());
                    inline.push(depth);
                }
            }
            Token::Word(_) if leads_on(tokens, index) => {
                let mut found = Vec::new();
                index = branch(tokens, index, &[], &inside, &mut found);
                named.extend(found.into_iter().map(|path| Named { line: *line, path }));
                continue;
            }
            Token::Word(_) | Token::Text(_) | Token::Mark(_) => {}
        }
        index += 1;
    }
    named
}

/// Whether `::` follows.
fn leads_on(tokens: &[(usize, Token)], index: usize) -> bool {
    let colon = |ahead: usize| matches!(tokens.get(index + ahead), Some((_, Token::Mark(':'))));
    colon(1) && colon(2)
}

/// Follows one path from `index` to its ends; returns the index after it.
fn branch(
    tokens: &[(usize, Token)],
    mut index: usize,
    before: &[String],
    inside: &[String],
    found: &mut Vec<Vec<String>>,
) -> usize {
    let here = || std::iter::once("crate".to_owned()).chain(inside.iter().cloned()).collect();
    let mut path = before.to_vec();
    loop {
        match tokens.get(index).map(|(_, token)| token) {
            Some(Token::Word(word)) => {
                match word.as_str() {
                    "self" if path.is_empty() => path = here(),
                    "self" => {}
                    "super" => {
                        if path.is_empty() {
                            path = here();
                        }
                        path.pop();
                    }
                    name => path.push(name.to_owned()),
                }
                if !leads_on(tokens, index) {
                    found.push(path);
                    return index + 1;
                }
                index += 3;
            }
            Some(Token::Mark('{')) => {
                index += 1;
                while let Some((_, token)) = tokens.get(index) {
                    match token {
                        Token::Mark('}') => return index + 1,
                        Token::Word(word) if word == "as" => index += 2,
                        Token::Word(_) | Token::Mark('{' | '*') => {
                            index = branch(tokens, index, &path, inside, found);
                        }
                        Token::Text(_) | Token::Mark(_) => index += 1,
                    }
                }
                return index;
            }
            Some(Token::Mark('*')) => {
                found.push(path);
                return index + 1;
            }
            // `Vec::<u8>::new`: what came before the bracket is a path.
            _ => {
                found.push(path);
                return index;
            }
        }
    }
}

/// What is wrong with a file: sentences. `file` is its place below `src`.
fn complaints(file: &str, source: &str) -> Vec<String> {
    let tokens = tokens(source);
    let module = module_of(file);
    let mut wrong = Vec::new();
    if !MAY_NAME_AYA.iter().any(|place| *place == file || (place.ends_with('/') && file.starts_with(place))) {
        for (line, word) in words(&tokens).filter(|(_, word)| *word == "aya" || word.starts_with("aya_")) {
            wrong.push(format!("{file}:{line}: only {} may name {word}", MAY_NAME_AYA.join(", ")));
        }
    }
    // lib.rs declares the modules, main.rs calls the library.
    let Some(own) = module.first() else { return wrong };
    let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| name == own) else {
        wrong.push(format!("{file}: the module {own} is not in the table of this test"));
        return wrong;
    };
    let named = paths(&tokens, &module);
    for Named { line, path } in &named {
        if let [root, target, ..] = path.as_slice()
            && root == "crate"
            && target != own
            && !allowed.contains(&target.as_str())
            && !excepted(file, target)
        {
            wrong.push(format!("{file}:{line}: {own} must not use {target}"));
        }
    }
    if PURE.contains(&own.as_str()) {
        wrong.extend(impurities(file, &tokens, &named));
    }
    wrong
}

fn excepted(file: &str, target: &str) -> bool {
    EXCEPTIONS.iter().any(|(excepted, module, _)| *excepted == file && *module == target)
}

fn words(tokens: &[(usize, Token)]) -> impl Iterator<Item = (usize, &str)> {
    tokens.iter().filter_map(|(line, token)| match token {
        Token::Word(word) => Some((*line, word.as_str())),
        Token::Text(_) | Token::Mark(_) => None,
    })
}

fn impurities(file: &str, tokens: &[(usize, Token)], named: &[Named]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (line, word) in words(tokens).filter(|(_, word)| IMPURE_CRATES.contains(word)) {
        wrong.push(format!("{file}:{line}: {word} is named where only values may be"));
    }
    for Named { line, path } in named {
        if let [root, part, ..] = path.as_slice()
            && root == "std"
            && IMPURE_STD.contains(&part.as_str())
        {
            wrong.push(format!("{file}:{line}: std::{part} is named where only values may be"));
        }
    }
    for (line, token) in tokens {
        if let Token::Text(text) = token
            && IMPURE_PLACES.iter().any(|place| text.contains(place))
        {
            wrong.push(format!("{file}:{line}: \"{text}\" is named where only values may be"));
        }
    }
    wrong
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every source file with its place below `src`.
fn files() -> Vec<(String, String)> {
    let root = sources();
    let mut folders = vec![root.clone()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the sources can be listed") {
            let path = entry.expect("the sources can be listed").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(&root).expect("it lies below").display().to_string();
                files.push((name, fs::read_to_string(&path).expect("a source file can be read")));
            }
        }
    }
    files.sort();
    files
}

#[test]
fn every_source_file_keeps_to_the_direction_of_the_data() {
    let files = files();
    assert!(files.len() > 20, "only {} files were found below {}", files.len(), sources().display());
    let wrong: Vec<String> = files.iter().flat_map(|(file, source)| complaints(file, source)).collect();
    assert!(wrong.is_empty(), "see ARCHITECTURE.md, \"Who may use whom\":\n{}", wrong.join("\n"));
}

#[test]
fn every_module_has_its_row_and_every_row_names_only_rows_above_it() {
    for (index, (module, allowed)) in MAY_USE.iter().enumerate() {
        let place = sources().join(module);
        assert!(place.is_dir() || place.with_extension("rs").is_file(), "there is no module {module}");
        for target in *allowed {
            assert!(
                MAY_USE[..index].iter().any(|(above, _)| above == target),
                "{module} uses {target}, which is below it"
            );
        }
    }
}

#[test]
fn every_exception_is_a_test_that_needs_it() {
    let files = files();
    for (file, target, why) in EXCEPTIONS {
        assert!(file.contains("/tests/") && !why.is_empty(), "{file} is not a test");
        let (_, source) = files.iter().find(|(name, _)| name == file).expect("the file of an exception exists");
        let named = paths(&tokens(source), &module_of(file));
        let needed = named.iter().any(|named| named.path.get(1).is_some_and(|module| module == target));
        assert!(needed, "{file} does not use {target}: remove the exception");
    }
}

#[test]
fn an_edge_against_the_direction_is_found_however_it_is_written() {
    let edge = |file: &str, source: &str| complaints(file, source).join("\n");
    for source in [
        "use crate::kernel::btf::Btf;",
        "use crate::{event::Event, kernel};",
        "use crate::{\n    event::{Event, Mark},\n    kernel::*,\n};",
        "fn f() { let x = crate::kernel::process::Process::find(1); }",
        "use super::super::kernel::btf;",
        "mod tests { use super::super::super::kernel; }",
        "pub use crate::event::Event; pub(crate) use crate::kernel as facts;",
        "fn f<'a>(c: char) -> bool { c == '\"' || c == '\\'' || crate::kernel::yes(\"\\\"\") }",
    ] {
        let said = edge("model/item.rs", source);
        assert!(said.contains("model must not use kernel"), "{source}: {said:?}");
    }
    assert_eq!(edge("kernel/layout.rs", "\nuse crate::event::Event;"), "kernel/layout.rs:2: kernel must not use event");
    assert!(edge("output/text.rs", "use crate::cli::main;").contains("output must not use cli"));
    assert!(edge("event.rs", "use crate::model::Model;").contains("event must not use model"));
    assert!(edge("model/mod.rs", "use super::source::live::Live;").contains("model must not use source"));
    assert!(edge("plugins/mod.rs", "").contains("not in the table"));
}

#[test]
fn allowed_edges_comments_and_strings_are_not_complained_of() {
    for (file, source) in [
        ("model/item.rs", "use crate::event::Event; use super::wakeup::Wakeup; use crate::model::ids::EpId;"),
        ("model/item.rs", "//! As [`Live`](crate::source::live::Live).\n/* crate::kernel /* tokio */ libc */"),
        ("model/item.rs", "const A: &str = \"crate::kernel, aya\"; const B: &str = r#\"use crate::source;\"#;"),
        ("model/item.rs", "pub(crate) mod a { pub(super) fn b() { super::c::<u8>(); self::d() } }"),
        ("model/item.rs", "mod tests { use super::super::wakeup::Wakeup; }"),
        (
            "analysis/herd.rs",
            "use std::net::{IpAddr, Ipv4Addr}; use crate::{event::Event, model::{Model, TaskId as Id}};",
        ),
        ("cli/check.rs", "use crate::{kernel::files, probes::plan, output::Text, analysis, source::live::Live};"),
        ("source/live/drain.rs", "use aya::maps::RingBuf;"),
        ("probes/attach.rs", "use aya::Ebpf; use crate::event::HookInfo;"),
        ("kernel/files.rs", "use std::fs; const MOUNTS: &str = \"/proc/self/mounts\";"),
    ] {
        assert_eq!(complaints(file, source), Vec::<String>::new(), "{file}: {source}");
    }
}

#[test]
fn aya_is_found_outside_of_its_places() {
    for file in ["kernel/btf/mod.rs", "source/file.rs", "source/mod.rs", "cli/follow.rs", "model/mod.rs", "lib.rs"] {
        assert!(complaints(file, "use aya::Ebpf;").join("\n").contains("may name aya"), "{file}");
        assert!(complaints(file, "fn f() -> aya_obj::Object { todo!() }").join("\n").contains("aya_obj"), "{file}");
    }
}

#[test]
fn a_pure_module_that_touches_the_system_is_found() {
    for module in PURE {
        for (source, word) in [
            ("use tokio::sync::mpsc;", "tokio"),
            ("fn f() -> i32 { libc::EAGAIN }", "libc"),
            ("use std::fs;", "std::fs"),
            ("use std::{fmt::Write as _, fs::File, io};", "std::fs"),
            ("fn f() { let now = std::time::Instant::now(); }", "std::time"),
            ("const P: &str = \"/proc/self/comm\";", "/proc/self/comm"),
        ] {
            let said = complaints(&format!("{module}/x.rs"), source).join("\n");
            assert!(said.contains(word) && said.contains("only values"), "{module}: {source}: {said:?}");
        }
    }
}

//! Names of functions as people write them.
//!
//! A name is chosen by the program that is traced: it can be made so that what it stands for is without end.

use std::fmt::{self, Write as _};

/// Bytes of a name that are kept: four parts of a [`Symbol`](crate::event::Symbol).
pub(super) const MAX_NAME: usize = 224;

/// What a symbol of a Rust or a C++ program is called in its source; any other name as it is.
pub(super) fn readable(symbol: &[u8]) -> Vec<u8> {
    let demangled = std::str::from_utf8(symbol).ok().and_then(|name| rust(name).or_else(|| cpp(name)));
    bounded(demangled.map_or_else(|| symbol.to_vec(), String::into_bytes))
}

/// At most so much of a name; what was cut off shows.
pub(super) fn bounded(mut name: Vec<u8>) -> Vec<u8> {
    const CUT: &[u8] = "…".as_bytes();
    if name.len() > MAX_NAME {
        let mut end = MAX_NAME - CUT.len();
        // Not in the middle of a character.
        while end > 0 && name.get(end).is_some_and(|byte| byte & 0xc0 == 0x80) {
            end -= 1;
        }
        name.truncate(end);
        name.extend_from_slice(CUT);
    }
    name
}

fn rust(name: &str) -> Option<String> {
    let mut out = Bounded::default();
    // Without the hash behind it. An error is the end of the room.
    let _ = write!(out, "{:#}", rustc_demangle::try_demangle(name).ok()?);
    Some(out.0)
}

fn cpp(name: &str) -> Option<String> {
    if !name.starts_with("_Z") {
        return None;
    }
    let symbol = cpp_demangle::Symbol::new(name).ok()?;
    let mut out = Bounded::default();
    let options = cpp_demangle::DemangleOptions::new().no_params();
    let _ = symbol.structured_demangle(&mut out, &options);
    (!out.0.is_empty()).then_some(out.0)
}

/// Takes in a little more than is kept, and then refuses.
#[derive(Default)]
struct Bounded(String);

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.push_str(text);
        if self.0.len() > MAX_NAME { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_NAME, readable};

    fn text(symbol: &str) -> String {
        String::from_utf8(readable(symbol.as_bytes())).unwrap()
    }

    #[test]
    fn names_of_rust_and_of_cpp_are_those_of_the_source_and_others_stay() {
        assert_eq!(text("_ZN5demos8pitfalls5calls4spin17h0123456789abcdefE"), "demos::pitfalls::calls::spin");
        assert_eq!(text("_RNvNtCs1234_7mycrate3foo3bar"), "mycrate::foo::bar");
        assert_eq!(text("_ZN3Foo3barEi"), "Foo::bar");
        assert_eq!(text("epoll_wait"), "epoll_wait");
        assert_eq!(text("_Znonsense"), "_Znonsense");
    }

    #[test]
    fn bytes_that_are_no_text_are_kept() {
        assert_eq!(readable(b"\xff\x1b[2J"), b"\xff\x1b[2J");
    }

    #[test]
    fn a_name_that_grows_without_end_is_cut() {
        let long = text(&"é".repeat(10_000));
        assert!(long.len() <= MAX_NAME && long.ends_with('…'), "{}", long.len());
        // Each substitution holds the one before it twice.
        let mut bomb = "_Z1fPFvv".to_owned();
        for n in 0..30_u32 {
            let digit = char::from_digit(n % 36, 36).unwrap().to_ascii_uppercase();
            bomb.extend(["PFS", &digit.to_string(), "_S", &digit.to_string(), "_E"]);
        }
        assert!(readable(bomb.as_bytes()).len() <= MAX_NAME);
    }
}

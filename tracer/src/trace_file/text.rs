//! Bytes as text that reads well and loses nothing.

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::event::unpadded;

/// `AF_INET` (include/linux/socket.h).
const AF_INET: u16 = 2;
/// `AF_INET6` (include/linux/socket.h).
const AF_INET6: u16 = 10;
/// What an address begins with that is neither.
const HEX: &str = "0x";

/// A name as text: without the zero bytes at its end; a backslash is doubled, and a byte that is not part of a printable
/// UTF-8 character is `\xNN`.
pub(super) fn padded_to_text<const N: usize>(name: [u8; N]) -> String {
    let name = unpadded(&name);
    let mut text = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str(r"\\"),
                c if c.is_control() => escape(&mut text, c.encode_utf8(&mut [0; 4]).as_bytes()),
                c => text.push(c),
            }
        }
        escape(&mut text, chunk.invalid());
    }
    text
}

fn escape(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        // Writing to a String does not fail.
        let _ = write!(text, "\\x{byte:02x}");
    }
}

/// What [`padded_to_text`] made it from; `None` for a text that it does not make.
pub(super) fn padded_from_text<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut name = [0; N];
    let mut room = name.iter_mut();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        *room.next()? = match byte {
            b'\\' => match bytes.next()? {
                b'\\' => b'\\',
                b'x' => nibble(bytes.next()?)? << 4 | nibble(bytes.next()?)?,
                _ => return None,
            },
            byte => byte,
        };
    }
    Some(name)
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// A socket's address as text: `127.0.0.1`, `::1`; 32 hexadecimal digits after `0x` where the family has no better; `None` when it
/// has none.
pub(super) fn address_to_text(family: u16, address: [u8; 16]) -> Option<String> {
    let [a, b, c, d, rest @ ..] = address;
    match family {
        AF_INET if rest == [0; 12] => Some(Ipv4Addr::new(a, b, c, d).to_string()),
        AF_INET6 => Some(Ipv6Addr::from(address).to_string()),
        _ if address == [0; 16] => None,
        _ => Some(format!("{HEX}{:032x}", u128::from_be_bytes(address))),
    }
}

/// What [`address_to_text`] made it from; `None` for a text that it does not make.
pub(super) fn address_from_text(text: &str) -> Option<[u8; 16]> {
    if let Some(digits) = text.strip_prefix(HEX) {
        return u128::from_str_radix(digits, 16).ok().map(u128::to_be_bytes);
    }
    if let Ok(v4) = text.parse::<Ipv4Addr>() {
        let mut address = [0; 16];
        address.iter_mut().zip(v4.octets()).for_each(|(to, from)| *to = from);
        return Some(address);
    }
    text.parse::<Ipv6Addr>().ok().map(|v6| v6.octets())
}

#[cfg(test)]
mod tests {
    use super::{address_from_text, address_to_text, padded_from_text, padded_to_text};

    fn comm(bytes: &[u8]) -> [u8; 16] {
        let mut comm = [0; 16];
        comm[..bytes.len()].copy_from_slice(bytes);
        comm
    }

    #[test]
    fn a_plain_name_is_itself() {
        assert_eq!(padded_to_text(comm(b"nginx")), "nginx");
        assert_eq!(padded_to_text(comm("größe".as_bytes())), "größe");
        assert_eq!(padded_to_text(comm(b"")), "");
    }

    #[test]
    fn a_hostile_name_is_escaped() {
        assert_eq!(padded_to_text(comm(b"\x1b[2J\\\xff")), r"\x1b[2J\\\xff");
        assert_eq!(padded_to_text(comm(b"a\0b")), r"a\x00b");
    }

    #[test]
    fn a_text_that_is_no_name_is_refused() {
        for text in ["seventeen bytes!!", r"\", r"\q", r"\x1", r"\xZZ"] {
            assert_eq!(padded_from_text::<16>(text), None, "{text}");
        }
    }

    #[test]
    fn addresses_read_as_people_write_them() {
        let mut v4 = [0; 16];
        v4[..4].copy_from_slice(&[127, 0, 0, 1]);
        assert_eq!(address_to_text(2, v4).as_deref(), Some("127.0.0.1"));
        assert_eq!(address_to_text(10, [0; 16]).as_deref(), Some("::"));
        assert_eq!(address_to_text(1, [0; 16]), None);
        assert_eq!(address_from_text("not an address"), None);
        let mut odd = v4;
        odd[15] = 7;
        let text = address_to_text(2, odd).unwrap();
        assert_eq!(text, "0x7f000001000000000000000000000007");
        assert_eq!(address_from_text(&text), Some(odd));
    }
}

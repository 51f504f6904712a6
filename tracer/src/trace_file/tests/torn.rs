//! Recordings that end without their end.

use super::super::{ReadError, Tear, Writer};
use super::arbitrary::one_of_each;
use super::{PATH, STOPPED, info, read, written};
use crate::event::Event;

#[test]
fn cut_at_every_byte_it_is_read_up_to_the_tear() {
    let each = one_of_each();
    let batches: [&[Event]; 2] = [&each, &[STOPPED]];
    let whole = written(&batches);
    let head = written(&[]).len() - 8;
    // How long the file is when this many batches are in it: the end-of-stream marker has 8 bytes.
    let ends: Vec<usize> = (0..=2).map(|count| written(&batches[..count]).len() - 8).collect();

    for cut in 0..whole.len() {
        let bytes = &whole[..cut];
        if cut < head {
            match read(bytes) {
                Err(ReadError::Empty { .. }) => assert_eq!(cut, 0),
                Err(ReadError::HeadTorn { bytes, .. }) => assert_eq!(bytes, cut as u64),
                other => panic!("cut at {cut}: {:?}", other.err()),
            }
            continue;
        }
        let read = read(bytes).unwrap();
        assert!(read.error.is_none(), "cut at {cut}: {:?}", read.error);
        let whole_batches = ends.iter().filter(|end| **end <= cut).count() - 1;
        let expected = batches[..whole_batches].concat();
        assert_eq!(read.events, expected, "cut at {cut}");
        let torn = read.torn.unwrap();
        assert_eq!(torn.rows_read, expected.len() as u64);
        assert!(torn.bytes_read <= cut as u64);
        assert_eq!(torn.tear == Tear::NoEnd, torn.bytes_read == cut as u64, "cut at {cut}");
    }
    assert_eq!(read(&whole).unwrap().torn, None);
}

#[test]
fn an_end_without_stopped_is_torn_too() {
    let read = read(&written(&[&one_of_each()[..9]])).unwrap();
    let torn = read.torn.unwrap();
    assert_eq!((torn.tear, torn.rows_read), (Tear::NoStop, 9));
    let text = torn.to_string();
    assert!(text.starts_with("the recording test.trace ended without its end"), "{text}");
    assert!(text.contains("9 rows"), "{text}");
}

#[test]
fn after_a_flush_every_row_is_in_the_file() {
    let each = one_of_each();
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes, PATH, &info()).unwrap();
    for event in &each {
        writer.push(event).unwrap();
    }
    writer.flush().unwrap();
    // Killed here.
    drop(writer);
    let read = read(&bytes).unwrap();
    assert_eq!(read.events, each);
    assert_eq!(read.torn.unwrap().tear, Tear::NoEnd);
}

//! Frames from the guest's init to the host, over a virtio serial port.
//!
//! A frame is a 12-byte head `{magic u16, kind u8, zero u8, job u32, length u32}`, little endian, and a body. The
//! decoder takes bytes as they come, torn anywhere, and answers garbage with an error instead of a guess.

use anyhow::{Context as _, Result, bail, ensure};

use crate::vm::plan::Ending;

const MAGIC: u16 = 0x7e9e;
const HEAD: usize = 12;
/// The largest body: what the guest reads from a pipe or a file at once.
pub(crate) const MAX_BODY: usize = 64 * 1024;

/// One message of the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    /// The guest is up; the kernel's release.
    Hello(String),
    /// The job begins.
    Start(u32),
    /// The job printed this on stdout.
    Stdout(u32, Vec<u8>),
    /// The job printed this on stderr.
    Stderr(u32, Vec<u8>),
    /// A returned file begins; its path as the plan names it.
    FileBegin(u32, String),
    /// The next bytes of the file that was begun last.
    FileBytes(u32, Vec<u8>),
    /// A file of the plan could not be read: the path and why.
    FileMissing(u32, String),
    /// The job is over; how it ended, and the nanoseconds of processor time that it and its children took.
    End(u32, Ending, u64),
    /// The guest's init has something to say.
    Note(String),
    /// All jobs are done.
    Done,
}

impl Frame {
    /// The bytes of the frame. Bodies above [`MAX_BODY`] are the caller's mistake and are refused.
    pub(crate) fn encode(&self) -> Result<Vec<u8>> {
        let (kind, job, body) = match self {
            Self::Hello(text) => (1, 0, text.as_bytes().to_vec()),
            Self::Start(job) => (2, *job, Vec::new()),
            Self::Stdout(job, bytes) => (3, *job, bytes.clone()),
            Self::Stderr(job, bytes) => (4, *job, bytes.clone()),
            Self::FileBegin(job, path) => (5, *job, path.as_bytes().to_vec()),
            Self::FileBytes(job, bytes) => (6, *job, bytes.clone()),
            Self::FileMissing(job, text) => (7, *job, text.as_bytes().to_vec()),
            Self::End(job, ending, ns) => {
                (8, *job, serde_json::to_vec(&(ending, ns)).context("cannot encode an ending")?)
            }
            Self::Note(text) => (9, 0, text.as_bytes().to_vec()),
            Self::Done => (10, 0, Vec::new()),
        };
        ensure!(body.len() <= MAX_BODY, "a frame of {} bytes is above the limit of {MAX_BODY}", body.len());
        let length = u32::try_from(body.len()).context("a frame's length")?;
        let mut bytes = Vec::with_capacity(HEAD + body.len());
        bytes.extend_from_slice(&MAGIC.to_le_bytes());
        bytes.extend_from_slice(&[kind, 0]);
        bytes.extend_from_slice(&u32::to_le_bytes(job));
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&body);
        Ok(bytes)
    }

    fn from_parts(kind: u8, job: u32, body: &[u8]) -> Result<Self> {
        let text = || String::from_utf8_lossy(body).into_owned();
        Ok(match kind {
            1 => Self::Hello(text()),
            2 => Self::Start(job),
            3 => Self::Stdout(job, body.to_vec()),
            4 => Self::Stderr(job, body.to_vec()),
            5 => Self::FileBegin(job, text()),
            6 => Self::FileBytes(job, body.to_vec()),
            7 => Self::FileMissing(job, text()),
            8 => {
                let (ending, ns) = serde_json::from_slice(body).context("the guest sent an ending that is none")?;
                Self::End(job, ending, ns)
            }
            9 => Self::Note(text()),
            10 => Self::Done,
            other => bail!("the guest sent a frame of the unknown kind {other}"),
        })
    }
}

/// Puts frames together from bytes that arrive in any pieces.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    pending: Vec<u8>,
}

impl Decoder {
    /// Takes the next bytes and returns the frames they complete.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<Vec<Frame>> {
        self.pending.extend_from_slice(bytes);
        let mut frames = Vec::new();
        let mut at = 0;
        while let Some((frame, length)) = first_frame(self.pending.get(at..).unwrap_or_default())? {
            frames.push(frame);
            at += length;
        }
        self.pending.drain(..at);
        Ok(frames)
    }

    /// Whether the stream stopped inside a frame.
    pub(crate) fn is_torn(&self) -> bool {
        !self.pending.is_empty()
    }
}

/// The frame at the start of `bytes` with its length, or nothing when it is not all there yet.
fn first_frame(bytes: &[u8]) -> Result<Option<(Frame, usize)>> {
    let Some((head, rest)) = bytes.split_first_chunk::<HEAD>() else {
        return Ok(None);
    };
    let [m0, m1, kind, _, j0, j1, j2, j3, l0, l1, l2, l3] = *head;
    ensure!(u16::from_le_bytes([m0, m1]) == MAGIC, "the guest's serial port carries something that is no frame");
    let length = usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX);
    ensure!(length <= MAX_BODY, "the guest announced a frame of {length} bytes, above the limit of {MAX_BODY}");
    let Some(body) = rest.get(..length) else {
        return Ok(None);
    };
    let frame = Frame::from_parts(kind, u32::from_le_bytes([j0, j1, j2, j3]), body)?;
    Ok(Some((frame, HEAD + length)))
}

#[cfg(test)]
mod tests {
    use super::{Decoder, Frame, HEAD, MAX_BODY};
    use crate::vm::plan::Ending;

    fn all() -> Vec<Frame> {
        vec![
            Frame::Hello("6.1.0".into()),
            Frame::Start(7),
            Frame::Stdout(7, b"out\xff".to_vec()),
            Frame::Stderr(7, vec![]),
            Frame::FileBegin(7, "/tmp/x".into()),
            Frame::FileBytes(7, vec![9; MAX_BODY]),
            Frame::FileMissing(7, "/tmp/y: no".into()),
            Frame::End(7, Ending::Signalled(9), 12),
            Frame::Note("hm".into()),
            Frame::Done,
        ]
    }

    #[test]
    fn every_frame_comes_back_however_the_stream_is_torn() {
        let bytes: Vec<u8> = all().iter().flat_map(|frame| frame.encode().unwrap()).collect();
        for step in [1, 3, HEAD, 1000, bytes.len()] {
            let mut decoder = Decoder::default();
            let mut seen = Vec::new();
            for piece in bytes.chunks(step) {
                seen.extend(decoder.push(piece).unwrap());
            }
            assert_eq!(seen, all(), "in pieces of {step}");
            assert!(!decoder.is_torn());
        }
    }

    #[test]
    fn a_stream_that_stops_inside_a_frame_is_torn() {
        let bytes = Frame::Hello("x".into()).encode().unwrap();
        let mut decoder = Decoder::default();
        assert!(decoder.push(&bytes[..HEAD]).unwrap().is_empty());
        assert!(decoder.is_torn());
    }

    #[test]
    fn garbage_unknown_kinds_and_giant_lengths_are_errors() {
        assert!(Decoder::default().push(&[0x41; 64]).is_err());
        let mut unknown = Frame::Done.encode().unwrap();
        unknown[2] = 99;
        assert!(Decoder::default().push(&unknown).is_err());
        let mut giant = Frame::Done.encode().unwrap();
        giant[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(Decoder::default().push(&giant).is_err());
        let mut ending = Frame::End(1, Ending::TimedOut, 0).encode().unwrap();
        let last = ending.len() - 1;
        ending[last] = b'!';
        assert!(Decoder::default().push(&ending).is_err());
    }

    #[test]
    fn a_body_above_the_limit_is_refused_by_the_sender() {
        assert!(Frame::Stdout(0, vec![0; MAX_BODY + 1]).encode().is_err());
    }
}

//! The bytes of a capture file: mapped as they are, or unpacked when they begin as gzip or zstd does.
//!
//! A mapped file that somebody shortens while we read it kills the process (SIGBUS); capture files are read once,
//! at the start, by the person who names them, and we accept that as other readers do.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Deref;
use std::path::Path;

use memmap2::Mmap;

use crate::pcap::error::CaptureError;

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// All bytes of one capture, unpacked.
pub(crate) enum Bytes {
    Mapped(Mmap),
    Held(Vec<u8>),
}

impl Bytes {
    /// Opens a file; `-` is the standard input. At most `limit` bytes are ever held.
    pub(crate) fn open(path: &Path, limit: u64) -> Result<Bytes, CaptureError> {
        let read = |source| CaptureError::Read { file: path.to_owned(), source };
        let packed = if path.as_os_str() == "-" {
            Bytes::Held(hold(io::stdin().lock(), path, limit, read)?)
        } else {
            let file = File::open(path).map_err(read)?;
            let about = file.metadata().map_err(read)?;
            if about.is_dir() {
                return Err(read(io::ErrorKind::IsADirectory.into()));
            }
            if about.is_file() && about.len() > 0 {
                // SAFETY: the mapping is private and only read; see the top of this file for who may still
                // change the file under it.
                Bytes::Mapped(unsafe { Mmap::map(&file) }.map_err(read)?)
            } else {
                Bytes::Held(hold(file, path, limit, read)?)
            }
        };
        unpack(packed, path, limit)
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Mapped(map) => map,
            Bytes::Held(bytes) => bytes,
        }
    }
}

fn unpack(packed: Bytes, path: &Path, limit: u64) -> Result<Bytes, CaptureError> {
    let fail = |packing| move |source| CaptureError::Unpack { file: path.to_owned(), packing, source };
    if packed.starts_with(&GZIP) {
        let unpacked = flate2::read::MultiGzDecoder::new(&*packed);
        return Ok(Bytes::Held(hold(unpacked, path, limit, fail("gzip"))?));
    }
    if packed.starts_with(&ZSTD) {
        let unpacked = Frames { rest: &packed, frame: None };
        return Ok(Bytes::Held(hold(unpacked, path, limit, fail("zstd"))?));
    }
    Ok(packed)
}

/// Reads to the end, unless that is beyond the limit.
fn hold(
    from: impl Read,
    path: &Path,
    limit: u64,
    fail: impl FnOnce(io::Error) -> CaptureError,
) -> Result<Vec<u8>, CaptureError> {
    let mut bytes = Vec::new();
    from.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > limit {
        return Err(CaptureError::TooLarge { file: path.to_owned(), limit });
    }
    Ok(bytes)
}

type ZstdFrame<'a> = ruzstd::decoding::StreamingDecoder<&'a [u8], ruzstd::decoding::FrameDecoder>;

/// A zstd file is one frame after another (RFC 8878, section 3); the decoder knows one.
struct Frames<'a> {
    rest: &'a [u8],
    frame: Option<ZstdFrame<'a>>,
}

impl Read for Frames<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(frame) = &mut self.frame {
                let read = frame.read(into)?;
                if read > 0 || into.is_empty() {
                    return Ok(read);
                }
                self.rest = frame.get_ref();
                self.frame = None;
            }
            match self.rest {
                [] => return Ok(0),
                // A skippable frame: magic 0x184D2A5?, length, and that many bytes of no interest.
                [0x50..=0x5f, 0x2a, 0x4d, 0x18, a, b, c, d, after @ ..] => {
                    let len = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
                    self.rest = after.get(len..).ok_or(io::ErrorKind::UnexpectedEof)?;
                }
                rest => {
                    let frame = ruzstd::decoding::StreamingDecoder::new(rest);
                    self.frame =
                        Some(frame.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?);
                }
            }
        }
    }
}

//! The first capture format (draft-ietf-opsawg-pcap): a header of 24 bytes, then records.
//!
//! ```text
//!  file   | magic | version | zone | accuracy | snap length | link type |
//!  record | seconds | µs or ns | captured length | length on the wire | bytes …
//! ```
//!
//! The magic tells the byte order and the unit of time.

use crate::pcap::error::Fault;
use crate::pcap::record::{Record, Records};

const HEADER: usize = 24;
const RECORD: usize = 16;

/// A record longer than this is damage: libpcap's own bound (MAXIMUM_SNAPLEN), with room.
const CAPTURED_MAX: u32 = 1 << 20;

/// A reader of the format's numbers and its unit of time, if the file begins as one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dialect {
    big: bool,
    unit_ns: u64,
}

impl Dialect {
    /// What the magic says; `None` when it is of another format.
    pub(crate) fn of(magic: [u8; 4]) -> Option<Dialect> {
        let (big, unit_ns) = match magic {
            [0xd4, 0xc3, 0xb2, 0xa1] => (false, 1000),
            [0x4d, 0x3c, 0xb2, 0xa1] => (false, 1),
            [0xa1, 0xb2, 0xc3, 0xd4] => (true, 1000),
            [0xa1, 0xb2, 0x3c, 0x4d] => (true, 1),
            _ => return None,
        };
        Some(Dialect { big, unit_ns })
    }
}

/// The records of one file.
pub(crate) struct Legacy<'a> {
    bytes: &'a [u8],
    at: usize,
    dialect: Dialect,
    link: u16,
}

impl<'a> Legacy<'a> {
    pub(crate) fn new(bytes: &'a [u8], dialect: Dialect) -> Result<Legacy<'a>, Fault> {
        if bytes.len() < HEADER {
            return Err(Fault::new(
                0,
                format!("{} bytes", bytes.len()),
                format!("a file header of {HEADER}"),
            ));
        }
        let mut file = Legacy { bytes, at: HEADER, dialect, link: 0 };
        let version = file.number(4).unwrap_or_default();
        // Major and minor are two bytes each; every file since 1998 says 2.4.
        let major = if dialect.big { version >> 16 } else { version & 0xffff };
        if major != 2 {
            return Err(Fault::new(4, format!("pcap version {major}"), "version 2"));
        }
        // The upper bits tell of a frame check sequence; we take frames as they are.
        file.link = file.number(20).unwrap_or_default() as u16;
        Ok(file)
    }

    fn number(&self, at: usize) -> Option<u32> {
        let four = *self.bytes.get(at..)?.first_chunk()?;
        Some(if self.dialect.big { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) })
    }

    fn header(&self) -> Option<[u32; 4]> {
        let at = self.at;
        Some([self.number(at)?, self.number(at + 4)?, self.number(at + 8)?, self.number(at + 12)?])
    }
}

impl<'a> Records<'a> for Legacy<'a> {
    fn next(&mut self) -> Result<Option<Record<'a>>, Fault> {
        let left = self.bytes.len() - self.at;
        if left == 0 {
            return Ok(None);
        }
        let Some([seconds, fraction, captured, wire_len]) = self.header() else {
            let wanted = format!("a record header of {RECORD}, or the end of the file");
            return Err(Fault::new(self.at, format!("{left} bytes"), wanted));
        };
        if captured > CAPTURED_MAX {
            let wanted = format!("at most {CAPTURED_MAX}");
            return Err(Fault::new(self.at + 8, format!("a captured length of {captured}"), wanted));
        }
        let from = self.at + RECORD;
        let Some(bytes) = self.bytes.get(from..from + captured as usize) else {
            let found = format!("{} bytes to the end of the file", left - RECORD);
            return Err(Fault::new(from, found, format!("a packet of {captured}")));
        };
        let record = Record {
            stamp_ns: u64::from(seconds) * 1_000_000_000 + u64::from(fraction) * self.dialect.unit_ns,
            wire_len: wire_len.max(captured),
            link: self.link,
            at: self.at,
            bytes,
        };
        self.at = from + bytes.len();
        Ok(Some(record))
    }
}

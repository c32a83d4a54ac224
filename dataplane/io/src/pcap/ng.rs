//! The second capture format (draft-ietf-opsawg-pcapng): blocks that say their type and length.
//!
//! ```text
//!  | type | total length | body, padded to 4 … | total length again |
//! ```
//!
//! A section header says the byte order; interfaces are numbered within their section. Blocks we do not know, and
//! options that do not matter here, are stepped over.

use crate::pcap::error::Fault;
use crate::pcap::record::{Record, Records};

/// Block type of a section header: the same in both byte orders.
pub(crate) const SECTION: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
const BYTE_ORDER: u32 = 0x1a2b_3c4d;

/// More interfaces than this in one section is damage, not a machine.
const INTERFACES_MAX: usize = 1 << 16;

const OPTION_TSRESOL: u16 = 9;
const OPTION_TSOFFSET: u16 = 14;

#[derive(Debug, Clone, Copy)]
struct Interface {
    link: u16,
    snap_len: u32,
    /// `if_tsresol`: a negative power of 10, or of 2 when the upper bit is set.
    resolution: u8,
    /// `if_tsoffset`, in seconds.
    offset_s: i64,
}

impl Interface {
    fn stamp_ns(&self, ticks: u64) -> u64 {
        let scaled = u128::from(ticks) * 1_000_000_000;
        let power = u32::from(self.resolution & 0x7f);
        let ns = match self.resolution & 0x80 {
            0 => 10_u128.checked_pow(power).map_or(0, |unit| scaled / unit),
            _ => scaled.checked_shr(power).unwrap_or(0),
        };
        let ns = i128::try_from(ns).unwrap_or(i128::MAX);
        let shifted = ns.saturating_add(i128::from(self.offset_s) * 1_000_000_000);
        u64::try_from(shifted.max(0)).unwrap_or(u64::MAX)
    }
}

/// The body of one block, and the byte order its numbers are in.
#[derive(Clone, Copy)]
struct Block<'a> {
    kind: u32,
    at: usize,
    body: &'a [u8],
    big: bool,
}

impl Block<'_> {
    fn word(&self, at: usize) -> Option<u32> {
        let four = *self.body.get(at..)?.first_chunk()?;
        Some(if self.big { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) })
    }

    fn half(&self, at: usize) -> Option<u16> {
        let two = *self.body.get(at..)?.first_chunk()?;
        Some(if self.big { u16::from_be_bytes(two) } else { u16::from_le_bytes(two) })
    }

    /// Offset in the file of a byte of the body.
    fn offset(&self, at: usize) -> usize {
        self.at + 8 + at
    }

    /// The value of an option in the list that begins at `at`; damaged lists end early.
    fn option(&self, mut at: usize, wanted: u16) -> Option<&[u8]> {
        loop {
            let (code, len) = (self.half(at)?, usize::from(self.half(at + 2)?));
            let value = self.body.get(at + 4..at + 4 + len)?;
            if code == wanted {
                return Some(value);
            }
            if code == 0 {
                return None;
            }
            at += 4 + len.next_multiple_of(4);
        }
    }
}

/// The records of one file.
pub(crate) struct Ng<'a> {
    bytes: &'a [u8],
    at: usize,
    big: bool,
    interfaces: Vec<Interface>,
    /// Time of the record before: a simple packet has none of its own.
    stamp_ns: u64,
}

impl<'a> Ng<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Ng<'a> {
        Ng { bytes, at: 0, big: false, interfaces: Vec::new(), stamp_ns: 0 }
    }

    fn word(&self, at: usize) -> Option<u32> {
        let four = *self.bytes.get(at..)?.first_chunk()?;
        Some(if self.big { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) })
    }

    /// The next block, checked to be whole; `None` at the end.
    fn block(&mut self) -> Result<Option<Block<'a>>, Fault> {
        let (at, left) = (self.at, self.bytes.len() - self.at);
        if left == 0 {
            return Ok(None);
        }
        if self.bytes[at..].starts_with(&SECTION) {
            self.begin_section()?;
        }
        let (Some(kind), Some(len)) = (self.word(at), self.word(at + 4)) else {
            let wanted = "a block of at least 12, or the end of the file";
            return Err(Fault::new(at, format!("{left} bytes"), wanted));
        };
        if len < 12 || len % 4 != 0 {
            return Err(Fault::new(at + 4, format!("a block length of {len}"), "a multiple of 4, from 12"));
        }
        let end = at.saturating_add(len as usize);
        let Some(body) = self.bytes.get(at + 8..end - 4).filter(|_| end <= self.bytes.len()) else {
            return Err(Fault::new(
                at,
                format!("{left} bytes to the end of the file"),
                format!("a block of {len}"),
            ));
        };
        match self.word(end - 4) {
            Some(again) if again == len => {}
            again => {
                let found = format!("{} as the length again", again.unwrap_or_default());
                return Err(Fault::new(end - 4, found, len.to_string()));
            }
        }
        self.at = end;
        Ok(Some(Block { kind, at, body, big: self.big }))
    }

    /// Learns the byte order of the section whose header is next.
    fn begin_section(&mut self) -> Result<(), Fault> {
        let at = self.at + 8;
        for big in [false, true] {
            self.big = big;
            if self.word(at) == Some(BYTE_ORDER) {
                self.interfaces.clear();
                return Ok(());
            }
        }
        let found = self.word(at).map_or("the end of the file".to_owned(), |magic| format!("{magic:#010x}"));
        Err(Fault::new(at, found, "the byte-order magic 0x1a2b3c4d, either way round"))
    }

    fn section(&self, block: &Block<'a>) -> Result<(), Fault> {
        match block.half(4) {
            Some(1) => Ok(()),
            found => {
                let found = found.map_or("no version".to_owned(), |major| format!("version {major}"));
                Err(Fault::new(block.offset(4), found, "pcapng version 1"))
            }
        }
    }

    fn interface(&mut self, block: &Block<'a>) -> Result<(), Fault> {
        let (Some(link), Some(snap_len)) = (block.half(0), block.word(4)) else {
            return Err(short(block, 8, "interface description"));
        };
        if self.interfaces.len() == INTERFACES_MAX {
            let wanted = format!("at most {INTERFACES_MAX} in a section");
            return Err(Fault::new(block.at, "one more interface description", wanted));
        }
        let resolution = block.option(8, OPTION_TSRESOL).and_then(|value| value.first().copied());
        let offset = block.option(8, OPTION_TSOFFSET).and_then(|value| value.first_chunk().copied());
        let offset_s =
            offset.map(|eight| if block.big { i64::from_be_bytes(eight) } else { i64::from_le_bytes(eight) });
        self.interfaces.push(Interface {
            link,
            snap_len,
            resolution: resolution.unwrap_or(6),
            offset_s: offset_s.unwrap_or(0),
        });
        Ok(())
    }

    fn on(&self, block: &Block<'a>, number: u32) -> Result<Interface, Fault> {
        self.interfaces.get(number as usize).copied().ok_or_else(|| {
            let wanted = match self.interfaces.len() {
                0 => "an interface description before the first packet".to_owned(),
                count => format!("one of the section's {count}, from 0"),
            };
            Fault::new(block.at, format!("a packet of interface {number}"), wanted)
        })
    }

    /// An enhanced packet (5 words before the bytes), or the obsolete packet block, which is laid out alike but
    /// for a shorter interface number.
    fn enhanced(&mut self, block: &Block<'a>, number: Option<u32>) -> Result<Record<'a>, Fault> {
        let words = (number, block.word(4), block.word(8), block.word(12), block.word(16));
        let (Some(number), Some(high), Some(low), Some(captured), Some(wire_len)) = words else {
            return Err(short(block, 20, "packet"));
        };
        let interface = self.on(block, number)?;
        self.stamp_ns = interface.stamp_ns(u64::from(high) << 32 | u64::from(low));
        let bytes = packet(block, 20, captured)?;
        Ok(self.record(block, interface.link, wire_len, bytes))
    }

    /// A simple packet: of interface 0, cut to its snap length, without a time.
    fn simple(&self, block: &Block<'a>) -> Result<Record<'a>, Fault> {
        let Some(wire_len) = block.word(0) else { return Err(short(block, 4, "simple packet")) };
        let interface = self.on(block, 0)?;
        let snap_len = if interface.snap_len == 0 { u32::MAX } else { interface.snap_len };
        let bytes = packet(block, 4, wire_len.min(snap_len))?;
        Ok(self.record(block, interface.link, wire_len, bytes))
    }

    fn record(&self, block: &Block<'a>, link: u16, wire_len: u32, bytes: &'a [u8]) -> Record<'a> {
        let wire_len = wire_len.max(bytes.len() as u32);
        Record { stamp_ns: self.stamp_ns, wire_len, link, at: block.at, bytes }
    }
}

fn short(block: &Block<'_>, wanted: usize, what: &str) -> Fault {
    Fault::new(
        block.at,
        format!("{} bytes in a block", block.body.len()),
        format!("{what} of at least {wanted}"),
    )
}

fn packet<'a>(block: &Block<'a>, from: usize, captured: u32) -> Result<&'a [u8], Fault> {
    block.body.get(from..from.saturating_add(captured as usize)).ok_or_else(|| {
        let found = format!("{} bytes left in the block", block.body.len() - from);
        Fault::new(block.offset(from), found, format!("a packet of {captured}"))
    })
}

impl<'a> Records<'a> for Ng<'a> {
    fn next(&mut self) -> Result<Option<Record<'a>>, Fault> {
        while let Some(block) = self.block()? {
            match block.kind {
                0x0a0d_0d0a => self.section(&block)?,
                1 => self.interface(&block)?,
                2 => return self.enhanced(&block, block.half(0).map(u32::from)).map(Some),
                3 => return self.simple(&block).map(Some),
                6 => return self.enhanced(&block, block.word(0)).map(Some),
                _ => {}
            }
        }
        Ok(None)
    }
}

//! A capture in memory: every frame in one piece of aligned memory, ready to be copied into frames of a umem.
//!
//! Files are read twice: once to count and to find what is wrong, once to lay out. Each frame begins on a cache
//! line of its own, padded with zeroes to the next, so that playing it copies whole lines.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use weir_packet::frame::LINE;
use weir_packet::{ChunkSize, FlowHash, flow};
use weir_sys::memory::{self, Memory, Pages};

use crate::pcap::bytes::Bytes;
use crate::pcap::error::{CaptureError, Fault};
use crate::pcap::legacy::{Dialect, Legacy};
use crate::pcap::link::{self, ETHERNET, Linked};
use crate::pcap::ng::{self, Ng};
use crate::pcap::record::{Record, RecordRefusal, Records, Tally};

/// What a capture may take, and what becomes of odd records.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Memory for frames, and for each unpacked file, in bytes. By default three quarters of what is available.
    pub memory_bytes: u64,
    /// The longest frame; longer records are refused. By default what a chunk of 4096 bytes holds.
    pub frame_max: usize,
    /// Whether records that hold less than the packet had become frames all the same. By default they are refused.
    pub keep_truncated: bool,
    /// The flow hash. Its default key is fixed, so that the same capture is always sharded alike.
    pub hash: FlowHash,
}

impl Default for Limits {
    fn default() -> Self {
        let available = memory::available().unwrap_or(4 << 30);
        Limits {
            memory_bytes: available / 4 * 3,
            frame_max: ChunkSize::Page.frame_max(),
            keep_truncated: false,
            hash: FlowHash::new([0x7765_6972, 0x666c_6f77]),
        }
    }
}

/// Where one frame lies, and its flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    line: u32,
    /// The frame's number in the capture, from 0.
    pub number: u32,
    /// Its symmetric flow hash, never 0.
    pub hash: u32,
    len: u16,
}

impl Slot {
    /// Bytes of the frame.
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Never: empty records are refused.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// A capture in memory.
pub struct Capture {
    // None: no frame at all.
    memory: Option<Memory>,
    slots: Vec<Slot>,
    stamps_ns: Vec<u64>,
    wire_lens: Vec<u32>,
    links: Vec<u16>,
    tally: Tally,
}

impl Capture {
    /// Reads capture files (pcap, pcapng, either packed with gzip or zstd), one after the other.
    pub fn load<P: AsRef<Path>>(paths: &[P], limits: &Limits) -> Result<Capture, CaptureError> {
        let mut files = Vec::new();
        let mut held = 0;
        for path in paths {
            let bytes = Bytes::open(path.as_ref(), limits.memory_bytes.saturating_sub(held))?;
            held += if let Bytes::Held(bytes) = &bytes { bytes.len() as u64 } else { 0 };
            files.push((path.as_ref().to_owned(), bytes));
        }
        let files: Vec<_> = files.iter().map(|(path, bytes)| (path.clone(), &**bytes)).collect();
        Capture::lay_out(&files, limits)
    }

    /// Reads a capture that is in memory already; `name` is what errors call it.
    pub fn parse(name: &str, bytes: &[u8], limits: &Limits) -> Result<Capture, CaptureError> {
        Capture::lay_out(&[(PathBuf::from(name), bytes)], limits)
    }

    fn lay_out(files: &[(PathBuf, &[u8])], limits: &Limits) -> Result<Capture, CaptureError> {
        let mut tally = Tally::default();
        let (mut lines, mut links) = (0_u64, Vec::new());
        for (file, bytes) in files {
            let too_large = || CaptureError::TooLarge { file: file.clone(), limit: limits.memory_bytes };
            let mut fits = true;
            each(bytes, |record| {
                if let Some((header, packet)) = judge(record, limits, &mut tally) {
                    lines += (header.len() + packet.len()).div_ceil(LINE) as u64;
                }
                if !links.contains(&record.link) {
                    links.push(record.link);
                }
                // A frame's place is a line number of 32 bits, and so is its own number.
                fits = lines.saturating_mul(LINE as u64) <= limits.memory_bytes
                    && lines <= u64::from(u32::MAX)
                    && tally.frames <= u64::from(u32::MAX);
                fits
            })
            .map_err(|fault| CaptureError::Malformed { file: file.clone(), fault })?;
            if !fits {
                return Err(too_large());
            }
        }
        let mut capture = Capture::empty(tally, links);
        if tally.frames > 0 {
            capture.fill(files, limits, Memory::map(lines as usize * LINE)?)?;
        }
        Ok(capture)
    }

    fn empty(tally: Tally, links: Vec<u16>) -> Capture {
        let frames = tally.frames as usize;
        let (slots, stamps_ns) = (Vec::with_capacity(frames), Vec::with_capacity(frames));
        Capture { memory: None, slots, stamps_ns, wire_lens: Vec::with_capacity(frames), links, tally }
    }

    /// The second reading: copies every frame to its place.
    fn fill(
        &mut self,
        files: &[(PathBuf, &[u8])],
        limits: &Limits,
        memory: Memory,
    ) -> Result<(), CaptureError> {
        let room = self.memory.insert(memory).bytes_mut();
        let (mut line, mut again) = (0_usize, Tally::default());
        let (slots, stamps, wires) = (&mut self.slots, &mut self.stamps_ns, &mut self.wire_lens);
        for (file, bytes) in files {
            each(bytes, |record| {
                let Some((header, packet)) = judge(record, limits, &mut again) else { return true };
                let len = header.len() + packet.len();
                // A mapped file may have changed since it was counted: then there is no room for the rest.
                let Some(place) = room.get_mut(line * LINE..line * LINE + len) else { return false };
                let (front, back) = place.split_at_mut(header.len());
                front.copy_from_slice(&header);
                back.copy_from_slice(packet);
                let hash = limits.hash.hash(place);
                slots.push(Slot { line: line as u32, number: slots.len() as u32, hash, len: len as u16 });
                stamps.push(record.stamp_ns);
                wires.push(record.wire_len.saturating_add(header.len() as u32));
                line += len.div_ceil(LINE);
                true
            })
            .map_err(|fault| CaptureError::Malformed { file: file.clone(), fault })?;
        }
        if again != self.tally {
            let (file, found) = (files[0].0.clone(), format!("{} records on second reading", again.records));
            let fault = Fault::new(
                0,
                found,
                format!("{}, as on first: the file is being written", self.tally.records),
            );
            return Err(CaptureError::Malformed { file, fault });
        }
        Ok(())
    }

    /// How many frames there are.
    pub fn frames(&self) -> usize {
        self.slots.len()
    }

    /// What became of the records.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The link types (LINKTYPE_ values) that the records had, in order of appearance.
    pub fn links(&self) -> &[u16] {
        &self.links
    }

    /// The frames' places, in the order of the files.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The bytes of a frame of this capture.
    pub fn bytes(&self, slot: &Slot) -> &[u8] {
        &self.lines(slot).as_flattened()[..slot.len()]
    }

    /// The cache lines of a frame of this capture; behind its bytes the last one holds zeroes.
    #[inline]
    pub fn lines(&self, slot: &Slot) -> &[[u8; LINE]] {
        let lines = self.memory.as_ref().map_or(&[][..], |memory| memory.bytes().as_chunks::<LINE>().0);
        &lines[slot.line as usize..][..slot.len().div_ceil(LINE)]
    }

    /// When frame `number` was captured, in nanoseconds since 1970.
    pub fn stamp_ns(&self, number: u32) -> Option<u64> {
        self.stamps_ns.get(number as usize).copied()
    }

    /// How many bytes frame `number` had on the wire.
    pub fn wire_len(&self, number: u32) -> Option<u32> {
        self.wire_lens.get(number as usize).copied()
    }

    /// Length of the longest frame.
    pub fn frame_longest(&self) -> usize {
        self.slots.iter().map(Slot::len).max().unwrap_or(0)
    }

    /// The smallest chunk that holds every frame.
    pub fn chunk_size(&self) -> ChunkSize {
        if self.frame_longest() <= ChunkSize::Half.frame_max() { ChunkSize::Half } else { ChunkSize::Page }
    }

    /// Bytes of all frames together.
    pub fn total_bytes(&self) -> u64 {
        self.slots.iter().map(|slot| slot.len() as u64).sum()
    }

    /// What kind of pages the frames lie on.
    pub fn pages(&self) -> Option<Pages> {
        self.memory.as_ref().map(Memory::pages)
    }

    /// Deals the frames to `n` workers by flow: both directions of a flow go to one, in their order.
    pub fn shard(self: &Arc<Self>, n: usize) -> Vec<Shard> {
        let n = n.max(1);
        let mut dealt = vec![Vec::new(); n];
        for slot in &self.slots {
            dealt[flow::share(slot.hash, n)].push(*slot);
        }
        dealt.into_iter().map(|slots| Shard { capture: Arc::clone(self), slots }).collect()
    }
}

impl fmt::Debug for Capture {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Capture({} frames of {} records)", self.tally.frames, self.tally.records)
    }
}

/// One worker's part of a capture.
#[derive(Debug, Clone)]
pub struct Shard {
    /// The whole.
    pub capture: Arc<Capture>,
    /// This worker's frames, in the order of the capture.
    pub slots: Vec<Slot>,
}

/// What a record becomes: a header to put before it (empty for Ethernet), and its bytes. Counted either way.
fn judge<'a>(record: &Record<'a>, limits: &Limits, tally: &mut Tally) -> Option<(Header, &'a [u8])> {
    tally.records += 1;
    let refusal = match frame(record) {
        None if record.bytes.is_empty() => RecordRefusal::Empty,
        None => RecordRefusal::NoEthernet,
        Some((header, packet)) => {
            let len = header.len() + packet.len();
            let cut = record.bytes.len() < record.wire_len as usize;
            if len == 0 {
                RecordRefusal::Empty
            } else if len < ETHERNET {
                RecordRefusal::Runt
            } else if cut && !limits.keep_truncated {
                RecordRefusal::Truncated
            } else if len > limits.frame_max.min(ChunkSize::Page.frame_max()) {
                RecordRefusal::Oversized
            } else {
                tally.frames += 1;
                tally.frames_cut += u64::from(cut);
                tally.frames_relinked += u64::from(!header.is_empty());
                return Some((header, packet));
            }
        }
    };
    tally.refuse(refusal);
    None
}

/// An Ethernet header made here, or none.
struct Header([u8; ETHERNET], usize);

impl std::ops::Deref for Header {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0[..self.1]
    }
}

fn frame<'a>(record: &Record<'a>) -> Option<(Header, &'a [u8])> {
    match link::ethernet(record.link, record.bytes) {
        Linked::Whole(bytes) => Some((Header([0; ETHERNET], 0), bytes)),
        Linked::Behind(header, packet) => Some((Header(header, ETHERNET), packet)),
        Linked::Nothing => None,
    }
}

/// Hands every record of a file to `take`, until that says no or something is wrong.
fn each(bytes: &[u8], mut take: impl FnMut(&Record<'_>) -> bool) -> Result<(), Fault> {
    let mut records = open(bytes)?;
    while let Some(record) = records.next()? {
        if !link::known(record.link) {
            let wanted =
                "Ethernet (1), raw IP (101, 228, 229), NULL (0), LOOP (108), LINUX_SLL (113) or SLL2 (276)";
            return Err(Fault::new(record.at, format!("a packet of link type {}", record.link), wanted));
        }
        if !take(&record) {
            break;
        }
    }
    Ok(())
}

/// Which format the bytes are in.
fn open<'a>(bytes: &'a [u8]) -> Result<Box<dyn Records<'a> + 'a>, Fault> {
    let wanted = "a pcap or pcapng file, plain or packed with gzip or zstd";
    let Some(magic) = bytes.first_chunk::<4>() else {
        return Err(Fault::new(0, format!("{} bytes", bytes.len()), wanted));
    };
    if *magic == ng::SECTION {
        return Ok(Box::new(Ng::new(bytes)));
    }
    match Dialect::of(*magic) {
        Some(dialect) => Ok(Box::new(Legacy::new(bytes, dialect)?)),
        None => Err(Fault::new(0, format!("{:#010x}", u32::from_be_bytes(*magic)), wanted)),
    }
}

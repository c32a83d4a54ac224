//! The bytes of a snapshot. Whoever reads them believes nothing.
//!
//! ```text
//!   0   magic "WEIRMAPS"          8 bytes     numbers are little endian
//!   8   version                   4           1
//!   12  maps                      4
//!   16  generation                8
//!   24  sequence                  8           counts up with each snapshot
//!   32  written at                8           ns since 1970
//!   40  length of what follows    8
//!   48  schema                    4           CRC32C of all heads, in order
//!   52  contents                  4           CRC32C of what follows
//!   56  zero                      4
//!   60  header                    4           CRC32C of bytes 0 to 59
//!   64  for each map:
//!         length of the head 4 | head: JSON (program, layout, workers) | entries 8 | entries: key, value …
//! ```
//!
//! Keys and values have the sizes that the head says; per-CPU values are padded to 8 and stand in a row.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Source;
use crate::mapview::{MapView, ViewError};
use crate::migrate::Layout;

/// First bytes of every snapshot.
pub(super) const MAGIC: &[u8; 8] = b"WEIRMAPS";
const VERSION: u32 = 1;
pub(super) const HEADER: usize = 64;
/// Entries read under as few locks as may be, before others have their turn.
const PAGE: usize = 1024;
/// More workers than any machine has.
const CPUS_MAX: u32 = 4096;

/// What was read from a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The generation whose maps these are.
    pub generation: u64,
    /// Its number; the next one has the next.
    pub sequence: u64,
    /// When it was written, in nanoseconds since 1970.
    pub written_ns: u64,
    /// The maps.
    pub maps: Vec<SavedMap>,
}

/// A map in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedMap {
    head: Head,
    /// Keys and values in a row.
    entries: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    program: String,
    cpus: u32,
    layout: Layout,
}

/// A snapshot that is not whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// Which file, where it is one.
    pub file: PathBuf,
    /// The byte where it shows.
    pub offset: u64,
    /// What was found, and what should be there.
    pub what: String,
}

impl fmt::Display for Torn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: byte {}: {}", self.file.display(), self.offset, self.what)
    }
}

impl std::error::Error for Torn {}

impl Head {
    fn value_bytes(&self) -> usize {
        let size = self.layout.value_size as usize;
        let percpu = self.layout.kind().is_some_and(|kind| kind.is_percpu());
        if percpu { size.next_multiple_of(8) * self.cpus as usize } else { size }
    }

    fn entry_bytes(&self) -> usize {
        self.layout.key_size as usize + self.value_bytes()
    }
}

impl SavedMap {
    /// The program it was of.
    pub fn program(&self) -> &str {
        &self.head.program
    }

    /// What it was.
    pub fn layout(&self) -> &Layout {
        &self.head.layout
    }

    /// Workers, each with a value of its own in per-CPU kinds.
    pub fn cpus(&self) -> usize {
        self.head.cpus as usize
    }

    /// How many entries.
    pub fn len(&self) -> usize {
        self.entries.len() / self.head.entry_bytes().max(1)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Keys and values, per-CPU ones as [`weir_maps::Control::lookup`] has them.
    pub fn entries(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let key = self.head.layout.key_size as usize;
        self.entries.chunks_exact(self.head.entry_bytes().max(1)).map(move |entry| entry.split_at(key))
    }
}

/// What follows the header: made first, so that it can be compared with what is on disk already.
#[derive(Debug, Default)]
pub(super) struct Contents {
    bytes: Vec<u8>,
    maps: u32,
    entries: usize,
    schema: u32,
}

impl Contents {
    /// Reads maps that workers use meanwhile.
    pub(super) fn read(sources: &[Source]) -> Result<Contents, ViewError> {
        let mut contents = Contents::default();
        for source in sources {
            contents.map(&source.program, &source.view)?;
        }
        Ok(contents)
    }

    fn map(&mut self, program: &str, view: &MapView) -> Result<(), ViewError> {
        let spec = view.map().spec();
        let layout = Layout::of(spec, view.types());
        let head = Head { program: program.to_owned(), cpus: view.map().cpus() as u32, layout };
        // Names, numbers and lists: they always have a JSON.
        let text = serde_json::to_vec(&head).unwrap_or_default();
        self.schema = crc32c::crc32c_append(self.schema, &text);
        self.bytes.extend((text.len() as u32).to_le_bytes());
        self.bytes.extend(text);
        let count_at = self.bytes.len();
        self.bytes.extend([0; 8]);
        let mut count = 0u64;
        view.each(PAGE, |key, value| {
            self.bytes.extend(key);
            self.bytes.extend(value);
            count += 1;
        })?;
        if let Some(place) = self.bytes.get_mut(count_at..count_at + 8) {
            place.copy_from_slice(&count.to_le_bytes());
        }
        self.maps += 1;
        self.entries += count as usize;
        Ok(())
    }

    /// How many entries, of all maps.
    pub(super) fn entries(&self) -> usize {
        self.entries
    }

    pub(super) fn maps(&self) -> usize {
        self.maps as usize
    }

    /// Two contents with the same number are the same for all purposes but evidence in court.
    pub(super) fn mark(&self) -> (usize, u32, u32) {
        (self.bytes.len(), self.schema, crc32c::crc32c(&self.bytes))
    }

    /// The whole file.
    pub(super) fn finish(self, generation: u64, sequence: u64, written_ns: u64) -> Vec<u8> {
        let mut file = Vec::with_capacity(HEADER + self.bytes.len());
        file.extend(MAGIC);
        file.extend(VERSION.to_le_bytes());
        file.extend(self.maps.to_le_bytes());
        file.extend(generation.to_le_bytes());
        file.extend(sequence.to_le_bytes());
        file.extend(written_ns.to_le_bytes());
        file.extend((self.bytes.len() as u64).to_le_bytes());
        file.extend(self.schema.to_le_bytes());
        file.extend(crc32c::crc32c(&self.bytes).to_le_bytes());
        file.extend([0; 4]);
        file.extend(crc32c::crc32c(&file).to_le_bytes());
        file.extend(self.bytes);
        file
    }
}

/// Bytes with a place in them.
struct Cursor<'b> {
    bytes: &'b [u8],
    at: usize,
}

type Found<T> = Result<T, (usize, String)>;

impl<'b> Cursor<'b> {
    fn take(&mut self, len: usize, what: &str) -> Found<&'b [u8]> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let taken = rest.get(..len);
        let taken =
            taken.ok_or_else(|| (self.at, format!("{} bytes are left, and {what} has {len}", rest.len())))?;
        self.at += len;
        Ok(taken)
    }

    fn u32(&mut self, what: &str) -> Found<u32> {
        let bytes = self.take(4, what)?;
        Ok(bytes.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes)))
    }

    fn u64(&mut self, what: &str) -> Found<u64> {
        let bytes = self.take(8, what)?;
        Ok(bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes)))
    }

    fn expect(&mut self, what: &str, found: u32, wanted: u32) -> Found<()> {
        if found == wanted {
            return Ok(());
        }
        Err((self.at.saturating_sub(4), format!("{what} is {found:#010x}, and {wanted:#010x} was written")))
    }
}

impl Snapshot {
    /// Reads the bytes of a snapshot; on failure, the byte and what is wrong there.
    pub fn parse(bytes: &[u8]) -> Result<Snapshot, Torn> {
        read(bytes).map_err(|(offset, what)| Torn { file: PathBuf::new(), offset: offset as u64, what })
    }
}

fn read(bytes: &[u8]) -> Found<Snapshot> {
    let mut cursor = Cursor { bytes, at: 0 };
    let magic = cursor.take(8, "the magic")?;
    if magic != MAGIC {
        return Err((0, "this is no snapshot: it does not begin with WEIRMAPS".to_owned()));
    }
    let header = bytes.get(..HEADER - 4).unwrap_or(bytes);
    let version = cursor.u32("the version")?;
    let maps = cursor.u32("the number of maps")?;
    let generation = cursor.u64("the generation")?;
    let sequence = cursor.u64("the sequence")?;
    let written_ns = cursor.u64("the time")?;
    let length = cursor.u64("the length")?;
    let schema = cursor.u32("the schema")?;
    let sum = cursor.u32("the checksum of the contents")?;
    cursor.u32("the header's end")?;
    let header_sum = cursor.u32("the checksum of the header")?;
    cursor.expect("the checksum of the header", crc32c::crc32c(header), header_sum)?;
    if version != VERSION {
        return Err((8, format!("version {version}, and this weir knows {VERSION}")));
    }
    let contents = bytes.get(HEADER..).unwrap_or_default();
    if contents.len() as u64 != length {
        let end = bytes.len();
        return Err((end, format!("{} bytes follow the header, and {length} were written", contents.len())));
    }
    cursor.at = 56;
    cursor.expect("the checksum of the contents", crc32c::crc32c(contents), sum)?;
    cursor.at = HEADER;
    let mut found = 0;
    let mut saved = Vec::new();
    for _ in 0..maps {
        let (map, head) = map(&mut cursor)?;
        found = crc32c::crc32c_append(found, head);
        saved.push(map);
    }
    if cursor.at != bytes.len() {
        return Err((cursor.at, format!("{} bytes after the last map", bytes.len() - cursor.at)));
    }
    cursor.at = 52;
    cursor.expect("the schema", found, schema)?;
    Ok(Snapshot { generation, sequence, written_ns, maps: saved })
}

fn map<'b>(cursor: &mut Cursor<'b>) -> Found<(SavedMap, &'b [u8])> {
    let length = cursor.u32("the length of a map's head")?;
    let at = cursor.at;
    let text = cursor.take(length as usize, "a map's head")?;
    let wrong = |what: String| (at, format!("a map's head {what}"));
    let head: Head =
        serde_json::from_slice(text).map_err(|error| wrong(format!("is not understood: {error}")))?;
    if !head.layout.is_sound() {
        return Err(wrong(format!("describes types of `{}` that cannot be", head.layout.map)));
    }
    if head.cpus == 0 || head.cpus > CPUS_MAX {
        return Err(wrong(format!("says {} workers", head.cpus)));
    }
    let count = cursor.u64("the number of entries")?;
    let bytes = usize::try_from(count).ok().and_then(|count| count.checked_mul(head.entry_bytes()));
    let bytes = bytes.ok_or_else(|| (cursor.at, format!("{count} entries of `{}`", head.layout.map)))?;
    let entries = cursor.take(bytes, "the list of entries")?.to_vec();
    Ok((SavedMap { head, entries }, text))
}

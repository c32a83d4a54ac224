//! A packet's bytes in one chunk of a umem, and the handle that owns them.
//!
//! ```text
//!  chunk                                                      chunk + size
//!  | headroom … meta | data (start, len) …        | tailroom …   |      "room" is all of it
//!  0              start                       start + len      size
//! ```
//!
//! The handle is 32 bytes and moves through the stages by value. It is neither `Copy` nor `Clone`: whoever has it
//! is the only one who may touch the bytes. It ends by being given back to a pool; a frame that is dropped instead
//! is a leak, which the umem's ledger reports.

use std::fmt;
use std::ops::Range;
use std::ptr::{self, NonNull};

use crate::umem::ChunkSize;

/// Bytes kept free before a fresh frame's data, as XDP programs expect (`XDP_PACKET_HEADROOM`, linux/bpf.h).
pub const HEADROOM: usize = 256;

/// Source bytes of [`Frame::fill_lines`] are read in whole lines of this many bytes.
pub const LINE: usize = 64;

/// The packet does not fit in a chunk behind the headroom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a packet of {len} bytes does not fit in a frame: {max} is the most")]
pub struct TooLong {
    /// Bytes of the packet.
    pub len: usize,
    /// Bytes that fit.
    pub max: usize,
}

/// An owned packet buffer.
#[must_use = "a frame goes into a batch or back to a pool; dropping it leaks its chunk"]
pub struct Frame {
    chunk: NonNull<u8>,
    /// When the packet arrived, in nanoseconds; 0 when nobody said.
    pub stamp_ns: u64,
    /// The packet's number at its source, such as the record of a capture; counts on from there as the port says.
    pub record: u32,
    /// The symmetric flow hash; 0 when not computed yet.
    pub hash: u32,
    size: u16,
    start: u16,
    len: u16,
    meta: u16,
}

// SAFETY: a frame is the only owner of its chunk's bytes, and nothing in it is tied to a thread.
unsafe impl Send for Frame {}
// SAFETY: `&Frame` gives out only `&[u8]`.
unsafe impl Sync for Frame {}

impl Frame {
    /// # Safety
    /// `chunk` begins a chunk of `size` readable and writable bytes that nobody else touches before the frame
    /// has ended, and that stay mapped until then.
    #[inline]
    pub(crate) unsafe fn new(chunk: NonNull<u8>, size: ChunkSize) -> Frame {
        Frame {
            chunk,
            stamp_ns: 0,
            record: 0,
            hash: 0,
            size: size.bytes() as u16,
            start: HEADROOM as u16,
            len: 0,
            meta: 0,
        }
    }

    #[inline]
    pub(crate) fn chunk(&self) -> NonNull<u8> {
        self.chunk
    }

    /// Where the data begins in the chunk.
    #[inline]
    pub fn start(&self) -> usize {
        usize::from(self.start)
    }

    /// Bytes of the packet.
    #[inline]
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Whether the packet has no byte.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The longest packet that [`Frame::fill`] would take.
    #[inline]
    pub fn capacity(&self) -> usize {
        usize::from(self.size) - HEADROOM
    }

    /// The packet.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: start + len <= size always (`new`: 256 + 0; `set_range` and `fill*` check), the chunk has
        // `size` bytes of initialised memory (anonymous pages are zeroed) and belongs to this handle alone.
        unsafe { std::slice::from_raw_parts(self.chunk.as_ptr().add(self.start()), self.len()) }
    }

    /// The packet, to change in place.
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and `&mut self` excludes every other borrow.
        unsafe { std::slice::from_raw_parts_mut(self.chunk.as_ptr().add(self.start()), self.len()) }
    }

    /// The whole chunk, and where in it the packet is: what a program's context is built over. The range that
    /// the program leaves goes back by [`Frame::set_range`].
    #[inline]
    pub fn room_mut(&mut self) -> (&mut [u8], Range<usize>) {
        let range = self.start()..self.start() + self.len();
        // SAFETY: the chunk has `size` initialised bytes, and `&mut self` excludes every other borrow.
        let room = unsafe { std::slice::from_raw_parts_mut(self.chunk.as_ptr(), usize::from(self.size)) };
        (room, range)
    }

    /// Says where in the chunk the packet is now. Metadata ([`Frame::meta_len`]) is forgotten.
    ///
    /// # Panics
    /// When the range is not one of the room's: whoever changed it has not kept to the room.
    #[inline]
    pub fn set_range(&mut self, range: Range<usize>) {
        assert!(
            range.start <= range.end && range.end <= usize::from(self.size),
            "{range:?} is outside the room of {} bytes",
            self.size
        );
        self.start = range.start as u16;
        self.len = (range.end - range.start) as u16;
        self.meta = 0;
    }

    /// Bytes of metadata that a program left just before the packet (`data_meta`).
    #[inline]
    pub fn meta_len(&self) -> usize {
        usize::from(self.meta)
    }

    /// Notes that the last `len` bytes before the packet are metadata.
    ///
    /// # Panics
    /// When there are not so many bytes before the packet.
    #[inline]
    pub fn set_meta_len(&mut self, len: usize) {
        assert!(len <= self.start(), "{len} bytes of metadata before a packet at {}", self.start);
        self.meta = len as u16;
    }

    /// Makes the frame a fresh one with this packet in it, behind the headroom.
    #[inline]
    pub fn fill(&mut self, packet: &[u8]) -> Result<(), TooLong> {
        let max = self.capacity();
        if packet.len() > max {
            return Err(TooLong { len: packet.len(), max });
        }
        self.set_range(HEADROOM..HEADROOM + packet.len());
        self.bytes_mut().copy_from_slice(packet);
        Ok(())
    }

    /// As [`Frame::fill`] with the first `len` bytes of `lines`, copying whole lines of [`LINE`] bytes: for short
    /// packets that is a few vector moves where `memcpy` is a call. The tailroom's first bytes become what
    /// stands behind the packet in its last line.
    ///
    /// # Panics
    /// When `lines` is not exactly the lines that `len` bytes begin.
    #[inline]
    pub fn fill_lines(&mut self, lines: &[[u8; LINE]], len: usize) -> Result<(), TooLong> {
        assert!(lines.len() == len.div_ceil(LINE), "{} lines for {len} bytes", lines.len());
        let max = self.capacity();
        if len > max {
            return Err(TooLong { len, max });
        }
        self.set_range(HEADROOM..HEADROOM + len);
        // SAFETY: HEADROOM, LINE and the chunk sizes are multiples of LINE, so len <= size - HEADROOM gives
        // HEADROOM + lines.len() * LINE <= size: every write is inside the chunk, which is ours alone; `lines`
        // is a borrow of other memory, since nobody else can borrow the chunk.
        unsafe {
            let to = self.chunk.as_ptr().add(HEADROOM).cast::<[u8; LINE]>();
            // Short packets feel the call of `memcpy`, which a loop over lines becomes as well: with it, a profile
            // of receiving frames of 60 bytes stood 59% in memmove. `rate_of_the_capture_source_on_one_core` in
            // io's tests measures it.
            match lines.len() {
                1 => ptr::copy_nonoverlapping(lines.as_ptr(), to, 1),
                2 => ptr::copy_nonoverlapping(lines.as_ptr(), to, 2),
                many => ptr::copy_nonoverlapping(lines.as_ptr(), to, many),
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Frame({} bytes at {})", self.len, self.start)
    }
}

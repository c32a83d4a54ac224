//! One mapping cut into equal chunks, and the list of those that no pool holds.
//!
//! The memory outlives every frame without a reference count per frame: a chunk is either at home (in the list
//! here), in a pool, or inside a [`Frame`]. Pools keep the umem alive and bring their chunks home when they are
//! dropped. When the umem itself is dropped with a chunk still away, some frame was never given back, and the
//! mapping is left in place for ever rather than pulled from under it. In builds with debug assertions that is a
//! failed assertion, and a ledger holds one owner per chunk and checks every transition.

use std::fmt;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use weir_sys::memory::{Memory, MemoryError, Pages};

use crate::frame::{Frame, HEADROOM};
use crate::pool::Pool;

/// How long a chunk is. AF_XDP's aligned mode knows these two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChunkSize {
    /// 2048 bytes: any frame of an ordinary Ethernet.
    #[default]
    Half,
    /// 4096 bytes: frames up to 3840 bytes.
    Page,
}

impl ChunkSize {
    /// The length in bytes.
    pub const fn bytes(self) -> usize {
        match self {
            ChunkSize::Half => 2048,
            ChunkSize::Page => 4096,
        }
    }

    /// The longest frame that fits behind the headroom.
    pub const fn frame_max(self) -> usize {
        self.bytes() - HEADROOM
    }
}

/// Why there is no umem, or no pool from it.
#[derive(Debug, thiserror::Error)]
pub enum UmemError {
    /// Chunks are numbered in 32 bits, and there must be one.
    #[error("a umem of {chunks} chunks cannot be: 1 to {max} are wanted", max = u32::MAX)]
    Chunks {
        /// What was asked for.
        chunks: usize,
    },
    /// The memory could not be had.
    #[error("umem of {chunks} chunks of {size} bytes: {source}")]
    Memory {
        /// What was asked for.
        chunks: usize,
        /// Bytes each.
        size: usize,
        /// Why not.
        source: MemoryError,
    },
    /// Fewer chunks are at home than a pool was to get.
    #[error("a pool of {wanted} frames cannot be filled: {home} of the umem's {chunks} are free")]
    Short {
        /// What was asked for.
        wanted: usize,
        /// What is at home.
        home: usize,
        /// What the umem has in all.
        chunks: usize,
    },
}

/// One mapping, cut into equal chunks.
pub struct Umem {
    memory: ManuallyDrop<Memory>,
    size: ChunkSize,
    chunks: usize,
    home: Mutex<Vec<u32>>,
    #[cfg(debug_assertions)]
    ledger: ledger::Ledger,
}

impl Umem {
    /// Maps `chunks` chunks, all at home. Pages come when touched, or at [`Umem::populate`].
    pub fn new(chunks: usize, size: ChunkSize) -> Result<Arc<Umem>, UmemError> {
        let Some(last) = u32::try_from(chunks).ok().filter(|chunks| *chunks > 0) else {
            return Err(UmemError::Chunks { chunks });
        };
        let len = chunks.saturating_mul(size.bytes());
        let memory =
            Memory::map(len).map_err(|source| UmemError::Memory { chunks, size: size.bytes(), source })?;
        Ok(Arc::new(Umem {
            memory: ManuallyDrop::new(memory),
            size,
            chunks,
            // Ascending addresses are handed out first.
            home: Mutex::new((0..last).rev().collect()),
            #[cfg(debug_assertions)]
            ledger: ledger::Ledger::new(chunks),
        }))
    }

    /// A pool holding `frames` chunks taken from home.
    pub fn pool(self: &Arc<Self>, frames: usize) -> Result<Pool, UmemError> {
        Pool::new(self, frames)
    }

    /// How long each chunk is.
    pub fn chunk_size(&self) -> ChunkSize {
        self.size
    }

    /// How many chunks there are, wherever they are.
    pub fn chunks(&self) -> usize {
        self.chunks
    }

    /// How many chunks no pool and no frame has.
    pub fn home(&self) -> usize {
        self.home_list().len()
    }

    /// What kind of pages the chunks stand on.
    pub fn pages(&self) -> Pages {
        self.memory.pages()
    }

    /// Backs every page now, so that first packets do not pay for faults.
    pub fn populate(&self) {
        self.memory.populate();
    }

    /// Where the mapping begins and how long it is: what `XDP_UMEM_REG` asks for.
    pub fn region(&self) -> (NonNull<u8>, usize) {
        (self.memory.base(), self.chunks * self.size.bytes())
    }

    /// The frame's AF_XDP address: where its data begins, as an offset in the mapping. `None`: not of this umem.
    pub fn address(&self, frame: &Frame) -> Option<u64> {
        let chunk = self.number(frame)?;
        Some(u64::from(chunk) * self.size.bytes() as u64 + frame.start() as u64)
    }

    /// The number of the frame's chunk; `None` when the frame is of another umem.
    #[inline]
    pub(crate) fn number(&self, frame: &Frame) -> Option<u32> {
        let offset = (frame.chunk().as_ptr() as usize).wrapping_sub(self.memory.base().as_ptr() as usize);
        // The sizes are powers of two, and a frame's chunk pointer is always one of some umem's chunks, so an
        // offset inside this mapping can only be one that `claim` gave out here.
        let number = offset >> self.size.bytes().trailing_zeros();
        (number < self.chunks).then_some(number as u32)
    }

    /// The list of chunks at home. A panic while it was held leaves it whole: pushes and splits are single steps.
    pub(crate) fn home_list(&self) -> MutexGuard<'_, Vec<u32>> {
        self.home.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the one frame that owns `chunk`.
    ///
    /// # Safety
    /// The caller removed `chunk` from this umem's home list or from a pool's list of it, and gives the number
    /// to nobody else until the frame has come back.
    #[inline]
    pub(crate) unsafe fn claim(&self, chunk: u32) -> Frame {
        debug_assert!((chunk as usize) < self.chunks);
        #[cfg(debug_assertions)]
        self.ledger.claim(chunk);
        // SAFETY: chunk < self.chunks (lists hold only numbers made in `new`), so the offset is inside the
        // mapping; the caller vouches that the chunk has no other owner.
        unsafe { Frame::new(self.memory.base().add(chunk as usize * self.size.bytes()), self.size) }
    }

    /// Makes anew the frame that owned `chunk`, whose bytes went elsewhere without the frame being given back.
    ///
    /// # Safety
    /// The frame that owned `chunk` was consumed outside of pools, and nobody made it anew since.
    #[inline]
    pub(crate) unsafe fn again(&self, chunk: u32) -> Frame {
        debug_assert!((chunk as usize) < self.chunks);
        // SAFETY: a frame owned `chunk`, so it is one of this umem's and the offset is inside the mapping; the
        // caller vouches that it has no other owner.
        unsafe { Frame::new(self.memory.base().add(chunk as usize * self.size.bytes()), self.size) }
    }

    /// Ends a frame of this umem, and lists its chunk at home.
    pub(crate) fn bring_home(&self, frame: Frame) {
        if let Ok(chunk) = self.release(frame) {
            self.home_list().push(chunk);
        }
    }

    /// Ends a frame and gives the number of its chunk, which is then the caller's to list. A frame of another
    /// umem comes back as it was.
    #[inline]
    pub(crate) fn release(&self, frame: Frame) -> Result<u32, Frame> {
        let Some(number) = self.number(&frame) else { return Err(frame) };
        #[cfg(debug_assertions)]
        self.ledger.release(number);
        Ok(number)
    }
}

impl Drop for Umem {
    fn drop(&mut self) {
        let home = self.home_list().len();
        if home == self.chunks {
            // SAFETY: dropped once, here; every chunk is at home, so no frame points into the mapping, and
            // pools hold an Arc of this umem, so none is left either.
            unsafe { ManuallyDrop::drop(&mut self.memory) };
            return;
        }
        #[cfg(debug_assertions)]
        assert!(
            std::thread::panicking(),
            "{} of {} frames were never given back to a pool; chunks {:?}",
            self.chunks - home,
            self.chunks,
            self.ledger.away(8),
        );
    }
}

impl fmt::Debug for Umem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Umem({} chunks of {}, {})", self.chunks, self.size.bytes(), self.memory.pages())
    }
}

/// One owner per chunk, checked at each change of hands. Only in builds with debug assertions.
#[cfg(debug_assertions)]
mod ledger {
    use std::sync::atomic::{AtomicBool, Ordering};

    /// For each chunk: is it inside a frame (or else in a list)?
    pub(super) struct Ledger(Box<[AtomicBool]>);

    impl Ledger {
        pub(super) fn new(chunks: usize) -> Ledger {
            Ledger((0..chunks).map(|_| AtomicBool::new(false)).collect())
        }

        pub(super) fn claim(&self, chunk: u32) {
            let was = self.0[chunk as usize].swap(true, Ordering::AcqRel);
            assert!(!was, "chunk {chunk} was given out twice");
        }

        pub(super) fn release(&self, chunk: u32) {
            let was = self.0[chunk as usize].swap(false, Ordering::AcqRel);
            assert!(was, "chunk {chunk} was given back twice");
        }

        /// The first few chunks that are inside frames.
        pub(super) fn away(&self, max: usize) -> Vec<usize> {
            let away = self.0.iter().enumerate().filter(|(_, held)| held.load(Ordering::Acquire));
            away.map(|(chunk, _)| chunk).take(max).collect()
        }
    }
}

//! The memory of one ring that two sides share: positions, flags and entries, as atomics.
//!
//! ```text
//!   producer   where the next entry will be written (counts for ever, wraps at 2^32)
//!   consumer   where the next entry will be read
//!   flags      XDP_RING_NEED_WAKEUP
//!   entries    a power of two of them; entry n stands at n & (entries - 1)
//! ```
//!
//! Everything here may be read and written by the other side at any time, so everything is an atomic; which side
//! owns which position, and the order of accesses, is the business of whoever uses it. The kernel maps the memory
//! of its rings; [`RingArea::memory`] makes the same in ordinary memory, for a test that plays the kernel.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64};

/// Where the parts of a ring are in its mapping (`struct xdp_ring_offset`).
#[derive(Debug, Clone, Copy)]
pub(super) struct Offsets {
    pub(super) producer: u64,
    pub(super) consumer: u64,
    pub(super) entries: u64,
    pub(super) flags: u64,
}

/// A receive or transmit descriptor in shared memory (`struct xdp_desc`).
#[derive(Debug, Default)]
#[repr(C)]
pub struct SharedDescriptor {
    /// Where the packet begins in the umem.
    pub address: AtomicU64,
    /// Its bytes.
    pub len: AtomicU32,
    /// `XDP_PKT_CONTD` and such.
    pub options: AtomicU32,
}

/// What a ring's entries are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// Addresses of chunks: fill and completion.
    Address,
    /// Packets: receive and transmit.
    Descriptor,
}

impl Entry {
    const fn bytes(self) -> usize {
        match self {
            Entry::Address => size_of::<AtomicU64>(),
            Entry::Descriptor => size_of::<SharedDescriptor>(),
        }
    }
}

/// The shared memory of one ring; unmapped when dropped.
#[derive(Debug)]
pub struct RingArea {
    base: NonNull<u8>,
    len: usize,
    offsets: Offsets,
    entry: Entry,
    entries: u32,
}

// SAFETY: the mapping belongs to this value until it is dropped, and everything in it is reached as atomics.
unsafe impl Send for RingArea {}
// SAFETY: as above; `&RingArea` gives out only atomics.
unsafe impl Sync for RingArea {}

impl RingArea {
    /// Maps a ring of `entries` of a socket, which the kernel has set up with that many.
    pub(super) fn of_socket(
        socket: BorrowedFd<'_>,
        page_offset: i64,
        offsets: Offsets,
        entry: Entry,
        entries: u32,
    ) -> io::Result<RingArea> {
        let flags = libc::MAP_SHARED | libc::MAP_POPULATE;
        RingArea::map(flags, socket.as_raw_fd(), page_offset, offsets, entry, entries)
    }

    /// A ring in ordinary memory, all zeroes.
    pub fn memory(entry: Entry, entries: u32) -> io::Result<RingArea> {
        let offsets = Offsets { producer: 0, consumer: 64, flags: 128, entries: 192 };
        RingArea::map(libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1, 0, offsets, entry, entries)
    }

    fn map(
        flags: i32,
        fd: i32,
        page_offset: i64,
        offsets: Offsets,
        entry: Entry,
        entries: u32,
    ) -> io::Result<RingArea> {
        let all = offsets.entries.checked_add(u64::from(entries) * entry.bytes() as u64);
        let word = |offset: u64| offset.is_multiple_of(4) && offset.checked_add(4) <= all;
        let aligned = offsets.entries.is_multiple_of(align_of::<AtomicU64>() as u64);
        let sound = word(offsets.producer) && word(offsets.consumer) && word(offsets.flags) && aligned;
        let (Some(len), true, true) = (all, sound, entries.is_power_of_two()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let len = len as usize;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: without MAP_FIXED the kernel only hands out addresses that nothing uses.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, flags, fd, page_offset) };
        match NonNull::new(at.cast::<u8>()) {
            Some(base) if at != libc::MAP_FAILED => {
                // A child that is forked would hold the socket too. Advice: older kernels do as they do.
                // SAFETY: the range was mapped just now; the advice changes no byte of it.
                unsafe { libc::madvise(at, len, libc::MADV_DONTFORK) };
                Ok(RingArea { base, len, offsets, entry, entries })
            }
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Lets go of the socket: a mapping of its rings keeps it, and its queue, as an open descriptor does. The
    /// ring stays where it is, of zeroes from now on, which nobody else sees.
    pub fn let_go(&self) -> io::Result<()> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the range is this value's own mapping, whole; it stays mapped, readable and writable, and
        // whoever reads it meanwhile does so as atomics and believes nothing of it.
        let at = unsafe { libc::mmap(self.base.as_ptr().cast(), self.len, protection, flags, -1, 0) };
        if at == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    fn word(&self, offset: u64) -> &AtomicU32 {
        // SAFETY: `map` checked offset + 4 <= len and offset % 4 == 0, and the mapping begins at a page; the
        // memory is readable and writable while self lives, and is reached nowhere except as atomics.
        unsafe { self.base.add(offset as usize).cast::<AtomicU32>().as_ref() }
    }

    /// Where the next entry will be written.
    #[inline]
    pub fn producer(&self) -> &AtomicU32 {
        self.word(self.offsets.producer)
    }

    /// Where the next entry will be read.
    #[inline]
    pub fn consumer(&self) -> &AtomicU32 {
        self.word(self.offsets.consumer)
    }

    /// `XDP_RING_NEED_WAKEUP`, or nothing.
    #[inline]
    pub fn flags(&self) -> &AtomicU32 {
        self.word(self.offsets.flags)
    }

    /// How many entries there are: a power of two.
    #[inline]
    pub fn entries(&self) -> u32 {
        self.entries
    }

    /// Entries that are written and not read yet, as far as the positions make sense. What is read after it was
    /// so later: rings that are asked in a row answer in that order.
    pub fn waiting(&self) -> u32 {
        use std::sync::atomic::Ordering::Acquire;
        let waiting = self.producer().load(Acquire).wrapping_sub(self.consumer().load(Acquire));
        waiting.min(self.entries)
    }

    /// The entries of a fill or completion ring; none of another.
    #[inline]
    pub fn addresses(&self) -> &[AtomicU64] {
        match self.entry {
            // SAFETY: `map` mapped offsets.entries + entries * 8 bytes, aligned to 8; see `word` for the rest.
            Entry::Address => unsafe { self.slice() },
            Entry::Descriptor => &[],
        }
    }

    /// The entries of a receive or transmit ring; none of another.
    #[inline]
    pub fn descriptors(&self) -> &[SharedDescriptor] {
        match self.entry {
            // SAFETY: `map` mapped offsets.entries + entries * 16 bytes, aligned to 8; see `word` for the rest.
            Entry::Descriptor => unsafe { self.slice() },
            Entry::Address => &[],
        }
    }

    /// # Safety
    /// `T` is made of atomics, and is what `entry` says in size.
    unsafe fn slice<T>(&self) -> &[T] {
        // SAFETY: the caller vouches for T; the range was mapped in `map`, and anonymous or kernel memory is
        // always initialised.
        unsafe {
            let first = self.base.add(self.offsets.entries as usize).cast::<T>();
            std::slice::from_raw_parts(first.as_ptr(), self.entries as usize)
        }
    }
}

impl Drop for RingArea {
    fn drop(&mut self) {
        // SAFETY: `base` and `len` are of the mapping made in `map`, unmapped here once; borrows of it are gone.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering::Relaxed;

    #[test]
    fn a_ring_of_memory_has_entries_of_its_kind_and_positions() {
        let ring = RingArea::memory(Entry::Descriptor, 8).unwrap();
        assert_eq!((ring.entries(), ring.descriptors().len(), ring.addresses().len()), (8, 8, 0));
        ring.producer().store(5, Relaxed);
        ring.consumer().store(2, Relaxed);
        assert_eq!(ring.waiting(), 3);
        ring.consumer().store(6, Relaxed);
        assert_eq!(ring.waiting(), 8);
        ring.descriptors()[7].len.store(60, Relaxed);
        assert_eq!(ring.descriptors()[7].len.load(Relaxed), 60);
        assert!(RingArea::memory(Entry::Address, 7).is_err());
    }
}

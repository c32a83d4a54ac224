//! Anonymous memory for map contents: zeroed, page-aligned, given by the kernel page by page as it is touched.
//!
//! Two forms: a plain area, and a ring whose pages appear twice in a row, so that a record that wraps
//! around the end is still one run of bytes:
//!
//! ```text
//!   0      PAGE        PAGE+len     PAGE+2*len
//!   | head | page A B | page A B |      the head is plain memory for the ring's positions
//! ```

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::{self, NonNull};

const HUGE_PAGE: usize = 2 << 20;
/// Bytes of a page, which lengths of rings are multiples of.
pub const PAGE: usize = 4096;

/// When the kernel counts the memory against what the machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// At once: more than the machine could ever give is refused now.
    Now,
    /// As it is touched: the area may be much larger than what will be used.
    Lazily,
}

/// Memory that nobody else has; given back when dropped.
#[derive(Debug)]
pub struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the area belongs to this value alone and nothing in it is tied to a thread.
unsafe impl Send for Mapping {}
// SAFETY: a shared reference gives out only the address; who reads or writes through it vouches for that.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// At least `len` bytes, zeroed. Areas of several megabytes that are committed now ask for huge pages;
    /// lazy ones do not, as touching a byte of one would zero two megabytes in the midst of something.
    pub fn zeroed(len: usize, commit: Commit) -> io::Result<Mapping> {
        let unit = if len >= HUGE_PAGE { HUGE_PAGE } else { PAGE };
        let len = len.max(1).checked_next_multiple_of(unit).ok_or(io::ErrorKind::OutOfMemory)?;
        let lazy = match commit {
            Commit::Now => 0,
            Commit::Lazily => libc::MAP_NORESERVE,
        };
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | lazy;
        let mapping = Mapping { base: map(ptr::null_mut(), len, flags, -1)?, len };
        if commit == Commit::Now {
            mapping.advise_huge();
        }
        Ok(mapping)
    }

    /// Asks for huge pages, where the area is large enough for them. Best effort.
    pub fn advise_huge(&self) {
        if self.len >= HUGE_PAGE {
            // SAFETY: the range is this value's own mapping; the advice changes no contents, and a kernel
            // without huge pages answers with an error that does not matter.
            unsafe { libc::madvise(self.base.as_ptr().cast(), self.len, libc::MADV_HUGEPAGE) };
        }
    }

    /// A page of plain memory, then a ring of `len` bytes (a multiple of [`PAGE`]) twice in a row.
    pub fn ring(len: usize) -> io::Result<Mapping> {
        if len == 0 || !len.is_multiple_of(PAGE) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let total = len.checked_mul(2).and_then(|twice| twice.checked_add(PAGE));
        let total = total.ok_or(io::ErrorKind::OutOfMemory)?;
        let file = memory_file(c"weir-ring", len)?;
        let reserve = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let mapping = Mapping { base: map(ptr::null_mut(), total, reserve, -1)?, len: total };
        for start in [PAGE, PAGE + len] {
            // SAFETY: `start + len <= total`, the length of the reservation.
            let at = unsafe { mapping.base.as_ptr().add(start) };
            map(at, len, libc::MAP_SHARED | libc::MAP_FIXED, file.as_raw_fd())?;
        }
        Ok(mapping)
    }

    /// Where it begins: a multiple of [`PAGE`], valid for reads and writes of [`Mapping::len`] bytes while
    /// this value lives.
    pub fn base(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    /// Bytes that may be touched.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never: there is no empty mapping.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Has the kernel back the first `len` bytes now, so that no first touch costs a fault later. Best effort.
    pub fn populate(&self, len: usize) {
        let len = len.min(self.len);
        // SAFETY: the range is inside this value's own mapping; populating changes no byte of it.
        unsafe { libc::madvise(self.base.as_ptr().cast(), len, libc::MADV_POPULATE_WRITE) };
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `base` and `len` are exactly what `map` returned, unmapped here once.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

fn map(at: *mut u8, len: usize, flags: i32, fd: i32) -> io::Result<NonNull<u8>> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: callers give no address, or (with MAP_FIXED) a range inside their own reservation, so no
    // mapping of anyone else can be replaced.
    let got = unsafe { libc::mmap(at.cast(), len, protection, flags, fd, 0) };
    if got == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(got.cast::<u8>()).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
}

fn memory_file(name: &CStr, len: usize) -> io::Result<OwnedFd> {
    // SAFETY: `name` ends with a zero byte; the result is checked on the next line.
    let fd = unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call above returned this descriptor, and nobody else has it.
    let file = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: the descriptor is open for writing; the result is checked.
    match unsafe { libc::ftruncate(file.as_raw_fd(), len as libc::off_t) } {
        0 => Ok(file),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_shows_each_byte_twice() {
        let ring = Mapping::ring(2 * PAGE).unwrap();
        let base = ring.base();
        // SAFETY: all offsets are below the length of 5 pages.
        unsafe {
            base.add(PAGE + 5).write_volatile(7);
            assert_eq!(base.add(3 * PAGE + 5).read_volatile(), 7);
            assert_eq!(base.add(5).read_volatile(), 0);
        }
        assert!(Mapping::ring(100).is_err());
    }

    #[test]
    fn more_than_the_machine_has_is_refused_unless_lazy() {
        assert!(Mapping::zeroed(1 << 46, Commit::Now).is_err());
        assert!(Mapping::zeroed(1 << 40, Commit::Lazily).is_ok());
        assert!(Mapping::zeroed(usize::MAX, Commit::Lazily).is_err());
    }
}

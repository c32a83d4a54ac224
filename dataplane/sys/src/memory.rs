//! Anonymous memory for frames and captures: aligned, guarded on both sides, on huge pages when there are any.
//!
//! ```text
//!   guard (no access)   len bytes, zeroed, aligned to ALIGN   guard (no access)
//!   |---- 64 KiB+ -----|--------------------------------------|---- 64 KiB+ ----|
//! ```
//!
//! A stray write past either end of the region faults at once and cannot reach a neighbour's memory. What the
//! bytes mean is for others to say; here they are only mapped, named and given back.

use std::fmt;
use std::io;
use std::ptr::{self, NonNull};

/// Where every region begins: at a multiple of this, which is the size of a huge page on x86-64.
pub const ALIGN: usize = 2 << 20;

/// How much inaccessible address space stands on each side of a region, at least.
pub const GUARD: usize = 64 << 10;

/// What kind of pages a region came to stand on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pages {
    /// Huge pages reserved by the administrator (`vm.nr_hugepages`): certain.
    Huge,
    /// Ordinary pages which the kernel was asked to join into huge ones (`MADV_HUGEPAGE`): it may have.
    Advised,
    /// Ordinary pages: the region is smaller than a huge page, or the kernel knows no transparent ones.
    Plain,
}

impl fmt::Display for Pages {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Pages::Huge => "huge pages",
            Pages::Advised => "transparent huge pages, if the kernel has them",
            Pages::Plain => "4 KiB pages",
        })
    }
}

/// Why memory could not be had.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// Nobody means to map nothing.
    #[error("cannot map 0 bytes: at least 1 is wanted")]
    Empty,
    /// The length does not fit the address space once rounded up and guarded.
    #[error("cannot map {len} bytes: more than the address space holds")]
    TooLong {
        /// What was asked for.
        len: usize,
    },
    /// The kernel refused.
    #[error("cannot map {len} bytes: {source} (free memory, cgroup limits and RLIMIT_AS decide this)")]
    Refused {
        /// What was asked for.
        len: usize,
        /// What the kernel answered.
        source: io::Error,
    },
}

/// One region of zeroed memory that nobody else has, unmapped when dropped.
#[derive(Debug)]
pub struct Memory {
    base: NonNull<u8>,
    len: usize,
    pages: Pages,
    outer: NonNull<u8>,
    outer_len: usize,
}

// SAFETY: the region belongs to this value alone; nothing in it is tied to a thread.
unsafe impl Send for Memory {}
// SAFETY: shared access gives out only `&[u8]` and the address; writing asks for `&mut` or the caller's own proof.
unsafe impl Sync for Memory {}

impl Memory {
    /// Maps at least `len` bytes (rounded up to whole pages), zeroed and aligned to [`ALIGN`].
    pub fn map(len: usize) -> Result<Memory, MemoryError> {
        if len == 0 {
            return Err(MemoryError::Empty);
        }
        let too_long = MemoryError::TooLong { len };
        let unit = if len >= ALIGN { ALIGN } else { 4096 };
        let Some(rounded) = len.checked_next_multiple_of(unit) else { return Err(too_long) };
        let Some(outer_len) = rounded.checked_add(ALIGN + 2 * GUARD) else { return Err(too_long) };
        let refused = |source| MemoryError::Refused { len, source };
        let outer = reserve(outer_len).map_err(refused)?;
        // The first multiple of ALIGN that leaves a guard before it; ALIGN spare bytes make room for it.
        let start = (outer.as_ptr() as usize + GUARD).next_multiple_of(ALIGN) - outer.as_ptr() as usize;
        // SAFETY: start <= GUARD + ALIGN - 1 < outer_len, so the address is inside the reservation.
        let base = unsafe { outer.add(start) };
        match open(base, rounded) {
            Ok(pages) => Ok(Memory { base, len: rounded, pages, outer, outer_len }),
            Err(source) => {
                // SAFETY: this reservation was made above and nothing refers to it.
                unsafe { libc::munmap(outer.as_ptr().cast(), outer_len) };
                Err(refused(source))
            }
        }
    }

    /// Where the region begins: a multiple of [`ALIGN`], valid for reads and writes of [`Memory::len`] bytes.
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Length in bytes: what was asked for, rounded up to whole pages.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never: an empty region cannot be made.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What kind of pages the region stands on.
    pub fn pages(&self) -> Pages {
        self.pages
    }

    /// Has the kernel back every page now, so that no first touch costs a fault later.
    ///
    /// Best effort: a kernel before 5.14 does not know the advice, and then pages come when touched.
    pub fn populate(&self) {
        // SAFETY: the range is this value's own mapping; populating writes no byte of it.
        unsafe { libc::madvise(self.base.as_ptr().cast(), self.len, libc::MADV_POPULATE_WRITE) };
    }

    /// All of it, to read.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `base` is mapped readable for `len` bytes as long as self lives; anonymous pages are
        // initialised to zero; writers need `&mut self`, or vouch for themselves through `base`.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.len) }
    }

    /// All of it, to write.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and `&mut self` means that nobody else reads or writes.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr(), self.len) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: `outer` is the reservation made in `map`, unmapped here once; borrowed slices are gone by now.
        unsafe { libc::munmap(self.outer.as_ptr().cast(), self.outer_len) };
    }
}

/// How much memory the machine could give without swapping (`MemAvailable`), where the kernel tells.
pub fn available() -> Option<u64> {
    let about = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = about.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Reserves address space that nobody may touch yet.
fn reserve(len: usize) -> io::Result<NonNull<u8>> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    map_at(ptr::null_mut(), len, libc::PROT_NONE, flags)
}

/// Turns `len` bytes of the reservation at `base` into memory, on the best pages to be had.
fn open(base: NonNull<u8>, len: usize) -> io::Result<Pages> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
    let at = base.as_ptr();
    if len.is_multiple_of(ALIGN) && map_at(at, len, protection, flags | libc::MAP_HUGETLB).is_ok() {
        return Ok(Pages::Huge);
    }
    // A failed MAP_FIXED may have unmapped what it meant to replace; this one puts memory there either way.
    map_at(at, len, protection, flags)?;
    if len < ALIGN {
        return Ok(Pages::Plain);
    }
    // SAFETY: the range was mapped on the line above; advice changes no contents.
    let advised = unsafe { libc::madvise(at.cast(), len, libc::MADV_HUGEPAGE) };
    Ok(if advised == 0 { Pages::Advised } else { Pages::Plain })
}

fn map_at(at: *mut u8, len: usize, protection: i32, flags: i32) -> io::Result<NonNull<u8>> {
    // SAFETY: callers pass either no address, or (with MAP_FIXED) a range inside their own reservation, so no
    // mapping of anyone else can be replaced.
    let got = unsafe { libc::mmap(at.cast(), len, protection, flags, -1, 0) };
    match NonNull::new(got.cast::<u8>()) {
        Some(mapped) if got != libc::MAP_FAILED => Ok(mapped),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_zeroed_aligned_and_writable() {
        for len in [1, 4096, 4097, ALIGN - 1, ALIGN, ALIGN + 1, 5 * ALIGN] {
            let mut memory = Memory::map(len).unwrap();
            assert!(memory.len() >= len);
            assert_eq!(memory.base().as_ptr() as usize % ALIGN, 0);
            memory.populate();
            assert!(memory.bytes().iter().all(|byte| *byte == 0));
            memory.bytes_mut()[len - 1] = 7;
            assert_eq!(memory.bytes()[len - 1], 7);
        }
    }

    #[test]
    fn a_length_that_cannot_be_is_refused_in_words() {
        assert_eq!(Memory::map(0).unwrap_err().to_string(), "cannot map 0 bytes: at least 1 is wanted");
        let words = Memory::map(usize::MAX).unwrap_err().to_string();
        assert!(words.ends_with("more than the address space holds"), "{words}");
        let words = Memory::map(1 << 50).unwrap_err().to_string();
        assert!(words.contains("RLIMIT_AS"), "{words}");
    }

    #[test]
    fn both_sides_are_guarded() {
        let memory = Memory::map(3 * ALIGN).unwrap();
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let base = memory.base().as_ptr() as usize;
        for edge in [base - 1, base + memory.len()] {
            let line = maps.lines().find(|line| {
                let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
                let from = usize::from_str_radix(from, 16).unwrap();
                let to = usize::from_str_radix(to, 16).unwrap();
                (from..to).contains(&edge)
            });
            assert!(line.is_some_and(|line| line.contains("---p")), "{edge:x}: {line:?}");
        }
    }
}

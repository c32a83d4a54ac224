//! Copies between private memory and memory that workers share.
//!
//! Shared memory is read and written word by word with relaxed atomic accesses: a value that another
//! worker writes at the same time may come out torn between words, never within an aligned word. That is
//! what the kernel promises of map values (`copy_map_value_long`), and no more.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

/// Writes `len` private bytes at `src` to shared memory at `dst`.
///
/// # Safety
/// `src` is readable and `dst` writable for `len` bytes; `dst` is aligned to 8 and outlives the call; others
/// touch `dst` only through atomics, this module or compiled programs.
#[inline]
pub(crate) unsafe fn write(dst: *mut u8, src: *const u8, len: usize) {
    let words = len / 8;
    for i in 0..words {
        // SAFETY: `8 * i + 8 <= len`; `dst` is aligned by the caller's promise, `src` is read unaligned.
        unsafe {
            let word = src.cast::<u64>().add(i).read_unaligned();
            (*dst.cast::<AtomicU64>().add(i)).store(word, Relaxed);
        }
    }
    for i in words * 8..len {
        // SAFETY: `i < len`.
        unsafe { (*dst.cast::<AtomicU8>().add(i)).store(src.add(i).read(), Relaxed) };
    }
}

/// Reads `len` bytes of shared memory at `src` into private memory at `dst`.
///
/// # Safety
/// As for [`write`], with `src` and `dst` exchanged.
#[inline]
pub(crate) unsafe fn read(dst: *mut u8, src: *const u8, len: usize) {
    let words = len / 8;
    for i in 0..words {
        // SAFETY: `8 * i + 8 <= len`; `src` is aligned by the caller's promise, `dst` is written unaligned.
        unsafe {
            let word = (*src.cast::<AtomicU64>().add(i)).load(Relaxed);
            dst.cast::<u64>().add(i).write_unaligned(word);
        }
    }
    for i in words * 8..len {
        // SAFETY: `i < len`.
        unsafe { dst.add(i).write((*src.cast::<AtomicU8>().add(i)).load(Relaxed)) };
    }
}

/// Writes `len` zeros to shared memory at `dst`.
///
/// # Safety
/// As for [`write`], except that `dst` need not be aligned when `len` is below 8.
pub(crate) unsafe fn zero(dst: *mut u8, len: usize) {
    for i in 0..len {
        // SAFETY: `i < len`.
        unsafe { (*dst.cast::<AtomicU8>().add(i)).store(0, Relaxed) };
    }
}

/// [`write`] for places that are not aligned.
///
/// # Safety
/// As for [`write`], without the alignment.
pub(crate) unsafe fn write_bytes(dst: *mut u8, src: *const u8, len: usize) {
    for i in 0..len {
        // SAFETY: `i < len`.
        unsafe { (*dst.cast::<AtomicU8>().add(i)).store(src.add(i).read(), Relaxed) };
    }
}

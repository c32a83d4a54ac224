//! Keys of hash tables: hashed and compared as 8-byte words, the last one padded with zeros.
//!
//! The hash is keyed by a random seed of each map, so that nobody outside can choose keys that collide.
//! It folds 64x64-bit products as wyhash and foldhash do.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::MapError;

/// A map's secret.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seed([u64; 2]);

impl Seed {
    /// From the kernel's random source; `BPF_F_ZERO_SEED` asks for the same hash every time.
    pub(crate) fn new(zero: bool) -> Result<Seed, MapError> {
        let mut bytes = [0; 16];
        if !zero {
            getrandom::fill(&mut bytes).map_err(|_| MapError::Memory { bytes: 16 })?;
        }
        let number = u128::from_ne_bytes(bytes);
        Ok(Seed([number as u64, (number >> 64) as u64]))
    }
}

const P0: u64 = 0xa076_1d64_78bd_642f;
const P1: u64 = 0xe703_7ed1_a0b4_28db;

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// Word `i` of a key of `size` bytes at `key`.
///
/// # Safety
/// `key` is readable for `size` bytes, and `8 * i < size`.
#[inline]
unsafe fn word(key: *const u8, size: usize, i: usize) -> u64 {
    let rest = size - 8 * i;
    // SAFETY: word `i` begins inside the key by the caller's promise; each read stays within `rest` bytes.
    unsafe {
        let at = key.add(8 * i);
        match rest {
            8.. => at.cast::<u64>().read_unaligned(),
            4..8 => {
                let low = u64::from(at.cast::<u32>().read_unaligned());
                // The last four bytes overlap the first four; shifting puts the rest above them.
                let high = u64::from(at.add(rest - 4).cast::<u32>().read_unaligned());
                low | high << (8 * (rest - 4))
            }
            2 | 3 => {
                let low = u64::from(at.cast::<u16>().read_unaligned());
                low | u64::from(at.add(rest - 1).read()) << (8 * (rest - 1))
            }
            _ => u64::from(at.read()),
        }
    }
}

/// A key that can be looked for. The words of a stored key are atomics, since a slot may be given a new key
/// while a reader still compares it (the reader finds out afterwards, see `hash::table`).
pub(crate) trait Key {
    fn hash(&self, seed: Seed) -> u64;
    /// Whether the words at `stored` are this key.
    ///
    /// # Safety
    /// `stored` points to as many aligned words as the key has, in memory that lives.
    unsafe fn is_at(&self, stored: *const u8) -> bool;
    /// Writes the key's words.
    ///
    /// # Safety
    /// As for `is_at`, and the slot is the caller's.
    unsafe fn put_at(&self, stored: *mut u8);
}

/// A key of `W` words, held in registers.
pub(crate) struct Words<const W: usize>([u64; W]);

impl<const W: usize> Words<W> {
    /// # Safety
    /// `key` is readable for `size` bytes, and `size` rounded up is `W` words.
    #[inline]
    pub(crate) unsafe fn load(key: *const u8, size: usize) -> Self {
        // SAFETY: `i < W`, so `8 * i < size` by the caller's promise.
        Words(std::array::from_fn(|i| unsafe { word(key, size, i) }))
    }
}

impl<const W: usize> Key for Words<W> {
    #[inline]
    fn hash(&self, Seed([s0, s1]): Seed) -> u64 {
        let mut hash = s0;
        let mut i = 0;
        while i + 1 < W {
            hash = fold(self.0[i] ^ hash ^ P0, self.0[i + 1] ^ s1);
            i += 2;
        }
        if i < W {
            hash = fold(self.0[i] ^ hash ^ P0, s1 ^ P1);
        }
        fold(hash ^ s1, P1)
    }

    #[inline]
    unsafe fn is_at(&self, stored: *const u8) -> bool {
        let mut differs = 0;
        for (i, word) in self.0.iter().enumerate() {
            // SAFETY: the caller owes `W` aligned words.
            differs |= unsafe { (*stored.cast::<AtomicU64>().add(i)).load(Relaxed) } ^ word;
        }
        differs == 0
    }

    #[inline]
    unsafe fn put_at(&self, stored: *mut u8) {
        for (i, word) in self.0.iter().enumerate() {
            // SAFETY: the caller owes `W` aligned words.
            unsafe { (*stored.cast::<AtomicU64>().add(i)).store(*word, Relaxed) };
        }
    }
}

/// A key of any length, read where it is.
pub(crate) struct Long {
    key: *const u8,
    size: usize,
}

impl Long {
    /// # Safety
    /// `key` is readable for `size` bytes as long as the result lives.
    pub(crate) unsafe fn load(key: *const u8, size: usize) -> Self {
        Long { key, size }
    }

    fn words(&self) -> usize {
        self.size.div_ceil(8)
    }

    fn word(&self, i: usize) -> u64 {
        // SAFETY: callers pass `i < words()`, so `8 * i < size`; readable by the promise of `load`.
        unsafe { word(self.key, self.size, i) }
    }
}

impl Key for Long {
    fn hash(&self, Seed([s0, s1]): Seed) -> u64 {
        let hash = (0..self.words()).fold(s0, |hash, i| fold(self.word(i) ^ hash ^ P0, s1 ^ P1));
        fold(hash ^ s1, P1)
    }

    unsafe fn is_at(&self, stored: *const u8) -> bool {
        // SAFETY: the caller owes `words()` aligned words.
        (0..self.words())
            .all(|i| unsafe { (*stored.cast::<AtomicU64>().add(i)).load(Relaxed) } == self.word(i))
    }

    unsafe fn put_at(&self, stored: *mut u8) {
        for i in 0..self.words() {
            // SAFETY: the caller owes `words()` aligned words.
            unsafe { (*stored.cast::<AtomicU64>().add(i)).store(self.word(i), Relaxed) };
        }
    }
}

/// Runs the body with the key as the type that suits its length.
macro_rules! with_key {
    ($pointer:expr, $size:expr, $key:ident => $body:expr) => {{
        use $crate::keys::{Long, Words};
        let (pointer, size): (*const u8, usize) = ($pointer, $size);
        // SAFETY: whoever uses this macro has a key of `size` readable bytes; the number of words is
        // computed from that size in the line that selects the type.
        unsafe {
            match size.div_ceil(8) {
                1 => {
                    let $key = Words::<1>::load(pointer, size);
                    $body
                }
                2 => {
                    let $key = Words::<2>::load(pointer, size);
                    $body
                }
                3 => {
                    let $key = Words::<3>::load(pointer, size);
                    $body
                }
                4 => {
                    let $key = Words::<4>::load(pointer, size);
                    $body
                }
                5 => {
                    let $key = Words::<5>::load(pointer, size);
                    $body
                }
                _ => {
                    let $key = Long::load(pointer, size);
                    $body
                }
            }
        }
    }};
}
pub(crate) use with_key;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_hold_every_byte_of_a_key_of_any_length() {
        let key: Vec<u8> = (1..=41).collect();
        for size in 1..=41usize {
            for i in 0..size.div_ceil(8) {
                // SAFETY: `size` bytes of `key` are readable and word `i` begins inside them.
                let word = unsafe { word(key.as_ptr(), size, i) };
                let mut padded = [0; 8];
                let end = size.min(8 * i + 8);
                padded[..end - 8 * i].copy_from_slice(&key[8 * i..end]);
                assert_eq!(word, u64::from_le_bytes(padded), "size {size}, word {i}");
            }
        }
    }

    #[test]
    fn the_hash_spreads_neighbouring_keys() {
        let seed = Seed::new(false).unwrap();
        let mut buckets = [0; 64];
        for n in 0..64_000u64 {
            buckets[(Words([n]).hash(seed) >> 58) as usize] += 1;
        }
        assert!(buckets.iter().all(|&count| (800..1200).contains(&count)), "{buckets:?}");
    }
}

//! Keys as strings of bits, the most significant bit of the first byte first.

use std::cmp::Ordering;

/// Bits of a key, readable at any place. Bits beyond the key's end are zero.
pub(crate) trait Bits {
    /// `count` bits (at most 56) from bit `at` on, as a number.
    fn get(&self, at: u32, count: u32) -> u64;
}

/// A key of at most 8 bytes.
pub(crate) struct Bits64(u64);

/// A key of at most 16 bytes.
pub(crate) struct Bits128(u128);

/// A key of any length, where it is.
pub(crate) struct BitSlice<'a>(pub(crate) &'a [u8]);

impl Bits64 {
    pub(crate) fn new(bytes: &[u8]) -> Bits64 {
        let mut word = [0; 8];
        let len = bytes.len().min(8);
        word[..len].copy_from_slice(&bytes[..len]);
        Bits64(u64::from_be_bytes(word))
    }

    /// # Safety
    /// 4 bytes are readable.
    #[inline]
    pub(crate) unsafe fn of_4(bytes: *const u8) -> Bits64 {
        // SAFETY: the caller's promise.
        Bits64(u64::from(u32::from_be(unsafe { bytes.cast::<u32>().read_unaligned() })) << 32)
    }
}

impl Bits128 {
    pub(crate) fn new(bytes: &[u8]) -> Bits128 {
        let mut word = [0; 16];
        let len = bytes.len().min(16);
        word[..len].copy_from_slice(&bytes[..len]);
        Bits128(u128::from_be_bytes(word))
    }

    /// # Safety
    /// 16 bytes are readable.
    #[inline]
    pub(crate) unsafe fn of_16(bytes: *const u8) -> Bits128 {
        // SAFETY: the caller's promise.
        Bits128(u128::from_be(unsafe { bytes.cast::<u128>().read_unaligned() }))
    }
}

impl Bits for Bits64 {
    #[inline]
    fn get(&self, at: u32, count: u32) -> u64 {
        if count == 0 || at >= 64 { 0 } else { (self.0 << at) >> (64 - count) }
    }
}

impl Bits for Bits128 {
    #[inline]
    fn get(&self, at: u32, count: u32) -> u64 {
        if count == 0 || at >= 128 { 0 } else { ((self.0 << at) >> (128 - count)) as u64 }
    }
}

impl Bits for BitSlice<'_> {
    fn get(&self, at: u32, count: u32) -> u64 {
        let mut word = [0; 8];
        let rest = self.0.get(at as usize / 8..).unwrap_or_default();
        let len = rest.len().min(8);
        word[..len].copy_from_slice(&rest[..len]);
        // Seven bits may be shifted out in front, and 57 are left.
        if count == 0 { 0 } else { (u64::from_be_bytes(word) << (at % 8)) >> (64 - count) }
    }
}

/// Sets `count` bits from bit `at` on.
pub(crate) fn put(bytes: &mut [u8], at: u32, count: u32, value: u64) {
    for i in 0..count {
        let (byte, mask) = (((at + i) / 8) as usize, 0x80 >> ((at + i) % 8));
        match value >> (count - 1 - i) & 1 {
            0 => bytes[byte] &= !mask,
            _ => bytes[byte] |= mask,
        }
    }
}

/// The order in which the kernel names prefixes (`trie_get_next_key`): more specific ones before those that
/// contain them, otherwise by their bits.
pub(crate) fn postorder(a: &[u8], a_len: u32, b: &[u8], b_len: u32) -> Ordering {
    let shorter = a_len.min(b_len);
    let (a, b) = (BitSlice(a), BitSlice(b));
    let mut at = 0;
    while at < shorter {
        let count = (shorter - at).min(56);
        match a.get(at, count).cmp(&b.get(at, count)) {
            Ordering::Equal => at += count,
            unequal => return unequal,
        }
    }
    b_len.cmp(&a_len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_read_the_same_bits() {
        let bytes: Vec<u8> = (0..16u8).map(|i| i.wrapping_mul(37) ^ 0xa5).collect();
        for at in 0..128 {
            for count in 0..=56 {
                let wanted = (0..count).fold(0, |bits, i| {
                    let place = at + i;
                    let byte = bytes.get(place as usize / 8).copied().unwrap_or(0);
                    bits << 1 | u64::from(byte >> (7 - place % 8) & 1)
                });
                assert_eq!(Bits128::new(&bytes).get(at, count), wanted, "{at} {count}");
                assert_eq!(BitSlice(&bytes).get(at, count), wanted, "{at} {count}");
                if at + count <= 64 {
                    assert_eq!(Bits64::new(&bytes[..8]).get(at, count), wanted, "{at} {count}");
                }
            }
        }
    }

    #[test]
    fn specific_prefixes_come_before_those_that_contain_them() {
        let order = |a: &[u8], a_len, b: &[u8], b_len| postorder(a, a_len, b, b_len);
        assert_eq!(order(&[10, 1], 16, &[10, 0], 8), Ordering::Less);
        assert_eq!(order(&[10, 0], 8, &[11, 0], 8), Ordering::Less);
        assert_eq!(order(&[0, 0], 0, &[255, 255], 16), Ordering::Greater);
        assert_eq!(order(&[7, 9], 9, &[7, 99], 9), Ordering::Equal);
    }
}

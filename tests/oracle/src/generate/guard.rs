//! How programs keep an index inside of what it indexes.

use weir_ebpf::isa::Width;

use super::random::Random;

/// What bounds an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// `index &= mask`.
    Mask(i32),
    /// `if index > most`, unsigned; the 32-bit form after a 32-bit copy.
    Below {
        /// Compares 32 or 64 bits.
        width: Width,
        /// The largest index.
        most: i32,
    },
    /// `if index s> most` and `if index s< 0`.
    Between {
        /// The largest index.
        most: i32,
    },
    /// `index >>= 64 - bits`.
    Shift {
        /// Bits that are left.
        bits: i32,
    },
}

impl Guard {
    /// A guard that leaves no index above `most`, which is one less than a power of two.
    pub(super) fn random(random: &mut Random, most: i32) -> Self {
        let some = |random: &mut Random| 1 + random.below(most as usize) as i32;
        match random.below(6) {
            0..3 => Guard::Mask(most),
            3 => Guard::Below { width: random.pick(&[Width::W32, Width::W64]), most: some(random) },
            4 => Guard::Between { most: some(random) },
            _ => Guard::Shift { bits: (most + 1).ilog2() as i32 },
        }
    }
}

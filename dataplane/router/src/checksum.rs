//! The Internet checksum, whole (RFC 1071) and by difference (RFC 1624).

/// The checksum of some bytes, ready to be stored; over bytes that include a right one, it is 0.
pub fn checksum(bytes: &[u8]) -> u16 {
    Sum::default().add(bytes).finish()
}

/// A checksum over several pieces, each of an even number of bytes but the last.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sum(u64);

impl Sum {
    /// With one more piece.
    pub(crate) fn add(self, bytes: &[u8]) -> Self {
        let (pairs, rest) = bytes.as_chunks::<2>();
        let sum: u64 = pairs.iter().map(|&pair| u64::from(u16::from_be_bytes(pair))).sum();
        Self(self.0 + sum + rest.first().map_or(0, |&last| u64::from(last) << 8))
    }

    /// The checksum, ready to be stored.
    pub(crate) fn finish(self) -> u16 {
        !fold(self.0)
    }
}

/// The checksum after one word under it changed. HC' = ~(~HC + ~m + m'), equation 3 of RFC 1624,
/// which unlike equation 2 never turns a sum of 0 into one of -0.
pub fn adjust(checksum: u16, old: u16, new: u16) -> u16 {
    !fold(u64::from(!checksum) + u64::from(!old) + u64::from(new))
}

/// A sum with its carries added in.
fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::{adjust, checksum};

    #[test]
    fn the_example_of_rfc_1071() {
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
        assert_eq!(checksum(&[0xff]), !0xff00);
    }

    /// RFC 1624, section 4: a header sum of 0xdd2f, whose word 0x5555 becomes 0x3285.
    #[test]
    fn the_example_of_rfc_1624() {
        assert_eq!(adjust(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    /// By difference and anew agree, for every changed word of a header.
    #[test]
    fn a_difference_is_as_good_as_the_whole() {
        let mut bytes = [0x45, 0, 0, 20, 1, 2, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 198, 51, 100, 1];
        let before = checksum(&bytes);
        for word in 0..=u16::MAX {
            bytes[8..10].copy_from_slice(&word.to_be_bytes());
            assert_eq!(adjust(before, 0x4011, word), checksum(&bytes), "{word:#x}");
        }
    }
}

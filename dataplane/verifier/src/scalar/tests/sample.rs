//! Random words, and random numbers with members, both fond of boundaries.

use super::super::bounds::Bounds;
use super::super::{Number, Tnum};
use super::concrete::mask;

/// A reproducible stream (splitmix64).
pub(super) struct Source(u64);

impl Source {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// A word: small, near a power of two, near the half's or the word's edges, or any.
    pub(super) fn word(&mut self, bits: u32) -> u64 {
        let near = self.below(5).wrapping_sub(2);
        let word = match self.below(6) {
            0 => near,
            1 => (1u64 << self.below(bits.into())).wrapping_add(near),
            2 => (1u64 << (bits / 2)).wrapping_mul(self.below(4)).wrapping_add(near),
            3 => (1u64 << self.below(bits.into())).wrapping_neg().wrapping_add(near),
            4 => self.next() >> self.below(64),
            _ => self.next(),
        };
        word & mask(bits)
    }

    /// A number that has `member`, out of up to four constraints.
    pub(super) fn number_with<const BITS: u32, const HALF: u32>(
        &mut self,
        member: u64,
    ) -> Number<BITS, HALF> {
        let mut number = Number::unknown();
        for _ in 0..self.below(5) {
            number = self.constrain(number, member);
        }
        number
    }

    fn constrain<const BITS: u32, const HALF: u32>(
        &mut self,
        number: Number<BITS, HALF>,
        member: u64,
    ) -> Number<BITS, HALF> {
        let mut raw = number;
        let low = member & mask(HALF);
        match self.below(6) {
            0 => {
                let unknown = match self.below(3) {
                    0 => self.next() & self.next(),
                    1 => self.word(BITS),
                    _ => self.next() | self.next(),
                };
                raw.tnum = Tnum::new(member, unknown & mask(BITS)).meet(number.tnum).expect("member");
            }
            1 => raw.full = meet(number.full, self.unsigned::<BITS>(member)),
            2 => raw.full = meet(number.full, self.signed::<BITS>(member)),
            3 => raw.low = meet(number.low, self.unsigned::<HALF>(low)),
            4 => raw.low = meet(number.low, self.signed::<HALF>(low)),
            _ => return if self.below(3) == 0 { Number::constant(member) } else { number },
        }
        raw.reduced().expect("member")
    }

    fn unsigned<const B: u32>(&mut self, member: u64) -> Bounds<B> {
        let (one, two) = (self.word(B), self.word(B));
        Bounds::unsigned(one.min(member), two.max(member)).expect("member")
    }

    fn signed<const B: u32>(&mut self, member: u64) -> Bounds<B> {
        let member = Bounds::<B>::signed_of(member);
        let (one, two) = (Bounds::<B>::signed_of(self.word(B)), Bounds::<B>::signed_of(self.word(B)));
        Bounds::signed(one.min(member), two.max(member)).expect("member")
    }

    /// Some members besides the one it was made with: ends, and random ones.
    pub(super) fn members<const BITS: u32, const HALF: u32>(
        &mut self,
        number: &Number<BITS, HALF>,
        known: u64,
    ) -> Vec<u64> {
        let mut members = vec![known];
        let ends = [number.umin(), number.umax(), number.smin() as u64, number.smax() as u64];
        let low_ends =
            [number.low.umin(), number.low.umax(), number.low.smin() as u64, number.low.smax() as u64];
        members.extend(ends.map(|end| end & mask(BITS)));
        for end in low_ends {
            members.push(known & !mask(HALF) | end & mask(HALF));
        }
        for _ in 0..4 {
            let bits = self.word(BITS);
            members.push(number.tnum.value() | bits & number.tnum.mask());
            members.push(known ^ (bits & self.next() & self.next() & number.tnum.mask()));
        }
        members.retain(|&word| number.contains(word));
        members.sort_unstable();
        members.dedup();
        members
    }
}

fn meet<const B: u32>(one: Bounds<B>, two: Bounds<B>) -> Bounds<B> {
    one.meet(&two).expect("both have the member")
}

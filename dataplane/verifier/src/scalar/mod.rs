//! The verifier's numbers: what is known of a scalar register.
//!
//! A [`Scalar`] is a set of 64-bit values, described at once by its known bits ([`Tnum`]), by
//! unsigned and signed ranges of the whole ([`Bounds`]), and by the same of its low 32 bits. The
//! five views constrain each other; [`Number::reduced`] carries what each knows into the others, up to
//! a fixpoint, and every public function returns numbers in that form. The empty set is not a
//! number: what can be impossible returns `Option`.
//!
//! Everything is written for a word of `BITS` bits with a low half of `HALF`, so that tests can try
//! all numbers of a small word; the verifier uses 64 and 32. Read [`bounds`] first for why two ranges are
//! two spans, then [`sync`], then [`alu`] and [`refine`].

mod alu;
mod bounds;
mod convert;
#[cfg(any(test, feature = "mutants"))]
pub mod exhaustive;
mod refine;
mod sync;
#[cfg(test)]
mod tests;
mod tnum;

pub use bounds::Bounds;
pub use tnum::Tnum;
use tnum::low_mask;

/// A set of words of `BITS` bits, with a view of their low `HALF` bits (half of `BITS`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Number<const BITS: u32, const HALF: u32> {
    tnum: Tnum,
    full: Bounds<BITS>,
    low: Bounds<HALF>,
}

/// What is known of a scalar register.
pub type Scalar = Number<64, 32>;

/// One word with two of the views: what an operation of a given width sees.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Word<const B: u32> {
    tnum: Tnum,
    bounds: Bounds<B>,
}

impl<const BITS: u32, const HALF: u32> Number<BITS, HALF> {
    /// Every word.
    pub const fn unknown() -> Self {
        const { assert!(HALF * 2 == BITS) };
        Self { tnum: Tnum::new(0, low_mask(BITS)), full: Bounds::UNKNOWN, low: Bounds::UNKNOWN }
    }

    /// One word.
    pub const fn constant(value: u64) -> Self {
        let value = value & low_mask(BITS);
        Self {
            tnum: Tnum::constant(value),
            full: Bounds::constant(value),
            low: Bounds::constant(value & low_mask(HALF)),
        }
    }

    /// The words of an unsigned range; `None` when there are none.
    pub fn unsigned_range(lo: u64, hi: u64) -> Option<Self> {
        Self { full: Bounds::unsigned(lo, hi.min(low_mask(BITS)))?, ..Self::unknown() }.reduced()
    }

    /// The words of a signed range; `None` when there are none.
    pub fn signed_range(lo: i64, hi: i64) -> Option<Self> {
        let all = Bounds::<BITS>::UNKNOWN;
        Self { full: Bounds::signed(lo.max(all.smin()), hi.min(all.smax()))?, ..Self::unknown() }.reduced()
    }

    /// The words of a tristate number, whose bits above the word are dropped.
    pub fn from_tnum(tnum: Tnum) -> Self {
        Self { tnum: tnum.low(BITS), ..Self::unknown() }.settled()
    }

    /// The value, when there is but one.
    pub const fn as_constant(&self) -> Option<u64> {
        if self.tnum.mask() == 0 { Some(self.tnum.value()) } else { None }
    }

    /// The low half, when it has but one value.
    pub const fn as_constant32(&self) -> Option<u64> {
        if self.tnum.low(HALF).mask() == 0 { Some(self.tnum.low(HALF).value()) } else { None }
    }

    /// Whether nothing is known.
    pub fn is_unknown(&self) -> bool {
        *self == Self::unknown()
    }

    /// Whether the word is in the set.
    pub fn contains(&self, value: u64) -> bool {
        self.tnum.contains(value) && self.full.contains(value) && self.low.contains(value & low_mask(HALF))
    }

    /// Whether every word of this set is seen to be in `other`. The answer "no" may be out of ignorance.
    pub fn is_subset_of(&self, other: &Self) -> bool {
        self.tnum.is_subset_of(other.tnum)
            && self.full.is_subset_of(&other.full)
            && self.low.is_subset_of(&other.low)
    }

    /// A set with the words of both.
    pub fn join(&self, other: &Self) -> Self {
        let tnum = self.tnum.join(other.tnum);
        Self { tnum, full: self.full.join(&other.full), low: self.low.join(&other.low) }.settled()
    }

    /// The words that both have; `None` when there are none.
    pub fn meet(&self, other: &Self) -> Option<Self> {
        let tnum = self.tnum.meet(other.tnum)?;
        Self { tnum, full: self.full.meet(&other.full)?, low: self.low.meet(&other.low)? }.reduced()
    }

    /// The known bits.
    pub const fn tnum(&self) -> Tnum {
        self.tnum
    }

    /// The ranges of the whole word.
    pub const fn bounds(&self) -> &Bounds<BITS> {
        &self.full
    }

    /// The ranges of the low half.
    pub const fn bounds32(&self) -> &Bounds<HALF> {
        &self.low
    }

    /// Smallest, unsigned.
    pub const fn umin(&self) -> u64 {
        self.full.umin()
    }

    /// Largest, unsigned.
    pub const fn umax(&self) -> u64 {
        self.full.umax()
    }

    /// Smallest, signed.
    pub const fn smin(&self) -> i64 {
        self.full.smin()
    }

    /// Largest, signed.
    pub const fn smax(&self) -> i64 {
        self.full.smax()
    }

    /// Smallest low half, unsigned.
    pub const fn umin32(&self) -> u32 {
        self.low.umin() as u32
    }

    /// Largest low half, unsigned.
    pub const fn umax32(&self) -> u32 {
        self.low.umax() as u32
    }

    /// Smallest low half, signed.
    pub const fn smin32(&self) -> i32 {
        self.low.smin() as i32
    }

    /// Largest low half, signed.
    pub const fn smax32(&self) -> i32 {
        self.low.smax() as i32
    }

    fn word(&self) -> Word<BITS> {
        Word { tnum: self.tnum, bounds: self.full }
    }

    fn low_word(&self) -> Word<HALF> {
        Word { tnum: self.tnum.low(HALF), bounds: self.low }
    }
}

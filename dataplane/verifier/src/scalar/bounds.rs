//! Ranges of a word, unsigned and signed at once.
//!
//! An unsigned and a signed range together say exactly this: the part of the set below the sign
//! bit lies in one span, and the part above it in another.
//!
//! ```text
//!   0            2^(B-1)           2^B
//!   |---[=====]-----|-----[====]----|
//!      umin  smax       smin  umax        (both halves inhabited)
//! ```
//!
//! So every operation works span by span, where signed and unsigned order agree, and the hulls
//! of the halves are the new ranges. With one half empty both ranges are the other half's span.

use super::tnum::low_mask;

/// An inhabited run of numbers on one side of the sign bit, as bit patterns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub lo: u64,
    pub hi: u64,
}

impl Span {
    /// The numbers of `lo..=hi`, if there are any.
    pub(crate) const fn new(lo: u64, hi: u64) -> Option<Self> {
        if lo <= hi { Some(Self { lo, hi }) } else { None }
    }

    /// How far the ends are apart.
    pub(crate) const fn width(self) -> u64 {
        self.hi - self.lo
    }

    /// What both have.
    pub(crate) fn meet(self, other: Self) -> Option<Self> {
        Self::new(self.lo.max(other.lo), self.hi.min(other.hi))
    }

    /// The smallest span around both.
    pub(crate) fn hull(self, other: Self) -> Self {
        Self { lo: self.lo.min(other.lo), hi: self.hi.max(other.hi) }
    }
}

/// The range of a word of `B` bits, unsigned and signed; never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bounds<const B: u32> {
    umin: u64,
    umax: u64,
    smin: i64,
    smax: i64,
}

/// Bounds being gathered: the hull of what was added, for each half.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Hull<const B: u32> {
    halves: [Option<Span>; 2],
}

impl<const B: u32> Hull<B> {
    /// Adds a span that may cross the sign bit.
    pub(crate) fn add(&mut self, span: Span) {
        let top = Bounds::<B>::SIGN;
        if let Some(low) = Span::new(span.lo, span.hi.min(top - 1)) {
            self.add_to(0, low);
        }
        if let Some(high) = Span::new(span.lo.max(top), span.hi) {
            self.add_to(1, high);
        }
    }

    fn add_to(&mut self, half: usize, span: Span) {
        self.halves[half] = Some(self.halves[half].map_or(span, |old| old.hull(span)));
    }

    /// Adds `width + 1` numbers from `lo` on, going round at the end of the word.
    pub(crate) fn add_round(&mut self, lo: u64, width: u128) {
        let mask = low_mask(B);
        if width >= u128::from(mask) {
            return self.add(Span { lo: 0, hi: mask });
        }
        let lo = lo & mask;
        let hi = lo.wrapping_add(width as u64) & mask;
        if lo <= hi {
            self.add(Span { lo, hi });
        } else {
            self.add(Span { lo, hi: mask });
            self.add(Span { lo: 0, hi });
        }
    }

    /// The bounds, if anything was added.
    pub(crate) fn finish(self) -> Option<Bounds<B>> {
        let [low, high] = self.halves;
        let first = low.or(high)?;
        let last = high.or(low)?;
        Some(Bounds {
            umin: first.lo,
            umax: last.hi,
            smin: Bounds::<B>::signed_of(high.unwrap_or(first).lo),
            smax: Bounds::<B>::signed_of(low.unwrap_or(last).hi),
        })
    }
}

impl<const B: u32> Bounds<B> {
    /// The sign bit.
    pub(crate) const SIGN: u64 = 1 << (B - 1);

    /// Every word.
    pub const UNKNOWN: Self =
        Self { umin: 0, umax: low_mask(B), smin: Self::signed_of(Self::SIGN), smax: (Self::SIGN - 1) as i64 };

    /// The pattern's signed reading.
    pub(crate) const fn signed_of(pattern: u64) -> i64 {
        ((pattern << (64 - B)) as i64) >> (64 - B)
    }

    /// One word.
    pub(crate) const fn constant(pattern: u64) -> Self {
        let signed = Self::signed_of(pattern);
        Self { umin: pattern, umax: pattern, smin: signed, smax: signed }
    }

    /// The words of an unsigned range, if there are any.
    pub(crate) fn unsigned(lo: u64, hi: u64) -> Option<Self> {
        let mut hull = Hull::default();
        hull.add(Span::new(lo, hi)?);
        hull.finish()
    }

    /// The words of a signed range, if there are any.
    pub(crate) fn signed(lo: i64, hi: i64) -> Option<Self> {
        let mut hull = Hull::default();
        if lo <= hi {
            hull.add_round(lo as u64, hi.abs_diff(lo).into());
        }
        hull.finish()
    }

    /// Smallest, unsigned.
    pub const fn umin(&self) -> u64 {
        self.umin
    }

    /// Largest, unsigned.
    pub const fn umax(&self) -> u64 {
        self.umax
    }

    /// Smallest, signed.
    pub const fn smin(&self) -> i64 {
        self.smin
    }

    /// Largest, signed.
    pub const fn smax(&self) -> i64 {
        self.smax
    }

    /// The two halves, below and above the sign bit; at least one is inhabited.
    pub(crate) fn halves(&self) -> [Option<Span>; 2] {
        let mask = low_mask(B);
        let low =
            if self.umin < Self::SIGN { Some(Span { lo: self.umin, hi: self.smax as u64 }) } else { None };
        let high = if self.umax >= Self::SIGN {
            Some(Span { lo: self.smin as u64 & mask, hi: self.umax })
        } else {
            None
        };
        [low, high]
    }

    /// The inhabited halves, in unsigned order.
    pub(crate) fn spans(&self) -> impl Iterator<Item = Span> + Clone + use<B> {
        self.halves().into_iter().flatten()
    }

    /// Whether the word lies in one of the spans.
    pub(crate) fn contains(&self, pattern: u64) -> bool {
        self.spans().any(|span| span.lo <= pattern && pattern <= span.hi)
    }

    /// Whether every word of this lies in `other`.
    pub(crate) fn is_subset_of(&self, other: &Self) -> bool {
        self.umin >= other.umin
            && self.umax <= other.umax
            && self.smin >= other.smin
            && self.smax <= other.smax
    }

    /// The smallest bounds around both.
    pub(crate) fn join(&self, other: &Self) -> Self {
        let mut hull = Hull::default();
        self.spans().chain(other.spans()).for_each(|span| hull.add(span));
        hull.finish().unwrap_or(Self::UNKNOWN)
    }

    /// What both have.
    pub(crate) fn meet(&self, other: &Self) -> Option<Self> {
        let mut hull = Hull::default();
        for (one, two) in self.halves().into_iter().zip(other.halves()) {
            if let (Some(one), Some(two)) = (one, two)
                && let Some(span) = one.meet(two)
            {
                hull.add(span);
            }
        }
        hull.finish()
    }

    /// These without one word, where it stands at an end.
    pub(crate) fn without(&self, pattern: u64) -> Option<Self> {
        let mut hull = Hull::default();
        for span in self.spans() {
            let lo = if span.lo == pattern { span.lo.checked_add(1) } else { Some(span.lo) };
            let hi = if span.hi == pattern { span.hi.checked_sub(1) } else { Some(span.hi) };
            if let (Some(lo), Some(hi)) = (lo, hi)
                && let Some(rest) = Span::new(lo, hi)
            {
                hull.add(rest);
            }
        }
        hull.finish()
    }

    /// What remains of every word when only its low `TO` bits do.
    pub(crate) fn truncate<const TO: u32>(&self) -> Bounds<TO> {
        let mut hull = Hull::default();
        self.spans().for_each(|span| hull.add_round(span.lo, span.width().into()));
        hull.finish().unwrap_or(Bounds::UNKNOWN)
    }
}

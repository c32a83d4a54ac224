//! The fixpoint among the views of a number.
//!
//! The ends of the full word's spans are moved to the nearest members of *all* views: the next
//! word that agrees with the known bits and whose low half lies in the low half's spans. So the ranges
//! are exact, not only consistent; kernel 6.18 takes the smallest and largest value of the known
//! bits, and carries ranges between halves when the upper half is fixed (`reg_bounds_sync`).

use super::Number;
use super::bounds::{Bounds, Hull, Span};
use super::tnum::{Tnum, low_mask};
use crate::bugs::{Bug, seeded};

/// The smallest member of `tnum` within the spans that is `number` or more.
fn next_in<const B: u32>(bounds: &Bounds<B>, tnum: Tnum, number: u64) -> Option<u64> {
    bounds.spans().find_map(|span| tnum.next(number.max(span.lo)).filter(|&member| member <= span.hi))
}

/// The largest member of `tnum` within the spans that is `number` or less.
fn prev_in<const B: u32>(bounds: &Bounds<B>, tnum: Tnum, number: u64) -> Option<u64> {
    let [low, high] = bounds.halves();
    let last = |span: Span| tnum.prev(number.min(span.hi)).filter(|&member| member >= span.lo);
    high.and_then(last).or_else(|| low.and_then(last))
}

/// The spans of `bounds` cut to members of `tnum` at their ends.
fn cut_to_members<const B: u32>(bounds: &Bounds<B>, tnum: Tnum) -> Option<Bounds<B>> {
    let mut hull = Hull::default();
    for span in bounds.spans() {
        if let (Some(lo), Some(hi)) = (tnum.next(span.lo), tnum.prev(span.hi))
            && let Some(span) = Span::new(lo, hi)
        {
            hull.add(span);
        }
    }
    hull.finish()
}

/// What the spans say about bits, added to what is known of them. The ends must be members.
fn learn_bits<const B: u32>(bounds: &Bounds<B>, tnum: Tnum) -> Option<Tnum> {
    let spans = bounds.spans().take(if seeded(Bug::BitsOfOneHalf) { 1 } else { 2 });
    let learned = spans.filter_map(|span| Tnum::of_range(span.lo, span.hi).meet(tnum));
    learned.reduce(Tnum::join)
}

impl<const BITS: u32, const HALF: u32> Number<BITS, HALF> {
    /// The same set with each view as tight as the others allow; `None` when the set is empty.
    pub(super) fn reduced(self) -> Option<Self> {
        if let Some(value) = self.as_constant() {
            return self.contains(value).then(|| Self::constant(value));
        }
        let mut number = self;
        loop {
            let next = number.reduce_once()?;
            if next == number {
                return Some(number);
            }
            number = next;
        }
    }

    /// The same set in reduced form, when it is known to be inhabited.
    pub(super) fn settled(self) -> Self {
        let reduced = self.reduced();
        debug_assert!(reduced.is_some(), "an operation on inhabited numbers gave nothing: {self:?}");
        reduced.unwrap_or(Self::unknown())
    }

    fn reduce_once(self) -> Option<Self> {
        let low = cut_to_members(&self.low, self.tnum.low(HALF))?;
        let mut number = Self { low, ..self };
        number.full = number.cut_full()?;
        number.low = number.low_of_full()?;
        let tnum = learn_bits(&number.full, number.tnum)?;
        let low_bits = learn_bits(&number.low, tnum.low(HALF))?;
        number.tnum = Tnum::new(
            tnum.value() & !low_mask(HALF) | low_bits.value(),
            tnum.mask() & !low_mask(HALF) | low_bits.mask(),
        );
        Some(number)
    }

    /// The full word's spans with ends that are members of every view.
    fn cut_full(&self) -> Option<Bounds<BITS>> {
        let mut hull = Hull::default();
        for span in self.full.spans() {
            if let (Some(lo), Some(hi)) = (self.next_member(span.lo), self.prev_member(span.hi))
                && let Some(span) = Span::new(lo, hi)
            {
                hull.add(span);
            }
        }
        hull.finish()
    }

    /// The smallest word, `number` or more, that the bits and the low half allow.
    fn next_member(&self, number: u64) -> Option<u64> {
        let (high_bits, low_bits) = (self.tnum.shr(HALF), self.tnum.low(HALF));
        let high = number >> HALF;
        if high_bits.contains(high)
            && let Some(low) = next_in(&self.low, low_bits, number & low_mask(HALF))
        {
            return Some(high << HALF | low);
        }
        let high = high_bits.next(high + 1)?;
        Some(high << HALF | next_in(&self.low, low_bits, 0)?)
    }

    /// The largest word, `number` or less, that the bits and the low half allow.
    fn prev_member(&self, number: u64) -> Option<u64> {
        let (high_bits, low_bits) = (self.tnum.shr(HALF), self.tnum.low(HALF));
        let high = number >> HALF;
        if high_bits.contains(high)
            && let Some(low) = prev_in(&self.low, low_bits, number & low_mask(HALF))
        {
            return Some(high << HALF | low);
        }
        let high = high_bits.prev(high.checked_sub(1)?)?;
        Some(high << HALF | prev_in(&self.low, low_bits, low_mask(HALF))?)
    }

    /// The low half's spans as the full word's allow them. The ends of the latter must be members.
    fn low_of_full(&self) -> Option<Bounds<HALF>> {
        let (high_bits, low_bits) = (self.tnum.shr(HALF), self.tnum.low(HALF));
        let mut hull = Hull::default();
        let mut add = |lo: u64, hi: u64| {
            for span in self.low.spans() {
                if let Some(span) = Span::new(lo, hi).and_then(|part| part.meet(span))
                    && let (Some(lo), Some(hi)) = (low_bits.next(span.lo), low_bits.prev(span.hi))
                    && let Some(span) = Span::new(lo, hi)
                {
                    hull.add(span);
                }
            }
        };
        let mask = low_mask(HALF);
        for span in self.full.spans() {
            let (first, last) = (span.lo >> HALF, span.hi >> HALF);
            if first == last || seeded(Bug::LowOfWhole) && span.lo & mask <= span.hi & mask {
                add(span.lo & mask, span.hi & mask);
            } else if high_bits.next(first + 1).is_some_and(|between| between < last) {
                add(0, mask);
            } else {
                add(span.lo & mask, mask);
                add(0, span.hi & mask);
            }
        }
        hull.finish()
    }
}

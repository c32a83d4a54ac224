//! Arithmetic on numbers: for each operation, a set that has every possible result.
//!
//! Known bits go by [`Tnum`]'s arithmetic, ranges span by span, and the fixpoint lets each view
//! profit from the other. A 64-bit operation whose low half depends on the low halves alone is also
//! computed on them.

use weir_ebpf::isa::{AluOp, Width};

use super::bounds::{Bounds, Hull, Span};
use super::tnum::{Tnum, low_mask};
use super::{Number, Word};
use crate::bugs::{Bug, seeded};

/// Magnitude and sign of a span: its numbers are `-hi..=-lo` when negative.
#[derive(Clone, Copy)]
struct Magnitude {
    lo: u64,
    hi: u64,
    negative: bool,
}

impl Magnitude {
    fn of<const B: u32>(span: Span) -> Self {
        if span.lo < Bounds::<B>::SIGN {
            return Self { lo: span.lo, hi: span.hi, negative: false };
        }
        let negated = |pattern: u64| pattern.wrapping_neg() & low_mask(B);
        Self { lo: negated(span.hi), hi: negated(span.lo), negative: true }
    }

    fn span(self) -> Span {
        Span { lo: self.lo, hi: self.hi }
    }
}

/// Adds the numbers whose magnitudes are `lo..=hi`, which may exceed the word.
fn add_signed<const B: u32>(hull: &mut Hull<B>, lo: u128, hi: u128, negative: bool) {
    let start = if negative { (hi as u64).wrapping_neg() } else { lo as u64 };
    hull.add_round(start, hi - lo);
}

/// Unsigned remainders; the divisor is not 0.
fn remainder(dividend: Span, divisor: Span) -> Span {
    if dividend.hi < divisor.lo {
        return dividend;
    }
    if divisor.lo == divisor.hi && dividend.lo / divisor.lo == dividend.hi / divisor.lo {
        return Span { lo: dividend.lo % divisor.lo, hi: dividend.hi % divisor.lo };
    }
    Span { lo: 0, hi: dividend.hi.min(divisor.hi - 1) }
}

impl<const B: u32> Word<B> {
    /// Ranges from every pair of spans.
    fn pairs(&self, other: &Self, mut each: impl FnMut(&mut Hull<B>, Span, Span)) -> Bounds<B> {
        let mut hull = Hull::default();
        for left in self.bounds.spans() {
            for right in other.bounds.spans() {
                each(&mut hull, left, right);
            }
        }
        hull.finish().unwrap_or(Bounds::UNKNOWN)
    }

    /// Ranges of a division: like [`Self::pairs`] for divisors other than 0, and for 0 what `by_zero` adds.
    fn quotients(
        &self,
        other: &Self,
        by_zero: impl Fn(&mut Hull<B>, Span),
        each: impl Fn(&mut Hull<B>, Span, Span),
    ) -> Bounds<B> {
        self.pairs(other, |hull, left, right| {
            if right.lo == 0 && other.tnum.contains(0) {
                by_zero(hull, left);
            }
            if let Some(right) = Span::new(right.lo.max(1), right.hi) {
                each(hull, left, right);
            }
        })
    }

    fn add(self, other: Self) -> Self {
        let bounds = self.pairs(&other, |hull, left, right| {
            let width = u128::from(left.width()) + u128::from(right.width());
            if seeded(Bug::AddOverflow) {
                let (lo, hi) = (left.lo.wrapping_add(right.lo), left.hi.wrapping_add(right.hi));
                let (lo, hi) = (lo & low_mask(B), hi & low_mask(B));
                return hull.add(Span { lo: lo.min(hi), hi: lo.max(hi) });
            }
            hull.add_round(left.lo.wrapping_add(right.lo), width);
        });
        Self { tnum: self.tnum.add(other.tnum).low(B), bounds }
    }

    fn sub(self, other: Self) -> Self {
        let bounds = self.pairs(&other, |hull, left, right| {
            let width = u128::from(left.width()) + u128::from(right.width());
            if seeded(Bug::SubOverflow) {
                let (lo, hi) = (left.lo.wrapping_sub(right.hi), left.hi.wrapping_sub(right.lo));
                let (lo, hi) = (lo & low_mask(B), hi & low_mask(B));
                return hull.add(Span { lo: lo.min(hi), hi: lo.max(hi) });
            }
            hull.add_round(left.lo.wrapping_sub(right.hi), width);
        });
        Self { tnum: self.tnum.sub(other.tnum).low(B), bounds }
    }

    fn mul(self, other: Self) -> Self {
        let bounds = self.pairs(&other, |hull, left, right| {
            let (left, right) = (Magnitude::of::<B>(left), Magnitude::of::<B>(right));
            let lo = u128::from(left.lo) * u128::from(right.lo);
            let hi = u128::from(left.hi) * u128::from(right.hi);
            let hi = if seeded(Bug::MulOverflow) { (hi & u128::from(low_mask(B))).max(lo) } else { hi };
            add_signed(hull, lo, hi, left.negative != right.negative);
        });
        Self { tnum: self.tnum.mul(other.tnum).low(B), bounds }
    }

    fn div(self, other: Self) -> Self {
        let zero = |hull: &mut Hull<B>, _| {
            if !seeded(Bug::DivByZero) {
                hull.add(Span { lo: 0, hi: 0 });
            }
        };
        let bounds = self.quotients(&other, zero, |hull, left, right| {
            hull.add(Span { lo: left.lo / right.hi, hi: left.hi / right.lo });
        });
        let tnum = match other.as_power_of_two() {
            Some(power) => self.tnum.shr(power),
            None => bounds.tnum(),
        };
        Self { tnum, bounds }
    }

    fn sdiv(self, other: Self) -> Self {
        let zero = |hull: &mut Hull<B>, _| hull.add(Span { lo: 0, hi: 0 });
        let bounds = self.quotients(&other, zero, |hull, left, right| {
            let (left, right) = (Magnitude::of::<B>(left), Magnitude::of::<B>(right));
            let (lo, mut hi) = (left.lo / right.hi, left.hi / right.lo);
            if seeded(Bug::SdivOverflow) && left.negative && right.negative {
                hi = hi.min(Bounds::<B>::SIGN - 1).max(lo);
            }
            add_signed(hull, lo.into(), hi.into(), left.negative != right.negative);
        });
        Self { tnum: bounds.tnum(), bounds }
    }

    fn rem(self, other: Self) -> Self {
        let zero = |hull: &mut Hull<B>, dividend| {
            if !seeded(Bug::ModByZero) {
                hull.add(dividend);
            }
        };
        let bounds = self.quotients(&other, zero, |hull, left, right| hull.add(remainder(left, right)));
        Self { tnum: self.remainder_bits(&other), bounds }
    }

    fn srem(self, other: Self) -> Self {
        let bounds = self.quotients(&other, Hull::add, |hull, left, right| {
            let (left, right) = (Magnitude::of::<B>(left), Magnitude::of::<B>(right));
            let rest = remainder(left.span(), right.span());
            let negative = if seeded(Bug::SmodSign) { right.negative } else { left.negative };
            add_signed(hull, rest.lo.into(), rest.hi.into(), negative);
        });
        Self { tnum: self.remainder_bits(&other), bounds }
    }

    /// A remainder by a multiple of 2^k keeps the low k bits of the dividend; so does one by zero.
    fn remainder_bits(&self, other: &Self) -> Tnum {
        let kept = other.tnum.max().trailing_zeros().min(B);
        let low = self.tnum.low(kept);
        Tnum::new(low.value(), low.mask() | low_mask(B) & !low_mask(kept))
    }

    /// The exponent, when the word is one power of two.
    fn as_power_of_two(&self) -> Option<u32> {
        let value = self.tnum.value();
        (self.tnum.mask() == 0 && value.is_power_of_two()).then(|| value.trailing_zeros())
    }

    /// The known bits of the numbers of one span.
    pub(super) fn bits_of(&self, span: Span) -> Tnum {
        Tnum::of_range(span.lo, span.hi).meet(self.tnum).unwrap_or(self.tnum)
    }

    /// A bitwise operation: the bits of each pair of spans, and the ranges from these.
    fn bitwise(
        self,
        other: Self,
        bits: impl Fn(Tnum, Tnum) -> Tnum,
        cut: impl Fn(Span, Span, Span) -> Span,
    ) -> Self {
        let mut tnum: Option<Tnum> = None;
        let bounds = self.pairs(&other, |hull, left, right| {
            let result = bits(self.bits_of(left), other.bits_of(right));
            hull.add(cut(left, right, Span { lo: result.value(), hi: result.max() }));
            tnum = Some(tnum.map_or(result, |old| old.join(result)));
        });
        Self { tnum: tnum.unwrap_or(Tnum::UNKNOWN).low(B), bounds }
    }

    fn and(self, other: Self) -> Self {
        self.bitwise(other, Tnum::and, |left, right, all| {
            let lo = if seeded(Bug::AndLeast) { (left.lo & right.lo).min(all.hi) } else { all.lo };
            Span { lo, hi: all.hi.min(left.hi).min(right.hi) }
        })
    }

    fn or(self, other: Self) -> Self {
        self.bitwise(other, Tnum::or, |left, right, all| {
            let least = if seeded(Bug::OrLeast) { left.lo | right.lo } else { left.lo.max(right.lo) };
            let lo = all.lo.max(least);
            let hi = if seeded(Bug::OrBound) { left.hi.max(right.hi).max(lo) } else { all.hi };
            Span { lo, hi }
        })
    }

    fn xor(self, other: Self) -> Self {
        self.bitwise(other, Tnum::xor, |left, right, all| {
            let positive = left.hi < Bounds::<B>::SIGN || right.hi < Bounds::<B>::SIGN;
            if seeded(Bug::XorPositive) && positive && all.hi >= Bounds::<B>::SIGN {
                return Span { lo: 0, hi: Bounds::<B>::SIGN - 1 };
            }
            all
        })
    }

    /// Shifts by every amount that the other word allows, and joins the results.
    fn shift(self, other: Self, by: impl Fn(&Self, u32) -> Self) -> Self {
        if seeded(Bug::ShiftNotMasked) && other.bounds.umin() >= u64::from(B) {
            return Self { tnum: Tnum::constant(0), bounds: Bounds::constant(0) };
        }
        if seeded(Bug::ShiftLeast) {
            return by(&self, other.bounds.umin() as u32 % B);
        }
        // The machine takes the amount modulo the width (the kernel says nothing of amounts beyond it).
        let (bits, within) = (other.tnum.low(B.trailing_zeros()), other.bounds.umax() < u64::from(B));
        let possible = |amount: &u32| {
            let amount = u64::from(*amount);
            bits.contains(amount) && (!within || other.bounds.contains(amount))
        };
        let join = |one: Self, two: Self| Self {
            tnum: one.tnum.join(two.tnum),
            bounds: one.bounds.join(&two.bounds),
        };
        (0..B).filter(possible).map(|amount| by(&self, amount)).reduce(join).unwrap_or(self)
    }

    fn lsh(&self, amount: u32) -> Self {
        let mut hull = Hull::default();
        for span in self.bounds.spans() {
            let width = u128::from(span.width()) << amount;
            let width = if seeded(Bug::LshOverflow) { width & u128::from(low_mask(B)) } else { width };
            hull.add_round(span.lo << amount, width);
        }
        Self { tnum: self.tnum.shl(amount).low(B), bounds: hull.finish().unwrap_or(Bounds::UNKNOWN) }
    }

    fn rsh(&self, amount: u32) -> Self {
        let mut hull = Hull::default();
        self.bounds.spans().for_each(|span| hull.add(Span { lo: span.lo >> amount, hi: span.hi >> amount }));
        Self { tnum: self.tnum.shr(amount), bounds: hull.finish().unwrap_or(Bounds::UNKNOWN) }
    }

    fn arsh(&self, amount: u32) -> Self {
        if seeded(Bug::Arsh32Logical) && B < 64 {
            return self.rsh(amount);
        }
        let shifted = |pattern: u64| (Bounds::<B>::signed_of(pattern) >> amount) as u64 & low_mask(B);
        let mut hull = Hull::default();
        self.bounds.spans().for_each(|span| hull.add(Span { lo: shifted(span.lo), hi: shifted(span.hi) }));
        let bits = self.tnum.sign_extend(B);
        let bits = Tnum::new((bits.value() as i64 >> amount) as u64, (bits.mask() as i64 >> amount) as u64);
        Self { tnum: bits.low(B), bounds: hull.finish().unwrap_or(Bounds::UNKNOWN) }
    }

    pub(super) fn alu(op: AluOp, lhs: Self, rhs: Self) -> Self {
        let division = matches!(op, AluOp::Div | AluOp::SDiv | AluOp::Mod | AluOp::SMod);
        if division && seeded(Bug::KernelNumbers) {
            return Self { tnum: Tnum::UNKNOWN.low(B), bounds: Bounds::UNKNOWN };
        }
        match op {
            AluOp::Add => lhs.add(rhs),
            AluOp::Sub => lhs.sub(rhs),
            AluOp::Mul => lhs.mul(rhs),
            AluOp::Div => lhs.div(rhs),
            AluOp::SDiv => lhs.sdiv(rhs),
            AluOp::Or => lhs.or(rhs),
            AluOp::And => lhs.and(rhs),
            AluOp::Lsh => lhs.shift(rhs, Self::lsh),
            AluOp::Rsh => lhs.shift(rhs, Self::rsh),
            AluOp::Mod => lhs.rem(rhs),
            AluOp::SMod => lhs.srem(rhs),
            AluOp::Xor => lhs.xor(rhs),
            AluOp::Arsh => lhs.shift(rhs, Self::arsh),
        }
    }

    /// The negated words.
    fn neg(self) -> Self {
        let zero = Self { tnum: Tnum::constant(0), bounds: Bounds::constant(0) };
        let mut result = zero.sub(self);
        if seeded(Bug::NegSmallest) && self.bounds.smax() <= 0 {
            result.bounds = Bounds::unsigned(0, Bounds::<B>::SIGN - 1).unwrap_or(Bounds::UNKNOWN);
        }
        result
    }
}

/// Whether the low half of a result depends on the low halves of the operands alone.
fn stays_in_half<const HALF: u32>(op: AluOp, amount: Tnum) -> bool {
    match op {
        AluOp::Add | AluOp::Sub | AluOp::Mul | AluOp::Or | AluOp::And | AluOp::Xor => true,
        AluOp::Lsh => amount.max() < u64::from(HALF),
        AluOp::Div | AluOp::SDiv | AluOp::Rsh | AluOp::Mod | AluOp::SMod | AluOp::Arsh => false,
    }
}

impl<const BITS: u32, const HALF: u32> Number<BITS, HALF> {
    /// Every result of the operation on words of the two sets. A half-width operation reads the low
    /// halves and writes zeros above.
    pub fn alu(op: AluOp, width: Width, lhs: &Self, rhs: &Self) -> Self {
        match width {
            Width::W32 => Self::from_half(Word::alu(op, lhs.low_word(), rhs.low_word())),
            Width::W64 => {
                let low = stays_in_half::<HALF>(op, rhs.tnum)
                    .then(|| Word::alu(op, lhs.low_word(), rhs.low_word()));
                Self::from_words(Word::alu(op, lhs.word(), rhs.word()), low)
            }
        }
    }

    /// Every negation.
    pub fn neg(&self, width: Width) -> Self {
        match width {
            Width::W32 => Self::from_half(self.low_word().neg()),
            Width::W64 => Self::from_words(self.word().neg(), Some(self.low_word().neg())),
        }
    }

    /// A half-width result, zero-extended.
    fn from_half(half: Word<HALF>) -> Self {
        let all = Self { tnum: half.tnum, low: half.bounds, ..Self::unknown() };
        if seeded(Bug::NoTruncation) {
            return Self {
                tnum: half.tnum,
                full: Bounds::unsigned(half.bounds.umin(), half.bounds.umin()).unwrap_or(Bounds::UNKNOWN),
                low: half.bounds,
            };
        }
        all.settled()
    }

    /// A full-width result, and what is known besides of its low half.
    fn from_words(full: Word<BITS>, low: Option<Word<HALF>>) -> Self {
        let result = Self { tnum: full.tnum, full: full.bounds, low: Bounds::UNKNOWN };
        match low {
            None => result.settled(),
            Some(low) => result.with_low(low).unwrap_or_else(|| result.settled()),
        }
    }
}

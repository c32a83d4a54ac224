//! Arithmetic on numbers: for each operation, a set that has every possible result.
//!
//! Known bits go by [`Tnum`]'s arithmetic, ranges span by span, and the fixpoint lets each view
//! profit from the other. A 64-bit operation whose low half depends on the low halves alone is also
//! computed on them.
//!
//! What Linux does not compute, this does not either, so that a program's verdict is the same on both: quotients,
//! remainders, and shifts by what is not one amount below the width may be any word
//! (`is_safe_to_compute_dst_reg_range`, kernel/bpf/verifier.c).

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
}

/// Adds the numbers whose magnitudes are `lo..=hi`, which may exceed the word.
fn add_signed<const B: u32>(hull: &mut Hull<B>, lo: u128, hi: u128, negative: bool) {
    let start = if negative { (hi as u64).wrapping_neg() } else { lo as u64 };
    hull.add_round(start, hi - lo);
}

impl<const B: u32> Word<B> {
    const UNKNOWN: Self = Self { tnum: Tnum::new(0, low_mask(B)), bounds: Bounds::UNKNOWN };

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

    /// Shifts by the one amount, which is below the width.
    fn shift(self, other: Self, by: impl Fn(&Self, u32) -> Self) -> Self {
        let amount = (other.tnum.mask() == 0).then_some(other.tnum.value());
        match amount {
            Some(amount) if amount < u64::from(B) => by(&self, amount as u32),
            _ => Self::UNKNOWN,
        }
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

    /// What verifiers have wrongly claimed to know of results that this one leaves open.
    fn misjudged(&self, op: AluOp, other: &Self) -> Option<Self> {
        let (left, right) = (&self.bounds, &other.bounds);
        let within = |lo, hi| Bounds::unsigned(lo, hi).map(|bounds| Self { bounds, ..Self::UNKNOWN });
        let positive = || within(0, Bounds::<B>::SIGN - 1);
        let by_least = |by: fn(&Self, u32) -> Self| by(self, (right.umin() % u64::from(B)) as u32);
        match op {
            AluOp::Div if seeded(Bug::DivByZero) => {
                within(left.umin() / right.umax().max(1), left.umax() / right.umin().max(1))
            }
            AluOp::SDiv if seeded(Bug::SdivOverflow) && right.smax() < 0 => {
                Bounds::signed(Bounds::<B>::UNKNOWN.smin() + 1, Bounds::<B>::UNKNOWN.smax())
                    .map(|bounds| Self { bounds, ..Self::UNKNOWN })
            }
            AluOp::Mod if seeded(Bug::ModByZero) => within(0, right.umax().saturating_sub(1)),
            AluOp::SMod if seeded(Bug::SmodSign) && right.smin() >= 0 => positive(),
            AluOp::Lsh | AluOp::Rsh | AluOp::Arsh
                if seeded(Bug::ShiftNotMasked) && right.umin() >= u64::from(B) =>
            {
                within(0, 0)
            }
            AluOp::Lsh if seeded(Bug::ShiftLeast) => Some(by_least(Self::lsh)),
            AluOp::Rsh if seeded(Bug::ShiftLeast) => Some(by_least(Self::rsh)),
            AluOp::Arsh if seeded(Bug::ShiftLeast) => Some(by_least(Self::arsh)),
            _ => None,
        }
    }

    pub(super) fn alu(op: AluOp, lhs: Self, rhs: Self) -> Self {
        match op {
            AluOp::Add => lhs.add(rhs),
            AluOp::Sub => lhs.sub(rhs),
            AluOp::Mul => lhs.mul(rhs),
            AluOp::Or => lhs.or(rhs),
            AluOp::And => lhs.and(rhs),
            AluOp::Lsh => lhs.shift(rhs, Self::lsh),
            AluOp::Rsh => lhs.shift(rhs, Self::rsh),
            AluOp::Div | AluOp::SDiv | AluOp::Mod | AluOp::SMod => Self::UNKNOWN,
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

/// Whether Linux computes what the operation makes of numbers; if not, the result may be any word, with its upper
/// half also where the operation zeroes that.
fn is_computed(op: AluOp, amount: Option<u64>, bits: u32) -> bool {
    match op {
        AluOp::Add | AluOp::Sub | AluOp::Mul | AluOp::Or | AluOp::And | AluOp::Xor => true,
        AluOp::Lsh | AluOp::Rsh | AluOp::Arsh => amount.is_some_and(|amount| amount < u64::from(bits)),
        AluOp::Div | AluOp::SDiv | AluOp::Mod | AluOp::SMod => false,
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
        let bits = if width == Width::W64 { BITS } else { HALF };
        if !is_computed(op, rhs.as_constant(), bits) {
            return match width {
                Width::W32 => lhs.low_word().misjudged(op, &rhs.low_word()).map(Self::from_half),
                Width::W64 => lhs.word().misjudged(op, &rhs.word()).map(|word| Self::from_words(word, None)),
            }
            .unwrap_or(Self::unknown());
        }
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

//! What a branch teaches about its operands, and whether it can go a way at all.
//!
//! Every condition, held or failed, is one of five relations between the sides in some order.

use weir_ebpf::isa::{Cond, Width};

use super::bounds::{Bounds, Hull, Span};
use super::tnum::{Tnum, low_mask};
use super::{Number, Word};
use crate::bugs::{Bug, seeded};

/// What holds between the sides on one way of a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    Equal,
    Different,
    /// Unsigned; `strict` leaves out equality.
    Below {
        strict: bool,
    },
    /// Signed; `strict` leaves out equality.
    Less {
        strict: bool,
    },
    /// A common one.
    Meeting,
    /// No common one.
    Apart,
}

/// The relation on this way of the branch, and whether it stands between the sides in reverse order.
fn relation(cond: Cond, taken: bool) -> (Relation, bool) {
    use Relation::{Apart, Below, Different, Equal, Less, Meeting};
    match (cond, taken) {
        (Cond::Eq, true) | (Cond::Ne, false) => (Equal, false),
        (Cond::Eq, false) | (Cond::Ne, true) => (Different, false),
        (Cond::Lt, true) | (Cond::Ge, false) => (Below { strict: true }, false),
        (Cond::Le, true) | (Cond::Gt, false) => (Below { strict: false }, false),
        (Cond::Gt, true) | (Cond::Le, false) => (Below { strict: true }, true),
        (Cond::Ge, true) | (Cond::Lt, false) => (Below { strict: false }, true),
        (Cond::SLt, true) | (Cond::SGe, false) => (Less { strict: true }, false),
        (Cond::SLe, true) | (Cond::SGt, false) => (Less { strict: false }, false),
        (Cond::SGt, true) | (Cond::SLe, false) => (Less { strict: true }, true),
        (Cond::SGe, true) | (Cond::SLt, false) => (Less { strict: false }, true),
        (Cond::Set, true) => (Meeting, false),
        (Cond::Set, false) => (Apart, false),
    }
}

/// The numbers of `bits` that lack the known ones of `other`.
fn without_ones(bits: Tnum, other: Tnum) -> Tnum {
    let ones = if seeded(Bug::ClearUnknown) { other.max() } else { other.value() };
    Tnum::new(bits.value(), bits.mask() & !ones)
}

/// A word being gathered from parts of its spans.
#[derive(Default)]
struct Gathered<const B: u32> {
    hull: Hull<B>,
    tnum: Option<Tnum>,
}

impl<const B: u32> Gathered<B> {
    /// Adds the numbers of the span that have these bits.
    fn add(&mut self, span: Span, bits: Tnum) {
        if let (Some(lo), Some(hi)) = (bits.next(span.lo), bits.prev(span.hi))
            && let Some(span) = Span::new(lo, hi)
        {
            self.hull.add(span);
            self.tnum = Some(self.tnum.map_or(bits, |old| old.join(bits)));
        }
    }

    fn finish(self) -> Option<Word<B>> {
        Some(Word { tnum: self.tnum?, bounds: self.hull.finish()? })
    }
}

impl<const B: u32> Word<B> {
    fn meet(&self, other: &Self) -> Option<Self> {
        Some(Self { tnum: self.tnum.meet(other.tnum)?, bounds: self.bounds.meet(&other.bounds)? })
    }

    fn within(&self, bounds: Option<Bounds<B>>) -> Option<Self> {
        Some(Self { bounds: self.bounds.meet(&bounds?)?, ..*self })
    }

    /// The words that differ from some word of `other`: all, unless that has only one.
    fn different_from(&self, other: &Self) -> Option<Self> {
        if other.bounds.umin() != other.bounds.umax() && !seeded(Bug::NotEqualRange) {
            return Some(*self);
        }
        Some(Self { bounds: self.bounds.without(other.bounds.umin())?, ..*self })
    }

    fn below(l: Self, r: Self, strict: bool) -> Option<(Self, Self)> {
        let gap = u64::from(strict || seeded(Bug::StrictBoundOff));
        let top = if seeded(Bug::AtMostLeast) { r.bounds.umin().max(gap) } else { r.bounds.umax() };
        let most = top.checked_sub(gap)?;
        let least = l.bounds.umin().checked_add(gap)?;
        Some((l.within(Bounds::unsigned(0, most))?, r.within(Bounds::unsigned(least, low_mask(B)))?))
    }

    fn less(l: Self, r: Self, strict: bool) -> Option<(Self, Self)> {
        if seeded(Bug::SignedAsUnsigned) {
            return Self::below(l, r, strict);
        }
        let (all, gap) = (Bounds::<B>::UNKNOWN, i64::from(strict));
        let most = r.bounds.smax().checked_sub(gap)?;
        let least = l.bounds.smin().checked_add(gap)?;
        Some((l.within(Bounds::signed(all.smin(), most))?, r.within(Bounds::signed(least, all.smax()))?))
    }

    /// Both words, when some bit must be common: it is known if there is but one candidate.
    fn meeting(l: Self, r: Self) -> Option<(Self, Self)> {
        let candidates = l.tnum.max() & r.tnum.max();
        if candidates == 0 {
            return None;
        }
        if !candidates.is_power_of_two() {
            return Some((l.different_from_zero()?, r.different_from_zero()?));
        }
        let with = |word: Self| Self {
            tnum: Tnum::new(word.tnum.value() | candidates, word.tnum.mask() & !candidates),
            ..word
        };
        Some((with(l), with(r)))
    }

    fn different_from_zero(&self) -> Option<Self> {
        Some(Self { bounds: self.bounds.without(0)?, ..*self })
    }

    /// Both words, when no bit may be common: a known one of either is a zero of the other. What is
    /// known may differ from span to span, and some pairs of spans are impossible.
    fn apart(l: Self, r: Self) -> Option<(Self, Self)> {
        let (mut left, mut right) = (Gathered::default(), Gathered::default());
        for one in l.bounds.spans() {
            for two in r.bounds.spans() {
                let (known, other) = (l.bits_of(one), r.bits_of(two));
                if known.value() & other.value() == 0 {
                    left.add(one, without_ones(known, other));
                    right.add(two, without_ones(other, known));
                }
            }
        }
        Some((left.finish()?, right.finish()?))
    }

    fn refine(relation: Relation, l: Self, r: Self) -> Option<(Self, Self)> {
        match relation {
            Relation::Equal => l.meet(&r).map(|both| (both, both)),
            Relation::Different => Some((l.different_from(&r)?, r.different_from(&l)?)),
            Relation::Below { strict } => Self::below(l, r, strict),
            Relation::Less { strict } => Self::less(l, r, strict),
            Relation::Meeting => Self::meeting(l, r),
            Relation::Apart => Self::apart(l, r),
        }
    }
}

impl<const BITS: u32, const HALF: u32> Number<BITS, HALF> {
    /// This set, with only the words whose low half is in `low`.
    pub(super) fn with_low(&self, low: Word<HALF>) -> Option<Self> {
        let tnum = self
            .tnum
            .meet(Tnum::new(low.tnum.value(), low.tnum.mask() | low_mask(BITS) & !low_mask(HALF)))?;
        Self { tnum, low: self.low.meet(&low.bounds)?, full: self.full }.reduced()
    }

    /// This set, with only the words that are in `word`.
    fn with_full(&self, word: Word<BITS>) -> Option<Self> {
        let tnum = self.tnum.meet(word.tnum)?;
        Self { tnum, full: self.full.meet(&word.bounds)?, low: self.low }.reduced()
    }

    /// Both operands of a branch, after it was taken or not; `None` when it cannot go that way.
    pub fn refine(cond: Cond, width: Width, taken: bool, l: &Self, r: &Self) -> Option<(Self, Self)> {
        let (relation, reversed) = relation(cond, taken);
        if reversed {
            return Self::relate(relation, width, r, l).map(|(r, l)| (l, r));
        }
        Self::relate(relation, width, l, r)
    }

    fn relate(relation: Relation, width: Width, l: &Self, r: &Self) -> Option<(Self, Self)> {
        match width {
            Width::W32 => {
                let (left, right) = Word::refine(relation, l.low_word(), r.low_word())?;
                if seeded(Bug::Jump32RefinesAll) {
                    return Some((Self::from_tnum(left.tnum).meet(l)?, Self::from_tnum(right.tnum).meet(r)?));
                }
                // Often a branch teaches nothing of one side, and that is as tight as it was.
                let with = |n: &Self, low| if low == n.low_word() { Some(*n) } else { n.with_low(low) };
                Some((with(l, left)?, with(r, right)?))
            }
            Width::W64 if relation == Relation::Equal => l.meet(r).map(|both| (both, both)),
            Width::W64 => {
                let (left, right) = Word::refine(relation, l.word(), r.word())?;
                let with = |n: &Self, word| if word == n.word() { Some(*n) } else { n.with_full(word) };
                Some((with(l, left)?, with(r, right)?))
            }
        }
    }

    /// Whether the branch always or never is taken; `None` when it may go either way.
    pub fn decide(cond: Cond, width: Width, l: &Self, r: &Self) -> Option<bool> {
        if seeded(Bug::DecidedTooSoon) && cond == Cond::Ge && width == Width::W64 && l.umax() == r.umin() {
            return Some(false);
        }
        if Self::refine(cond, width, true, l, r).is_none() {
            return Some(false);
        }
        if Self::refine(cond, width, false, l, r).is_none() {
            return Some(true);
        }
        None
    }
}

//! Every operator on every number of a small word: that nothing is lost, and how often nothing is gained.
//!
//! Two domains are small enough. Known bits alone are tried at 8 bits, in all pairs (6 when pairs are sampled). Whole numbers, with their
//! ranges and their low half, are tried at 4 bits with a half of 2: there are 3175, each a set of words, and the
//! operators are generic over the width, so that the same code is tried as runs at 64 and 32. An operator is
//! unsound on a pair when a word that the machine may compute is missing, and optimal when no number of the
//! domain is smaller and misses none.

pub(super) mod concrete;
pub(super) mod tiny;

use weir_ebpf::isa::{AluOp, Cond, Width};

use super::bounds::Hull;
use super::{Bounds, Tnum, Word};
use concrete::{alu, mask};
pub use tiny::Numbers;

/// An operator of the abstract domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// Of known bits.
    Bits(AluOp),
    /// Arithmetic on numbers, whole or of the low half.
    Alu(AluOp, Width),
    /// What a branch teaches of both sides, on either way.
    Branch(Cond, Width),
    /// Negation.
    Neg(Width),
    /// The low half, zeros above.
    Mov32,
    /// So many low bits, copies of their highest above.
    SignExtend(u32),
    /// So many low bits, zeros above.
    ZeroExtend(u32),
    /// Words of either.
    Join,
    /// Words of both.
    Meet,
    /// The fixpoint among the views of a number, from all their combinations.
    Sync,
}

/// How an operator did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Bits of the word.
    pub bits: u32,
    /// Combinations of operands (and ways of a branch).
    pub cases: u64,
    /// Results as small as can be.
    pub optimal: u64,
    /// Results that miss a word.
    pub unsound: u64,
    /// The first of them.
    pub example: Option<String>,
}

impl Tally {
    fn new(bits: u32) -> Self {
        Self { bits, cases: 0, optimal: 0, unsound: 0, example: None }
    }

    fn count(&mut self, sound: bool, optimal: bool, example: impl FnOnce() -> String) {
        self.cases += 1;
        self.optimal += u64::from(sound && optimal);
        if !sound {
            self.unsound += 1;
            self.example.get_or_insert_with(example);
        }
    }
}

const WIDTHS: [Width; 2] = [Width::W64, Width::W32];

/// The operators that known bits have themselves.
pub(super) const BITS: [AluOp; 6] = [AluOp::Add, AluOp::Sub, AluOp::Mul, AluOp::And, AluOp::Or, AluOp::Xor];

impl Operator {
    /// Every operator.
    pub fn all() -> Vec<Self> {
        let mut all: Vec<Self> = BITS.into_iter().map(Operator::Bits).collect();
        for width in WIDTHS {
            all.extend(AluOp::ALL.iter().map(|op| Operator::Alu(*op, width)));
            all.push(Operator::Neg(width));
        }
        all.extend([Operator::Mov32, Operator::SignExtend(1), Operator::SignExtend(2)]);
        all.extend([Operator::ZeroExtend(1), Operator::ZeroExtend(2)]);
        for width in WIDTHS {
            all.extend(Cond::ALL.iter().map(|cond| Operator::Branch(*cond, width)));
        }
        all.extend([Operator::Join, Operator::Meet, Operator::Sync]);
        all
    }

    /// Its name, with the width as of the real word.
    pub fn name(self) -> String {
        let bits = |width: Width| width.bits();
        match self {
            Operator::Bits(op) => format!("tnum {op:?}"),
            Operator::Alu(op, width) => format!("{op:?} {}", bits(width)),
            Operator::Branch(cond, width) => format!("if {cond:?} {}", bits(width)),
            Operator::Neg(width) => format!("Neg {}", bits(width)),
            Operator::Mov32 => "Mov 32".to_owned(),
            Operator::SignExtend(from) => format!("MovSx from {from} of 4"),
            Operator::ZeroExtend(from) => format!("cut to {from} of 4"),
            Operator::Join => "join".to_owned(),
            Operator::Meet => "meet".to_owned(),
            Operator::Sync => "sync".to_owned(),
        }
    }

    /// Bits of the words on which known bits are tried, always in all pairs.
    pub const fn tnum_bits(one_of: usize) -> u32 {
        if one_of > 1 { 6 } else { 8 }
    }

    /// Tries it on every pair, or on one pair of so many.
    pub fn tally(self, numbers: &Numbers, one_of: usize) -> Tally {
        match self {
            Operator::Bits(op) => bits_of_pairs(op, Self::tnum_bits(one_of)),
            Operator::Sync => tiny::sync(one_of),
            other => numbers.tally(other, one_of),
        }
    }
}

/// The bounds of `width + 1` words from `lo` on, going round.
pub fn going_round(lo: u64, width: u64) -> Bounds<64> {
    let mut hull = Hull::default();
    hull.add_round(lo, width.into());
    hull.finish().unwrap_or(Bounds::UNKNOWN)
}

/// The bounds of an operation on two spans, each of which lies on one side of the sign bit.
pub fn of_spans(op: AluOp, left: (u64, u64), right: (u64, u64)) -> Option<Bounds<64>> {
    let word =
        |(lo, hi)| Some(Word { tnum: Tnum::of_range(lo, hi), bounds: Bounds::<64>::unsigned(lo, hi)? });
    Some(Word::alu(op, word(left)?, word(right)?).bounds)
}

/// An operation on known bits; [`Operator::Bits`] has those that there are.
pub fn of_bits(op: AluOp, l: Tnum, r: Tnum) -> Tnum {
    match op {
        AluOp::Add => l.add(r),
        AluOp::Sub => l.sub(r),
        AluOp::Mul => l.mul(r),
        AluOp::And => l.and(r),
        AluOp::Or => l.or(r),
        AluOp::Xor => l.xor(r),
        AluOp::Div | AluOp::SDiv | AluOp::Lsh | AluOp::Rsh | AluOp::Mod | AluOp::SMod | AluOp::Arsh => {
            Tnum::UNKNOWN
        }
    }
}

/// Every tristate number of so many bits.
pub(super) fn all_tnums(bits: u32) -> Vec<Tnum> {
    let masks = 0..=mask(bits);
    masks
        .flat_map(|free| (0..=mask(bits)).filter(move |v| v & free == 0).map(move |v| Tnum::new(v, free)))
        .collect()
}

/// Its members.
#[cfg(test)]
pub(super) fn members(tnum: Tnum) -> Vec<u64> {
    (tnum.value()..=tnum.max()).filter(|&word| tnum.contains(word)).collect()
}

/// What the words of a set have in common: the bits that all have, and those that any has.
#[derive(Clone, Copy)]
struct Seen {
    all: u64,
    any: u64,
}

impl Seen {
    fn with(self, other: Self) -> Self {
        Self { all: self.all & other.all, any: self.any | other.any }
    }

    fn tnum(self) -> Tnum {
        Tnum::new(self.all, self.any & !self.all)
    }
}

/// An operation on all pairs of tristate numbers. The words of a pair with an unknown bit are those with a zero
/// there and those with a one, so what they have in common is looked up, not counted again: 43 million pairs of
/// 8 bits stand for four thousand million words.
pub(super) fn bits_of_pairs(op: AluOp, bits: u32) -> Tally {
    // Constants come first, and the halves of a number before it.
    let tnums = all_tnums(bits);
    let at = |tnum: Tnum| tnums.binary_search_by_key(&(tnum.mask(), tnum.value()), |t| (t.mask(), t.value()));
    let halves = |tnum: &Tnum| {
        let bit = tnum.mask() & tnum.mask().wrapping_neg();
        let half = |one| at(Tnum::new(tnum.value() | one, tnum.mask() & !bit)).ok();
        if bit == 0 { None } else { half(0).zip(half(bit)) }
    };
    let halves: Vec<_> = tnums.iter().map(halves).collect();
    let mut tally = Tally::new(bits);
    let mut with_constants: Vec<Vec<Seen>> = Vec::new();
    for (l, left) in tnums.iter().zip(&halves) {
        let mut seen: Vec<Seen> = Vec::with_capacity(tnums.len());
        for (column, (r, right)) in tnums.iter().zip(&halves).enumerate() {
            let both = match (right, left) {
                (Some((zero, one)), _) => seen[*zero].with(seen[*one]),
                (None, Some((zero, one))) => with_constants[*zero][column].with(with_constants[*one][column]),
                (None, None) => {
                    let word = alu(op, bits, l.value(), r.value());
                    Seen { all: word, any: word }
                }
            };
            seen.push(both);
            let (best, found) = (both.tnum(), of_bits(op, *l, *r).low(bits));
            tally.count(best.is_subset_of(found), best == found, || {
                format!("{l:x?} and {r:x?} give {found:x?}, which misses some of {best:x?}")
            });
        }
        seen.truncate(1 << bits);
        with_constants.push(seen);
    }
    tally
}

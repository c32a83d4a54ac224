//! All numbers of four bits, as sets of words: sixteen bits say which words are in.

use std::collections::HashSet;

use weir_ebpf::isa::{Cond, Width};

use super::concrete::{alu, holds, mask};
use super::{Operator, Tally, all_tnums};
use crate::scalar::bounds::{Bounds, Hull, Span};
use crate::scalar::{Number, Tnum};

/// A number of four bits, with a low half of two.
pub(in crate::scalar) type Tiny = Number<4, 2>;

/// A set of words, a bit for each.
pub(in crate::scalar) type Set = u16;

/// The words of a number: all sixteen at once, since every pair asks for it. A test holds it to `contains`.
pub(in crate::scalar) fn set_of(number: &Tiny) -> Set {
    let between = |span: Span| ((2u32 << span.hi) - (1 << span.lo)) as Set;
    let (full, low) = (number.full.spans().map(between), number.low.spans().map(between));
    let either = |all: Set, some: Set| all | some;
    // The low half's four words come again with every upper half.
    let low = low.fold(0, either) * 0x1111;
    let bits = (0..4).filter(|bit| number.tnum.mask() & (1 << bit) != 0);
    let bits = bits.fold(1 << number.tnum.value(), |all: Set, bit| all | all << (1 << bit));
    full.fold(0, either) & low & bits
}

/// The words of a set.
pub(in crate::scalar) fn words(set: Set) -> impl Iterator<Item = u64> + Clone {
    (0..16u64).filter(move |word| set & (1 << word) != 0)
}

/// The tightest number around a set.
pub(in crate::scalar) fn around(set: Set) -> Option<Tiny> {
    let (mut full, mut low) = (Hull::default(), Hull::default());
    let mut tnum: Option<Tnum> = None;
    for word in words(set) {
        full.add(Span { lo: word, hi: word });
        low.add(Span { lo: word & 3, hi: word & 3 });
        tnum = Some(tnum.map_or(Tnum::constant(word), |old| old.join(Tnum::constant(word))));
    }
    Some(Number { tnum: tnum?, full: full.finish()?, low: low.finish()? })
}

/// All bounds of a word of `B` bits.
fn all_bounds<const B: u32>() -> Vec<Bounds<B>> {
    let half = 1u64 << (B - 1);
    let spans = |from: u64| {
        let some =
            (0..half).flat_map(move |lo| (lo..half).map(move |hi| Span { lo: from + lo, hi: from + hi }));
        std::iter::once(None).chain(some.map(Some)).collect::<Vec<_>>()
    };
    let mut all = Vec::new();
    for low in spans(0) {
        for high in spans(half) {
            let mut hull = Hull::default();
            low.into_iter().chain(high).for_each(|span| hull.add(span));
            all.extend(hull.finish());
        }
    }
    all
}

/// Every combination of views.
pub(in crate::scalar) fn all_raw() -> impl Iterator<Item = Tiny> {
    let (fulls, lows) = (all_bounds::<4>(), all_bounds::<2>());
    all_tnums(4).into_iter().flat_map(move |tnum| {
        let lows = lows.clone();
        fulls
            .clone()
            .into_iter()
            .flat_map(move |full| lows.clone().into_iter().map(move |low| Number { tnum, full, low }))
    })
}

/// Reducing keeps the set, finds out when it is empty, and leaves the tightest number of that set.
pub(super) fn sync(one_of: usize) -> Tally {
    let mut tally = Tally::new(4);
    for raw in all_raw().step_by(one_of) {
        let (set, found) = (set_of(&raw), raw.reduced());
        let left = found.map_or(0, |number| set_of(&number));
        let empty = found.is_none() == (set == 0);
        tally.count(set == left && empty, found == around(set), || format!("{raw:?} becomes {found:?}"));
    }
    tally
}

/// Every number, and how tight numbers can be.
#[derive(Debug)]
pub struct Numbers {
    all: Vec<(Tiny, Set)>,
    /// By set: the words of the tightest number around it.
    tightest: Vec<Set>,
}

impl Default for Numbers {
    fn default() -> Self {
        let reduced: HashSet<Tiny> = all_raw().filter_map(Number::reduced).collect();
        let mut all: Vec<_> = reduced.into_iter().map(|number| (number, set_of(&number))).collect();
        all.sort_by_key(|(number, set)| (*set, number.tnum().mask()));
        let tightest = (0..=Set::MAX).map(|set| around(set).map_or(0, |number| set_of(&number))).collect();
        Self { all, tightest }
    }
}

impl Numbers {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.all.len()
    }

    fn judge(&self, tally: &mut Tally, exact: Set, found: Set, example: impl FnOnce() -> String) {
        tally.count(exact & !found == 0, self.tightest[usize::from(exact)] == found, example);
    }

    fn each(&self, mut judge: impl FnMut(&Tiny, Set)) {
        self.all.iter().for_each(|(number, set)| judge(number, *set));
    }

    /// Every pair, or one of so many, by where the numbers stand.
    fn pairs(&self, one_of: usize, mut judge: impl FnMut(usize, usize)) {
        let count = self.all.len();
        (0..count * count).step_by(one_of).for_each(|at| judge(at / count, at % count));
    }

    /// For each word, and each number: the words that have this relation to the word for one of the number's.
    fn partners(&self, related: impl Fn(u64, u64) -> Set) -> Vec<Vec<Set>> {
        let of = |word, set| words(set).fold(0, |all, other| all | related(word, other));
        (0..16).map(|word| self.all.iter().map(|(_, set)| of(word, *set)).collect()).collect()
    }

    fn unary(&self, tally: &mut Tally, found: impl Fn(&Tiny) -> Tiny, exact: impl Fn(u64) -> u64) {
        self.each(|number, set| {
            let exact = words(set).fold(0, |all, word| all | 1 << exact(word));
            let found = found(number);
            self.judge(tally, exact, set_of(&found), || format!("{number:?} gives {found:?}"));
        });
    }

    pub(super) fn tally(&self, operator: Operator, one_of: usize) -> Tally {
        let mut tally = Tally::new(4);
        let low = |width| if width == Width::W64 { 4 } else { 2 };
        match operator {
            Operator::Alu(op, width) => {
                let bits = low(width);
                let results = self.partners(|a, b| 1 << alu(op, bits, a & mask(bits), b & mask(bits)));
                self.pairs(one_of, |left, right| {
                    let ((l, set), (r, _)) = (&self.all[left], &self.all[right]);
                    let exact = words(*set).fold(0, |all, word| all | results[word as usize][right]);
                    let found = Number::alu(op, width, l, r);
                    self.judge(&mut tally, exact, set_of(&found), || format!("{l:?} and {r:?}: {found:?}"));
                });
            }
            Operator::Branch(cond, width) => self.branch(&mut tally, (cond, width, low(width)), one_of),
            Operator::Neg(width) => {
                let bits = mask(low(width));
                self.unary(&mut tally, |number| number.neg(width), |word| word.wrapping_neg() & bits);
            }
            Operator::Mov32 => self.unary(&mut tally, Number::mov32, |word| word & 3),
            Operator::SignExtend(from) => {
                let by = 64 - from;
                let extended = |word: u64| (((word << by) as i64) >> by) as u64 & 15;
                match from {
                    1 => self.unary(&mut tally, Number::sign_extend_low::<1>, extended),
                    _ => self.unary(&mut tally, Number::sign_extend_low::<2>, extended),
                }
            }
            Operator::ZeroExtend(1) => self.unary(&mut tally, Number::zero_extend_low::<1>, |word| word & 1),
            Operator::ZeroExtend(_) => self.unary(&mut tally, Number::zero_extend_low::<2>, |word| word & 3),
            Operator::Join => self.pairs(one_of, |left, right| {
                let ((l, left), (r, right)) = (&self.all[left], &self.all[right]);
                let found = l.join(r);
                let example = || format!("{l:?} and {r:?}: {found:?}");
                self.judge(&mut tally, left | right, set_of(&found), example);
            }),
            Operator::Meet => self.pairs(one_of, |left, right| {
                let ((l, left), (r, right)) = (&self.all[left], &self.all[right]);
                let found = l.meet(r).map_or(0, |number| set_of(&number));
                self.judge(&mut tally, left & right, found, || format!("{l:?} and {r:?}"));
            }),
            Operator::Bits(_) | Operator::Sync => {}
        }
        tally
    }

    /// Both ways of a branch. What is decided must be so for all; that is asked for every eighth pair, since it is
    /// refining once more.
    fn branch(&self, tally: &mut Tally, (cond, width, bits): (Cond, Width, u32), one_of: usize) {
        let holds = |a: u64, b: u64| holds(cond, bits, a & mask(bits), b & mask(bits));
        // For each number on one side, the words of the other for which the condition may be so.
        let with = |holds: &dyn Fn(u64, u64) -> bool| -> Vec<Set> {
            let partner = |set, word| words(set).any(|own| holds(word, own));
            let of = |set| (0..16).filter(|word| partner(set, *word)).fold(0, |all, word| all | 1 << word);
            self.all.iter().map(|(_, set)| of(*set)).collect()
        };
        let ways = [false, true]
            .map(|taken| (taken, with(&|a, b| holds(a, b) == taken), with(&|b, a| holds(a, b) == taken)));
        self.pairs(one_of, |left, right| {
            let ((l, of_left), (r, of_right)) = (&self.all[left], &self.all[right]);
            let asked = (left + right).is_multiple_of(8);
            let decided = if asked { Number::decide(cond, width, l, r) } else { None };
            for (taken, lefts, rights) in &ways {
                let exact = (of_left & lefts[right], of_right & rights[left]);
                let refined = Number::refine(cond, width, *taken, l, r);
                let found = refined.map_or((0, 0), |(l, r)| (set_of(&l), set_of(&r)));
                let missed = exact.0 & !found.0 != 0 || exact.1 & !found.1 != 0;
                let lies = decided == Some(!taken) && exact.0 != 0;
                let tight = |exact: Set, found: Set| self.tightest[usize::from(exact)] == found;
                let best = tight(exact.0, found.0) && tight(exact.1, found.1);
                tally.count(!missed && !lies, best, || format!("{taken}: {l:?} and {r:?}: {refined:?}"));
            }
        });
    }
}

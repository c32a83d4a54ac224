//! Every number of a small word.
//!
//! Tristate numbers are tried in all pairs, with every member of each: unsound results fail, and the
//! share of results that are as tight as can be is printed by the ignored tests (run them with
//! `cargo test --release -p weir-verifier optimality -- --ignored --nocapture`).

use std::collections::{HashMap, HashSet};

use weir_ebpf::isa::{AluOp, Cond, Width};

use super::super::bounds::{Bounds, Hull, Span};
use super::super::{Number, Tnum};
use super::concrete::{alu, holds, mask};
use super::laws::Finding;
use super::sample::Source;

/// The operations that tristate numbers have themselves.
type BitsOp = (AluOp, fn(Tnum, Tnum) -> Tnum);

pub(super) const BITS_OPS: [BitsOp; 6] = [
    (AluOp::Add, Tnum::add),
    (AluOp::Sub, Tnum::sub),
    (AluOp::Mul, Tnum::mul),
    (AluOp::And, Tnum::and),
    (AluOp::Or, Tnum::or),
    (AluOp::Xor, Tnum::xor),
];

fn all_tnums(bits: u32) -> Vec<Tnum> {
    let masks = 0..=mask(bits);
    masks
        .flat_map(|free| (0..=mask(bits)).filter(move |v| v & free == 0).map(move |v| Tnum::new(v, free)))
        .collect()
}

fn members(tnum: Tnum) -> Vec<u64> {
    (tnum.value()..=tnum.max()).filter(|&word| tnum.contains(word)).collect()
}

/// The smallest tristate number around the results, from their common ones and zeros.
fn best_tnum(op: AluOp, bits: u32, left: &[u64], right: &[u64]) -> Tnum {
    let (mut all, mut any) = (u64::MAX, 0);
    for &a in left {
        for &b in right {
            let word = alu(op, bits, a, b);
            all &= word;
            any |= word;
        }
    }
    Tnum::new(all, any & !all)
}

/// Pairs with the best result, of all pairs; or an unsound one.
pub(super) fn tnum_pairs((op, abstractly): BitsOp, bits: u32) -> Result<(u64, u64), String> {
    let sets: Vec<_> = all_tnums(bits).into_iter().map(|tnum| (tnum, members(tnum))).collect();
    let (mut optimal, mut pairs) = (0, 0);
    for (l, left) in &sets {
        for (r, right) in &sets {
            let best = best_tnum(op, bits, left, right);
            let result = abstractly(*l, *r).low(bits);
            if !best.is_subset_of(result) {
                return Err(format!(
                    "{op:?} of {l:x?} and {r:x?} gives {result:x?}, which misses some of {best:x?}"
                ));
            }
            optimal += u64::from(best == result);
            pairs += 1;
        }
    }
    Ok((optimal, pairs))
}

#[test]
fn every_pair_of_5_bit_tnums_is_sound() {
    for op in BITS_OPS {
        let (optimal, pairs) = tnum_pairs(op, 5).unwrap();
        let exact = !matches!(op.0, AluOp::Mul);
        assert!(!exact || optimal == pairs, "{:?}: {optimal} of {pairs} are as tight as can be", op.0);
        assert!(optimal * 100 >= pairs * 95, "{:?}: only {optimal} of {pairs} are as tight as can be", op.0);
    }
}

#[test]
#[ignore = "4.3 G evaluations for each operation"]
fn tnum_optimality_at_8_bits() {
    for op in BITS_OPS {
        let (optimal, pairs) = tnum_pairs(op, 8).unwrap();
        println!(
            "{:?} at 8 bits: {:.2}% optimal, 0 of {pairs} unsound",
            op.0,
            optimal as f64 * 100.0 / pairs as f64
        );
    }
}

#[test]
fn members_next_to_a_number() {
    for tnum in all_tnums(5) {
        let all = members(tnum);
        for number in 0..=mask(5) {
            assert_eq!(tnum.next(number), all.iter().copied().find(|&m| m >= number), "{tnum:x?} {number}");
            assert_eq!(tnum.prev(number), all.iter().copied().rfind(|&m| m <= number), "{tnum:x?} {number}");
        }
    }
}

type Tiny = Number<4, 2>;

/// A set of 4-bit words, a bit for each.
type Set = u16;

fn set_of(number: &Tiny) -> Set {
    (0..16).filter(|&word| number.contains(word)).map(|word| 1 << word).sum()
}

fn words(set: Set) -> impl Iterator<Item = u64> + Clone {
    (0..16u64).filter(move |word| set & (1 << word) != 0)
}

/// The tightest number around a set.
fn around(set: Set) -> Option<Tiny> {
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

/// Every reduced number of a 4-bit word, each once, and how many are the tightest for their set.
/// Reducing must keep the set, and must find out when it is empty.
fn all_reduced() -> (Vec<Tiny>, usize) {
    let mut reduced = HashSet::new();
    let (fulls, lows) = (all_bounds::<4>(), all_bounds::<2>());
    for tnum in all_tnums(4) {
        for &full in &fulls {
            for &low in &lows {
                let raw = Number { tnum, full, low };
                let set = set_of(&raw);
                match raw.reduced() {
                    None => assert_eq!(set, 0, "{raw:?}"),
                    Some(number) => {
                        assert_eq!(set_of(&number), set, "{raw:?} {number:?}");
                        assert_ne!(set, 0, "{raw:?} is empty, and {number:?} hides it");
                        reduced.insert(number);
                    }
                }
            }
        }
    }
    let tightest = reduced.iter().filter(|number| around(set_of(number)).as_ref() == Some(number)).count();
    (reduced.into_iter().collect(), tightest)
}

#[test]
fn reducing_is_exact_on_every_4_bit_number() {
    let (numbers, tightest) = all_reduced();
    assert_eq!(tightest, numbers.len(), "reduced numbers that could be tighter");
}

/// Best and all results of each operation over these pairs; or an unsound one.
fn tally(numbers: &[(Tiny, Tiny)]) -> Result<HashMap<String, (u64, u64)>, String> {
    let mut tallies = HashMap::new();
    let mut count = |name: String, best: bool| {
        let tally: &mut (u64, u64) = tallies.entry(name).or_default();
        tally.0 += u64::from(best);
        tally.1 += 1;
    };
    for (l, r) in numbers {
        let (left, right) = (set_of(l), set_of(r));
        for width in [Width::W32, Width::W64] {
            let bits = if width == Width::W64 { 4 } else { 2 };
            for &op in AluOp::ALL {
                let mut exact: Set = 0;
                for (a, b) in words(left).flat_map(|a| words(right).map(move |b| (a, b))) {
                    exact |= 1 << alu(op, bits, a & mask(bits), b & mask(bits));
                }
                let result = Number::alu(op, width, l, r);
                if exact & !set_of(&result) != 0 {
                    return Err(format!("{op:?} {width:?}\n{l:?}\n{r:?}\n{result:?}, exactly {exact:#b}"));
                }
                count(format!("{op:?} {width:?}"), around(exact) == Some(result));
            }
            for &cond in Cond::ALL {
                for taken in [false, true] {
                    let (mut exact_left, mut exact_right): (Set, Set) = (0, 0);
                    for (a, b) in words(left).flat_map(|a| words(right).map(move |b| (a, b))) {
                        if holds(cond, bits, a & mask(bits), b & mask(bits)) == taken {
                            exact_left |= 1 << a;
                            exact_right |= 1 << b;
                        }
                    }
                    let refined = Number::refine(cond, width, taken, l, r);
                    let (set_left, set_right) = refined.map_or((0, 0), |(l, r)| (set_of(&l), set_of(&r)));
                    if exact_left & !set_left != 0 || exact_right & !set_right != 0 {
                        return Err(format!("{cond:?} {width:?} {taken}\n{l:?}\n{r:?}\n{refined:?}"));
                    }
                    let best = around(exact_left).zip(around(exact_right));
                    count(format!("if {cond:?} {width:?} {taken}"), best == refined);
                }
            }
        }
    }
    Ok(tallies)
}

fn random_pairs(seed: u64, pairs: usize) -> Vec<(Tiny, Tiny)> {
    let (numbers, _) = all_reduced();
    let mut sorted = numbers;
    sorted.sort_by_key(|number| (set_of(number), number.tnum.mask()));
    let mut source = Source::new(seed);
    let mut one = || sorted[source.below(sorted.len() as u64) as usize];
    (0..pairs).map(|_| (one(), one())).collect()
}

/// Random pairs of all 4-bit numbers against every member of each.
pub(super) fn tiny_pairs(seed: u64, pairs: usize) -> Finding {
    tally(&random_pairs(seed, pairs)).map(|_| ())
}

#[test]
fn pairs_of_4_bit_numbers_are_sound() {
    tiny_pairs(4, 3_000).unwrap();
}

#[test]
#[ignore = "takes minutes; prints how tight each operation is"]
fn product_optimality_at_4_bits() {
    let pairs = random_pairs(5, 200_000);
    let mut rows: Vec<_> = tally(&pairs).unwrap().into_iter().collect();
    rows.sort();
    for (name, (best, all)) in rows {
        println!("{name:24} {:6.2}% optimal", best as f64 * 100.0 / all as f64);
    }
}

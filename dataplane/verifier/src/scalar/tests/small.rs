//! Every number of a small word: see `exhaustive`, of which these tests try a part; `judge operators` tries all.

use super::super::Tnum;
use super::super::exhaustive::tiny::{all_raw, set_of};
use super::super::exhaustive::{BITS, Numbers, Operator, all_tnums, bits_of_pairs, members, of_bits};
use super::concrete::{alu, mask};
use super::laws::Finding;

/// The operation on known bits, at so many bits.
pub(super) fn tnum_pairs(op: weir_ebpf::isa::AluOp, bits: u32) -> Finding {
    bits_of_pairs(op, bits).example.map_or(Ok(()), Err)
}

/// Every operator on one of so many pairs.
pub(super) fn tiny_pairs(one_of: usize) -> Finding {
    let numbers = Numbers::default();
    for operator in Operator::all().into_iter().filter(|operator| !matches!(operator, Operator::Bits(_))) {
        if let Some(example) = operator.tally(&numbers, one_of).example {
            return Err(format!("{}: {example}", operator.name()));
        }
    }
    Ok(())
}

#[test]
fn every_pair_of_5_bit_tnums_is_sound() {
    for op in BITS {
        let tally = bits_of_pairs(op, 5);
        assert_eq!(tally.unsound, 0, "{op:?}: {:?}", tally.example);
        let exact = !matches!(op, weir_ebpf::isa::AluOp::Mul);
        assert!(!exact || tally.optimal == tally.cases, "{op:?}: {tally:?}");
        assert!(tally.optimal * 100 >= tally.cases * 95, "{op:?}: {tally:?}");
    }
}

/// The short cut of the exhaustive runs: that it is one.
#[test]
fn pairs_are_joined_from_their_halves() {
    let sets: Vec<_> = all_tnums(3).into_iter().map(|tnum| (tnum, members(tnum))).collect();
    for op in BITS {
        let mut optimal = 0;
        for ((l, left), (r, right)) in sets.iter().flat_map(|l| sets.iter().map(move |r| (l, r))) {
            let words = left.iter().flat_map(|a| right.iter().map(move |b| alu(op, 3, *a, *b)));
            let best = words.map(Tnum::constant).reduce(Tnum::join);
            optimal += u64::from(best == Some(of_bits(op, *l, *r).low(3)));
        }
        assert_eq!(bits_of_pairs(op, 3).optimal, optimal, "{op:?}");
    }
}

#[test]
fn sets_are_what_numbers_contain() {
    for number in all_raw() {
        let words = (0..16).filter(|&word| number.contains(word)).map(|word| 1 << word).sum();
        assert_eq!(set_of(&number), words, "{number:?}");
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
    assert_eq!(Tnum::constant(7).next(8), None);
}

#[test]
fn reducing_is_exact_on_every_4_bit_number() {
    let tally = Operator::Sync.tally(&Numbers::default(), 1);
    assert_eq!((tally.unsound, tally.optimal), (0, tally.cases), "{:?}", tally.example);
}

#[test]
fn pairs_of_4_bit_numbers_are_sound() {
    tiny_pairs(3_331).unwrap();
}

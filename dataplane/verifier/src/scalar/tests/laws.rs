//! The checks. Each answers with the first counterexample it finds.

use weir_ebpf::isa::{AluOp, Cond, Size, SwapKind, Width};

use super::super::{Number, Scalar};
use super::concrete::{alu, holds, mask};
use super::sample::Source;

pub(super) type Finding = Result<(), String>;

const WIDTHS: [Width; 2] = [Width::W32, Width::W64];

/// Bits that an operation of this width sees.
fn bits_of<const BITS: u32, const HALF: u32>(width: Width) -> u32 {
    match width {
        Width::W32 => HALF,
        Width::W64 => BITS,
    }
}

/// Every result of every operation on members lies in the abstract result.
pub(super) fn arithmetic<const BITS: u32, const HALF: u32>(
    l: &Number<BITS, HALF>,
    r: &Number<BITS, HALF>,
    left: &[u64],
    right: &[u64],
) -> Finding {
    for width in WIDTHS {
        let bits = bits_of::<BITS, HALF>(width);
        for &op in AluOp::ALL {
            let result = Number::alu(op, width, l, r);
            for &a in left {
                for &b in right {
                    let word = alu(op, bits, a & mask(bits), b & mask(bits));
                    if !result.contains(word) {
                        return Err(format!(
                            "{op:?} {width:?}: {a:#x} and {b:#x} give {word:#x}\n{l:?}\n{r:?}\n{result:?}"
                        ));
                    }
                }
            }
        }
    }
    Ok(())
}

/// Every branch keeps, on each way, the members that go it; what it decides, all members do.
pub(super) fn branches<const BITS: u32, const HALF: u32>(
    l: &Number<BITS, HALF>,
    r: &Number<BITS, HALF>,
    left: &[u64],
    right: &[u64],
) -> Finding {
    for width in WIDTHS {
        let bits = bits_of::<BITS, HALF>(width);
        for &cond in Cond::ALL {
            let ways = [false, true].map(|taken| Number::refine(cond, width, taken, l, r));
            let decided = Number::decide(cond, width, l, r);
            for &a in left {
                for &b in right {
                    let taken = holds(cond, bits, a & mask(bits), b & mask(bits));
                    let way = &ways[usize::from(taken)];
                    let kept = way.is_some_and(|(l, r)| l.contains(a) && r.contains(b));
                    if !kept || decided.is_some_and(|decided| decided != taken) {
                        return Err(format!(
                            "{cond:?} {width:?} {taken}: {a:#x}, {b:#x}\n{l:?}\n{r:?}\n{way:?}"
                        ));
                    }
                }
            }
        }
    }
    Ok(())
}

/// Refinement only takes away, and its results are in reduced form.
pub(super) fn refinement_shrinks<const BITS: u32, const HALF: u32>(
    l: &Number<BITS, HALF>,
    r: &Number<BITS, HALF>,
) -> Finding {
    for width in WIDTHS {
        for &cond in Cond::ALL {
            for taken in [false, true] {
                let Some((left, right)) = Number::refine(cond, width, taken, l, r) else { continue };
                if !left.is_subset_of(l) || !right.is_subset_of(r) {
                    return Err(format!(
                        "{cond:?} {width:?} {taken} grows\n{l:?}\n{r:?}\n{left:?}\n{right:?}"
                    ));
                }
                if left.reduced() != Some(left) || right.reduced() != Some(right) {
                    return Err(format!("{cond:?} {width:?} {taken} is not reduced\n{left:?}\n{right:?}"));
                }
            }
        }
    }
    Ok(())
}

/// One-operand operations that exist at every width.
pub(super) fn unary<const BITS: u32, const HALF: u32>(n: &Number<BITS, HALF>, members: &[u64]) -> Finding {
    let results =
        [("neg", n.neg(Width::W64), BITS), ("neg32", n.neg(Width::W32), HALF), ("mov32", n.mov32(), 0)];
    for (name, result, bits) in results {
        for &word in members {
            let expected = match bits {
                0 => word & mask(HALF),
                bits => word.wrapping_neg() & mask(bits),
            };
            if !result.contains(expected) {
                return Err(format!("{name}: {word:#x} gives {expected:#x}\n{n:?}\n{result:?}"));
            }
        }
    }
    Ok(())
}

/// Sign extensions and byte swaps, at 64 bits.
pub(super) fn conversions(n: &Scalar, members: &[u64]) -> Finding {
    for size in [Size::B, Size::H, Size::W] {
        let up = 64 - size.bits();
        for width in WIDTHS {
            if size == Size::W && width == Width::W32 {
                continue;
            }
            let result = n.movsx(width, size);
            let extended = |word: u64| (((word << up) as i64) >> up) as u64 & mask(width.bits());
            expect(members, n, &result, extended, "movsx")?;
        }
    }
    for size in [Size::H, Size::W, Size::DW] {
        let cut = |word: u64| word & mask(size.bits());
        expect(members, n, &n.swap(SwapKind::ToLe, size), cut, "le")?;
        let swapped = |word: u64| word.swap_bytes() >> (64 - size.bits());
        expect(members, n, &n.swap(SwapKind::ToBe, size), swapped, "be")?;
        expect(members, n, &n.swap(SwapKind::Bswap, size), swapped, "bswap")?;
        expect(members, n, &Scalar::from_load(size, false), cut, "load")?;
    }
    Ok(())
}

fn expect(
    members: &[u64],
    n: &Scalar,
    result: &Scalar,
    concrete: impl Fn(u64) -> u64,
    name: &str,
) -> Finding {
    match members.iter().find(|&&word| !result.contains(concrete(word))) {
        Some(&word) => Err(format!("{name}: {word:#x} gives {:#x}\n{n:?}\n{result:?}", concrete(word))),
        None => Ok(()),
    }
}

/// Joining and meeting, as sets.
pub(super) fn lattice<const BITS: u32, const HALF: u32>(
    l: &Number<BITS, HALF>,
    r: &Number<BITS, HALF>,
    left: &[u64],
    right: &[u64],
) -> Finding {
    let (join, meet) = (l.join(r), l.meet(r));
    for &word in left.iter().chain(right) {
        if !join.contains(word) {
            return Err(format!("join loses {word:#x}\n{l:?}\n{r:?}\n{join:?}"));
        }
        let both = l.contains(word) && r.contains(word);
        if both != meet.is_some_and(|meet| meet.contains(word)) {
            return Err(format!("meet and {word:#x}\n{l:?}\n{r:?}\n{meet:?}"));
        }
    }
    if !l.is_subset_of(&join) || !r.is_subset_of(&join) {
        return Err(format!("join is smaller\n{l:?}\n{r:?}\n{join:?}"));
    }
    Ok(())
}

/// A reduced number stays as it is, and what two have in common is within both.
pub(super) fn stable<const BITS: u32, const HALF: u32>(
    l: &Number<BITS, HALF>,
    r: &Number<BITS, HALF>,
) -> Finding {
    for number in [l, r] {
        if number.reduced().as_ref() != Some(number) {
            return Err(format!("reducing again changes {number:?}"));
        }
    }
    match l.meet(r) {
        Some(meet) if meet.is_subset_of(l) && meet.is_subset_of(r) => Ok(()),
        Some(meet) => Err(format!("meet is larger\n{l:?}\n{r:?}\n{meet:?}")),
        None => Ok(()),
    }
}

/// All checks on random pairs.
pub(super) fn sampled<const BITS: u32, const HALF: u32>(seed: u64, pairs: u64) -> Finding {
    let mut source = Source::new(seed);
    for _ in 0..pairs {
        let (a, b) = (source.word(BITS), source.word(BITS));
        let b = if source.below(8) == 0 { a } else { b };
        let (l, r) = (source.number_with::<BITS, HALF>(a), source.number_with::<BITS, HALF>(b));
        let (left, right) = (source.members(&l, a), source.members(&r, b));
        arithmetic(&l, &r, &left, &right)?;
        // Shifts are computed by one amount alone, which random numbers seldom are.
        let amount = source.below(BITS.into());
        arithmetic(&l, &Number::constant(amount), &left, &[amount])?;
        branches(&l, &r, &left, &right)?;
        refinement_shrinks(&l, &r)?;
        unary(&l, &left)?;
        lattice(&l, &r, &left, &right)?;
        stable(&l, &r)?;
    }
    Ok(())
}

/// Conversions on random numbers.
pub(super) fn sampled_conversions(seed: u64, numbers: u64) -> Finding {
    let mut source = Source::new(seed);
    for _ in 0..numbers {
        let member = source.word(64);
        let number = source.number_with::<64, 32>(member);
        conversions(&number, &source.members(&number, member))?;
    }
    Ok(())
}

/// How many random pairs to try: more on request.
pub(super) fn effort() -> u64 {
    std::env::var("WEIR_EFFORT").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

#[test]
fn members_stay_in_64_bits() {
    sampled::<64, 32>(64, 6_000 * effort()).unwrap();
}

#[test]
fn members_stay_in_16_bits() {
    sampled::<16, 8>(16, 6_000 * effort()).unwrap();
}

#[test]
fn members_stay_through_conversions() {
    sampled_conversions(7, 20_000 * effort()).unwrap();
}

#[test]
#[ignore = "prints how long operations take"]
fn time_of_operations() {
    let mut source = Source::new(9);
    let pairs: Vec<(Scalar, Scalar)> = (0..4096)
        .map(|_| {
            let (a, b) = (source.word(64), source.word(64));
            (source.number_with(a), source.number_with(b))
        })
        .collect();
    let time = |name: &str, run: &dyn Fn(&Scalar, &Scalar)| {
        let start = std::time::Instant::now();
        for _ in 0..20 {
            pairs.iter().for_each(|(l, r)| run(l, r));
        }
        println!("{name:10} {:5} ns", start.elapsed().as_nanos() / (20 * pairs.len() as u128));
    };
    for &op in AluOp::ALL {
        time(op.symbol(), &|l, r| _ = std::hint::black_box(Scalar::alu(op, Width::W64, l, r)));
    }
    for &cond in Cond::ALL {
        time(cond.symbol(), &|l, r| _ = std::hint::black_box(Scalar::refine(cond, Width::W64, true, l, r)));
    }
}

#[test]
fn agrees_with_the_instruction_table() {
    let mut source = Source::new(1);
    for _ in 0..20_000 {
        let (a, b) = (source.word(64), source.word(64));
        for &op in AluOp::ALL {
            assert_eq!(alu(op, 64, a, b), op.eval64(a, b), "{op:?} {a:#x} {b:#x}");
            let (low_a, low_b) = (a as u32, b as u32);
            let low = alu(op, 32, low_a.into(), low_b.into());
            assert_eq!(low, op.eval32(low_a, low_b).into(), "{op:?} {low_a:#x} {low_b:#x}");
        }
        for &cond in Cond::ALL {
            assert_eq!(holds(cond, 64, a, b), cond.eval64(a, b));
            assert_eq!(holds(cond, 32, a & mask(32), b & mask(32)), cond.eval32(a as u32, b as u32));
        }
    }
}

//! Types are made up, changed, laid out as C does, and filled with known numbers. What the conversion makes
//! of the old bytes must be what this oracle writes for the new type from the same numbers.

use std::collections::BTreeMap;

use weir_object::btf::{BtfBuilder, Composite, Int, Kind, Member, TypeId};

use crate::migrate::{Conversion, Shape};

/// A small generator of numbers (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Type {
    Int(u32, bool),
    Bits(u32, bool),
    Array(usize, Box<Type>),
    Struct(Vec<(String, Type)>),
}

#[derive(Clone, Debug)]
enum Held {
    Number(i128),
    List(Vec<Held>),
    Members(BTreeMap<String, Held>),
}

fn type_of(random: &mut Random, depth: u64) -> Type {
    let signed = random.below(2) == 0;
    match random.below(if depth == 0 { 4 } else { 8 }) {
        0..=3 => Type::Int(1 << random.below(4), signed),
        4 | 5 => Type::Array(1 + random.below(4) as usize, Box::new(type_of(random, depth - 1))),
        _ => structure(random, depth - 1),
    }
}

fn member(random: &mut Random, depth: u64) -> Type {
    match random.below(6) {
        0 => Type::Bits(1 + random.below(31) as u32, random.below(2) == 0),
        _ => type_of(random, depth),
    }
}

fn structure(random: &mut Random, depth: u64) -> Type {
    let count = 1 + random.below(6);
    Type::Struct((0..count).map(|n| (format!("f{n}"), member(random, depth))).collect())
}

/// Another version of a type, of the kinds of change that can be migrated.
fn changed(random: &mut Random, of: &Type) -> Type {
    match of {
        Type::Int(..) | Type::Bits(..) => match random.below(5) {
            0 => Type::Int(1 << random.below(4), random.below(2) == 0),
            _ => of.clone(),
        },
        Type::Array(count, of) => {
            let count = if random.below(4) == 0 { 1 + random.below(4) as usize } else { *count };
            Type::Array(count, Box::new(changed(random, of)))
        }
        Type::Struct(fields) => {
            let mut fields: Vec<(String, Type)> = fields
                .iter()
                .filter(|_| random.below(6) != 0)
                .map(|(name, of)| (name.clone(), of.clone()))
                .collect();
            for (_, of) in &mut fields {
                // A bit field may become a number and a number a bit field.
                *of = match of {
                    Type::Int(..) if random.below(8) == 0 => Type::Bits(1 + random.below(31) as u32, false),
                    _ => changed(random, of),
                };
            }
            for n in 0..random.below(3) {
                let at = random.below(fields.len() as u64 + 1) as usize;
                fields.insert(at, (format!("new{n}"), member(random, 1)));
            }
            if fields.is_empty() {
                fields.push(("only".to_owned(), Type::Int(4, false)));
            }
            if random.below(4) == 0 {
                fields.reverse();
            }
            Type::Struct(fields)
        }
    }
}

fn filled(random: &mut Random, of: &Type) -> Held {
    match of {
        Type::Int(size, signed) => Held::Number(number(random, size * 8, *signed)),
        Type::Bits(bits, signed) => Held::Number(number(random, *bits, *signed)),
        Type::Array(count, of) => Held::List((0..*count).map(|_| filled(random, of)).collect()),
        Type::Struct(fields) => {
            Held::Members(fields.iter().map(|(name, of)| (name.clone(), filled(random, of))).collect())
        }
    }
}

/// Mostly small, so that many pairs of types agree, and sometimes as large as it gets.
fn number(random: &mut Random, bits: u32, signed: bool) -> i128 {
    let (low, high) = range(bits, signed);
    let wanted = match random.below(8) {
        0 => high,
        1 => low,
        2 => i128::from(random.next()),
        _ => i128::from(random.below(100)),
    };
    wanted.clamp(low, high)
}

fn range(bits: u32, signed: bool) -> (i128, i128) {
    if signed { (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) } else { (0, (1 << bits) - 1) }
}

/// What the new type should hold; `None` when some number does not fit.
fn expected(held: Option<&Held>, new: &Type) -> Option<Held> {
    let fits = |bits, signed| match held {
        Some(Held::Number(n)) => (range(bits, signed).0..=range(bits, signed).1).contains(n).then_some(*n),
        _ => Some(0),
    };
    Some(match new {
        Type::Int(size, signed) => Held::Number(fits(size * 8, *signed)?),
        Type::Bits(bits, signed) => Held::Number(fits(*bits, *signed)?),
        Type::Array(count, of) => {
            let old = if let Some(Held::List(list)) = held { &list[..] } else { &[] };
            if old.iter().skip(*count).any(holds_something) {
                return None;
            }
            Held::List((0..*count).map(|at| expected(old.get(at), of)).collect::<Option<_>>()?)
        }
        Type::Struct(fields) => {
            let old = if let Some(Held::Members(members)) = held { members.clone() } else { BTreeMap::new() };
            let member = |(name, of): &(String, Type)| Some((name.clone(), expected(old.get(name), of)?));
            Held::Members(fields.iter().map(member).collect::<Option<_>>()?)
        }
    })
}

fn holds_something(held: &Held) -> bool {
    match held {
        Held::Number(n) => *n != 0,
        Held::List(list) => list.iter().any(holds_something),
        Held::Members(members) => members.values().any(holds_something),
    }
}

/// Bit, bits and type of each member, and bytes and alignment of the whole.
type Places = (Vec<(String, u32, u32, Type)>, u32, u32);

fn places(fields: &[(String, Type)]) -> Places {
    let (mut bit, mut align, mut members) = (0u32, 1, Vec::new());
    for (name, of) in fields {
        let bits = if let Type::Bits(bits, _) = of { *bits } else { 0 };
        let (size, wanted) = size(of);
        if bits == 0 {
            bit = bit.next_multiple_of(wanted * 8);
        } else if bit % 32 + bits > 32 {
            bit = bit.next_multiple_of(32);
        }
        align = align.max(wanted);
        members.push((name.clone(), bit, bits, of.clone()));
        bit += if bits == 0 { size * 8 } else { bits };
    }
    (members, bit.div_ceil(8).next_multiple_of(align), align)
}

fn size(of: &Type) -> (u32, u32) {
    match of {
        Type::Int(size, _) => (*size, *size),
        Type::Bits(..) => (4, 4),
        Type::Array(count, of) => (size(of).0 * *count as u32, size(of).1),
        Type::Struct(fields) => (places(fields).1, places(fields).2),
    }
}

fn write(held: &Held, of: &Type, bit: u32, bits: u32, into: &mut [u8]) {
    match (held, of) {
        (Held::Number(n), _) => {
            let bits = if bits == 0 { size(of).0 * 8 } else { bits };
            for at in 0..bits {
                let place = bit + at;
                into[place as usize / 8] |= u8::from(n >> at & 1 != 0) << (place % 8);
            }
        }
        (Held::List(list), Type::Array(_, of)) => {
            let stride = size(of).0 * 8;
            list.iter().enumerate().for_each(|(at, held)| write(held, of, bit + at as u32 * stride, 0, into));
        }
        (Held::Members(members), Type::Struct(fields)) => {
            for (name, at, bits, of) in places(fields).0 {
                write(&members[&name], &of, bit + at, bits, into);
            }
        }
        _ => panic!("the oracle's values do not fit its types"),
    }
}

fn bytes(held: &Held, of: &Type) -> Vec<u8> {
    let mut bytes = vec![0; size(of).0 as usize];
    write(held, of, 0, 0, &mut bytes);
    bytes
}

fn declare(btf: &mut BtfBuilder, of: &Type) -> TypeId {
    let int = |size: u32, signed| {
        Kind::Int(Int { size, bits: (size * 8) as u8, bit_offset: 0, signed, char: false, bool: false })
    };
    match of {
        Type::Int(size, signed) => btf.add("int", int(*size, *signed)),
        Type::Bits(_, signed) => btf.add("int", int(4, *signed)),
        Type::Array(count, of) => {
            let element = declare(btf, of);
            btf.add("", Kind::Array { element, index: element, length: *count as u32 })
        }
        Type::Struct(fields) => {
            let (laid, size, _) = places(fields);
            let member = |(name, bit_offset, bits, of): (String, u32, u32, Type)| {
                let of = declare(btf, &of);
                Member { name: btf.name(&name), of, bit_offset, bits: bits as u8 }
            };
            let members = laid.into_iter().map(member).collect();
            btf.add("made_up", Kind::Struct(Composite { size, members }))
        }
    }
}

fn shape(of: &Type) -> Shape {
    let mut btf = BtfBuilder::default();
    let id = declare(&mut btf, of);
    Shape::of(&btf.finish(), id).unwrap()
}

#[test]
fn values_of_random_types_become_what_a_field_by_field_copy_makes_of_them() {
    let cases: u64 = std::env::var("WEIR_MIGRATE_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(3000);
    let (mut converted, mut unfit, mut same) = (0, 0, 0);
    for seed in 0..cases {
        let random = &mut Random(seed);
        let old = structure(random, 2);
        let new = changed(random, &old);
        let conversion = match Conversion::new(&shape(&old), &shape(&new)) {
            Ok(conversion) => conversion,
            Err(why) => panic!("seed {seed}: {why}\n{old:?}\n{new:?}"),
        };
        assert_eq!(conversion.is_same(), old == new, "seed {seed}\n{old:?}\n{new:?}");
        same += usize::from(conversion.is_same());
        for _ in 0..4 {
            let held = filled(random, &old);
            let result = conversion.convert(&bytes(&held, &old));
            match expected(Some(&held), &new) {
                Some(wanted) => {
                    assert_eq!(result, Ok(bytes(&wanted, &new)), "seed {seed}\n{old:?}\n{new:?}\n{held:?}");
                    converted += 1;
                }
                None => {
                    assert!(result.is_err(), "seed {seed}: a number was cut\n{old:?}\n{new:?}\n{held:?}");
                    unfit += 1;
                }
            }
        }
    }
    println!("{converted} converted, {unfit} did not fit, {same} types stayed");
    assert!(converted > unfit && unfit > cases as usize / 10, "the mixture is worth something");
}

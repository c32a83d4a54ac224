//! From a value of one type to a value of another, by the names of their members.
//!
//! A [`Conversion`] is made once from the two types and then works on bytes alone. Members that only the
//! new type has become zero; those that only the old one has are left behind; integers and enumerations
//! keep their value, or the conversion of that entry says which number does not fit where. Nothing is
//! guessed: a member with another name is another member.

use std::fmt;

use super::Shape;
use super::shape::Field;

/// An integer's place: bits in a little-endian row, or whole bytes in network order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    bit: usize,
    bits: usize,
    signed: bool,
    big_endian: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// The same bytes.
    Copy { from: usize, to: usize, len: usize },
    /// The same number.
    Number { path: String, from: Place, to: Place },
    /// The same name of an enumeration whose values changed; without a new value the name is gone.
    Name { path: String, from: Place, to: Place, names: Vec<(String, i128, Option<i128>)> },
    /// The same for each element of an array.
    Each { from: usize, to: usize, from_stride: usize, to_stride: usize, count: usize, steps: Vec<Step> },
    /// What the new type has no room for must be zero.
    Empty { path: String, from: usize, len: usize },
}

/// What differs between two types, by the dotted names of members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// Members that begin as zero.
    pub added: Vec<String>,
    /// Members that are left behind.
    pub removed: Vec<String>,
    /// Members that are of another type now, with both.
    pub changed: Vec<String>,
}

/// How values of one type become values of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversion {
    steps: Vec<Step>,
    from: usize,
    to: usize,
    differences: Differences,
}

/// A number that does not fit its new type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// Which member.
    pub path: String,
    /// What it holds, and why that does not fit.
    pub text: String,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {}", self.path, self.text)
    }
}

impl Conversion {
    /// The conversion that changes nothing, for values of this many bytes.
    pub fn same(size: usize) -> Conversion {
        let steps = vec![Step::Copy { from: 0, to: 0, len: size }];
        Conversion { steps, from: size, to: size, differences: Differences::default() }
    }

    /// The conversion between two types, or why there is none.
    pub fn new(old: &Shape, new: &Shape) -> Result<Conversion, String> {
        let (from, to) = (old.size() as usize, new.size() as usize);
        if old == new {
            return Ok(Conversion::same(from));
        }
        let mut differences = Differences::default();
        let mut steps = Vec::new();
        Builder { differences: &mut differences }.whole("value", old, new, 0, 0, &mut steps)?;
        Ok(Conversion { steps, from, to, differences })
    }

    /// What differs between the two types.
    pub fn differences(&self) -> &Differences {
        &self.differences
    }

    /// Whether every value stays as it is, byte for byte.
    pub fn is_same(&self) -> bool {
        let nothing = Differences::default();
        self.from == self.to && self.differences == nothing && self.steps.iter().all(Step::stays)
    }

    /// The new value of an old one (of at least the old type's bytes).
    pub fn convert(&self, old: &[u8]) -> Result<Vec<u8>, Unfit> {
        let mut new = vec![0; self.to];
        match old.get(..self.from) {
            Some(old) => run(&self.steps, old, &mut new)?,
            None => {
                let text = format!("has {} bytes, and its type {}", old.len(), self.from);
                return Err(Unfit { path: "value".to_owned(), text });
            }
        }
        Ok(new)
    }

    /// Bytes of an old value and of a new one.
    pub fn sizes(&self) -> (usize, usize) {
        (self.from, self.to)
    }
}

impl Step {
    fn stays(&self) -> bool {
        match self {
            Step::Copy { from, to, .. } => from == to,
            Step::Number { from, to, .. } => from == to,
            Step::Name { .. } | Step::Empty { .. } => false,
            Step::Each { from, to, from_stride, to_stride, steps, .. } => {
                from == to && from_stride == to_stride && steps.iter().all(Step::stays)
            }
        }
    }
}

struct Builder<'d> {
    differences: &'d mut Differences,
}

impl Builder<'_> {
    /// Steps from a part at byte `from` to one at byte `to`.
    fn whole(
        &mut self,
        path: &str,
        old: &Shape,
        new: &Shape,
        from: usize,
        to: usize,
        steps: &mut Vec<Step>,
    ) -> Result<(), String> {
        match (old, new) {
            (Shape::Special { .. }, _) | (_, Shape::Special { .. }) => Ok(()),
            (Shape::Struct { fields: old, .. }, Shape::Struct { fields: new, .. }) => {
                self.members(path, old, new, from, to, steps)
            }
            _ if old == new => {
                steps.push(Step::Copy { from, to, len: old.size() as usize });
                Ok(())
            }
            (Shape::Array { .. }, Shape::Array { .. }) => self.array(path, old, new, from, to, steps),
            _ => {
                let (Some(at), Some(into)) = (place(old, from * 8, 0), place(new, to * 8, 0)) else {
                    return Err(format!("`{path}` was {} and is {}", old.word(), new.word()));
                };
                self.number(path, old, new, at, into, steps)
            }
        }
    }

    fn members(
        &mut self,
        path: &str,
        old: &[Field],
        new: &[Field],
        from: usize,
        to: usize,
        steps: &mut Vec<Step>,
    ) -> Result<(), String> {
        let full = |name: &str| if path == "value" { name.to_owned() } else { format!("{path}.{name}") };
        for field in old.iter().filter(|field| !new.iter().any(|other| other.name == field.name)) {
            self.differences.removed.push(full(&field.name));
        }
        for field in new {
            let path = full(&field.name);
            let Some(before) = old.iter().find(|other| other.name == field.name) else {
                self.differences.added.push(path);
                continue;
            };
            if field.bits == 0 && before.bits == 0 {
                let (from, to) = (from + before.bit as usize / 8, to + field.bit as usize / 8);
                self.whole(&path, &before.of, &field.of, from, to, steps)?;
                continue;
            }
            let at = place(&before.of, from * 8 + before.bit as usize, before.bits);
            let into = place(&field.of, to * 8 + field.bit as usize, field.bits);
            let (Some(at), Some(into)) = (at, into) else {
                return Err(format!("`{path}` was {} and is {}", before.of.word(), field.of.word()));
            };
            self.number(&path, &before.of, &field.of, at, into, steps)?;
        }
        Ok(())
    }

    fn number(
        &mut self,
        path: &str,
        old: &Shape,
        new: &Shape,
        from: Place,
        to: Place,
        steps: &mut Vec<Step>,
    ) -> Result<(), String> {
        if from.big_endian != to.big_endian && from.bits.max(to.bits) > 8 {
            return Err(format!(
                "`{path}` was {} and is {}: whether its bytes or its number should stay cannot be known",
                old.word(),
                new.word()
            ));
        }
        if (from.bits, from.signed) != (to.bits, to.signed) {
            self.differences.changed.push(format!("`{path}` {} -> {}", word(old, from), word(new, to)));
        }
        let path = path.to_owned();
        steps.push(match renamed(old, new) {
            Some(names) => {
                self.differences.changed.push(format!("`{path}` by the new numbers of its names"));
                Step::Name { path, from, to, names }
            }
            None => Step::Number { path, from, to },
        });
        Ok(())
    }

    fn array(
        &mut self,
        path: &str,
        old: &Shape,
        new: &Shape,
        from: usize,
        to: usize,
        steps: &mut Vec<Step>,
    ) -> Result<(), String> {
        let (Shape::Array { length: before, of: old }, Shape::Array { length: after, of: new }) = (old, new)
        else {
            return Err(format!("`{path}` is no array"));
        };
        let (from_stride, to_stride) = (old.size() as usize, new.size() as usize);
        let count = *before.min(after) as usize;
        let mut each = Vec::new();
        self.whole(&format!("{path}[]"), old, new, 0, 0, &mut each)?;
        steps.push(Step::Each { from, to, from_stride, to_stride, count, steps: each });
        if before != after {
            self.differences.changed.push(format!("`{path}` {before} -> {after} elements"));
        }
        if before > after {
            let (from, len) = (from + count * from_stride, (*before as usize - count) * from_stride);
            steps.push(Step::Empty { path: path.to_owned(), from, len });
        }
        Ok(())
    }
}

/// Where a number is, if the shape is one.
fn place(shape: &Shape, bit: usize, bits: u8) -> Option<Place> {
    let (size, signed, big_endian) = match shape {
        Shape::Int { size, signed, big_endian } => (*size, *signed, *big_endian),
        Shape::Enum { size, signed, .. } => (*size, *signed, false),
        Shape::Array { .. }
        | Shape::Struct { .. }
        | Shape::Union { .. }
        | Shape::Special { .. }
        | Shape::Bytes { .. } => return None,
    };
    let bits = if bits == 0 { size as usize * 8 } else { usize::from(bits) };
    (1..=128).contains(&bits).then_some(Place { bit, bits, signed, big_endian })
}

fn word(shape: &Shape, place: Place) -> String {
    if place.bits as u64 == shape.size() * 8 { shape.word() } else { format!("{} bits", place.bits) }
}

/// The names of an enumeration with old and new values, when any name changed its value or went.
fn renamed(old: &Shape, new: &Shape) -> Option<Vec<(String, i128, Option<i128>)>> {
    let (Shape::Enum { names: old, .. }, Shape::Enum { names: new, .. }) = (old, new) else { return None };
    let after = |name: &str| new.iter().find(|(other, _)| other == name).map(|(_, value)| i128::from(*value));
    let names = old.iter().map(|(name, value)| (name.clone(), i128::from(*value), after(name)));
    let names: Vec<_> = names.collect();
    names.iter().any(|(_, before, after)| Some(*before) != *after).then_some(names)
}

/// Places were computed from shapes whose sizes were compared with the bytes; a member that lies outside its
/// structure (a hostile table of types) reads as zero and is not written.
fn run(steps: &[Step], old: &[u8], new: &mut [u8]) -> Result<(), Unfit> {
    for step in steps {
        match step {
            Step::Copy { from, to, len } => {
                if let (Some(from), Some(to)) = (part(old, *from, *len), part_mut(new, *to, *len)) {
                    to.copy_from_slice(from);
                }
            }
            Step::Number { path, from, to } => {
                let number = from.read(old);
                to.write(number, new).map_err(|text| Unfit { path: path.clone(), text })?;
            }
            Step::Name { path, from, to, names } => {
                let number = from.read(old);
                let unfit = |text| Unfit { path: path.clone(), text };
                let named = names.iter().find(|(_, before, _)| *before == number);
                let number = match named {
                    Some((_, _, Some(after))) => *after,
                    Some((name, _, None)) => {
                        return Err(unfit(format!("is {name}, which is no longer a name")));
                    }
                    None => number,
                };
                to.write(number, new).map_err(unfit)?;
            }
            Step::Each { from, to, from_stride, to_stride, count, steps } => {
                for index in 0..*count {
                    let old = part(old, from + index * from_stride, *from_stride);
                    let new = part_mut(new, to + index * to_stride, *to_stride);
                    if let (Some(old), Some(new)) = (old, new) {
                        run(steps, old, new)?;
                    }
                }
            }
            Step::Empty { path, from, len } => {
                if part(old, *from, *len).is_some_and(|rest| rest.iter().any(|byte| *byte != 0)) {
                    let text = "has elements that are not zero beyond its new end".to_owned();
                    return Err(Unfit { path: path.clone(), text });
                }
            }
        }
    }
    Ok(())
}

fn part(bytes: &[u8], at: usize, len: usize) -> Option<&[u8]> {
    bytes.get(at..at.checked_add(len)?)
}

fn part_mut(bytes: &mut [u8], at: usize, len: usize) -> Option<&mut [u8]> {
    bytes.get_mut(at..at.checked_add(len)?)
}

impl Place {
    /// The number here.
    fn read(&self, bytes: &[u8]) -> i128 {
        let bit = |at: usize| bytes.get(at / 8).is_some_and(|byte| byte >> (at % 8) & 1 != 0);
        let mut number = 0u128;
        if self.bit.is_multiple_of(8) && self.bits.is_multiple_of(8) {
            for at in 0..self.bits / 8 {
                let byte = bytes.get(self.bit / 8 + at).copied().unwrap_or(0);
                let shift = if self.big_endian { self.bits - 8 - at * 8 } else { at * 8 };
                number |= u128::from(byte) << shift;
            }
        } else {
            (0..self.bits).for_each(|at| number |= u128::from(bit(self.bit + at)) << at);
        }
        let free = 128 - self.bits;
        if self.signed { (number << free) as i128 >> free } else { number as i128 }
    }

    /// Writes a number here, or says why it does not fit.
    fn write(&self, number: i128, bytes: &mut [u8]) -> Result<(), String> {
        let bits = self.bits as u32;
        let fits = match self.signed {
            _ if bits == 128 => true,
            true => number >= -(1 << (bits - 1)) && number < 1 << (bits - 1),
            false if bits == 127 => number >= 0,
            false => number >= 0 && number < 1 << bits,
        };
        if !fits {
            let sign = if self.signed { "signed" } else { "unsigned" };
            return Err(format!("is {number}, which does not fit in {bits} bits ({sign})"));
        }
        for at in 0..self.bits {
            let from = match self.big_endian {
                true => (self.bits / 8 - 1 - at / 8) * 8 + at % 8,
                false => at,
            };
            let (place, mask) = ((self.bit + at) / 8, 1u8 << ((self.bit + at) % 8));
            if let Some(byte) = bytes.get_mut(place) {
                *byte = if number >> from & 1 != 0 { *byte | mask } else { *byte & !mask };
            }
        }
        Ok(())
    }
}

//! Bytes to values by their type, as bpftool shows them (tools/bpf/bpftool/btf_dumper.c): enumerations
//! by name, arrays of `char` as text when they end in a zero, bit fields and 128-bit numbers in
//! hexadecimal. Unlike bpftool we know floating-point numbers.

use std::fmt;

use thiserror::Error;

use super::{Btf, Composite, Enum, Int, Kind, SectionVariable, TypeId};

/// Deepest nesting of a value.
const DEPTH_MAX: usize = 64;
/// Most parts of a value, so that a type of many empty parts ends.
const PARTS_MAX: usize = 1 << 20;

/// A value that a type gave its bytes.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A truth value.
    Bool(bool),
    /// An integer, an enumeration's value without name, or a pointer.
    Number(i128),
    /// A number that is shown in hexadecimal: of 128 bits, or a bit field.
    Hex(u128),
    /// A floating-point number.
    Float(f64),
    /// A character, a text, or an enumeration's name.
    Text(String),
    /// The elements of an array, or the variables of a section.
    Array(Vec<Value>),
    /// The members of a structure or union.
    Object(Vec<(String, Value)>),
}

/// Why bytes have no value of a type.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FormatError {
    /// The type needs more bytes than there are.
    #[error("type [{id}] needs {wanted} bytes at offset {offset}, and there are {found}")]
    Short {
        /// Which type.
        id: TypeId,
        /// Where in the bytes.
        offset: usize,
        /// Bytes that it needs.
        wanted: usize,
        /// Bytes of all.
        found: usize,
    },
    /// Values have no such type.
    #[error("type [{id}] is no type of values")]
    NoValue {
        /// Which type.
        id: TypeId,
    },
    /// The type is nested too deep, or has too many parts.
    #[error("type [{id}] has too many parts")]
    TooLarge {
        /// Which type.
        id: TypeId,
    },
}

/// Walks a type along bytes.
struct Formatter<'a> {
    btf: &'a Btf,
    bytes: &'a [u8],
    parts: usize,
}

impl Btf {
    /// The value that these bytes are of this type; they may be more than it needs.
    pub fn value(&self, id: TypeId, bytes: &[u8]) -> Result<Value, FormatError> {
        Formatter { btf: self, bytes, parts: 0 }.value(id, 0, 0)
    }
}

impl Formatter<'_> {
    fn take(&self, id: TypeId, offset: usize, wanted: usize) -> Result<&[u8], FormatError> {
        let found = self.bytes.len();
        let short = FormatError::Short { id, offset, wanted, found };
        self.bytes.get(offset..).and_then(|rest| rest.get(..wanted)).ok_or(short)
    }

    /// At most sixteen bytes as a little-endian number.
    fn number(&self, id: TypeId, offset: usize, size: usize) -> Result<u128, FormatError> {
        let taken = self.take(id, offset, size)?;
        let mut wide = [0; 16];
        wide.get_mut(..size).ok_or(FormatError::NoValue { id })?.copy_from_slice(taken);
        Ok(u128::from_le_bytes(wide))
    }

    fn value(&mut self, id: TypeId, offset: usize, depth: usize) -> Result<Value, FormatError> {
        self.parts += 1;
        if depth > DEPTH_MAX || self.parts > PARTS_MAX {
            return Err(FormatError::TooLarge { id });
        }
        let id = self.btf.strip(id);
        let btf = self.btf;
        match btf.kind(id) {
            Kind::Int(int) => self.int(id, *int, offset),
            Kind::Ptr(_) => Ok(Value::Number(self.number(id, offset, 8)? as i128)),
            Kind::Float { size } => self.float(id, offset, *size),
            Kind::Enum(found) => self.enumeration(id, found, offset),
            Kind::Array { element, length, .. } => self.array(id, *element, *length, offset, depth),
            Kind::Struct(composite) | Kind::Union(composite) => self.composite(id, composite, offset, depth),
            Kind::Section { variables, .. } => self.section(id, variables, offset, depth),
            Kind::Variable { of, .. } => {
                let value = self.value(*of, offset, depth + 1)?;
                Ok(Value::Object(vec![(btf.name(id).to_owned(), value)]))
            }
            Kind::Void
            | Kind::Forward { .. }
            | Kind::Function { .. }
            | Kind::Prototype { .. }
            | Kind::DeclTag { .. }
            | Kind::Typedef(_)
            | Kind::Volatile(_)
            | Kind::Const(_)
            | Kind::Restrict(_)
            | Kind::TypeTag(_) => Err(FormatError::NoValue { id }),
        }
    }

    fn int(&self, id: TypeId, int: Int, offset: usize) -> Result<Value, FormatError> {
        let bits = u32::from(int.bits);
        if int.bit_offset != 0 || !matches!(bits, 8 | 16 | 32 | 64 | 128) {
            return self.bits(id, offset, u32::from(int.bit_offset), bits.min(64));
        }
        let number = self.number(id, offset, int.size as usize)?;
        let printable = u8::try_from(number).is_ok_and(|byte| byte.is_ascii_graphic() || byte == b' ');
        Ok(match number {
            _ if bits == 128 => Value::Hex(number),
            _ if int.bool => Value::Bool(number & 0xff != 0),
            _ if int.char && printable => Value::Text(char::from(number as u8).to_string()),
            _ if int.signed => Value::Number((number << (128 - bits)) as i128 >> (128 - bits)),
            _ => Value::Number(number as i128),
        })
    }

    fn float(&self, id: TypeId, offset: usize, size: u32) -> Result<Value, FormatError> {
        let number = self.number(id, offset, size as usize)?;
        match size {
            4 => Ok(Value::Float(f64::from(f32::from_bits(number as u32)))),
            8 => Ok(Value::Float(f64::from_bits(number as u64))),
            _ => Ok(Value::Hex(number)),
        }
    }

    /// The bits of a bit field, which starts this many bits into the bytes at `offset`.
    fn bits(&self, id: TypeId, offset: usize, first: u32, bits: u32) -> Result<Value, FormatError> {
        let (offset, first) = (offset + first as usize / 8, first % 8);
        let number = self.number(id, offset, (first + bits).div_ceil(8) as usize)?;
        let mask = 1u128.checked_shl(bits).map_or(u128::MAX, |bit| bit - 1);
        Ok(Value::Hex(number >> first & mask))
    }

    fn enumeration(&self, id: TypeId, found: &Enum, offset: usize) -> Result<Value, FormatError> {
        let size = found.size as usize;
        let raw = self.number(id, offset, size)?;
        let free = 128 - found.size * 8;
        let signed = (raw << free) as i128 >> free;
        let same = |value: i64| i128::from(value) == signed || i128::from(value) == raw as i128;
        match found.values.iter().find(|enumerator| same(enumerator.value)) {
            Some(enumerator) => Ok(Value::Text(self.btf.text(enumerator.name).to_owned())),
            None => Ok(Value::Number(if found.signed { signed } else { raw as i128 })),
        }
    }

    fn array(
        &mut self,
        id: TypeId,
        element: TypeId,
        length: u32,
        offset: usize,
        depth: usize,
    ) -> Result<Value, FormatError> {
        if let Some(text) = self.text(element, length, offset) {
            return Ok(Value::Text(text));
        }
        let size = self.btf.size_of(element).and_then(|size| usize::try_from(size).ok());
        let size = size.ok_or(FormatError::NoValue { id: element })?;
        let wanted = size.checked_mul(length as usize).ok_or(FormatError::TooLarge { id })?;
        self.take(id, offset, wanted)?;
        // Elements without bytes are not worth a list.
        let count = if size == 0 { 0 } else { length as usize };
        let elements = (0..count).map(|index| self.value(element, offset + index * size, depth + 1));
        elements.collect::<Result<_, _>>().map(Value::Array)
    }

    /// An array of `char` as text: all of it printable up to a zero. A typedef of `char` is no text.
    fn text(&self, element: TypeId, length: u32, offset: usize) -> Option<String> {
        let mut id = element;
        while let Kind::Volatile(of) | Kind::Const(of) | Kind::Restrict(of) = self.btf.kind(id) {
            id = *of;
            if id == element {
                return None;
            }
        }
        let Kind::Int(int) = self.btf.kind(id) else { return None };
        if int.size != 1 || !(int.char || self.btf.name(id) == "char") {
            return None;
        }
        let bytes = self.take(id, offset, length as usize).ok()?;
        let text = &bytes[..bytes.iter().position(|byte| *byte == 0)?];
        let printable = text.iter().all(|byte| (0x20..0x7f).contains(byte));
        printable.then(|| String::from_utf8_lossy(text).into_owned())
    }

    fn composite(
        &mut self,
        id: TypeId,
        composite: &Composite,
        offset: usize,
        depth: usize,
    ) -> Result<Value, FormatError> {
        self.take(id, offset, composite.size as usize)?;
        let mut members = Vec::new();
        for member in &composite.members {
            let name = self.btf.text(member.name).to_owned();
            let value = if member.bits > 0 {
                self.parts += 1;
                let (byte, bit) = (member.bit_offset as usize / 8, member.bit_offset % 8);
                self.bits(id, offset + byte, bit, u32::from(member.bits).min(64))?
            } else {
                self.value(member.of, offset + member.bit_offset as usize / 8, depth + 1)?
            };
            members.push((name, value));
        }
        Ok(Value::Object(members))
    }

    fn section(
        &mut self,
        id: TypeId,
        variables: &[SectionVariable],
        offset: usize,
        depth: usize,
    ) -> Result<Value, FormatError> {
        let each = |variable: &SectionVariable| {
            self.value(variable.variable, offset + variable.offset as usize, depth + 1)
        };
        let values = variables.iter().map(each).collect::<Result<_, _>>()?;
        Ok(Value::Object(vec![(self.btf.name(id).to_owned(), Value::Array(values))]))
    }
}

/// Compact JSON, as `bpftool -j` writes it.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Bool(value) => write!(f, "{value}"),
            Value::Number(number) => write!(f, "{number}"),
            Value::Hex(number) => write!(f, "\"{number:#x}\""),
            Value::Float(number) if number.is_finite() => write!(f, "{number}"),
            Value::Float(number) => write!(f, "\"{number}\""),
            Value::Text(text) => quoted(f, text),
            Value::Array(elements) => {
                list(f, "[", elements, |f, element| write!(f, "{element}"))?;
                f.write_str("]")
            }
            Value::Object(members) => {
                list(f, "{", members, |f, (name, value)| {
                    quoted(f, name)?;
                    write!(f, ":{value}")
                })?;
                f.write_str("}")
            }
        }
    }
}

fn list<T>(
    f: &mut fmt::Formatter<'_>,
    open: &str,
    items: &[T],
    one: impl Fn(&mut fmt::Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    f.write_str(open)?;
    for (index, item) in items.iter().enumerate() {
        f.write_str(if index == 0 { "" } else { "," })?;
        one(f, item)?;
    }
    Ok(())
}

fn quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("\"")?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            c if c.is_control() => write!(f, "\\u{:04x}", c as u32)?,
            c => write!(f, "{c}")?,
        }
    }
    f.write_str("\"")
}

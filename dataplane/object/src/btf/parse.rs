//! `.BTF` bytes to [`Btf`].

use std::sync::Arc;

use super::{
    Btf, Composite, Enum, Enumerator, Int, Kind, Linkage, Member, NameRef, Parameter, SectionVariable, Type,
    TypeId,
};
use crate::cursor::Cursor;
use crate::error::ObjectError;

/// The first two bytes of BTF and of its extension.
pub(super) const MAGIC: u16 = 0xeb9f;

mod kind {
    pub(super) const INT: u32 = 1;
    pub(super) const PTR: u32 = 2;
    pub(super) const ARRAY: u32 = 3;
    pub(super) const STRUCT: u32 = 4;
    pub(super) const UNION: u32 = 5;
    pub(super) const ENUM: u32 = 6;
    pub(super) const FWD: u32 = 7;
    pub(super) const TYPEDEF: u32 = 8;
    pub(super) const VOLATILE: u32 = 9;
    pub(super) const CONST: u32 = 10;
    pub(super) const RESTRICT: u32 = 11;
    pub(super) const FUNC: u32 = 12;
    pub(super) const FUNC_PROTO: u32 = 13;
    pub(super) const VAR: u32 = 14;
    pub(super) const DATASEC: u32 = 15;
    pub(super) const FLOAT: u32 = 16;
    pub(super) const DECL_TAG: u32 = 17;
    pub(super) const TYPE_TAG: u32 = 18;
    pub(super) const ENUM64: u32 = 19;
}

/// The words that every type starts with (`struct btf_type`).
struct Head {
    name: NameRef,
    kind: u32,
    count: u16,
    flag: bool,
    /// Its size or the type it refers to.
    word: u32,
}

/// Reads one type after another.
struct Reader<'a> {
    cursor: Cursor<'a>,
    strings_length: u32,
}

impl Btf {
    /// Parses the bytes of a `.BTF` section, or of `/sys/kernel/btf/vmlinux`.
    pub fn parse(bytes: &[u8]) -> Result<Btf, ObjectError> {
        const SECTION: &str = ".BTF";
        let mut head = Cursor::new(SECTION, bytes);
        let length = header(&mut head)?;
        let type_offset = head.u32("offset of types")?;
        let type_length = head.u32("length of types")?;
        let string_offset = head.u32("offset of strings")?;
        let string_length = head.u32("length of strings")?;
        let mut body = Cursor::new(SECTION, bytes);
        body.take(length as usize, "the header")?;
        let mut types = body;
        types.take(type_offset as usize, "bytes before the types")?;
        let types = types.sub(type_length as usize, "the types")?;
        body.take(string_offset as usize, "bytes before the strings")?;
        let strings = body.take(string_length as usize, "the strings")?;
        if strings.first() != Some(&0) || strings.last() != Some(&0) {
            let found = format!("strings from {:?} to {:?}", strings.first(), strings.last());
            return Err(body.malformed(found, "strings that start and end with a zero"));
        }
        let reader = Reader { cursor: types, strings_length: string_length };
        Ok(Btf { types: reader.types()?, strings: Arc::from(strings) })
    }
}

/// Reads magic, version, flags and header length.
pub(super) fn header(head: &mut Cursor<'_>) -> Result<u32, ObjectError> {
    let start = *head;
    let magic = head.u16("magic number")?;
    if magic != MAGIC {
        return Err(
            start.malformed(format!("magic number {magic:#06x}"), format!("{MAGIC:#06x}, little endian"))
        );
    }
    let at = *head;
    let version = head.u8("version")?;
    if version != 1 {
        return Err(at.malformed(format!("version {version}"), "version 1"));
    }
    head.u8("flags")?;
    let at = *head;
    let length = head.u32("header length")?;
    if length < 24 {
        return Err(at.malformed(format!("a header of {length} bytes"), "24 bytes or more"));
    }
    Ok(length)
}

impl Reader<'_> {
    fn types(mut self) -> Result<Vec<Type>, ObjectError> {
        let mut types = vec![Type { name: NameRef(0), kind: Kind::Void }];
        let mut starts = vec![0];
        while !self.cursor.is_empty() {
            starts.push(self.cursor.offset());
            types.push(self.one()?);
        }
        let count = types.len() as TypeId;
        for (id, (found, start)) in types.iter().zip(starts).enumerate() {
            if let Some(wrong) = references(&found.kind).find(|reference| *reference >= count) {
                let found = format!("type [{id}] that refers to [{wrong}]");
                return Err(ObjectError::malformed(".BTF", start, found, format!("a type below [{count}]")));
            }
        }
        Ok(types)
    }

    fn one(&mut self) -> Result<Type, ObjectError> {
        let start = self.cursor;
        let head = self.head()?;
        let kind = match head.kind {
            kind::INT => self.int(&head)?,
            kind::PTR => Kind::Ptr(head.word),
            kind::ARRAY => Kind::Array {
                element: self.cursor.u32("element type")?,
                index: self.cursor.u32("index type")?,
                length: self.cursor.u32("number of elements")?,
            },
            kind::STRUCT => Kind::Struct(self.composite(&head)?),
            kind::UNION => Kind::Union(self.composite(&head)?),
            kind::ENUM => self.enumeration(&head, false)?,
            kind::ENUM64 => self.enumeration(&head, true)?,
            kind::FWD => Kind::Forward { union: head.flag },
            kind::TYPEDEF => Kind::Typedef(head.word),
            kind::VOLATILE => Kind::Volatile(head.word),
            kind::CONST => Kind::Const(head.word),
            kind::RESTRICT => Kind::Restrict(head.word),
            kind::FUNC => {
                Kind::Function { prototype: head.word, linkage: linkage(&start, u32::from(head.count))? }
            }
            kind::FUNC_PROTO => Kind::Prototype { returns: head.word, parameters: self.parameters(&head)? },
            kind::VAR => {
                let at = self.cursor;
                let linkage = linkage(&at, self.cursor.u32("linkage")?)?;
                Kind::Variable { of: head.word, linkage }
            }
            kind::DATASEC => Kind::Section { size: head.word, variables: self.section(&head)? },
            kind::FLOAT => Kind::Float { size: head.word },
            kind::DECL_TAG => {
                Kind::DeclTag { of: head.word, component: self.cursor.u32("component index")? as i32 }
            }
            kind::TYPE_TAG => Kind::TypeTag(head.word),
            other => return Err(start.malformed(format!("type kind {other}"), "a kind from 1 to 19")),
        };
        Ok(Type { name: head.name, kind })
    }

    fn head(&mut self) -> Result<Head, ObjectError> {
        let name = self.name()?;
        let info = self.cursor.u32("type info")?;
        let word = self.cursor.u32("size or type")?;
        Ok(Head { name, kind: info >> 24 & 0x1f, count: info as u16, flag: info >> 31 != 0, word })
    }

    fn name(&mut self) -> Result<NameRef, ObjectError> {
        let at = self.cursor;
        let name = self.cursor.u32("name offset")?;
        if name >= self.strings_length {
            let wanted = format!("one below {:#x}", self.strings_length);
            return Err(at.malformed(format!("name offset {name:#x}"), wanted));
        }
        Ok(NameRef(name))
    }

    fn int(&mut self, head: &Head) -> Result<Kind, ObjectError> {
        let at = self.cursor;
        let word = self.cursor.u32("integer encoding")?;
        let (bits, bit_offset, encoding) = (word as u8, (word >> 16) as u8, word >> 24);
        let fits = u32::from(bits) + u32::from(bit_offset) <= head.word.saturating_mul(8);
        if head.word > 16 || bits > 128 || !fits {
            let found = format!("an integer of {bits} bits at bit {bit_offset} in {} bytes", head.word);
            return Err(at.malformed(found, "bits inside 16 bytes or fewer"));
        }
        Ok(Kind::Int(Int {
            size: head.word,
            bits,
            bit_offset,
            signed: encoding & 1 != 0,
            char: encoding & 2 != 0,
            bool: encoding & 4 != 0,
        }))
    }

    /// Runs `one` for each of the head's elements of `size` bytes, after seeing that they are there.
    fn each<T>(
        &mut self,
        head: &Head,
        size: usize,
        wanted: &str,
        one: impl Fn(&mut Self) -> Result<T, ObjectError>,
    ) -> Result<Vec<T>, ObjectError> {
        let count = usize::from(head.count);
        if count * size > self.cursor.remaining() {
            let found = format!("{} bytes up to the end", self.cursor.remaining());
            return Err(self.cursor.malformed(found, format!("{count} {wanted} of {size} bytes")));
        }
        (0..count).map(|_| one(self)).collect()
    }

    fn composite(&mut self, head: &Head) -> Result<Composite, ObjectError> {
        let members = self.each(head, 12, "members", |reader| {
            let name = reader.name()?;
            let of = reader.cursor.u32("member type")?;
            let offset = reader.cursor.u32("member offset")?;
            let (bit_offset, bits) =
                if head.flag { (offset & 0x00ff_ffff, (offset >> 24) as u8) } else { (offset, 0) };
            Ok(Member { name, of, bit_offset, bits })
        })?;
        Ok(Composite { size: head.word, members })
    }

    fn enumeration(&mut self, head: &Head, wide: bool) -> Result<Kind, ObjectError> {
        // One that is declared and nowhere defined has no values, and no size.
        let forward = head.word == 0 && head.count == 0;
        if !forward && !matches!(head.word, 1 | 2 | 4 | 8) {
            let found = format!("an enumeration of {} bytes", head.word);
            return Err(self.cursor.malformed(found, "1, 2, 4 or 8 bytes"));
        }
        let values = self.each(head, if wide { 12 } else { 8 }, "enumerators", |reader| {
            let name = reader.name()?;
            let low = reader.cursor.u32("value")?;
            let value = match (wide, head.flag) {
                (true, _) => i64::from(reader.cursor.u32("upper half of value")?) << 32 | i64::from(low),
                (false, true) => i64::from(low as i32),
                (false, false) => i64::from(low),
            };
            Ok(Enumerator { name, value })
        })?;
        // Before the flag existed, compilers wrote negative values without it.
        let signed = head.flag;
        Ok(Kind::Enum(Enum { size: head.word, signed, wide, values }))
    }

    fn parameters(&mut self, head: &Head) -> Result<Vec<Parameter>, ObjectError> {
        self.each(head, 8, "parameters", |reader| {
            Ok(Parameter { name: reader.name()?, of: reader.cursor.u32("parameter type")? })
        })
    }

    fn section(&mut self, head: &Head) -> Result<Vec<SectionVariable>, ObjectError> {
        self.each(head, 12, "variables", |reader| {
            Ok(SectionVariable {
                variable: reader.cursor.u32("variable")?,
                offset: reader.cursor.u32("offset of variable")?,
                size: reader.cursor.u32("size of variable")?,
            })
        })
    }
}

fn linkage(at: &Cursor<'_>, number: u32) -> Result<Linkage, ObjectError> {
    match number {
        0 => Ok(Linkage::Static),
        1 => Ok(Linkage::Global),
        2 => Ok(Linkage::Extern),
        _ => Err(at.malformed(format!("linkage {number}"), "static (0), global (1) or extern (2)")),
    }
}

/// Every type number that a type holds.
fn references(kind: &Kind) -> Box<dyn Iterator<Item = TypeId> + '_> {
    match kind {
        Kind::Void | Kind::Int(_) | Kind::Enum(_) | Kind::Forward { .. } | Kind::Float { .. } => {
            Box::new(std::iter::empty())
        }
        Kind::Ptr(of)
        | Kind::Typedef(of)
        | Kind::Volatile(of)
        | Kind::Const(of)
        | Kind::Restrict(of)
        | Kind::TypeTag(of)
        | Kind::DeclTag { of, .. }
        | Kind::Variable { of, .. }
        | Kind::Function { prototype: of, .. } => Box::new(std::iter::once(*of)),
        Kind::Array { element, index, .. } => Box::new([*element, *index].into_iter()),
        Kind::Struct(composite) | Kind::Union(composite) => {
            Box::new(composite.members.iter().map(|member| member.of))
        }
        Kind::Prototype { returns, parameters } => {
            Box::new(std::iter::once(*returns).chain(parameters.iter().map(|parameter| parameter.of)))
        }
        Kind::Section { variables, .. } => Box::new(variables.iter().map(|variable| variable.variable)),
    }
}

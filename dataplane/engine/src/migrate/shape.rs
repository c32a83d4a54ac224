//! What a map's keys and values look like, freed from the table of types they came from: a finite tree that
//! can be compared, and written into a snapshot beside the bytes it describes.

use serde::{Deserialize, Serialize};
use weir_ebpf::abi::MapKind;
use weir_ebpf::program::{Initial, MapSpec};
use weir_object::Btf;
use weir_object::btf::{Composite, Kind, TypeId};

use crate::mapview::Types;

/// Deepest nesting that is followed.
const DEPTH_MAX: usize = 24;
/// Most parts of a type; one with more is taken as plain bytes.
const PARTS_MAX: usize = 4096;
/// No key or value is larger.
const SIZE_MAX: u32 = 1 << 30;

/// A type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Shape {
    /// An integer, a truth value or a character.
    Int {
        /// Bytes.
        size: u32,
        /// Whether it may be negative.
        signed: bool,
        /// Whether a typedef says that it is in network byte order.
        big_endian: bool,
    },
    /// An enumeration.
    Enum {
        /// Bytes.
        size: u32,
        /// Whether it may be negative.
        signed: bool,
        /// Names and values.
        names: Vec<(String, i64)>,
    },
    /// An array.
    Array {
        /// How many elements.
        length: u32,
        /// What each is.
        of: Box<Shape>,
    },
    /// A structure.
    Struct {
        /// Bytes.
        size: u32,
        /// Its members; those of unnamed structures in it stand among its own.
        fields: Vec<Field>,
    },
    /// A union.
    Union {
        /// Bytes.
        size: u32,
        /// Its members.
        fields: Vec<Field>,
    },
    /// A spin lock or timer: it belongs to the element and is never copied.
    Special {
        /// Bytes.
        size: u32,
    },
    /// Bytes of which no more is known: floating-point numbers, pointers.
    Bytes {
        /// How many.
        size: u32,
    },
}

/// A member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// Its name; `(1)`, `(2)` for unnamed unions.
    pub name: String,
    /// First bit.
    pub bit: u32,
    /// Bits of a bit field; 0 for an ordinary member.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub bits: u8,
    /// What it is.
    pub of: Shape,
}

fn is_zero(bits: &u8) -> bool {
    *bits == 0
}

impl Shape {
    /// A type of a table; `None` when it has no size, or is deeper or larger than types of values are.
    pub fn of(btf: &Btf, id: TypeId) -> Option<Shape> {
        Reader { btf, parts: 0 }.shape(id, false, 0)
    }

    /// Bytes of a value.
    pub fn size(&self) -> u64 {
        match self {
            Shape::Int { size, .. }
            | Shape::Enum { size, .. }
            | Shape::Struct { size, .. }
            | Shape::Union { size, .. }
            | Shape::Special { size }
            | Shape::Bytes { size } => u64::from(*size),
            Shape::Array { length, of } => u64::from(*length).saturating_mul(of.size()),
        }
    }

    /// Whether everything lies inside what it belongs to, and the whole is no deeper or larger than types of
    /// values are.
    pub fn is_sound(&self) -> bool {
        let mut parts = 0;
        self.sound(0, &mut parts)
    }

    fn sound(&self, depth: usize, parts: &mut usize) -> bool {
        *parts += 1;
        if depth > DEPTH_MAX || *parts > PARTS_MAX {
            return false;
        }
        match self {
            Shape::Int { size, .. } | Shape::Enum { size, .. } => (1..=16).contains(size),
            Shape::Special { .. } | Shape::Bytes { .. } => true,
            // Elements without bytes could be repeated for ever.
            Shape::Array { length, of } => (*length == 0 || of.size() > 0) && of.sound(depth + 1, parts),
            Shape::Struct { size, fields } | Shape::Union { size, fields } => fields.iter().all(|field| {
                let bits =
                    if field.bits == 0 { field.of.size().saturating_mul(8) } else { field.bits.into() };
                let end = u64::from(field.bit).saturating_add(bits);
                let whole = field.bits != 0 || field.bit.is_multiple_of(8);
                whole && end <= u64::from(*size) * 8 && field.of.sound(depth + 1, parts)
            }),
        }
    }

    /// As C would say it, roughly.
    pub fn word(&self) -> String {
        match self {
            Shape::Int { size, signed, big_endian } => {
                let sign = if *signed { "s" } else { "u" };
                format!("{}{}", if *big_endian { "be" } else { sign }, u64::from(*size) * 8)
            }
            Shape::Enum { .. } => "enum".to_owned(),
            Shape::Array { length, of } => format!("{}[{length}]", of.word()),
            Shape::Struct { .. } => "struct".to_owned(),
            Shape::Union { .. } => "union".to_owned(),
            Shape::Special { .. } => "lock or timer".to_owned(),
            Shape::Bytes { size } => format!("{size} bytes"),
        }
    }
}

struct Reader<'b> {
    btf: &'b Btf,
    parts: usize,
}

impl Reader<'_> {
    fn shape(&mut self, id: TypeId, big_endian: bool, depth: usize) -> Option<Shape> {
        self.parts += 1;
        if depth > DEPTH_MAX || self.parts > PARTS_MAX {
            return None;
        }
        let big_endian = big_endian || matches!(self.btf.name(id), "__be16" | "__be32" | "__be64");
        Some(match self.btf.kind(id) {
            Kind::Typedef(of)
            | Kind::Volatile(of)
            | Kind::Const(of)
            | Kind::Restrict(of)
            | Kind::TypeTag(of) => return self.shape(*of, big_endian, depth + 1),
            Kind::Int(int) => Shape::Int { size: int.size, signed: int.signed, big_endian },
            Kind::Enum(found) => {
                let names = found.values.iter();
                let names = names.map(|name| (self.btf.text(name.name).to_owned(), name.value)).collect();
                Shape::Enum { size: found.size, signed: found.signed, names }
            }
            Kind::Array { element, length, .. } => {
                Shape::Array { length: *length, of: Box::new(self.shape(*element, false, depth + 1)?) }
            }
            Kind::Struct(composite) => match self.btf.name(id) {
                "bpf_spin_lock" | "bpf_timer" => Shape::Special { size: composite.size },
                _ => {
                    let mut fields = Vec::new();
                    self.fields(composite, 0, depth, &mut fields)?;
                    Shape::Struct { size: composite.size, fields }
                }
            },
            Kind::Union(composite) => {
                let mut fields = Vec::new();
                self.fields(composite, 0, depth, &mut fields)?;
                Shape::Union { size: composite.size, fields }
            }
            Kind::Float { size } => Shape::Bytes { size: *size },
            Kind::Ptr(_) => Shape::Bytes { size: 8 },
            Kind::Void
            | Kind::Forward { .. }
            | Kind::Function { .. }
            | Kind::Prototype { .. }
            | Kind::Variable { .. }
            | Kind::Section { .. }
            | Kind::DeclTag { .. } => return None,
        })
    }

    fn fields(&mut self, from: &Composite, base: u32, depth: usize, into: &mut Vec<Field>) -> Option<()> {
        for member in &from.members {
            let bit = base.checked_add(member.bit_offset)?;
            let name = self.btf.text(member.name);
            match self.btf.kind(self.btf.strip(member.of)) {
                Kind::Struct(inner) if name.is_empty() && depth < DEPTH_MAX => {
                    self.fields(inner, bit, depth + 1, into)?;
                    continue;
                }
                _ => {}
            }
            let unnamed =
                || format!("({})", into.iter().filter(|field| field.name.starts_with('(')).count() + 1);
            let name = if name.is_empty() { unnamed() } else { name.to_owned() };
            let of = self.shape(member.of, false, depth + 1)?;
            into.push(Field { name, bit, bits: member.bits, of });
        }
        Some(())
    }
}

/// All of a map that decides whether its contents fit another: what it was made from, and its types.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// The map's name.
    pub map: String,
    /// The kernel's number of its kind.
    pub kind: u32,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Most entries.
    pub max_entries: u32,
    /// `BPF_F_*` flags.
    pub flags: u32,
    /// What a key is, where its object says so.
    pub key: Option<Shape>,
    /// What a value is.
    pub value: Option<Shape>,
    /// Where spin locks and timers lie in a value: offset and bytes.
    pub special: Vec<(u32, u32)>,
    /// Shape of the inner maps of a map of maps.
    pub inner: Option<Box<Layout>>,
    /// Whether it belongs to its generation: data sections, tables of programs.
    pub own: bool,
}

impl Layout {
    /// The layout of a map that is, or will be, made from this.
    pub fn of(spec: &MapSpec, types: &Types) -> Layout {
        let shape = |typed: Option<(&Btf, TypeId)>, size: u32| {
            let fits = |shape: &Shape| shape.size() == u64::from(size) && shape.is_sound();
            typed.and_then(|(btf, id)| Shape::of(btf, id)).filter(fits)
        };
        let special = spec.fields.iter().map(|field| (field.offset(), field.size()));
        Layout {
            map: spec.name.clone(),
            kind: spec.kind as u32,
            key_size: spec.key_size,
            value_size: spec.value_size,
            max_entries: spec.max_entries,
            flags: spec.flags,
            key: shape(types.key(), spec.key_size),
            value: shape(types.value(), spec.value_size),
            special: special.collect(),
            inner: spec.inner.as_ref().map(|inner| Box::new(Layout::of(inner, &Types::default()))),
            own: is_own(spec),
        }
    }

    /// Whether what it says can be true of a map; for one that was read from a file.
    pub fn is_sound(&self) -> bool {
        let fits = |shape: &Option<Shape>, size: u32| {
            shape.as_ref().is_none_or(|shape| shape.size() == u64::from(size) && shape.is_sound())
        };
        self.kind().is_some()
            && self.key_size <= SIZE_MAX
            && self.value_size <= SIZE_MAX
            && self.key_size.saturating_add(self.value_size) > 0
            && fits(&self.key, self.key_size)
            && fits(&self.value, self.value_size)
    }

    /// Its kind.
    pub fn kind(&self) -> Option<MapKind> {
        MapKind::new(self.kind)
    }

    /// bpftool's word for its kind.
    pub fn kind_name(&self) -> &'static str {
        self.kind().map_or("unknown", MapKind::name)
    }
}

/// Whether a map belongs to its generation whatever anyone asks: its contents are its programs' own.
fn is_own(spec: &MapSpec) -> bool {
    let data = matches!(spec.initial, Initial::Data(_)) || spec.name.contains('.');
    data || matches!(spec.kind, MapKind::ProgArray | MapKind::CgroupArray | MapKind::StackTrace)
}

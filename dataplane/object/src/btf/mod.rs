//! BTF, the type information that compilers leave in objects and kernels publish
//! (Documentation/bpf/btf.rst): every kind through `BTF_KIND_ENUM64`.
//!
//! A [`Btf`] is a table of types that name each other by number; number 0 is `void`. Parsing checks
//! that every number is in the table and every name in the string table. It does not check that
//! types are finite: a hostile table may hold a structure that contains itself. So whoever follows
//! references here counts the steps.

mod ext;
mod format;
mod layout;
mod parse;
mod write;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

pub use crate::core::uapi;
pub use format::{FormatError, Value};
pub use write::BtfBuilder;

pub(crate) use ext::{CoreRelocation, Ext, LineRecord};

use crate::cursor::text_at;

/// Number of a type in its table; 0 is `void`.
pub type TypeId = u32;

/// Longest name. The kernel's own limit is 512.
const NAME_MAX: usize = 1024;

/// A name, as a place in the string table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct NameRef(pub(crate) u32);

/// A type: its name, if any, and what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Type {
    /// Its name; [`Btf::text`] reads it.
    pub name: NameRef,
    /// What it is.
    pub kind: Kind,
}

/// What a type is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No type at all: number 0.
    Void,
    /// An integer, perhaps of fewer bits than its bytes.
    Int(Int),
    /// A pointer to this type.
    Ptr(TypeId),
    /// An array.
    Array {
        /// Type of the elements.
        element: TypeId,
        /// Type of the index.
        index: TypeId,
        /// How many elements.
        length: u32,
    },
    /// A structure.
    Struct(Composite),
    /// A union.
    Union(Composite),
    /// An enumeration, `BTF_KIND_ENUM` or `BTF_KIND_ENUM64`.
    Enum(Enum),
    /// A structure or union that was only declared.
    Forward {
        /// Whether it is a union.
        union: bool,
    },
    /// Another name for a type.
    Typedef(TypeId),
    /// `volatile`.
    Volatile(TypeId),
    /// `const`.
    Const(TypeId),
    /// `restrict`.
    Restrict(TypeId),
    /// A function.
    Function {
        /// Its [`Kind::Prototype`].
        prototype: TypeId,
        /// Who sees it.
        linkage: Linkage,
    },
    /// What a function takes and gives.
    Prototype {
        /// Type of the result.
        returns: TypeId,
        /// Its parameters; a last one of type 0 without name stands for `...`.
        parameters: Vec<Parameter>,
    },
    /// A variable.
    Variable {
        /// Its type.
        of: TypeId,
        /// Who sees it.
        linkage: Linkage,
    },
    /// An ELF section and the variables in it.
    Section {
        /// Bytes; 0 until a linker or loader fills it in.
        size: u32,
        /// Its variables.
        variables: Vec<SectionVariable>,
    },
    /// A floating-point number of so many bytes.
    Float {
        /// Bytes.
        size: u32,
    },
    /// `btf_decl_tag`: a remark on a declaration.
    DeclTag {
        /// What is remarked on.
        of: TypeId,
        /// Which member or parameter of it; -1 for the whole.
        component: i32,
    },
    /// `btf_type_tag`: a remark on a pointer's target.
    TypeTag(TypeId),
}

/// An integer type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Int {
    /// Bytes of its storage.
    pub size: u32,
    /// Bits used.
    pub bits: u8,
    /// First bit used.
    pub bit_offset: u8,
    /// Whether it is signed.
    pub signed: bool,
    /// Whether it is a character.
    pub char: bool,
    /// Whether it is a truth value.
    pub bool: bool,
}

/// A structure or union.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Composite {
    /// Bytes.
    pub size: u32,
    /// Members in order.
    pub members: Vec<Member>,
}

/// A member of a structure or union.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name; empty for an anonymous structure or union.
    pub name: NameRef,
    /// Its type.
    pub of: TypeId,
    /// First bit.
    pub bit_offset: u32,
    /// Bits of a bit field; 0 for an ordinary member.
    pub bits: u8,
}

/// An enumeration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enum {
    /// Bytes.
    pub size: u32,
    /// Whether values are signed.
    pub signed: bool,
    /// Whether it is `BTF_KIND_ENUM64`.
    pub wide: bool,
    /// The names and their values.
    pub values: Vec<Enumerator>,
}

/// A name of an enumeration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enumerator {
    /// Its name.
    pub name: NameRef,
    /// Its value; as `u64` when the enumeration is not signed.
    pub value: i64,
}

/// A parameter of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name.
    pub name: NameRef,
    /// Its type.
    pub of: TypeId,
}

/// A variable's place in its section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SectionVariable {
    /// The [`Kind::Variable`] (or, for externs, the [`Kind::Function`]).
    pub variable: TypeId,
    /// Bytes from the start of the section.
    pub offset: u32,
    /// Bytes.
    pub size: u32,
}

/// Who sees a function or variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linkage {
    /// Its own object alone.
    Static,
    /// Every object.
    Global,
    /// It is defined elsewhere.
    Extern,
}

/// A table of types.
#[derive(Clone, Debug)]
pub struct Btf {
    types: Vec<Type>,
    strings: Arc<[u8]>,
}

impl Btf {
    /// How many types there are, `void` included: one more than the highest number.
    pub fn len(&self) -> usize {
        self.types.len()
    }

    /// Whether there is no type but `void`.
    pub fn is_empty(&self) -> bool {
        self.types.len() <= 1
    }

    /// The type with this number.
    pub fn get(&self, id: TypeId) -> Option<&Type> {
        self.types.get(id as usize)
    }

    /// What the type with this number is; [`Kind::Void`] when there is none.
    pub fn kind(&self, id: TypeId) -> &Kind {
        self.types.get(id as usize).map_or(&Kind::Void, |found| &found.kind)
    }

    /// Every type with its number, from 1.
    pub fn iter(&self) -> impl Iterator<Item = (TypeId, &Type)> {
        self.types.iter().enumerate().skip(1).map(|(id, found)| (id as TypeId, found))
    }

    /// The text that a name stands for; empty when it is none.
    pub fn text(&self, name: NameRef) -> &str {
        text_at(&self.strings, name.0 as usize, NAME_MAX).unwrap_or("")
    }

    /// The same for text that people wrote: cut when it is long, and whatever is no UTF-8 replaced.
    pub(crate) fn prose(&self, name: NameRef) -> Cow<'_, str> {
        let rest = self.strings.get(name.0 as usize..).unwrap_or_default();
        let head = &rest[..rest.len().min(NAME_MAX)];
        let end = head.iter().position(|byte| *byte == 0).unwrap_or(head.len());
        String::from_utf8_lossy(&head[..end])
    }

    /// Bytes of the string table.
    pub(crate) fn strings_length(&self) -> usize {
        self.strings.len()
    }

    /// The name of the type with this number; empty when it has none.
    pub fn name(&self, id: TypeId) -> &str {
        self.get(id).map_or("", |found| self.text(found.name))
    }

    /// The types with this name, by number.
    pub fn find(&self, name: &str) -> impl Iterator<Item = TypeId> {
        self.iter().filter(move |(_, found)| self.text(found.name) == name).map(|(id, _)| id)
    }

    /// The type beneath typedefs, `const`, `volatile`, `restrict` and tags. A cycle of those answers
    /// with 0.
    pub fn strip(&self, id: TypeId) -> TypeId {
        let mut id = id;
        for _ in 0..layout::STEPS_MAX {
            match *self.kind(id) {
                Kind::Typedef(of)
                | Kind::Volatile(of)
                | Kind::Const(of)
                | Kind::Restrict(of)
                | Kind::TypeTag(of) => id = of,
                _ => return id,
            }
        }
        0
    }

    /// The section with this name: its number, bytes and variables.
    pub fn section(&self, name: &str) -> Option<(TypeId, &[SectionVariable])> {
        self.iter().find_map(|(id, found)| match &found.kind {
            Kind::Section { variables, .. } if self.text(found.name) == name => Some((id, &variables[..])),
            _ => None,
        })
    }

    /// The numbers of all sections, by name.
    pub(crate) fn sections(&self) -> HashMap<&str, TypeId> {
        let sections = self.iter().filter(|(_, found)| matches!(found.kind, Kind::Section { .. }));
        sections.map(|(id, found)| (self.text(found.name), id)).collect()
    }

    /// Fills in what compilers leave open: the size of a section, and where its variables are
    /// (libbpf: `btf_fixup_datasec`). The variables are sorted by offset.
    pub(crate) fn place_section(&mut self, id: TypeId, bytes: u32, place: impl Fn(&str) -> Option<u32>) {
        let names: Vec<Option<u32>> = match self.kind(id) {
            Kind::Section { variables, .. } => {
                variables.iter().map(|v| place(self.name(v.variable))).collect()
            }
            _ => return,
        };
        if let Some(Type { kind: Kind::Section { size, variables }, .. }) = self.types.get_mut(id as usize) {
            *size = bytes;
            for (variable, offset) in variables.iter_mut().zip(names) {
                variable.offset = offset.unwrap_or(variable.offset);
            }
            variables.sort_by_key(|variable| variable.offset);
        }
    }

    /// The members of a structure or union, beneath its modifiers.
    pub fn composite(&self, id: TypeId) -> Option<&Composite> {
        match self.kind(self.strip(id)) {
            Kind::Struct(composite) | Kind::Union(composite) => Some(composite),
            _ => None,
        }
    }
}

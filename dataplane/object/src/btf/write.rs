//! Making a [`Btf`] type by type.

use std::collections::HashMap;

use super::{Btf, Composite, Enum, Enumerator, Int, Kind, Member, NameRef, Type, TypeId};

/// A table of types that grows.
#[derive(Clone, Debug)]
pub struct BtfBuilder {
    types: Vec<Type>,
    strings: Vec<u8>,
    names: HashMap<String, NameRef>,
}

impl Default for BtfBuilder {
    fn default() -> Self {
        let void = Type { name: NameRef(0), kind: Kind::Void };
        Self { types: vec![void], strings: vec![0], names: HashMap::new() }
    }
}

impl BtfBuilder {
    /// Adds a type; answers with its number.
    pub fn add(&mut self, name: &str, kind: Kind) -> TypeId {
        let name = self.name(name);
        self.types.push(Type { name, kind });
        (self.types.len() - 1) as TypeId
    }

    /// Adds an integer of whole bytes.
    pub fn int(&mut self, name: &str, size: u32, signed: bool) -> TypeId {
        let int = Int { size, bits: (size * 8) as u8, bit_offset: 0, signed, char: false, bool: false };
        self.add(name, Kind::Int(int))
    }

    /// Adds an enumeration of four bytes.
    pub fn enumeration<'n>(
        &mut self,
        name: &str,
        values: impl IntoIterator<Item = (&'n str, i64)>,
    ) -> TypeId {
        let values = values.into_iter().map(|(name, value)| Enumerator { name: self.name(name), value });
        let values = values.collect();
        self.add(name, Kind::Enum(Enum { size: 4, signed: false, wide: false, values }))
    }

    /// Adds a structure with members that are already laid out.
    pub fn structure(&mut self, name: &str, size: u32, members: Vec<Member>) -> TypeId {
        self.add(name, Kind::Struct(Composite { size, members }))
    }

    /// The place of a name among the strings; the same name has the same place.
    pub fn name(&mut self, name: &str) -> NameRef {
        if name.is_empty() {
            return NameRef(0);
        }
        if let Some(found) = self.names.get(name) {
            return *found;
        }
        let place = NameRef(self.strings.len() as u32);
        self.strings.extend_from_slice(name.as_bytes());
        self.strings.push(0);
        self.names.insert(name.to_owned(), place);
        place
    }

    /// The table.
    pub fn finish(self) -> Btf {
        Btf { types: self.types, strings: self.strings.into() }
    }
}

//! BTF-defined maps: each variable of `.maps` is a structure whose members say, by their types, what
//! the map is made of (libbpf: `parse_btf_map_def`).
//!
//! `__uint(name, n)` is a pointer to an array of n ints, `__type(name, t)` a pointer to t,
//! `__array(name, t)` an array of t, and `__ulong(name, n)` an enumeration with one value.

use std::sync::Arc;

use weir_ebpf::MapSpec;
use weir_ebpf::abi::MapKind;
use weir_ebpf::abi::map_kind::create_flags;

use super::{Declared, MapBtf, kind, normalise, not_too_many};
use crate::btf::{Btf, Composite, Kind, Member, TypeId};
use crate::elf::Elf;
use crate::error::ObjectError;

/// Where BTF-defined maps are.
pub(crate) const SECTION: &str = ".maps";
/// More members than any definition has.
const MEMBERS_MAX: usize = 64;

/// What a definition says, before it is a map.
#[derive(Default)]
struct Definition {
    kind: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
    extra: u64,
    pinned: bool,
    numa_node: bool,
    types: MapBtf,
    inner: Option<Arc<MapSpec>>,
    values_at: Option<u64>,
}

/// The maps of `.maps`, by offset.
pub(crate) fn declared_maps(elf: &Elf<'_>, btf: Option<&Btf>) -> Result<Vec<Declared>, ObjectError> {
    let Some((section, found)) = elf.section(SECTION) else { return Ok(Vec::new()) };
    let variables = btf.and_then(|btf| Some((btf, btf.section(SECTION)?.1)));
    let Some((btf, variables)) = variables else {
        let found = format!("{} bytes of maps without BTF", found.size);
        return Err(ObjectError::malformed(SECTION, None, found, "BTF that describes them; compile with -g"));
    };
    not_too_many(SECTION, variables.len())?;
    let map = |variable: &crate::btf::SectionVariable| {
        let name = btf.name(variable.variable);
        let offset = u64::from(variable.offset);
        let (spec, types, values_at) = match definition(btf, name, variable.variable) {
            Ok(definition) => {
                let (types, values_at) = (definition.types, definition.values_at);
                (definition.into_spec(name).map(|spec| with_fields(spec, btf, types)), types, values_at)
            }
            Err(error) => (Err(error), MapBtf::default(), None),
        };
        Declared {
            name: name.to_owned(),
            section,
            offset,
            size: u64::from(variable.size),
            spec: spec.map(Arc::new).map_err(|error| ObjectError { offset: Some(offset), ..error }),
            btf: types,
            id: None,
            values_at,
        }
    };
    Ok(variables.iter().map(map).collect())
}

fn with_fields(mut spec: MapSpec, btf: &Btf, types: MapBtf) -> MapSpec {
    if types.value_type != 0 {
        spec.fields = btf.special_fields(types.value_type);
    }
    spec
}

/// Reads the definition that a variable's type is.
fn definition(btf: &Btf, name: &str, variable: TypeId) -> Result<Definition, ObjectError> {
    let of = match btf.kind(variable) {
        Kind::Variable { of, .. } => *of,
        _ => 0,
    };
    match btf.kind(btf.strip(of)) {
        Kind::Struct(composite) => read(btf, name, composite, false),
        _ => Err(wrong(name, "a variable that is no structure", "a structure that defines a map")),
    }
}

fn read(btf: &Btf, map: &str, composite: &Composite, inner: bool) -> Result<Definition, ObjectError> {
    let mut into = Definition::default();
    if composite.members.len() > MEMBERS_MAX {
        let found = format!("a definition of {} members", composite.members.len());
        return Err(wrong(map, &found, "the members that libbpf knows"));
    }
    for member in &composite.members {
        let name = btf.text(member.name);
        let number = || number(btf, map, member);
        match name {
            "type" => into.kind = number()?,
            "max_entries" => into.max_entries = number()?,
            "map_flags" => into.flags = number()?,
            "numa_node" => into.numa_node = number().map(|_| true)?,
            "key_size" => agree(map, name, &mut into.key_size, number()?)?,
            "value_size" => agree(map, name, &mut into.value_size, number()?)?,
            "key" => {
                let (of, size) = pointee(btf, map, member)?;
                agree(map, name, &mut into.key_size, size)?;
                into.types.key_type = of;
            }
            "value" => {
                let (of, size) = pointee(btf, map, member)?;
                agree(map, name, &mut into.value_size, size)?;
                into.types.value_type = of;
            }
            "pinning" => {
                into.pinned = match number()? {
                    // 16 is Cilium's own: pinned by its loader, made anew with each load.
                    0 | 16 => false,
                    other if inner => {
                        let found = format!("pinning {other} of an inner map");
                        return Err(wrong(map, &found, "none: inner maps are not pinned"));
                    }
                    // LIBBPF_PIN_BY_NAME (1), and numbers that loaders made up, such as OpenTelemetry's 100: all
                    // mean that objects share the map by its name.
                    _ => true,
                }
            }
            "map_extra" => into.extra = long(btf, map, member)?,
            "values" if !inner => into.values(btf, map, member)?,
            other => {
                let found = format!("a member `{other}`");
                return Err(wrong(map, &found, "a member that libbpf knows, such as `max_entries`"));
            }
        }
    }
    Ok(into)
}

impl Definition {
    /// `__array(values, …)`: the inner map of a map of maps, or the programs of a prog array.
    fn values(&mut self, btf: &Btf, map: &str, member: &Member) -> Result<(), ObjectError> {
        const WANTED: &str = "an array of pointers to map definitions, or to programs in a prog array";
        let Kind::Array { element, .. } = *btf.kind(btf.strip(member.of)) else {
            return Err(wrong(map, "`values` that is no array", WANTED));
        };
        let Kind::Ptr(of) = *btf.kind(btf.strip(element)) else {
            return Err(wrong(map, "`values` of no pointers", WANTED));
        };
        agree(map, "values", &mut self.value_size, 4)?;
        self.values_at = Some(u64::from(member.bit_offset / 8));
        match (MapKind::new(self.kind), btf.kind(btf.strip(of))) {
            (Some(MapKind::ProgArray), Kind::Prototype { .. }) => Ok(()),
            (Some(MapKind::ArrayOfMaps | MapKind::HashOfMaps), Kind::Struct(composite)) => {
                let name = format!("{map}.inner");
                let inner = read(btf, &name, composite, true)?;
                let types = inner.types;
                self.inner = Some(Arc::new(with_fields(inner.into_spec(&name)?, btf, types)));
                Ok(())
            }
            _ => Err(wrong(map, "`values` that do not fit the map's type", WANTED)),
        }
    }

    fn into_spec(self, name: &str) -> Result<MapSpec, ObjectError> {
        let kind = kind(SECTION, name, self.kind)?;
        let mut spec = MapSpec::new(name, kind, self.key_size, self.value_size, self.max_entries);
        spec.flags = self.flags | if self.numa_node { create_flags::NUMA_NODE } else { 0 };
        spec.extra = self.extra;
        spec.inner = self.inner;
        spec.pinned = self.pinned;
        normalise(&mut spec);
        Ok(spec)
    }
}

fn wrong(map: &str, found: &str, wanted: &str) -> ObjectError {
    ObjectError::malformed(SECTION, None, format!("map `{map}` with {found}"), wanted)
}

/// Sets a size that may be given twice, when both times say the same.
fn agree(map: &str, name: &str, size: &mut u32, given: u32) -> Result<(), ObjectError> {
    if *size != 0 && *size != given {
        return Err(wrong(
            map,
            &format!("`{name}` of {given} bytes"),
            &format!("{size} bytes, as said before"),
        ));
    }
    *size = given;
    Ok(())
}

/// `__uint`.
fn number(btf: &Btf, map: &str, member: &Member) -> Result<u32, ObjectError> {
    let array = match btf.kind(btf.strip(member.of)) {
        Kind::Ptr(array) => btf.kind(btf.strip(*array)),
        _ => &Kind::Void,
    };
    match array {
        Kind::Array { length, .. } => Ok(*length),
        _ => {
            let found = format!("`{}` that is no number", btf.text(member.name));
            Err(wrong(map, &found, "a number, as `__uint(name, number)` makes it"))
        }
    }
}

/// `__ulong`, or `__uint`.
fn long(btf: &Btf, map: &str, member: &Member) -> Result<u64, ObjectError> {
    match btf.kind(btf.strip(member.of)) {
        Kind::Enum(found) if found.values.len() == 1 => Ok(found.values[0].value as u64),
        _ => number(btf, map, member).map(u64::from),
    }
}

/// `__type`: the type and its size.
fn pointee(btf: &Btf, map: &str, member: &Member) -> Result<(TypeId, u32), ObjectError> {
    let name = btf.text(member.name);
    let Kind::Ptr(of) = *btf.kind(btf.strip(member.of)) else {
        let found = format!("`{name}` that is no pointer");
        return Err(wrong(map, &found, "a pointer, as `__type(name, type)` makes it"));
    };
    match btf.size_of(of).and_then(|size| u32::try_from(size).ok()) {
        Some(size) => Ok((of, size)),
        None => Err(wrong(map, &format!("`{name}` of type [{of}], which has no size"), "a complete type")),
    }
}

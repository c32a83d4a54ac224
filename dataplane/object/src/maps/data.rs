//! Data sections as maps: one array entry that holds the whole section (libbpf:
//! `bpf_object__init_internal_map`).

use std::sync::Arc;

use weir_ebpf::MapSpec;
use weir_ebpf::abi::MapKind;
use weir_ebpf::abi::map_kind::create_flags;
use weir_ebpf::program::Initial;

use super::{Declared, MapBtf, not_too_many};
use crate::btf::Btf;
use crate::elf::{Elf, Section};
use crate::error::{Fault, ObjectError};
use crate::section::{DataKind, data_kind};

/// Longest name of a map, without its terminator.
const NAME_MAX: usize = 15;
/// Largest data section; a `.bss` takes no bytes of the file, so its size proves nothing.
const SIZE_MAX: u64 = 256 << 20;
/// Largest `.bss` that is spelled out to give one of its variables a first value.
const ZEROS_MAX: usize = 16 << 20;

/// One map for each data section that is not empty.
pub(crate) fn data_maps(
    elf: &Elf<'_>,
    btf: Option<&Btf>,
    object: &str,
) -> Result<Vec<Declared>, ObjectError> {
    let mut maps = Vec::new();
    let types = btf.map(Btf::sections).unwrap_or_default();
    for (index, section) in elf.sections.iter().enumerate() {
        let Some(kind) = data_kind(section.name, section.nobits) else { continue };
        if section.size == 0 {
            continue;
        }
        not_too_many(section.name, maps.len())?;
        if section.size > SIZE_MAX {
            let found = format!("{} bytes", section.size);
            return Err(ObjectError::malformed(section.name, None, found, format!("{SIZE_MAX} or fewer")));
        }
        let value_type = types.get(section.name).copied().unwrap_or(0);
        maps.push(Declared {
            name: map_name(object, section.name),
            section: index,
            offset: 0,
            size: section.size,
            spec: Ok(Arc::new(spec(object, section, kind, btf, value_type))),
            btf: MapBtf { key_type: 0, value_type },
            id: None,
            values_at: None,
        });
    }
    Ok(maps)
}

fn spec(object: &str, section: &Section<'_>, kind: DataKind, btf: Option<&Btf>, value_type: u32) -> MapSpec {
    let mut spec = MapSpec::new(&map_name(object, section.name), MapKind::Array, 4, section.size as u32, 1);
    match kind {
        DataKind::Rodata => {
            spec.flags = create_flags::RDONLY_PROG;
            spec.frozen = true;
            spec.initial = Initial::Data(section.data.to_vec());
        }
        DataKind::Data => spec.initial = Initial::Data(section.data.to_vec()),
        DataKind::Bss => {}
    }
    if let Some(btf) = btf.filter(|_| value_type != 0) {
        spec.fields = btf.special_fields(value_type);
    }
    spec
}

/// libbpf's name for a data section's map: as much of the object's name as fits before `.rodata`;
/// a section with a dot of its own (`.data.mine`) goes without.
pub(crate) fn map_name(object: &str, section: &str) -> String {
    let section: String = section.chars().take(NAME_MAX).collect();
    let own = section.get(1..).is_some_and(|rest| rest.contains('.'));
    let room = if own { 0 } else { NAME_MAX.saturating_sub(section.chars().count()) };
    let allowed = |c: char| if c.is_ascii_alphanumeric() || c == '_' || c == '.' { c } else { '_' };
    object.chars().take(room).chain(section.chars()).map(allowed).collect()
}

/// The first contents of a data section's map with `bytes` at `offset`, and zeros after them up to
/// `size`.
pub(crate) fn patched(spec: &MapSpec, offset: usize, size: usize, bytes: &[u8]) -> Result<Initial, Fault> {
    let mut data = match &spec.initial {
        Initial::Data(data) => data.clone(),
        _ if spec.value_size as usize > ZEROS_MAX => {
            return Err(Fault::Unsupported {
                what: format!("a first value in a .bss of {} bytes", spec.value_size),
                instead: format!("a .bss of {ZEROS_MAX} bytes or fewer, or .data"),
            });
        }
        _ => vec![0; spec.value_size as usize],
    };
    let length = data.len();
    let place = data.get_mut(offset..).and_then(|rest| rest.get_mut(..size));
    let Some(place) = place.filter(|place| bytes.len() <= place.len()) else {
        let found = format!("a variable of {size} bytes at {offset:#x}");
        return Err(Fault::Malformed { found, wanted: format!("one inside {length} bytes") });
    };
    place.fill(0);
    place[..bytes.len()].copy_from_slice(bytes);
    Ok(Initial::Data(data))
}

#[cfg(test)]
mod tests {
    use super::map_name;

    /// The expected names are those that `bpftool map` shows after loading.
    #[test]
    fn names_are_those_of_libbpf() {
        assert_eq!(map_name("prog", ".rodata"), "prog.rodata");
        assert_eq!(map_name("a_long_object", ".rodata"), "a_long_o.rodata");
        assert_eq!(map_name("a_long_object", ".bss"), "a_long_obje.bss");
        assert_eq!(map_name("prog", ".data.mine"), ".data.mine");
        assert_eq!(map_name("prog", ".rodata.str1.1"), ".rodata.str1.1");
        assert_eq!(map_name("a-b", ".data"), "a_b.data");
        assert_eq!(map_name("", ".rodata"), ".rodata");
    }
}

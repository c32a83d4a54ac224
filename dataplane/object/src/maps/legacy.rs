//! Maps as structures in `maps` sections, from before BTF: libbpf's `struct bpf_map_def` in its many
//! lengths, and iproute2's `struct bpf_elf_map`.
//!
//! ```text
//!  0     4         8           12           16     20          24            28        32
//!  type  key_size  value_size  max_entries  flags  ...                                          bpf_map_def
//!  type  key_size  value_size  max_entries  flags  id          pinning       inner_id  inner_idx bpf_elf_map
//!  type  key_size  value_size  max_entries  flags  inner_index numa_node                        kernel samples
//!  type  key_size  value_size  max_entries  flags  id          pinning                          aya
//! ```

use std::collections::HashMap;
use std::sync::Arc;

use weir_ebpf::MapSpec;
use weir_ebpf::abi::MapKind;
use weir_ebpf::abi::map_kind::create_flags;
use weir_ebpf::program::Initial;

use super::{Declared, MapBtf, kind, normalise, not_too_many};
use crate::btf::{Btf, Kind};
use crate::elf::{Elf, Section, SymbolKind};
use crate::error::ObjectError;

/// Length of iproute2's structure.
const ELF_MAP: usize = 36;
/// Length of the structure in the kernel's samples.
const SAMPLE_MAP: usize = 28;

/// One definition, word by word.
struct Words<'a>(&'a [u8]);

impl Words<'_> {
    fn get(&self, index: usize) -> u32 {
        let bytes = self.0.get(index * 4..index * 4 + 4);
        bytes.map_or(0, |bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn is_elf_map(&self) -> bool {
        self.0.len() == ELF_MAP
    }
}

/// The maps of every legacy section, by offset.
pub(crate) fn legacy_maps(elf: &Elf<'_>, btf: Option<&Btf>) -> Result<Vec<Declared>, ObjectError> {
    let annotated = btf.map(annotations).unwrap_or_default();
    let mut maps = Vec::new();
    for (index, section) in elf.sections.iter().enumerate() {
        if section.progbits && (section.name == "maps" || section.name.starts_with("maps/")) {
            section_maps(elf, index, section, &annotated, &mut maps)?;
        }
    }
    Ok(maps)
}

fn section_maps(
    elf: &Elf<'_>,
    index: usize,
    section: &Section<'_>,
    annotated: &HashMap<&str, MapBtf>,
    maps: &mut Vec<Declared>,
) -> Result<(), ObjectError> {
    let is_map = |kind| matches!(kind, SymbolKind::Object | SymbolKind::None);
    let symbols =
        elf.symbols.iter().filter(|s| s.section == Some(index) && is_map(s.kind) && !s.name.is_empty());
    let mut places: Vec<(u64, &str)> = symbols.map(|symbol| (symbol.value, symbol.name)).collect();
    places.sort_unstable();
    places.dedup_by_key(|(offset, _)| *offset);
    not_too_many(section.name, maps.len() + places.len())?;
    let ends = places.iter().skip(1).map(|(offset, _)| *offset).chain([section.data.len() as u64]);
    let mut definitions = Vec::with_capacity(places.len());
    for (&(offset, name), end) in places.iter().zip(ends) {
        let words = usize::try_from(offset).ok().and_then(|from| section.data.get(from..end as usize));
        let Some(words) = words.filter(|words| words.len() >= 16) else {
            let found = format!("map `{name}` of {} bytes", end.saturating_sub(offset));
            return Err(ObjectError::malformed(section.name, offset, found, "16 bytes or more"));
        };
        definitions.push((name, offset, Words(words)));
    }
    let first = maps.len();
    for (name, offset, words) in &definitions {
        let spec =
            spec(section.name, name, words).map_err(|error| ObjectError { offset: Some(*offset), ..error });
        maps.push(Declared {
            name: (*name).to_owned(),
            section: index,
            offset: *offset,
            size: words.0.len() as u64,
            spec: spec.map(Arc::new),
            btf: annotated.get(name).copied().unwrap_or_default(),
            id: words.is_elf_map().then(|| words.get(5)),
            values_at: None,
        });
    }
    nest(&mut maps[first..], &definitions);
    Ok(())
}

fn spec(section: &str, name: &str, words: &Words<'_>) -> Result<MapSpec, ObjectError> {
    let kind = kind(section, name, words.get(0))?;
    let mut spec = MapSpec::new(name, kind, words.get(1), words.get(2), words.get(3));
    spec.flags = words.get(4);
    // iproute2: PIN_OBJECT_NS and PIN_GLOBAL_NS; aya: by name. In the kernel's samples the same word is
    // a NUMA node, with a flag that says so.
    let numa = spec.flags & create_flags::NUMA_NODE != 0;
    spec.pinned =
        words.0.len() >= SAMPLE_MAP && words.0.len() <= ELF_MAP && !numa && matches!(words.get(6), 1 | 2);
    normalise(&mut spec);
    Ok(spec)
}

/// Gives maps of maps their inner shape, and their first entries where iproute2's words say them.
fn nest(maps: &mut [Declared], definitions: &[(&str, u64, Words<'_>)]) {
    for outer in 0..maps.len() {
        let words = &definitions[outer].2;
        let is_outer = matches!(
            &maps[outer].spec,
            Ok(spec) if matches!(spec.kind, MapKind::ArrayOfMaps | MapKind::HashOfMaps)
        );
        if !is_outer {
            continue;
        }
        let inner_id = words.get(7);
        let inner = match words.0.len() {
            ELF_MAP if inner_id != 0 => definitions.iter().position(|(_, _, inner)| inner.get(5) == inner_id),
            SAMPLE_MAP => Some(words.get(5) as usize).filter(|inner| *inner < maps.len() && *inner != outer),
            _ => None,
        };
        let Some(Ok(shape)) = inner.map(|inner| maps[inner].spec.clone()) else { continue };
        let slots: Vec<(u32, String)> = definitions
            .iter()
            .filter(|(_, _, inner)| {
                words.is_elf_map() && inner.get(5) == inner_id && inner.get(8) != u32::MAX
            })
            .map(|(name, _, inner)| (inner.get(8), (*name).to_owned()))
            .collect();
        if let Ok(spec) = &mut maps[outer].spec {
            let spec = Arc::make_mut(spec);
            spec.inner = Some(shape);
            if !slots.is_empty() {
                spec.initial = Initial::Maps(slots);
            }
        }
    }
}

/// Key and value types by map, from `BPF_ANNOTATE_KV_PAIR`: a structure `____btf_map_NAME` with the
/// members `key` and `value`.
fn annotations(btf: &Btf) -> HashMap<&str, MapBtf> {
    let annotated = btf.iter().filter_map(|(_, found)| {
        let Kind::Struct(composite) = &found.kind else { return None };
        let [key, value] = composite.members[..] else { return None };
        let name = btf.text(found.name).strip_prefix("____btf_map_")?;
        Some((name, MapBtf { key_type: key.of, value_type: value.of }))
    });
    annotated.collect()
}

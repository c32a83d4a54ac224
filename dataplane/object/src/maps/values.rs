//! First entries of prog arrays and maps of maps: relocations in `.maps` under `values` (libbpf:
//! `bpf_object__collect_map_relos`), and iproute2's sections named `ID/INDEX`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use weir_ebpf::abi::MapKind;
use weir_ebpf::program::Initial;

use super::Declared;
use super::declared::SECTION;
use crate::elf::{Elf, Symbol};
use crate::error::ObjectError;

/// Bytes of a pointer in `values`.
const SLOT: u64 = 8;

/// Writes the first entries into the maps.
pub(crate) fn initial_values(elf: &Elf<'_>, maps: &mut [Declared]) -> Result<(), ObjectError> {
    numbered_sections(elf, maps);
    let Some((index, section)) = elf.section(SECTION) else { return Ok(()) };
    let places = maps.iter().enumerate().filter(|(_, map)| map.section == index);
    let places: BTreeMap<u64, usize> = places.map(|(at, map)| (map.offset, at)).collect();
    for (&at, relocation) in &section.relocations {
        let symbol = &elf.symbols[relocation.symbol];
        let wrong = |found: String, wanted: &str| ObjectError::malformed(SECTION, at, found, wanted);
        let holder = places.range(..=at).next_back().map(|(_, holder)| *holder);
        let place = holder.and_then(|holder| Some((holder, slot(&maps[holder], at)?)));
        let Some((holder, slot)) = place else {
            let found = format!("a relocation to `{}`", symbol.name);
            return Err(wrong(found, "one inside a map's `values`"));
        };
        let target = places.get(&symbol.value).filter(|_| symbol.section == Some(index));
        let target = target.map(|target| maps[*target].name.clone());
        let holder = &mut maps[holder];
        let Ok(spec) = &mut holder.spec else { continue };
        let spec = Arc::make_mut(spec);
        match spec.kind {
            MapKind::ProgArray => {
                let name = program(elf, symbol).map_err(|found| wrong(found, "a program"))?;
                push(&mut spec.initial, slot, name, true);
            }
            MapKind::ArrayOfMaps | MapKind::HashOfMaps => {
                let target = target.ok_or_else(|| wrong(format!("`{}`", symbol.name), "a map of `.maps`"))?;
                push(&mut spec.initial, slot, target, false);
            }
            _ => return Err(wrong(format!("values in `{}`", holder.name), "a prog array or a map of maps")),
        }
    }
    Ok(())
}

fn push(initial: &mut Initial, slot: u32, name: String, program: bool) {
    match initial {
        Initial::Programs(slots) | Initial::Maps(slots) => slots.push((slot, name)),
        Initial::None | Initial::Data(_) => {
            let slots = vec![(slot, name)];
            *initial = if program { Initial::Programs(slots) } else { Initial::Maps(slots) };
        }
    }
}

/// The name of the program that a symbol stands for.
fn program(elf: &Elf<'_>, symbol: &Symbol<'_>) -> Result<String, String> {
    let in_code = symbol.section.and_then(|index| elf.sections.get(index)).is_some_and(|s| s.executable);
    if !in_code || symbol.name.is_empty() {
        return Err(format!("`{}`, which is no function", symbol.name));
    }
    Ok(symbol.name.to_owned())
}

/// Which element of `values` is at this offset of the section.
fn slot(map: &Declared, at: u64) -> Option<u32> {
    let into = at.checked_sub(map.offset)?.checked_sub(map.values_at?)?;
    let inside = at.checked_add(SLOT)? <= map.offset.checked_add(map.size)?;
    if !inside || !into.is_multiple_of(SLOT) {
        return None;
    }
    u32::try_from(into / SLOT).ok()
}

/// Section `2/7` holds the program that tail calls to index 7 of the map with id 2 reach.
fn numbered_sections(elf: &Elf<'_>, maps: &mut [Declared]) {
    let named = elf.symbols.iter().filter(|symbol| symbol.global && !symbol.name.is_empty());
    let names: HashMap<usize, &str> = named.rev().filter_map(|s| Some((s.section?, s.name))).collect();
    let by_id = maps.iter().enumerate().filter_map(|(at, map)| Some((map.id?, at)));
    let by_id: HashMap<u32, usize> = by_id.collect();
    for (index, section) in elf.sections.iter().enumerate().filter(|(_, section)| section.executable) {
        let Some((id, slot)) = numbered(section.name) else { continue };
        let Some(map) = by_id.get(&id) else { continue };
        let name = names.get(&index).copied().unwrap_or(section.name);
        if let Ok(spec) = &mut maps[*map].spec
            && spec.kind == MapKind::ProgArray
        {
            push(&mut Arc::make_mut(spec).initial, slot, name.to_owned(), true);
        }
    }
}

/// `ID/INDEX`, each decimal or hexadecimal.
pub(crate) fn numbered(section: &str) -> Option<(u32, u32)> {
    let number = |text: &str| match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    };
    let (id, index) = section.split_once('/')?;
    Some((number(id)?, number(index)?))
}

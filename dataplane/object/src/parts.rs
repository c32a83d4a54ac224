//! The parts of an [`Object`](crate::Object), each read from the file by a function of its own.

use std::collections::HashMap;

use weir_ebpf::decode::raw_insns;

use crate::btf::{Btf, Ext};
use crate::core::{Target, resolve};
use crate::elf::{Elf, Section, SymbolKind};
use crate::error::ObjectError;
use crate::externs::Extern;
use crate::functions::{Code, Functions};
use crate::globals::{Place, Variable};
use crate::maps::{Declared, numbered};
use crate::object::ProgramEntry;
use crate::section::{Attach, SectionKind, autoload, data_kind, section_kind};

/// Parses `.BTF` and fills in what the ELF file knows better.
pub(crate) fn types(elf: &Elf<'_>) -> Result<Option<Btf>, ObjectError> {
    let Some((_, section)) = elf.section(".BTF").filter(|(_, section)| !section.data.is_empty()) else {
        return Ok(None);
    };
    let mut btf = Btf::parse(section.data)?;
    let symbols = elf.symbols.iter().filter_map(|s| Some(((s.section?, s.name), s.value)));
    let places: HashMap<(usize, &str), u64> = symbols.collect();
    let sections: Vec<(usize, u32)> = {
        let types = btf.sections();
        let named = elf.sections.iter().enumerate();
        named.filter_map(|(index, section)| Some((index, *types.get(section.name)?))).collect()
    };
    for (index, id) in sections {
        let size = u32::try_from(elf.sections[index].size).unwrap_or(u32::MAX);
        btf.place_section(id, size, |name| u32::try_from(*places.get(&(index, name))?).ok());
    }
    Ok(Some(btf))
}

pub(crate) fn extension(elf: &Elf<'_>, btf: Option<&Btf>) -> Result<Ext, ObjectError> {
    match (elf.section(".BTF.ext"), btf) {
        (Some((_, section)), Some(btf)) if !section.data.is_empty() => Ext::parse(section.data, btf),
        _ => Ok(Ext::default()),
    }
}

/// Resolves CO-RE relocations in place; answers with those that are at fault, by section and slot.
pub(crate) fn core_relocations(
    code: &mut Code,
    elf: &Elf<'_>,
    btf: Option<&Btf>,
    ext: &Ext,
    target: Option<&Btf>,
) -> Vec<(usize, usize, ObjectError)> {
    let Some(btf) = btf.filter(|_| !ext.core.is_empty()) else { return Vec::new() };
    let target = match target {
        Some(kernel) => Target::kernel(kernel),
        None => Target::own(),
    };
    let mut faults = Vec::new();
    for (&section, insns) in code {
        let name = elf.sections[section].name;
        let Some(relocations) = ext.core.get(name) else { continue };
        let found = resolve(name, insns, relocations, btf, &target);
        faults.extend(found.into_iter().map(|(slot, fault)| (section, slot, fault)));
    }
    faults
}

/// The instructions of every code section.
pub(crate) fn code(elf: &Elf<'_>) -> Result<Code, ObjectError> {
    let sections = elf.sections.iter().enumerate().filter(|(_, section)| section.executable);
    let slots = |(index, section): (usize, &Section<'_>)| match raw_insns(section.data) {
        Some(insns) => Ok((index, insns)),
        None => {
            let found = format!("{} bytes of code", section.data.len());
            Err(ObjectError::malformed(section.name, None, found, "a multiple of 8"))
        }
    };
    sections.map(slots).collect()
}

/// Entry functions: those that other objects see, outside `.text` (whose functions are called by
/// others), or anywhere when there is nothing but `.text`.
pub(crate) fn programs(elf: &Elf<'_>, functions: &Functions) -> Vec<ProgramEntry> {
    let visible = |section: usize| elf.sections[section].name != ".text";
    let only_text = !functions.all.iter().any(|function| visible(function.section));
    let entries = functions
        .all
        .iter()
        .enumerate()
        .filter(|(_, function)| function.entry && (only_text || visible(function.section)));
    let mut programs: Vec<ProgramEntry> = entries
        .map(|(index, function)| {
            let (section, autoload) = autoload(elf.sections[function.section].name);
            let kind = section_kind(section);
            ProgramEntry {
                name: function.name.clone(),
                section: section.to_owned(),
                kind,
                autoload,
                function: index,
            }
        })
        .collect();
    // iproute2's `ID/INDEX` sections hold programs of the type of the others.
    let main = programs.iter().find_map(|entry| entry.kind);
    for entry in programs.iter_mut().filter(|entry| numbered(&entry.section).is_some()) {
        entry.kind = entry.kind.or(main.map(|kind| SectionKind { attach: Attach::Any, ..kind }));
    }
    programs
}

/// Global variables by name, with their places in the maps, and constants of inline assembly.
pub(crate) fn variables(
    elf: &Elf<'_>,
    declared: &[Declared],
    externs: &HashMap<String, Extern>,
) -> HashMap<String, Place> {
    let data = declared.iter().enumerate().filter(|(_, map)| map.values_at.is_none() && map.offset == 0);
    let data = data.filter(|(_, map)| {
        let section = elf.sections.get(map.section);
        section.is_some_and(|section| data_kind(section.name, section.nobits).is_some())
    });
    let maps: HashMap<usize, usize> = data.map(|(index, map)| (map.section, index)).collect();
    let mut variables = HashMap::new();
    let objects = elf.symbols.iter().filter(|s| s.kind == SymbolKind::Object || s.kind == SymbolKind::None);
    for symbol in objects.filter(|symbol| !symbol.name.is_empty() && symbol.size > 0) {
        let Some(&map) = symbol.section.and_then(|section| maps.get(&section)) else { continue };
        let (Ok(offset), Ok(size)) = (u32::try_from(symbol.value), u32::try_from(symbol.size)) else {
            continue;
        };
        let variable = Variable { map, offset, size, external: false };
        if symbol.global || !variables.contains_key(symbol.name) {
            variables.insert(symbol.name.to_owned(), Place::Variable(variable));
        }
    }
    for (name, meaning) in externs {
        let place = match meaning {
            Extern::Config { map, offset, size, .. } => {
                Place::Variable(Variable { map: *map, offset: *offset, size: *size, external: true })
            }
            Extern::Constant(constant) => Place::Constant(*constant),
            Extern::Kfunc(_) | Extern::Absent | Extern::Unknown => continue,
        };
        variables.insert(name.clone(), place);
    }
    variables
}

/// The text of the `license` section.
pub(crate) fn license(elf: &Elf<'_>) -> String {
    let bytes = elf.section("license").map_or(&[][..], |(_, section)| section.data);
    let bytes = &bytes[..bytes.len().min(128)];
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

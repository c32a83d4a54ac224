//! What each relocation of a code section means (libbpf: `bpf_program__record_reloc`).
//!
//! clang writes four: `R_BPF_64_64` on 64-bit loads of maps, variables and function addresses,
//! `R_BPF_64_32` on calls, and in data `R_BPF_64_ABS64` and `R_BPF_64_ABS32`. Like libbpf we go by the
//! instruction, not by the number. The addend stands in the instruction's immediate: in bytes for
//! loads, in slots from the following one for calls.

use std::collections::{BTreeMap, HashMap};

use weir_ebpf::RawInsn;
use weir_ebpf::abi::Kfunc;
use weir_ebpf::isa::code::LD_IMM64;

use crate::elf::{Elf, Symbol};
use crate::error::{Fault, ObjectError};
use crate::externs::{Extern, unknown};
use crate::functions::{CALL, Code, Functions};
use crate::maps::Declared;
use crate::section::data_kind;

/// What an instruction's immediate is to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A map, by declaration.
    Map(usize),
    /// A place in the value of a data section's map.
    Value {
        /// The map, by declaration.
        map: usize,
        /// Bytes from its start.
        offset: u32,
    },
    /// A function to call, or whose address to take.
    Function(usize),
    /// A kernel function that weir has: not 0 as an address.
    Kfunc(Kfunc),
    /// A constant of inline assembly, by index.
    Constant(usize),
    /// An absent symbol: 0 as an address, an impossible helper as a call.
    Absent,
}

/// Targets, or why there is none, by slot.
pub(crate) type Targets = HashMap<usize, Result<Target, ObjectError>>;

/// All that relocations can name.
pub(crate) struct Names<'a> {
    elf: &'a Elf<'a>,
    functions: &'a Functions,
    declared: &'a [Declared],
    externs: &'a HashMap<String, Extern>,
    places: HashMap<usize, BTreeMap<u64, usize>>,
}

impl<'a> Names<'a> {
    /// Prepares for looking up.
    pub(crate) fn new(
        elf: &'a Elf<'a>,
        functions: &'a Functions,
        declared: &'a [Declared],
        externs: &'a HashMap<String, Extern>,
    ) -> Self {
        let mut places: HashMap<usize, BTreeMap<u64, usize>> = HashMap::new();
        for (index, map) in declared.iter().enumerate() {
            places.entry(map.section).or_default().insert(map.offset, index);
        }
        Self { elf, functions, declared, externs, places }
    }

    /// Resolves every relocation of every code section.
    pub(crate) fn resolve(&self, code: &Code) -> HashMap<usize, Targets> {
        let section = |(&section, insns): (&usize, &Vec<RawInsn>)| {
            let relocations = &self.elf.sections[section].relocations;
            let targets = relocations.iter().map(|(&at, relocation)| {
                let symbol = &self.elf.symbols[relocation.symbol];
                (at as usize / 8, self.target(section, insns, at, symbol, relocation.kind))
            });
            (section, targets.collect())
        };
        code.iter().map(section).collect()
    }

    fn target(
        &self,
        section: usize,
        insns: &[RawInsn],
        at: u64,
        symbol: &Symbol<'_>,
        kind: u32,
    ) -> Result<Target, ObjectError> {
        let name = self.elf.sections[section].name;
        let at_fault = |fault| ObjectError::at(name, at, fault);
        let wrong = |found: String, wanted: &str| ObjectError::malformed(name, at, found, wanted);
        let insn = insns.get(at as usize / 8).filter(|_| at.is_multiple_of(8));
        let insn = match insn {
            Some(insn) if insn.code == CALL || insn.code == LD_IMM64 => *insn,
            Some(insn) => {
                let found = format!("a relocation to `{}` on opcode {:#04x}", symbol.name, insn.code);
                return Err(wrong(found, "one on a call or a 64-bit load; is the variable without section?"));
            }
            None => {
                let found = format!("a relocation (kind {kind}) inside an instruction");
                return Err(wrong(found, "one on an instruction"));
            }
        };
        if symbol.undefined {
            return self.external(symbol.name, insn.code == CALL).map_err(at_fault);
        }
        let Some(place) = symbol.section else {
            let found = format!("`{}`, which has no section", symbol.name);
            return Err(wrong(found, "a variable that is defined; give it a value or make it static"));
        };
        if insn.code == CALL {
            let target = (symbol.value / 8) as i64 + i64::from(insn.imm) + 1;
            return self.function(place, target).map_err(|(found, wanted)| wrong(found, &wanted));
        }
        if self.elf.sections[place].executable {
            let offset = symbol.value as i64 + i64::from(insn.imm);
            let target = if offset % 8 == 0 { offset / 8 } else { -1 };
            return self.function(place, target).map_err(|(found, wanted)| wrong(found, &wanted));
        }
        let offset = symbol.value.wrapping_add_signed(i64::from(insn.imm));
        self.map(place, symbol, offset).map_err(|(found, wanted)| wrong(found, &wanted))
    }

    /// The function that starts at a slot.
    fn function(&self, section: usize, slot: i64) -> Result<Target, (String, String)> {
        let at = |slot: i64| usize::try_from(slot).ok();
        if let Some(function) = at(slot).and_then(|slot| self.functions.at(section, slot)) {
            return Ok(Target::Function(function));
        }
        let name = self.elf.sections[section].name;
        let found = match at(slot).and_then(|slot| self.functions.around(section, slot)) {
            Some(function) => {
                format!("instruction {} of function `{}`", slot - function.start as i64, function.name)
            }
            None => format!("instruction {slot} of section `{name}`"),
        };
        Err((found, "the start of a function".to_owned()))
    }

    /// The map whose definition starts here, or the variable of a data section.
    fn map(&self, section: usize, symbol: &Symbol<'_>, offset: u64) -> Result<Target, (String, String)> {
        let found = &self.elf.sections[section];
        let places = self.places.get(&section);
        if data_kind(found.name, found.nobits).is_none() {
            return match places.and_then(|places| places.get(&offset)) {
                Some(map) => Ok(Target::Map(*map)),
                None => {
                    let what = format!("`{}` at {offset:#x} of section `{}`", symbol.name, found.name);
                    Err((what, "a map or a variable of .rodata, .data or .bss".to_owned()))
                }
            };
        }
        match places.and_then(|places| places.get(&0)) {
            Some(map) if offset < self.declared[*map].size => {
                Ok(Target::Value { map: *map, offset: offset as u32 })
            }
            _ => {
                let what = format!("offset {offset:#x} of section `{}`", found.name);
                Err((what, format!("one inside its {} bytes", found.size)))
            }
        }
    }

    fn external(&self, name: &str, called: bool) -> Result<Target, Fault> {
        match self.externs.get(name) {
            Some(Extern::Constant(constant)) if !called => Ok(Target::Constant(*constant)),
            Some(Extern::Config { known: false, .. } | Extern::Constant(_) | Extern::Unknown) | None => {
                Err(unknown(name, called))
            }
            Some(Extern::Config { map, offset, .. }) => Ok(Target::Value { map: *map, offset: *offset }),
            Some(Extern::Kfunc(kfunc)) => Ok(Target::Kfunc(*kfunc)),
            Some(Extern::Absent) => Ok(Target::Absent),
        }
    }
}

//! Where functions start and end in the code sections of an object, and what they are called.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use weir_ebpf::RawInsn;
use weir_ebpf::isa::code::{LD_IMM64, class, op, pseudo};

use crate::elf::{Elf, Symbol, SymbolKind};
use crate::error::ObjectError;

/// Opcode of a call by immediate.
pub(crate) const CALL: u8 = class::JMP | op::CALL;

/// A function in a code section.
#[derive(Clone, Debug)]
pub(crate) struct Function {
    /// Its symbol; the section's name when there is none.
    pub(crate) name: String,
    /// Its section.
    pub(crate) section: usize,
    /// First slot in the section.
    pub(crate) start: usize,
    /// Slots.
    pub(crate) length: usize,
    /// Whether it may be an entry: it is no static function, or one in a section of its own type that nothing
    /// calls. libbpf refuses those, cilium/ebpf takes them for programs.
    pub(crate) entry: bool,
    /// Whether other objects see it (`__hidden` functions they do not).
    pub(crate) global: bool,
}

/// All functions of an object.
#[derive(Clone, Debug, Default)]
pub(crate) struct Functions {
    /// In order of section and start; a second name for the same code follows the first.
    pub(crate) all: Vec<Function>,
    starts: BTreeMap<(usize, usize), usize>,
}

impl Functions {
    /// The function that starts at this slot.
    pub(crate) fn at(&self, section: usize, slot: usize) -> Option<usize> {
        self.starts.get(&(section, slot)).copied()
    }

    /// The function that this slot is in.
    pub(crate) fn around(&self, section: usize, slot: usize) -> Option<&Function> {
        let (_, index) = self.starts.range((section, 0)..=(section, slot)).next_back()?;
        self.all.get(*index).filter(|function| slot < function.start + function.length)
    }
}

/// Instructions of each code section, by section index.
pub(crate) type Code = HashMap<usize, Vec<RawInsn>>;

/// Splits every code section into functions.
pub(crate) fn functions(elf: &Elf<'_>, code: &Code) -> Result<Functions, ObjectError> {
    let mut symbols: HashMap<usize, Vec<&Symbol<'_>>> = HashMap::new();
    for symbol in &elf.symbols {
        if let Some(section) = symbol.section.filter(|section| code.contains_key(section)) {
            symbols.entry(section).or_default().push(symbol);
        }
    }
    let targets = call_targets(elf, code);
    let mut functions = Functions::default();
    let sections: BTreeMap<usize, &Vec<RawInsn>> =
        code.iter().map(|(index, insns)| (*index, insns)).collect();
    for (section, insns) in sections {
        let symbols = symbols.remove(&section).unwrap_or_default();
        let found = section_functions(elf, section, insns.len(), &symbols, &targets)?;
        for function in found {
            functions.starts.entry((section, function.start)).or_insert(functions.all.len());
            functions.all.push(function);
        }
    }
    Ok(functions)
}

fn section_functions(
    elf: &Elf<'_>,
    section: usize,
    slots: usize,
    symbols: &[&Symbol<'_>],
    targets: &BTreeSet<(usize, usize)>,
) -> Result<Vec<Function>, ObjectError> {
    let name = elf.sections[section].name;
    // Compilers before LLVM 10 or so gave functions no type; their labels are local.
    let typed = symbols.iter().any(|symbol| symbol.kind == SymbolKind::Function);
    let is_function = |symbol: &&&Symbol<'_>| match typed {
        true => symbol.kind == SymbolKind::Function,
        false => symbol.kind == SymbolKind::None && symbol.global && !symbol.name.is_empty(),
    };
    let uncalled = |symbol: &Symbol<'_>| {
        typed && name != ".text" && !targets.contains(&(section, (symbol.value / 8) as usize))
    };
    let mark = |symbol: &&Symbol<'_>| Mark {
        offset: symbol.value,
        size: symbol.size,
        name: symbol.name.to_owned(),
        entry: symbol.global || uncalled(symbol),
        global: symbol.global && !symbol.hidden,
    };
    let mut marks: Vec<Mark> = symbols.iter().filter(is_function).map(mark).collect();
    if !typed {
        let known: BTreeSet<u64> = marks.iter().map(|mark| mark.offset).collect();
        let called = targets.range((section, 0)..=(section, usize::MAX)).map(|(_, slot)| *slot as u64 * 8);
        let from_start = std::iter::once(0).filter(|_| slots > 0).chain(called);
        let unnamed: BTreeSet<u64> = from_start.filter(|offset| !known.contains(offset)).collect();
        marks.extend(unnamed.into_iter().map(|offset| Mark {
            offset,
            size: 0,
            name: if offset == 0 { name.to_owned() } else { format!("sub_{}", offset / 8) },
            entry: offset == 0 && known.is_empty(),
            global: false,
        }));
    }
    marks.sort_by_key(|mark| mark.offset);
    spans(name, section, slots, &marks)
}

/// Where a function starts, before its end is known.
struct Mark {
    offset: u64,
    size: u64,
    name: String,
    entry: bool,
    global: bool,
}

/// Gives each mark its end: its own size, or else the next mark.
fn spans(name: &str, section: usize, slots: usize, marks: &[Mark]) -> Result<Vec<Function>, ObjectError> {
    let bytes = slots as u64 * 8;
    let mut found: Vec<Function> = Vec::with_capacity(marks.len());
    let mut next = bytes;
    let mut ends = vec![bytes; marks.len()];
    for (index, mark) in marks.iter().enumerate().rev() {
        let same = marks.get(index + 1).is_some_and(|after| after.offset == mark.offset);
        ends[index] = if same { ends[index + 1] } else { next };
        next = mark.offset;
    }
    for (mark, end) in marks.iter().zip(ends) {
        let offset = mark.offset;
        let wrong = |found: String, wanted: &str| ObjectError::malformed(name, offset, found, wanted);
        let size = if mark.size == 0 { end.saturating_sub(offset) } else { mark.size };
        let inside = offset.checked_add(size).is_some_and(|end| end <= bytes);
        if !offset.is_multiple_of(8) || !size.is_multiple_of(8) || size == 0 || !inside {
            let found = format!("function `{}` of {size} bytes", mark.name);
            return Err(wrong(found, &format!("whole instructions inside {bytes} bytes")));
        }
        let (start, length) = (offset as usize / 8, size as usize / 8);
        if let Some(before) = found.last()
            && (before.start != start || before.length != length)
            && before.start + before.length > start
        {
            let found = format!("function `{}` inside `{}`", mark.name, before.name);
            return Err(wrong(found, "functions side by side"));
        }
        let (entry, global) = (mark.entry, mark.global);
        found.push(Function { name: mark.name.clone(), section, start, length, entry, global });
    }
    Ok(found)
}

/// Every slot that a call names, or a load of a function's address, by section.
fn call_targets(elf: &Elf<'_>, code: &Code) -> BTreeSet<(usize, usize)> {
    let mut targets = BTreeSet::new();
    for (&section, insns) in code {
        for (slot, insn) in insns.iter().enumerate() {
            let called = insn.code == CALL && insn.src == pseudo::CALL;
            if !called && insn.code != LD_IMM64 {
                continue;
            }
            let relocation = elf.sections[section].relocations.get(&(slot as u64 * 8));
            let (section, target) = match relocation.map(|found| &elf.symbols[found.symbol]) {
                None if !called => continue,
                None => (Some(section), slot as i64 + i64::from(insn.imm) + 1),
                Some(symbol) if called => {
                    (symbol.section, (symbol.value / 8) as i64 + i64::from(insn.imm) + 1)
                }
                Some(symbol) => (symbol.section, (symbol.value as i64).wrapping_add(i64::from(insn.imm)) / 8),
            };
            let slots = section.and_then(|section| code.get(&section)).map_or(0, Vec::len);
            if let Some(section) = section.filter(|_| (0..slots as i64).contains(&target)) {
                targets.insert((section, target as usize));
            }
        }
    }
    targets
}

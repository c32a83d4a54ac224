//! Putting a program together: its entry function, then every function it reaches, each once, in the
//! order in which the first call of it stands (libbpf: `bpf_object__reloc_code`).

use std::collections::HashMap;

use weir_ebpf::RawInsn;
use weir_ebpf::isa::code::{LD_IMM64, pseudo};
use weir_ebpf::program::{Function, Line};

use crate::error::ObjectError;
use crate::functions::CALL;
use crate::lines::moved;
use crate::object::Object;
use crate::relocate::Target;

/// Most slots of a program (the kernel's `BPF_COMPLEXITY_LIMIT_INSNS`).
const SLOTS_MAX: usize = 1_000_000;
/// What libbpf puts in place of a call of a function that does not exist.
const POISONED_CALL: i32 = 2_002_000_000;

/// A program whose parts are in place and whose instructions are not yet decoded.
#[derive(Debug, Default)]
pub(crate) struct Linked {
    /// Instructions.
    pub(crate) raw: Vec<RawInsn>,
    /// Functions by first slot.
    pub(crate) functions: Vec<Function>,
    /// Source lines by slot.
    pub(crate) lines: Vec<Line>,
    /// Which function of the object stands where.
    parts: Vec<(usize, usize)>,
}

/// A function half walked: where its next instruction is.
struct Walk {
    function: usize,
    start: usize,
    next: usize,
}

/// Links the program that starts with this function of the object.
pub(crate) fn link(object: &Object, entry: usize) -> Result<Linked, ObjectError> {
    let mut linked = Linked::default();
    let mut placed = HashMap::new();
    let mut walks = vec![linked.append(object, entry)?];
    placed.insert(entry, 0);
    while let Some(walk) = walks.last_mut() {
        let length = object.functions.all[walk.function].length;
        if walk.next >= length {
            walks.pop();
            continue;
        }
        let (function, offset, slot) = (walk.function, walk.next, walk.start + walk.next);
        let wide = linked.raw[slot].code == LD_IMM64;
        walk.next += if wide { 2 } else { 1 };
        if wide && offset + 2 > length {
            return Err(linked.wrong(
                object,
                slot,
                "a 64-bit load cut by the function's end",
                "both its slots",
            ));
        }
        if wide {
            object.nothing_inside(function, offset)?;
        }
        let Some(callee) = apply(object, &mut linked, function, offset, slot)? else { continue };
        let start = match placed.get(&callee) {
            Some(start) => *start,
            None => {
                let walk = linked.append(object, callee)?;
                let start = walk.start;
                placed.insert(callee, start);
                walks.push(walk);
                start
            }
        };
        linked.raw[slot].imm = (start as i64 - slot as i64 - 1) as i32;
    }
    Ok(linked)
}

impl Linked {
    /// Appends a function's instructions and lines.
    fn append(&mut self, object: &Object, function: usize) -> Result<Walk, ObjectError> {
        let found = &object.functions.all[function];
        let start = self.raw.len();
        let section = &object.sections[found.section];
        let insns = object.code.get(&found.section).map_or(&[][..], |insns| insns);
        let insns = &insns[found.start..found.start + found.length];
        if start + insns.len() > SLOTS_MAX {
            let what = format!("a program of more than {SLOTS_MAX} instructions");
            let offset = found.start as u64 * 8;
            return Err(ObjectError::malformed(section, offset, what, "fewer"));
        }
        self.raw.extend_from_slice(insns);
        let (name, global) = (found.name.clone(), found.global);
        self.functions.push(Function { start, name, global, signature: None });
        if let Some(lines) = object.lines.get(section) {
            self.lines.extend(moved(lines, found.start, found.length, start));
        }
        self.parts.push((start, function));
        Ok(Walk { function, start, next: 0 })
    }

    /// Where a slot came from: its section, and its offset there.
    pub(crate) fn origin<'o>(&self, object: &'o Object, slot: usize) -> (&'o str, u64) {
        let part = self.parts.partition_point(|(start, _)| *start <= slot);
        let Some((start, function)) = self.parts[..part].last() else { return ("", 0) };
        let function = &object.functions.all[*function];
        (&object.sections[function.section], (function.start + slot - start) as u64 * 8)
    }

    fn wrong(&self, object: &Object, slot: usize, found: &str, wanted: &str) -> ObjectError {
        let (section, offset) = self.origin(object, slot);
        ObjectError::malformed(section, offset, found, wanted)
    }
}

/// Gives the instruction at `slot` its meaning; answers with the function that it calls or whose
/// address it takes, for the caller to place.
fn apply(
    object: &Object,
    linked: &mut Linked,
    function: usize,
    offset: usize,
    slot: usize,
) -> Result<Option<usize>, ObjectError> {
    let found = &object.functions.all[function];
    let origin = found.start + offset;
    let target = object.targets.get(&found.section).and_then(|targets| targets.get(&origin));
    let insn = linked.raw[slot];
    let Some(target) = target else {
        let local_call = insn.code == CALL && insn.src == pseudo::CALL;
        if insn.code == LD_IMM64 && matches!(insn.src, pseudo::MAP_FD | pseudo::MAP_VALUE) {
            // A descriptor that nobody relocated is none of this object's maps.
            linked.raw[slot].imm = -1;
        }
        if !local_call {
            return Ok(None);
        }
        let target = origin as i64 + 1 + i64::from(insn.imm);
        let callee = usize::try_from(target).ok().and_then(|slot| object.functions.at(found.section, slot));
        return match callee {
            Some(callee) => Ok(Some(callee)),
            None => {
                let found = format!("a call of instruction {target} of the section");
                Err(linked.wrong(object, slot, &found, "the start of a function"))
            }
        };
    };
    let second = slot + 1;
    match target.clone()? {
        Target::Function(callee) => {
            linked.raw[slot].src = if insn.code == CALL { pseudo::CALL } else { pseudo::FUNC };
            return Ok(Some(callee));
        }
        Target::Map(map) => {
            linked.raw[slot].src = pseudo::MAP_FD;
            linked.raw[slot].imm = object.map_index(map)? as i32;
        }
        Target::Value { map, offset } => {
            linked.raw[slot].src = pseudo::MAP_VALUE;
            linked.raw[slot].imm = object.map_index(map)? as i32;
            linked.raw[second].imm = offset as i32;
        }
        Target::Kfunc(kfunc) if insn.code == CALL => {
            linked.raw[slot].src = pseudo::KFUNC_CALL;
            linked.raw[slot].off = 0;
            linked.raw[slot].imm = kfunc as i32;
        }
        Target::Kfunc(kfunc) => {
            // Programs compare the address with null, and that is all it is good for.
            linked.raw[slot].src = 0;
            linked.raw[slot].imm = kfunc as i32;
            linked.raw[second].imm = 0;
        }
        Target::Constant(constant) => {
            let value = object.constants[constant];
            linked.raw[slot].src = 0;
            (linked.raw[slot].imm, linked.raw[second].imm) = (value as i32, (value >> 32) as i32);
        }
        Target::Absent if insn.code == CALL => {
            linked.raw[slot].src = 0;
            linked.raw[slot].off = 0;
            linked.raw[slot].imm = POISONED_CALL;
        }
        Target::Absent => {
            linked.raw[slot].src = 0;
            linked.raw[slot].imm = 0;
            linked.raw[second].imm = 0;
        }
    }
    Ok(None)
}

//! Whether a run stays inside what the verifier said of it: at every instruction, all registers and
//! stack bytes of all frames must lie in one of the recorded abstract states, and the facts must hold.

use std::collections::HashSet;
use std::sync::Arc;

use weir_ebpf::abi::{Helper, MAX_STACK};
use weir_ebpf::isa::Imm64;
use weir_ebpf::{Insn, Program, Reg};
use weir_maps::Map;
use weir_verifier::Facts;
use weir_verifier::states::{ConcreteFrame, States, Target, World};
use weir_vm::{Observer, Place, Step};

/// Compares a run with recorded states; the first step outside of them is kept.
pub struct Containment<'s> {
    states: &'s States,
    facts: &'s Facts,
    /// [`Map::id`] of each of the program's maps.
    maps: Vec<u32>,
    /// Where values start: what lookups answered, what walks of maps gave, where variables are.
    values: HashSet<u64>,
    /// Where the keys are that walks of maps gave.
    keys: HashSet<u64>,
    /// The program that the states are of; tail calls lead into others.
    program: Option<Arc<Program>>,
    /// Where the context is: pointers past its end are none to the interpreter.
    context: u64,
    /// Registers of the calling frames, as they were at the call.
    callers: Vec<(usize, [u64; Reg::COUNT])>,
    last: Option<(usize, [u64; Reg::COUNT])>,
    /// Steps compared.
    pub checks: u64,
    /// The first step that was outside.
    pub outside: Option<String>,
}

impl<'s> Containment<'s> {
    /// A comparison with these states and facts, for a program with these maps.
    pub fn new<'m>(states: &'s States, facts: &'s Facts, maps: impl Iterator<Item = &'m Map>) -> Self {
        Self {
            states,
            facts,
            maps: maps.map(Map::id).collect(),
            values: HashSet::new(),
            keys: HashSet::new(),
            program: None,
            context: 0,
            callers: Vec::new(),
            last: None,
            checks: 0,
            outside: None,
        }
    }

    /// Notes the key and the value that a walk over a map gives its callback, if this is the start of one.
    fn meet_element(&mut self, program: &Program, step: &Step<'_, '_>) {
        let walk = Insn::Call { helper: Helper::ForEachMapElem as u32 };
        if self.callers.last().is_some_and(|(slot, _)| program.insns[*slot] == walk) {
            self.keys.insert(step.register(Reg::R2));
            self.values.insert(step.register(Reg::R3));
        }
    }

    /// Follows calls and lookups, which the registers alone do not show.
    fn follow(&mut self, program: &Program, step: &Step<'_, '_>) {
        let Some((slot, regs)) = self.last else { return };
        match program.insns[slot] {
            Insn::Call { helper } if helper == Helper::MapLookupElem as u32 => {
                self.values.insert(step.register(Reg::R0));
            }
            Insn::LoadImm64 { dst, value: Imm64::MapValue { offset, .. } } => {
                self.values.insert(step.register(dst).wrapping_sub(offset.into()));
            }
            _ if step.frames() > self.callers.len() + 1 => {
                self.callers.push((slot, regs));
                self.meet_element(program, step);
            }
            // A callback may be called again without a step of its caller between.
            Insn::Exit if step.frames() == self.callers.len() + 1 => self.meet_element(program, step),
            _ => {}
        }
        self.callers.truncate(step.frames() - 1);
    }
}

impl Observer for Containment<'_> {
    fn before(&mut self, step: &Step<'_, '_>) {
        if self.outside.is_some() {
            return;
        }
        let program = step.program().clone();
        if self.program.is_none() {
            self.context = step.register(Reg::R1);
        }
        if !Arc::ptr_eq(self.program.get_or_insert_with(|| program.clone()), &program) {
            return;
        }
        let last = self.last.map(|(slot, _)| slot);
        self.outside = crate::facts::denied(self.facts, &self.maps, step, last);
        if self.outside.is_some() {
            return;
        }
        self.follow(&program, step);
        let regs = Reg::ALL.map(|reg| step.register(reg));
        let slot = step.slot();
        self.last = Some((slot, regs));
        let stacks: Vec<Vec<u8>> = (0..step.frames()).map(|frame| stack(step, frame)).collect();
        let frames = self.callers.iter().copied().chain([(slot, regs)]).collect::<Vec<_>>();
        let concrete: Vec<ConcreteFrame<'_>> = frames
            .iter()
            .zip(&stacks)
            .map(|((slot, regs), stack)| {
                let function = program.functions.iter().rposition(|function| function.start <= *slot);
                ConcreteFrame { function: function.unwrap_or(0), regs, stack }
            })
            .collect();
        let tops = frames.iter().map(|(_, regs)| regs[Reg::R10.index()]).collect();
        let (maps, values, keys) = (&*self.maps, &self.values, &self.keys);
        let memory = Memory { step, maps, values, keys, tops, context: self.context };
        self.checks += 1;
        self.outside = self.states.check(slot, &concrete, &memory).err();
    }
}

fn stack(step: &Step<'_, '_>, frame: usize) -> Vec<u8> {
    let words = (-(MAX_STACK as i64)..0).step_by(8);
    words.flat_map(|offset| step.stack_word(frame, offset).unwrap_or(0).to_le_bytes()).collect()
}

/// How the interpreter's pointers relate to the verifier's targets.
struct Memory<'a, 's, 'm> {
    step: &'a Step<'s, 'm>,
    maps: &'a [u32],
    values: &'a HashSet<u64>,
    keys: &'a HashSet<u64>,
    /// r10 of each frame.
    tops: Vec<u64>,
    context: u64,
}

/// The offset of an address from a base. Pointers past a frame or packet may be computed and compared,
/// and are never followed; what is far away is no such pointer.
fn near(raw: u64, base: u64) -> Option<i64> {
    const NEAR: u64 = 1 << 33;
    let offset = raw.wrapping_sub(base) as i64;
    (offset.unsigned_abs() < NEAR).then_some(offset)
}

impl Memory<'_, '_, '_> {
    fn is_map(&self, index: u32, id: u32) -> bool {
        self.maps.get(index as usize) == Some(&id)
    }

    /// The start of the value that an address is in: the nearest one before it.
    fn value_start(&self, raw: u64) -> Option<u64> {
        self.values.iter().copied().filter(|start| *start != 0 && *start <= raw).max()
    }
}

impl World for Memory<'_, '_, '_> {
    fn offset(&self, target: Target, raw: u64) -> Option<i64> {
        match (target, self.step.place(raw)) {
            (Target::Context, _) => near(raw, self.context),
            (Target::Stack { frame }, _) => near(raw, *self.tops.get(frame)?),
            (Target::Packet { .. }, _) => near(raw, self.step.packet_address()),
            (Target::PacketMeta { .. }, _) => near(raw, self.step.packet_address() - self.step.meta_len()),
            (Target::PacketEnd, _) => near(raw, self.step.packet_address() + self.step.packet_len()),
            (Target::Map { map, inner: false }, Some(Place::Map { map: id })) => {
                self.is_map(map, id).then_some(0)
            }
            (Target::MapValue { map, inner: false }, Some(Place::MapValue { map: id })) => {
                let start = self.value_start(raw)?;
                self.is_map(map, id).then_some((raw - start) as i64)
            }
            (Target::MapKey { .. }, _) => {
                let start = self.keys.iter().copied().filter(|start| *start <= raw).max()?;
                near(raw, start)
            }
            (Target::Function(index), Some(Place::Function { slot })) => {
                let start = self.step.program().functions.get(index)?.start;
                (start == slot).then_some(0)
            }
            (Target::Record { .. }, Some(Place::Record { offset, .. })) => Some(offset as i64),
            _ => None,
        }
    }

    fn packet_len(&self) -> u64 {
        self.step.packet_len()
    }

    fn meta_len(&self) -> u64 {
        self.step.meta_len()
    }
}

//! The plain tier for x86-64: one instruction after the other, with the facts at hand.
//!
//! Read [`asm`] for how bytes are made, [`frame`] for how functions begin and end, and then whichever
//! group of instructions is of interest.
//!
//! ```text
//!            | return address     |
//!  rbp = r10 | rbp of the caller  |
//!            | stack of the       |  FunctionFacts::stack_bytes
//!            | function           |
//!            | r6–r9 of the       |  those that the function uses
//!  rsp       | caller, and run    |  16-byte aligned
//! ```

mod alu;
mod asm;
mod branch;
mod call;
mod cpu;
mod frame;
mod gather;
mod inline;
mod memory;

use dynasmrt::{DynasmApi, DynasmError};
use weir_ebpf::isa::Imm64;
use weir_ebpf::{Insn, Program, Reg};
use weir_sys::code::PADDING;
use weir_verifier::Facts;
use weir_verifier::facts::{Access, CallFacts, Ways};

use asm::{Asm, Gpr, Label};
use frame::Frame;

pub(crate) use asm::Shorts;
#[cfg(test)]
pub(crate) use cpu::WITHOUT_BMI2;

use super::{JitError, Link};
use crate::mutant::bend;

/// What came out: the code, where each slot's code starts, and which jumps turned out short.
pub(crate) struct Output {
    pub(crate) bytes: Vec<u8>,
    pub(crate) slots: Vec<u32>,
    pub(crate) shorts: Shorts,
}

/// Emits a whole program, its functions in order; the first one is the entry, at offset 0.
pub(crate) fn emit(
    program: &Program,
    facts: Option<&Facts>,
    link: &Link<'_>,
    base: usize,
    shorts: Shorts,
) -> Result<Output, JitError> {
    let mut asm = Asm::new(base, shorts);
    let labels = program.insns.iter().map(|_| asm.label()).collect();
    let frames = frame::frames(program, facts, link.exact, &mut asm)?;
    let parts = facts.map_or_else(Vec::new, |facts| gather::plan(&program.insns, facts));
    let mut emitter = Emitter { asm, program, facts, link, frames, labels, function: 0, parts };
    let mut slots = vec![0; program.insns.len()];
    for function in 0..emitter.frames.len() {
        emitter.function(function, &mut slots)?;
    }
    let shorts = emitter.asm.shorts().map_err(ours)?;
    Ok(Output { bytes: emitter.asm.finish().map_err(ours)?, slots, shorts })
}

/// The assembler only refuses what we should not have asked of it.
fn ours(error: DynasmError) -> JitError {
    unreachable!("assembling a checked program: {error}")
}

/// The register that holds an eBPF register.
pub(crate) const fn gpr(reg: Reg) -> Gpr {
    match reg {
        Reg::R0 => Gpr::Rax,
        Reg::R1 => Gpr::Rsi,
        Reg::R2 => Gpr::Rdx,
        Reg::R3 => Gpr::Rcx,
        Reg::R4 => Gpr::R8,
        Reg::R5 => Gpr::R9,
        Reg::R6 => Gpr::Rbx,
        Reg::R7 => Gpr::R13,
        Reg::R8 => Gpr::R14,
        Reg::R9 => Gpr::R15,
        Reg::R10 => Gpr::Rbp,
    }
}

/// Where the run is, in functions that need it.
const RUN: Gpr = Gpr::R12;

/// The state of emitting one program.
struct Emitter<'a> {
    asm: Asm,
    program: &'a Program,
    facts: Option<&'a Facts>,
    link: &'a Link<'a>,
    frames: Vec<Frame>,
    /// One for each slot.
    labels: Vec<Label>,
    /// The function being emitted.
    function: usize,
    /// For each slot, the part that its store plays in a group; empty without facts.
    parts: Vec<Option<gather::Part>>,
}

impl Emitter<'_> {
    fn function(&mut self, function: usize, slots: &mut [u32]) -> Result<(), JitError> {
        self.function = function;
        let (start, end) = (self.frames[function].start, self.frames[function].end);
        let entry = self.frames[function].entry;
        self.asm.bind(entry);
        self.prologue();
        let mut last = None;
        for (slot, offset) in (start..end).zip(&mut slots[start..end]) {
            *offset = self.asm.position() as u32;
            let label = self.labels[slot];
            self.asm.bind(label);
            if self.reached(slot) {
                self.keep_frame_pointer(slot)?;
                self.insn(slot)?;
                last = Some(self.program.insns[slot]);
            }
        }
        if last.is_none_or(|insn| insn.falls_through()) {
            // Proven programs do not come here; others must not go on into the next function.
            if self.facts.is_none() {
                return Err(JitError::Target { slot: end - 1, target: end as i64 });
            }
            self.asm.ops.push(PADDING);
        }
        Ok(())
    }

    /// Refuses what only the verifier otherwise keeps out: r10 may not change.
    fn keep_frame_pointer(&self, slot: usize) -> Result<(), JitError> {
        match frame::written(&self.program.insns[slot]) {
            Some(Reg::R10) => Err(JitError::Insn { slot, what: "a write to r10" }),
            Some(_) | None => Ok(()),
        }
    }

    /// Whether any path comes to the slot.
    fn reached(&self, slot: usize) -> bool {
        self.facts.is_none_or(|facts| facts.insns[slot].reached)
    }

    /// Where the access at the slot goes; `None` also when nothing was proven.
    fn access(&self, slot: usize) -> Access {
        self.facts.map_or(Access::None, |facts| facts.insns[slot].access)
    }

    /// What the call at the slot is given.
    fn call_facts(&self, slot: usize) -> CallFacts {
        self.facts.map_or_else(CallFacts::default, |facts| facts.insns[slot].call)
    }

    /// Which ways the branch at the slot goes: both, when nothing was proven.
    fn ways(&self, slot: usize) -> Ways {
        let both = Ways { taken: true, fallen: true };
        match self.facts.map(|facts| facts.insns[slot].ways) {
            Some(ways) if ways != Ways::default() => ways,
            Some(_) | None => both,
        }
    }

    /// The label of a jump's target, which must be inside the function.
    fn target(&self, slot: usize, target: i64) -> Result<Label, JitError> {
        let frame = &self.frames[self.function];
        let inside = usize::try_from(target).ok().filter(|slot| (frame.start..frame.end).contains(slot));
        inside.map(|slot| self.labels[slot]).ok_or(JitError::Target { slot, target })
    }

    /// The function that starts at a target.
    fn callee(&self, slot: usize, off: i32) -> Result<usize, JitError> {
        let target = slot as i64 + 1 + i64::from(off);
        self.frames
            .iter()
            .position(|frame| frame.start as i64 == target)
            .ok_or(JitError::Target { slot, target })
    }

    fn insn(&mut self, slot: usize) -> Result<(), JitError> {
        let refused = |what| Err(JitError::Insn { slot, what });
        match bend(self.program.insns[slot]) {
            Insn::Alu { width, op, dst, src } => self.alu(width, op, dst, src),
            Insn::Mov { width, dst, src } => self.mov(width, dst, src),
            Insn::MovSx { width, from, dst, src } => self.mov_signed(width, from, dst, src),
            Insn::Neg { width, dst } => self.neg(width, dst),
            Insn::Swap { kind, size, dst } => self.swap(kind, size, dst),
            Insn::LoadImm64 { dst, value } => return self.load_imm64(slot, dst, value),
            Insn::SecondHalf => {}
            Insn::Load { size, signed, dst, base, off } => self.load(slot, size, signed, dst, base, off),
            Insn::Store { size, base, off, src } => self.store(slot, size, base, off, src),
            Insn::Atomic { size, op, base, off, src } => self.atomic(size, op, base, off, src),
            Insn::LoadAcquire { size, dst, base, off } => self.load(slot, size, false, dst, base, off),
            Insn::StoreRelease { size, base, off, src } => {
                self.store(slot, size, base, off, weir_ebpf::isa::Source::Reg(src));
            }
            Insn::LoadPacket { size, index, offset } => self.load_packet(size, index, offset),
            Insn::Goto { off } => return self.goto(slot, i32::from(off)),
            Insn::GotoLong { off } => return self.goto(slot, off),
            Insn::Branch { width, cond, dst, src, off } => {
                return self.branch(slot, width, cond, dst, src, off);
            }
            Insn::MayGoto { off } => return self.may_goto(slot, off),
            Insn::Call { helper } => return self.call(slot, helper),
            Insn::CallLocal { off } => return self.call_local(slot, off),
            Insn::CallKfunc { btf_id, .. } => return self.call_kfunc(slot, btf_id),
            Insn::CallReg { reg } if self.facts.is_none() => self.call_register(reg),
            Insn::CallReg { .. } => return refused("a call by register"),
            Insn::Exit => self.exit(),
        }
        Ok(())
    }

    fn load_imm64(&mut self, slot: usize, dst: Reg, value: Imm64) -> Result<(), JitError> {
        let map_link = |map: u32| self.link.maps.get(map as usize).ok_or(JitError::Map { slot, map });
        let value = match value {
            Imm64::Value(value) => value,
            Imm64::Map(map) => map_link(map)?.address as u64,
            Imm64::MapValue { map, offset } => {
                let direct = map_link(map)?.direct;
                let what = "the address of a value that has none";
                direct.ok_or(JitError::Insn { slot, what })? as u64 + u64::from(offset)
            }
            Imm64::Function(off) => {
                let callee = self.callee(slot, off)?;
                let entry = self.frames[callee].entry;
                self.asm.address_of(gpr(dst), entry);
                return Ok(());
            }
            Imm64::Variable { .. } => return Err(JitError::Insn { slot, what: "a kernel variable" }),
        };
        self.asm.constant(gpr(dst), value);
        Ok(())
    }
}

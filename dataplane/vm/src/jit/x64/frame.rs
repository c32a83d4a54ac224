//! How functions begin and end, and what each needs to keep.

use dynasmrt::{DynasmApi as _, dynasm};
use weir_ebpf::abi::MAX_STACK;
use weir_ebpf::isa::{AtomicOp, Imm64, Size, Source, Width};
use weir_ebpf::{Insn, Program, Reg};
use weir_verifier::Facts;

use super::asm::{Arith, Asm, Gpr, Label, Rm};
use super::{Emitter, JitError, RUN, gpr};
use crate::mutant::{Mutant, seeded};
use crate::run::offset;

/// A function of the program as machine code sees it.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    /// First slot.
    pub(super) start: usize,
    /// Behind the last slot.
    pub(super) end: usize,
    /// Where calls go.
    pub(super) entry: Label,
    /// Whether it is entered from outside: the first function, and callbacks. Then the run comes in rdi,
    /// and r12 is the caller's.
    pub(super) door: bool,
    /// Whether it has use for the run.
    pub(super) run: bool,
    /// Whether it needs rbp: it uses its stack, or calls.
    pub(super) linked: bool,
    /// What it saves for its caller, in the order of pushing.
    pub(super) saved: Vec<Gpr>,
    /// Bytes between rbp and what is saved.
    pub(super) stack: i32,
    /// Bytes below rbp that are zeroed when it begins, since some may be read before they are written.
    pub(super) cleared: i32,
    /// Whether the stack is the checked interpreter's, and rbp not the frame's but its own.
    pub(super) exact: bool,
}

/// Finds out what each function needs.
pub(super) fn frames(
    program: &Program,
    facts: Option<&Facts>,
    exact: bool,
    asm: &mut Asm,
) -> Result<Vec<Frame>, JitError> {
    let ends = program.functions.iter().skip(1).map(|next| next.start).chain([program.insns.len()]);
    let mut frames = Vec::with_capacity(program.functions.len());
    for (number, (function, end)) in program.functions.iter().zip(ends).enumerate() {
        let insns = program.insns.get(function.start..end);
        let target = function.start as i64;
        let insns = insns.ok_or(JitError::Target { slot: 0, target })?;
        let reached = |slot: usize| facts.is_none_or(|facts| facts.insns[slot].reached);
        let live =
            insns.iter().enumerate().filter(|(at, _)| reached(function.start + at)).map(|(_, insn)| insn);
        let stack = facts.map_or(MAX_STACK as u32, |facts| facts.functions[number].stack_bytes);
        let door = number == 0 || is_callback(program, function.start);
        let mut frame = Frame::new(function.start, end, asm.label(), door, stack, live);
        if facts.is_none_or(|facts| facts.functions[number].reads_unwritten) && frame.linked {
            frame.cleared = stack.next_multiple_of(8) as i32;
        }
        frames.push(if exact { frame.exact() } else { frame });
    }
    Ok(frames)
}

/// Whether the address of the function at this slot is taken.
fn is_callback(program: &Program, start: usize) -> bool {
    program.insns.iter().enumerate().any(|(slot, insn)| match insn {
        Insn::LoadImm64 { value: Imm64::Function(off), .. } => {
            slot as i64 + 1 + i64::from(*off) == start as i64
        }
        _ => false,
    })
}

impl Frame {
    fn new<'i>(
        start: usize,
        end: usize,
        entry: Label,
        door: bool,
        stack: u32,
        insns: impl Iterator<Item = &'i Insn>,
    ) -> Self {
        let mut named = [false; Reg::COUNT];
        let (mut run, mut calls) = (false, false);
        for insn in insns {
            for reg in registers(insn).into_iter().flatten() {
                named[reg.index()] = true;
            }
            match insn {
                Insn::Call { .. }
                | Insn::CallLocal { .. }
                | Insn::CallReg { .. }
                | Insn::CallKfunc { .. }
                | Insn::LoadPacket { .. } => {
                    (run, calls) = (true, true);
                }
                Insn::MayGoto { .. } => run = true,
                _ => {}
            }
        }
        let kept = [Reg::R6, Reg::R7, Reg::R8, Reg::R9];
        let mut saved: Vec<Gpr> = kept.into_iter().filter(|reg| named[reg.index()]).map(gpr).collect();
        if seeded(Mutant::FunctionLosesR8) && !door {
            saved.retain(|saved| *saved != gpr(Reg::R8));
        }
        if door && run {
            saved.push(RUN);
        }
        let linked = calls || named[Reg::R10.index()];
        // Behind the pushes rsp is aligned to 16 bytes, as calls want it: rbp is.
        let stack = stack.next_multiple_of(8) as usize;
        let pushed = 8 * saved.len();
        let stack = if linked { (stack + pushed).next_multiple_of(16) - pushed } else { 0 };
        Self { start, end, entry, door, run, linked, saved, stack: stack as i32, cleared: 0, exact: false }
    }

    /// The same function for a replay: all is saved, and nothing of the program's lies in the frame.
    fn exact(self) -> Self {
        let kept = [Reg::R6, Reg::R7, Reg::R8, Reg::R9, Reg::R10];
        let mut saved: Vec<Gpr> = kept.into_iter().map(gpr).collect();
        // Five pushes and the return address are 48 bytes: aligned; so are seven.
        saved.extend(if self.door { [RUN, Gpr::R11].as_slice() } else { &[] });
        Self { exact: true, run: true, linked: false, saved, stack: 0, cleared: MAX_STACK as i32, ..self }
    }
}

/// The register that an instruction writes, but for those that calls clobber.
pub(super) fn written(insn: &Insn) -> Option<Reg> {
    match insn {
        Insn::Alu { dst, .. }
        | Insn::Mov { dst, .. }
        | Insn::MovSx { dst, .. }
        | Insn::Neg { dst, .. }
        | Insn::Swap { dst, .. }
        | Insn::LoadImm64 { dst, .. }
        | Insn::Load { dst, .. }
        | Insn::LoadAcquire { dst, .. } => Some(*dst),
        Insn::Atomic { op: AtomicOp::CmpXchg, .. } => Some(Reg::R0),
        Insn::Atomic { op, src, .. } => op.fetches().then_some(*src),
        Insn::LoadPacket { .. } => Some(Reg::R0),
        Insn::SecondHalf
        | Insn::Store { .. }
        | Insn::StoreRelease { .. }
        | Insn::Goto { .. }
        | Insn::GotoLong { .. }
        | Insn::Branch { .. }
        | Insn::MayGoto { .. }
        | Insn::Call { .. }
        | Insn::CallLocal { .. }
        | Insn::CallKfunc { .. }
        | Insn::CallReg { .. }
        | Insn::Exit => None,
    }
}

/// The registers that an instruction names.
fn registers(insn: &Insn) -> [Option<Reg>; 2] {
    let second = |src: &Source| match src {
        Source::Reg(reg) => Some(*reg),
        Source::Imm(_) => None,
    };
    match insn {
        Insn::Alu { dst, src, .. } | Insn::Mov { dst, src, .. } | Insn::Branch { dst, src, .. } => {
            [Some(*dst), second(src)]
        }
        Insn::MovSx { dst, src, .. } => [Some(*dst), Some(*src)],
        Insn::Neg { dst, .. } | Insn::Swap { dst, .. } | Insn::LoadImm64 { dst, .. } => [Some(*dst), None],
        Insn::Load { dst, base, .. } | Insn::LoadAcquire { dst, base, .. } => [Some(*dst), Some(*base)],
        Insn::Store { base, src, .. } => [Some(*base), second(src)],
        Insn::StoreRelease { base, src, .. } | Insn::Atomic { base, src, .. } => [Some(*base), Some(*src)],
        Insn::LoadPacket { index, .. } => [*index, None],
        Insn::CallReg { reg } => [Some(*reg), None],
        Insn::SecondHalf
        | Insn::Goto { .. }
        | Insn::GotoLong { .. }
        | Insn::MayGoto { .. }
        | Insn::Call { .. }
        | Insn::CallLocal { .. }
        | Insn::CallKfunc { .. }
        | Insn::Exit => [None, None],
    }
}

impl Emitter<'_> {
    pub(super) fn prologue(&mut self) {
        let frame = self.frames[self.function].clone();
        if frame.linked {
            dynasm!(self.asm.ops ; .arch x64 ; push rbp ; mov rbp, rsp);
        }
        if frame.stack > 0 {
            self.asm.arith_imm(Width::W64, Arith::Sub, Rm::Reg(Gpr::Rsp), frame.stack);
        }
        for reg in &frame.saved {
            self.push(*reg);
        }
        if frame.door && frame.run {
            dynasm!(self.asm.ops ; .arch x64 ; mov r12, rdi);
        }
        if frame.exact {
            self.begin_exactly(frame.door);
        }
        self.clear(frame.cleared);
    }

    /// Zeroes so many bytes below rbp, with the registers as they are.
    fn clear(&mut self, bytes: i32) {
        if bytes > 0 {
            dynasm!(self.asm.ops ; .arch x64 ; xorps xmm0, xmm0);
        }
        let mut off = -bytes;
        if bytes % 16 != 0 {
            dynasm!(self.asm.ops ; .arch x64 ; movlps [rbp + off], xmm0);
            off += 8;
        }
        while off < 0 {
            dynasm!(self.asm.ops ; .arch x64 ; movups [rbp + off], xmm0);
            off += 16;
        }
    }

    /// Sets registers as the checked interpreter has them when a function begins. `Run::engine` points to the
    /// current frame's stack top in a list of them.
    fn begin_exactly(&mut self, door: bool) {
        let tops = Rm::Mem(RUN, offset::ENGINE as i32);
        if door {
            for reg in [Reg::R0, Reg::R3, Reg::R4, Reg::R5, Reg::R6, Reg::R7, Reg::R8, Reg::R9] {
                self.asm.constant(gpr(reg), 0);
            }
        } else {
            self.asm.arith_imm(Width::W64, Arith::Add, tops, 8);
        }
        self.asm.load(Size::DW, Gpr::Rbp, tops);
        self.asm.load(Size::DW, Gpr::Rbp, Rm::Mem(Gpr::Rbp, 0));
    }

    /// Takes the frame down, up to the return address. r10, r11, rdi and the argument registers stay.
    pub(super) fn epilogue(&mut self) {
        let frame = self.frames[self.function].clone();
        if frame.exact && !frame.door {
            self.asm.arith_imm(Width::W64, Arith::Sub, Rm::Mem(RUN, offset::ENGINE as i32), 8);
        }
        for reg in frame.saved.iter().rev() {
            self.pop(*reg);
        }
        if frame.linked {
            dynasm!(self.asm.ops ; .arch x64 ; leave);
        }
    }

    /// Returns r0 to whoever called the function.
    pub(super) fn exit(&mut self) {
        self.epilogue();
        dynasm!(self.asm.ops ; .arch x64 ; ret);
    }

    fn push(&mut self, reg: Gpr) {
        if reg as u8 >= 8 {
            self.asm.ops.push(0x41);
        }
        self.asm.ops.push(0x50 | reg as u8 & 7);
    }

    fn pop(&mut self, reg: Gpr) {
        if reg as u8 >= 8 {
            self.asm.ops.push(0x41);
        }
        self.asm.ops.push(0x58 | reg as u8 & 7);
    }
}

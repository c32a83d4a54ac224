//! Which registers may still be read (a backward data flow, function by function).
//!
//! The JIT reads it as facts; pruning forgets what is dead, so that states differ in what matters
//! only.

use weir_ebpf::Program;
use weir_ebpf::abi::helper::Helper;
use weir_ebpf::abi::kfunc::Kfunc;
use weir_ebpf::isa::{AtomicOp, Insn, Reg, Source};

use crate::bugs::{Bug, seeded};
use crate::facts::RegSet;
use crate::shape::{Shape, written};

/// Registers that calls lose.
const CALLER_SAVED: RegSet = RegSet(0b11_1111);
/// Registers that pass arguments.
const ARGUMENTS: RegSet = RegSet(0b11_1110);

/// Every register.
const ALL: RegSet = RegSet(0x7ff);

/// Most passes over a function; one whose jumps need more has everything live. Code that compilers make
/// needs about as many as its loops are deep.
pub(crate) const PASSES_MAX: usize = 100;

/// Live registers by slot.
pub(crate) struct Liveness {
    before: Vec<RegSet>,
    after: Vec<RegSet>,
}

fn set(regs: &[Reg]) -> RegSet {
    let mut set = RegSet::default();
    regs.iter().for_each(|&reg| set.insert(reg));
    set
}

fn of_source(src: Source) -> RegSet {
    match src {
        Source::Reg(reg) => set(&[reg]),
        Source::Imm(_) => RegSet::default(),
    }
}

fn union(a: RegSet, b: RegSet) -> RegSet {
    RegSet(a.0 | b.0)
}

/// Registers an instruction reads.
pub(crate) fn reads(insn: &Insn) -> RegSet {
    match *insn {
        Insn::Alu { dst, src, .. } => union(set(&[dst]), of_source(src)),
        Insn::Mov { src, .. } => of_source(src),
        Insn::MovSx { src, .. } => set(&[src]),
        Insn::Neg { dst, .. } | Insn::Swap { dst, .. } => set(&[dst]),
        Insn::LoadImm64 { .. } | Insn::SecondHalf => RegSet::default(),
        Insn::Load { base, .. } | Insn::LoadAcquire { base, .. } => set(&[base]),
        Insn::Store { base, src, .. } => union(set(&[base]), of_source(src)),
        Insn::StoreRelease { base, src, .. } => set(&[base, src]),
        Insn::Atomic { base, src, op: AtomicOp::CmpXchg, .. } => set(&[base, src, Reg::R0]),
        Insn::Atomic { base, src, .. } => set(&[base, src]),
        Insn::LoadPacket { index, .. } => union(set(&[Reg::R6]), index.map_or(RegSet(0), |reg| set(&[reg]))),
        Insn::Goto { .. } | Insn::GotoLong { .. } | Insn::MayGoto { .. } => RegSet::default(),
        Insn::Branch { dst, src, .. } => union(set(&[dst]), of_source(src)),
        Insn::Call { .. } if seeded(Bug::LivenessOfCalls) => RegSet::default(),
        Insn::Call { helper } => match Helper::new(helper) {
            Some(helper) => set(&Reg::ARGS[..helper.args().len()]),
            None => ARGUMENTS,
        },
        Insn::CallKfunc { btf_id, .. } => match Kfunc::new(btf_id) {
            Some(kfunc) => set(&Reg::ARGS[..kfunc.args().len()]),
            None => ARGUMENTS,
        },
        Insn::CallLocal { .. } => ARGUMENTS,
        Insn::CallReg { reg } => union(ARGUMENTS, set(&[reg])),
        Insn::Exit => set(&[Reg::R0]),
    }
}

/// Registers an instruction overwrites or loses.
fn writes(insn: &Insn) -> RegSet {
    match insn {
        Insn::Call { .. }
        | Insn::CallLocal { .. }
        | Insn::CallKfunc { .. }
        | Insn::CallReg { .. }
        | Insn::LoadPacket { .. } => CALLER_SAVED,
        other => written(other).map_or(RegSet::default(), |reg| set(&[reg])),
    }
}

impl Liveness {
    /// The liveness of a program of this shape.
    pub(crate) fn of(program: &Program, shape: &Shape) -> Self {
        let slots = program.insns.len();
        let mut live = Self { before: vec![RegSet::default(); slots], after: vec![RegSet::default(); slots] };
        for span in &shape.functions {
            let settled = (0..PASSES_MAX).any(|_| !live.pass(program, span.start, span.end));
            if !settled {
                live.before[span.start..span.end].fill(ALL);
                live.after[span.start..span.end].fill(ALL);
            }
        }
        live
    }

    /// Goes over a function once, last instruction first; answers whether something changed.
    fn pass(&mut self, program: &Program, start: usize, end: usize) -> bool {
        let mut changed = false;
        for slot in (start..end).rev() {
            let insn = &program.insns[slot];
            let mut after = RegSet::default();
            if insn.falls_through() && slot + 1 < end {
                after = union(after, self.before[slot + 1]);
            }
            if let Some(target) = insn.jump_target(slot)
                && !seeded(Bug::LivenessOfTargets)
            {
                after = union(after, self.before[target as usize]);
            }
            let before = union(reads(insn), RegSet(after.0 & !writes(insn).0));
            changed |= before != self.before[slot] || after != self.after[slot];
            (self.before[slot], self.after[slot]) = (before, after);
        }
        changed
    }

    /// Registers that may be read from this instruction on.
    pub(crate) fn live_in(&self, slot: usize) -> RegSet {
        self.before[slot]
    }

    /// Registers that may be read after this instruction.
    pub(crate) fn live_out(&self, slot: usize) -> RegSet {
        self.after[slot]
    }
}

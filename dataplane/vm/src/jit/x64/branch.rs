//! Jumps and branches.

use weir_ebpf::Reg;
use weir_ebpf::isa::{Cond, Source, Width};

use super::asm::{Arith, Flag, Rm};
use super::{Emitter, JitError, RUN, gpr};
use crate::run::offset;

/// The flag that tells a condition, after `cmp dst, src` (for `Set`, after `test`).
const fn flag(cond: Cond) -> Flag {
    match cond {
        Cond::Eq => Flag::Equal,
        Cond::Ne | Cond::Set => Flag::NotEqual,
        Cond::Gt => Flag::Above,
        Cond::Ge => Flag::AboveEqual,
        Cond::Lt => Flag::Below,
        Cond::Le => Flag::BelowEqual,
        Cond::SGt => Flag::Greater,
        Cond::SGe => Flag::GreaterEqual,
        Cond::SLt => Flag::Less,
        Cond::SLe => Flag::LessEqual,
    }
}

impl Emitter<'_> {
    pub(super) fn goto(&mut self, slot: usize, off: i32) -> Result<(), JitError> {
        let target = slot as i64 + 1 + i64::from(off);
        let label = self.target(slot, target)?;
        if off != 0 {
            self.asm.jump(label);
        }
        Ok(())
    }

    pub(super) fn branch(
        &mut self,
        slot: usize,
        width: Width,
        cond: Cond,
        dst: Reg,
        src: Source,
        off: i16,
    ) -> Result<(), JitError> {
        let label = self.target(slot, slot as i64 + 1 + i64::from(off))?;
        let ways = self.ways(slot);
        if off == 0 || !ways.taken {
            return Ok(());
        }
        if !ways.fallen {
            self.asm.jump(label);
            return Ok(());
        }
        let dst = gpr(dst);
        match (src, cond) {
            (Source::Reg(src), Cond::Set) => self.asm.test(width, dst, gpr(src)),
            (Source::Imm(imm), Cond::Set) => self.asm.test_imm(width, dst, imm),
            (Source::Reg(src), _) => self.asm.arith_rr(width, Arith::Cmp, dst, gpr(src)),
            // Comparing with zero and testing set the same flags.
            (Source::Imm(0), _) => self.asm.test(width, dst, dst),
            (Source::Imm(imm), _) => self.asm.arith_imm(width, Arith::Cmp, Rm::Reg(dst), imm),
        }
        self.asm.jump_if(flag(cond), label);
        Ok(())
    }

    /// Jumps when the run's budget is used up, else takes one from it.
    pub(super) fn may_goto(&mut self, slot: usize, off: i16) -> Result<(), JitError> {
        let label = self.target(slot, slot as i64 + 1 + i64::from(off))?;
        let budget = Rm::Mem(RUN, offset::MAY_GOTO as i32);
        self.asm.arith_imm(Width::W64, Arith::Cmp, budget, 0);
        self.asm.jump_if(Flag::Equal, label);
        self.asm.arith_imm(Width::W64, Arith::Sub, budget, 1);
        Ok(())
    }
}

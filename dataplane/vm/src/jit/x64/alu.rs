//! Arithmetic, moves and byte swaps.

use dynasmrt::{DynasmApi as _, dynasm};
use weir_ebpf::Reg;
use weir_ebpf::isa::{AluOp, Size, Source, SwapKind, Width};

use super::asm::{Arith, Flag, Gpr, Rm, Shift, Unary};
use super::{Emitter, cpu, gpr};
use crate::mutant::{Mutant, seeded};

/// What a division leaves.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Division {
    signed: bool,
    /// The remainder, not the quotient.
    remainder: bool,
}

impl Emitter<'_> {
    pub(super) fn alu(&mut self, width: Width, op: AluOp, dst: Reg, src: Source) {
        let dst = gpr(dst);
        match op {
            AluOp::Add => self.arith(width, Arith::Add, dst, src),
            AluOp::Sub => self.arith(width, Arith::Sub, dst, src),
            AluOp::Or => self.arith(width, Arith::Or, dst, src),
            AluOp::And => self.arith(width, Arith::And, dst, src),
            AluOp::Xor => self.arith(width, Arith::Xor, dst, src),
            AluOp::Mul => match src {
                Source::Reg(src) => self.asm.imul(width, dst, gpr(src)),
                Source::Imm(imm) => self.asm.imul_imm(width, dst, dst, imm),
            },
            AluOp::Lsh => self.shift(width, Shift::Shl, dst, src),
            AluOp::Rsh => self.shift(width, Shift::Shr, dst, src),
            AluOp::Arsh => self.shift(width, Shift::Sar, dst, src),
            AluOp::Div => self.divide(width, Division { signed: false, remainder: false }, dst, src),
            AluOp::SDiv => self.divide(width, Division { signed: true, remainder: false }, dst, src),
            AluOp::Mod => self.divide(width, Division { signed: false, remainder: true }, dst, src),
            AluOp::SMod => self.divide(width, Division { signed: true, remainder: true }, dst, src),
        }
    }

    fn arith(&mut self, width: Width, op: Arith, dst: Gpr, src: Source) {
        match src {
            Source::Reg(src) => self.asm.arith_rr(width, op, dst, gpr(src)),
            Source::Imm(imm) if seeded(Mutant::ImmediateZeroExtended) && imm < 0 => {
                self.asm.constant(Gpr::R11, u64::from(imm as u32));
                self.asm.arith_rr(width, op, dst, Gpr::R11);
            }
            Source::Imm(imm) => self.asm.arith_imm(width, op, Rm::Reg(dst), imm),
        }
    }

    pub(super) fn mov(&mut self, width: Width, dst: Reg, src: Source) {
        match (src, width) {
            (Source::Reg(src), _) => self.asm.mov(width, gpr(dst), gpr(src)),
            (Source::Imm(imm), Width::W32) => self.asm.constant(gpr(dst), u64::from(imm as u32)),
            (Source::Imm(imm), Width::W64) => self.asm.constant(gpr(dst), i64::from(imm) as u64),
        }
    }

    pub(super) fn mov_signed(&mut self, width: Width, from: Size, dst: Reg, src: Reg) {
        self.asm.load_signed(width, from, gpr(dst), Rm::Reg(gpr(src)));
    }

    pub(super) fn neg(&mut self, width: Width, dst: Reg) {
        self.asm.unary(width, Unary::Neg, gpr(dst));
    }

    pub(super) fn swap(&mut self, kind: SwapKind, size: Size, dst: Reg) {
        let dst = gpr(dst);
        match (kind, size) {
            (SwapKind::ToLe, _) if seeded(Mutant::SwapNoTruncation) => {}
            (SwapKind::ToLe, _) => self.truncate(size, dst),
            (SwapKind::ToBe | SwapKind::Bswap, Size::DW) => self.asm.bswap(Width::W64, dst),
            (SwapKind::ToBe | SwapKind::Bswap, Size::W) => self.asm.bswap(Width::W32, dst),
            (SwapKind::ToBe | SwapKind::Bswap, Size::H | Size::B) => {
                self.asm.shift_imm(Size::H, Shift::Ror, dst, 8);
                if !seeded(Mutant::SwapKeepsUpper) {
                    self.asm.load(Size::H, dst, Rm::Reg(dst));
                }
            }
        }
    }

    /// Clears what is above the low `size` bytes.
    fn truncate(&mut self, size: Size, dst: Gpr) {
        match size {
            Size::DW => {}
            Size::W => self.asm.mov(Width::W32, dst, dst),
            Size::H | Size::B => self.asm.load(size, dst, Rm::Reg(dst)),
        }
    }

    fn shift(&mut self, width: Width, op: Shift, dst: Gpr, src: Source) {
        match src {
            Source::Imm(imm) => {
                let amount = imm as u32 & (width.bits() - 1);
                let size = if width == Width::W32 { Size::W } else { Size::DW };
                match amount {
                    0 => self.truncate(size, dst),
                    _ => self.asm.shift_imm(size, op, dst, amount as u8),
                }
            }
            Source::Reg(src) if cpu::has_bmi2() => self.shift_bmi2(width, op, dst, gpr(src)),
            Source::Reg(src) => self.shift_through_cl(width, op, dst, gpr(src)),
        }
    }

    fn shift_bmi2(&mut self, width: Width, op: Shift, dst: Gpr, src: Gpr) {
        let ops = &mut self.asm.ops;
        match (op, width) {
            (Shift::Shl, Width::W32) => {
                dynasm!(ops ; .arch x64 ; shlx Rd(dst), Rd(dst), Rd(src))
            }
            (Shift::Shl, Width::W64) => {
                dynasm!(ops ; .arch x64 ; shlx Rq(dst), Rq(dst), Rq(src))
            }
            (Shift::Shr, Width::W32) => {
                dynasm!(ops ; .arch x64 ; shrx Rd(dst), Rd(dst), Rd(src))
            }
            (Shift::Shr, Width::W64) => {
                dynasm!(ops ; .arch x64 ; shrx Rq(dst), Rq(dst), Rq(src))
            }
            (Shift::Sar, Width::W32) => {
                dynasm!(ops ; .arch x64 ; sarx Rd(dst), Rd(dst), Rd(src))
            }
            (Shift::Sar, Width::W64) => {
                dynasm!(ops ; .arch x64 ; sarx Rq(dst), Rq(dst), Rq(src))
            }
            (Shift::Ror, _) => unreachable!("no instruction rotates by a register"),
        }
    }

    /// Without BMI2 the amount has to be in cl: rcx (r3) is kept in r11 meanwhile.
    fn shift_through_cl(&mut self, width: Width, op: Shift, dst: Gpr, src: Gpr) {
        if src == Gpr::Rcx && dst != Gpr::Rcx {
            return self.asm.shift_cl(width, op, dst);
        }
        self.asm.mov(Width::W64, Gpr::R11, Gpr::Rcx);
        if src != Gpr::Rcx {
            self.asm.mov(Width::W32, Gpr::Rcx, src);
        }
        let shifted = if dst == Gpr::Rcx { Gpr::R11 } else { dst };
        self.asm.shift_cl(width, op, shifted);
        self.asm.mov(Width::W64, Gpr::Rcx, Gpr::R11);
    }

    fn divide(&mut self, width: Width, division: Division, dst: Gpr, src: Source) {
        match src {
            Source::Imm(imm) => self.divide_by_constant(width, division, dst, imm),
            Source::Reg(src) => self.divide_by_register(width, division, dst, gpr(src)),
        }
    }

    fn divide_by_constant(&mut self, width: Width, division: Division, dst: Gpr, imm: i32) {
        let divisor = match width {
            Width::W32 => u64::from(imm as u32),
            Width::W64 => i64::from(imm) as u64,
        };
        if imm == 0 {
            self.divide_by_zero(width, division, dst);
        } else if division.signed && imm == -1 {
            self.divide_by_minus_one(width, division, dst);
        } else if !division.signed && divisor.is_power_of_two() {
            if division.remainder {
                self.asm.arith_imm(width, Arith::And, Rm::Reg(dst), (divisor - 1) as i32);
            } else {
                self.shift(width, Shift::Shr, dst, Source::Imm(divisor.trailing_zeros() as i32));
            }
        } else {
            self.asm.constant(Gpr::R11, divisor);
            self.divide_by_r11(width, division, dst);
        }
    }

    fn divide_by_register(&mut self, width: Width, division: Division, dst: Gpr, src: Gpr) {
        let (whole, done) = (self.asm.label(), self.asm.label());
        self.asm.mov(width, Gpr::R11, src);
        self.asm.test(width, Gpr::R11, Gpr::R11);
        self.asm.jump_if(Flag::NotEqual, whole);
        self.divide_by_zero(width, division, dst);
        self.asm.jump(done);
        self.asm.bind(whole);
        if division.signed {
            let plain = self.asm.label();
            self.asm.arith_imm(width, Arith::Cmp, Rm::Reg(Gpr::R11), -1);
            self.asm.jump_if(Flag::NotEqual, plain);
            self.divide_by_minus_one(width, division, dst);
            self.asm.jump(done);
            self.asm.bind(plain);
        }
        self.divide_by_r11(width, division, dst);
        self.asm.bind(done);
    }

    /// x/0 is 0 and x%0 is x.
    fn divide_by_zero(&mut self, width: Width, division: Division, dst: Gpr) {
        if seeded(Mutant::DivByZeroKeeps) {
            return;
        }
        if !division.remainder {
            self.asm.constant(dst, 0);
        } else if width == Width::W32 {
            self.asm.mov(width, dst, dst);
        }
    }

    /// The processor faults on the smallest number divided by -1; the answer is a negation.
    fn divide_by_minus_one(&mut self, width: Width, division: Division, dst: Gpr) {
        if division.remainder {
            self.asm.constant(dst, 0);
        } else {
            self.asm.unary(width, Unary::Neg, dst);
        }
    }

    /// Divides by r11, which is neither 0 nor, when signed, -1. rax and rdx (r0 and r2) are kept in rdi
    /// and r10 unless they receive the result.
    fn divide_by_r11(&mut self, width: Width, division: Division, dst: Gpr) {
        let wide = Width::W64;
        if dst != Gpr::Rax {
            self.asm.mov(wide, Gpr::Rdi, Gpr::Rax);
        }
        if dst != Gpr::Rdx {
            self.asm.mov(wide, Gpr::R10, Gpr::Rdx);
        }
        if dst != Gpr::Rax {
            self.asm.mov(width, Gpr::Rax, dst);
        }
        let ops = &mut self.asm.ops;
        match (division.signed, width) {
            (false, _) => dynasm!(ops ; .arch x64 ; xor edx, edx),
            (true, Width::W32) => dynasm!(ops ; .arch x64 ; cdq),
            (true, Width::W64) => dynasm!(ops ; .arch x64 ; cqo),
        }
        let op = if division.signed { Unary::Idiv } else { Unary::Div };
        self.asm.unary(width, op, Gpr::R11);
        let result = if division.remainder { Gpr::Rdx } else { Gpr::Rax };
        if dst != result {
            self.asm.mov(width, dst, result);
        }
        if dst != Gpr::Rdx && !seeded(Mutant::DivLosesR2) {
            self.asm.mov(wide, Gpr::Rdx, Gpr::R10);
        }
        if dst != Gpr::Rax {
            self.asm.mov(wide, Gpr::Rax, Gpr::Rdi);
        }
    }
}

//! Loads, stores and atomics.

use weir_ebpf::Reg;
use weir_ebpf::isa::{AtomicOp, Size, Source, Width};
use weir_verifier::Access;

use super::asm::{Arith, Flag, Gpr, Rm};
use super::{Emitter, gpr};
use crate::context;
use crate::mutant::{Mutant, seeded};

impl Emitter<'_> {
    /// Where an access goes and how many bytes of it there are: the program's own address and size, but
    /// for the context, whose fields lie elsewhere than the program thinks.
    fn place(&self, slot: usize, size: Size, base: Reg, off: i16, store: bool) -> (Rm, Size) {
        let Access::Context { field, offset } = self.access(slot) else {
            return (Rm::Mem(gpr(base), i32::from(off)), size);
        };
        let within = offset - field.offset();
        let (real, bytes) = context::slot(field).access(field.size(), within, size.bytes(), store);
        // The base may be the context plus a constant; then `off` is short by it, and stays so.
        let displacement = real as i32 - offset as i32 + i32::from(off);
        // Fields of other lengths (`cb` as a whole) are never accessed in one.
        let size = [Size::B, Size::H, Size::W, Size::DW].into_iter().find(|size| size.bytes() == bytes);
        let size = size.expect("an access has the bytes of one of the sizes");
        (Rm::Mem(gpr(base), displacement), size)
    }

    /// The number from which on stores to a context field do nothing.
    fn ignored_from(&self, slot: usize) -> Option<u32> {
        let Access::Context { field, .. } = self.access(slot) else { return None };
        context::slot(field).ignored_from
    }

    pub(super) fn load(&mut self, slot: usize, size: Size, signed: bool, dst: Reg, base: Reg, off: i16) {
        let (from, size) = self.place(slot, size, base, off, false);
        match signed {
            true => self.asm.load_signed(Width::W64, size, gpr(dst), from),
            false => self.asm.load(size, gpr(dst), from),
        }
    }

    pub(super) fn store(&mut self, slot: usize, size: Size, base: Reg, off: i16, src: Source) {
        if let Some(Some(part)) = self.parts.get(slot).copied() {
            return self.gather(part, size, src);
        }
        let (to, size) = self.place(slot, size, base, off, true);
        match (src, self.ignored_from(slot)) {
            (Source::Reg(src), None) => self.asm.store(size, to, gpr(src)),
            (Source::Imm(imm), None) => self.asm.store_imm(size, to, imm),
            (Source::Reg(src), Some(limit)) => {
                let ignored = self.asm.label();
                self.asm.arith_imm(Width::W64, Arith::Cmp, Rm::Reg(gpr(src)), limit as i32);
                self.asm.jump_if(Flag::AboveEqual, ignored);
                self.asm.store(size, to, gpr(src));
                self.asm.bind(ignored);
            }
            (Source::Imm(imm), Some(limit)) => {
                // The kernel compares an immediate as a signed number.
                if i64::from(imm) < i64::from(limit) {
                    self.asm.store_imm(size, to, imm);
                }
            }
        }
    }

    pub(super) fn atomic(&mut self, size: Size, op: AtomicOp, base: Reg, off: i16, src: Reg) {
        let width = if size == Size::DW { Width::W64 } else { Width::W32 };
        let to = Rm::Mem(gpr(base), i32::from(off));
        let src = gpr(src);
        match op {
            AtomicOp::Add => self.asm.lock_arith(width, Arith::Add, to, src),
            AtomicOp::Or => self.asm.lock_arith(width, Arith::Or, to, src),
            AtomicOp::And => self.asm.lock_arith(width, Arith::And, to, src),
            AtomicOp::Xor => self.asm.lock_arith(width, Arith::Xor, to, src),
            AtomicOp::FetchAdd => self.asm.lock_xadd(width, to, src),
            AtomicOp::FetchOr => self.fetch(width, Arith::Or, gpr(base), i32::from(off), src),
            AtomicOp::FetchAnd => self.fetch(width, Arith::And, gpr(base), i32::from(off), src),
            AtomicOp::FetchXor => self.fetch(width, Arith::Xor, gpr(base), i32::from(off), src),
            AtomicOp::Xchg => self.asm.xchg(width, to, src),
            AtomicOp::CmpXchg => {
                self.asm.lock_cmpxchg(width, to, src);
                if width == Width::W32 && !seeded(Mutant::CmpxchgKeepsUpper) {
                    // It leaves rax alone when memory was equal; r0 is the old value, zero-extended.
                    self.asm.mov(width, Gpr::Rax, Gpr::Rax);
                }
            }
        }
    }

    /// An operation that the processor cannot fetch with: tried until nobody came between. rax (r0) is
    /// kept in r11, which also stands in for it as base and operand.
    fn fetch(&mut self, width: Width, op: Arith, base: Gpr, off: i32, src: Gpr) {
        let stand_in = |reg: Gpr| if reg == Gpr::Rax { Gpr::R11 } else { reg };
        let (to, operand) = (Rm::Mem(stand_in(base), off), stand_in(src));
        let size = if width == Width::W32 { Size::W } else { Size::DW };
        let again = self.asm.label();
        self.asm.mov(Width::W64, Gpr::R11, Gpr::Rax);
        self.asm.load(size, Gpr::Rax, to);
        self.asm.bind(again);
        self.asm.mov(width, Gpr::R10, Gpr::Rax);
        self.asm.arith_rr(width, op, Gpr::R10, operand);
        self.asm.lock_cmpxchg(width, to, Gpr::R10);
        self.asm.jump_if(Flag::NotEqual, again);
        if src != Gpr::Rax {
            self.asm.mov(width, src, Gpr::Rax);
            if !seeded(Mutant::FetchLosesR0) {
                self.asm.mov(Width::W64, Gpr::Rax, Gpr::R11);
            }
        }
    }
}

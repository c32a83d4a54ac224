//! Helpers and map operations that need no call, because enough was proven.

use dynasmrt::{DynasmApi as _, dynasm};
use weir_ebpf::abi::Helper;
use weir_ebpf::isa::{Size, Width};

use super::asm::{Arith, Flag, Gpr, Label, Rm, Shift};
use super::{Emitter, RUN};
use crate::jit::link::{Shape, Workers};
use crate::mutant::{Mutant, seeded};
use crate::run::offset;
use crate::table::offset as table;

impl Emitter<'_> {
    /// Emits the call without a call, if it can be; says whether it was.
    pub(super) fn inline(&mut self, slot: usize, number: u32) -> bool {
        match Helper::new(number) {
            Some(Helper::GetSmpProcessorId) if self.facts.is_some() => {
                self.asm.load(Size::W, Gpr::Rax, Rm::Mem(RUN, offset::CPU as i32));
                true
            }
            Some(Helper::MapLookupElem) => self.array_lookup(slot),
            Some(_) | None => false,
        }
    }

    fn shape(&self, slot: usize) -> Shape {
        let map = self.call_facts(slot).map;
        let link = map.and_then(|map| self.link.maps.get(map as usize));
        link.map_or(Shape::Opaque, |link| link.shape)
    }

    /// r0 = address of the value whose index is at r2, or null.
    fn array_lookup(&mut self, slot: usize) -> bool {
        let Shape::Array { base, stride, len, workers } = self.shape(slot) else { return false };
        let (outside, done) = (self.asm.label(), self.asm.label());
        let index = self.call_facts(slot).index;
        match index {
            Some(index) if index >= len => {
                self.asm.constant(Gpr::Rax, 0);
                return true;
            }
            Some(index) => {
                self.asm.constant(Gpr::Rax, base as u64 + u64::from(index) * stride as u64);
                self.add_worker(workers, outside);
            }
            None => {
                self.asm.load(Size::W, Gpr::Rax, Rm::Mem(Gpr::Rdx, 0));
                self.asm.arith_imm(Width::W32, Arith::Cmp, Rm::Reg(Gpr::Rax), len as i32);
                self.asm.jump_if(Flag::AboveEqual, outside);
                if !seeded(Mutant::ArrayNotScaled) {
                    self.scale(Gpr::Rax, stride);
                }
                self.asm.constant(Gpr::R11, base as u64);
                self.asm.arith_rr(Width::W64, Arith::Add, Gpr::Rax, Gpr::R11);
                self.add_worker(workers, outside);
            }
        }
        if index.is_none() || workers.is_some() {
            self.asm.jump(done);
            self.asm.bind(outside);
            self.asm.constant(Gpr::Rax, 0);
            self.asm.bind(done);
        }
        true
    }

    /// Adds the start of this worker's values; jumps to `outside` when the map has none for it.
    fn add_worker(&mut self, workers: Option<Workers>, outside: Label) {
        let Some(Workers { count, stride }) = workers else { return };
        self.asm.load(Size::W, Gpr::R11, Rm::Mem(RUN, offset::CPU as i32));
        self.asm.arith_imm(Width::W32, Arith::Cmp, Rm::Reg(Gpr::R11), count as i32);
        self.asm.jump_if(Flag::AboveEqual, outside);
        self.scale(Gpr::R11, stride);
        self.asm.arith_rr(Width::W64, Arith::Add, Gpr::Rax, Gpr::R11);
    }

    fn scale(&mut self, reg: Gpr, factor: i32) {
        match factor {
            1 => {}
            _ if factor.count_ones() == 1 => {
                self.asm.shift_imm(Size::DW, Shift::Shl, reg, factor.trailing_zeros() as u8);
            }
            _ => self.asm.imul_imm(Width::W64, reg, reg, factor),
        }
    }

    /// Puts the code address of the program to go on in into r10, counting the tail call; jumps to `out`
    /// when there is none. Only for a known prog array; says whether it was one.
    pub(super) fn find_program(&mut self, slot: usize, out: Label) -> bool {
        let Shape::Programs { base, len } = self.shape(slot) else { return false };
        let taken = Rm::Mem(RUN, offset::TAIL_CALLS as i32);
        self.asm.arith_imm(Width::W32, Arith::Cmp, Rm::Reg(Gpr::Rcx), len as i32);
        self.asm.jump_if(Flag::AboveEqual, out);
        self.asm.arith_imm(Width::W32, Arith::Cmp, taken, weir_ebpf::abi::MAX_TAIL_CALLS as i32);
        self.asm.jump_if(Flag::AboveEqual, out);
        self.asm.constant(Gpr::R11, base as u64);
        dynasm!(self.asm.ops ; .arch x64 ; mov ecx, ecx ; mov ecx, [r11 + rcx * 4] ; sub ecx, 1);
        self.asm.jump_if(Flag::Below, out);
        self.asm.load(Size::DW, Gpr::R11, Rm::Mem(RUN, offset::TABLE as i32));
        self.asm.test(Width::W64, Gpr::R11, Gpr::R11);
        self.asm.jump_if(Flag::Equal, out);
        self.asm.arith(Width::W64, Arith::Cmp, Rm::Mem(Gpr::R11, table::COUNT as i32), Gpr::Rcx);
        self.asm.jump_if(Flag::BelowEqual, out);
        self.asm.load(Size::DW, Gpr::R11, Rm::Mem(Gpr::R11, table::CODE as i32));
        dynasm!(self.asm.ops ; .arch x64 ; mov r10, [r11 + rcx * 8]);
        self.asm.test(Width::W64, Gpr::R10, Gpr::R10);
        self.asm.jump_if(Flag::Equal, out);
        self.asm.arith_imm(Width::W32, Arith::Add, taken, 1);
        true
    }
}

//! Compiled code against the plain meaning of each instruction (`weir_ebpf::isa`).
//!
//! A [`Probe`] wraps a few instructions so that all registers come from memory before and go to
//! memory after; then every register is compared, not only the one that should have changed.

mod alu;
mod branch;
mod call;
mod gather;
mod memory;

use weir_ebpf::isa::{Size, Source, Width};
use weir_ebpf::{Insn, Program, ProgramType, Reg};

use super::{Compiled, Link};
use crate::run::{HelperFn, Run};

/// Numbers at which arithmetic changes its mind.
pub(super) const BOUNDARIES: [u64; 16] = [
    0,
    1,
    2,
    7,
    31,
    32,
    63,
    64,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0001,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0xffff_ffff_8000_0000,
    u64::MAX,
];

/// Immediates at which encodings change.
pub(super) const IMMEDIATES: [i32; 14] =
    [0, 1, -1, 2, 3, 8, 31, 33, 127, 128, -128, -129, i32::MAX, i32::MIN];

/// Compiles instructions as they are, without facts.
pub(super) fn compile(insns: Vec<Insn>) -> Compiled {
    let program = Program::from_insns("test", ProgramType::Xdp, insns);
    let link = Link { helper: &|_| None, kfunc: &|_| None, maps: &[], owner: 0, exact: false };
    // SAFETY: tests run only programs that stay inside the memory they give them.
    unsafe { Compiled::unproven(&program, &link) }.unwrap()
}

/// Runs with these arguments and no run.
pub(super) fn call(code: &Compiled, args: [u64; 2]) -> u64 {
    // SAFETY: the entry is a function of this type; the programs of these tests do not touch the run.
    let entry: HelperFn = unsafe { std::mem::transmute(code.entry()) };
    // SAFETY: as above; what the arguments point to is the test's own memory.
    unsafe { entry(std::ptr::null_mut::<Run<'_>>(), args[0], args[1], 3, 4, 5) }
}

pub(super) const fn mov(dst: Reg, imm: i32) -> Insn {
    Insn::Mov { width: Width::W64, dst, src: Source::Imm(imm) }
}

pub(super) const fn load(dst: Reg, base: Reg, off: i16) -> Insn {
    Insn::Load { size: Size::DW, signed: false, dst, base, off }
}

pub(super) const fn store(base: Reg, off: i16, src: Reg) -> Insn {
    Insn::Store { size: Size::DW, base, off, src: Source::Reg(src) }
}

/// All registers before or after; r10 is only known after.
pub(super) type Registers = [u64; Reg::COUNT];

/// A few instructions between a load and a store of all registers.
pub(super) struct Probe(Compiled);

impl Probe {
    pub(super) fn new(insns: &[Insn]) -> Self {
        const KEPT: [Reg; 10] =
            [Reg::R0, Reg::R2, Reg::R3, Reg::R4, Reg::R5, Reg::R6, Reg::R7, Reg::R8, Reg::R9, Reg::R1];
        let place = |reg: Reg| 8 * reg.index() as i16;
        let mut program = vec![store(Reg::R10, -8, Reg::R1)];
        program.extend(KEPT.map(|reg| load(reg, Reg::R1, place(reg))));
        program.extend(insns);
        program.extend(KEPT.map(|reg| store(Reg::R10, -16 - place(reg), reg)));
        program.push(load(Reg::R1, Reg::R10, -8));
        for reg in KEPT {
            program.push(load(Reg::R2, Reg::R10, -16 - place(reg)));
            program.push(store(Reg::R1, place(reg), Reg::R2));
        }
        program.extend([store(Reg::R1, place(Reg::R10), Reg::R10), mov(Reg::R0, 0), Insn::Exit]);
        Self(compile(program))
    }

    pub(super) fn run(&self, mut registers: Registers) -> Registers {
        assert_eq!(call(&self.0, [registers.as_mut_ptr() as u64, 0]), 0);
        registers
    }
}

/// Registers that all differ, in both halves.
pub(super) fn distinct() -> Registers {
    std::array::from_fn(|index| 0x1111_0101_2222_0303_u64.wrapping_mul(index as u64 + 1))
}

#[test]
fn slots_point_at_their_code() {
    let code = compile(vec![mov(Reg::R0, 1), mov(Reg::R0, 2), Insn::Exit]);
    assert_eq!(code.slots(), [0, 5, 10]);
    assert_eq!(code.code(), [0xb8, 1, 0, 0, 0, 0xb8, 2, 0, 0, 0, 0xc3]);
    assert_eq!(call(&code, [0, 0]), 2);
}

#[test]
fn callees_registers_survive() {
    // Writes r6-r9; the caller (Rust) would notice, since it keeps values there.
    let mut insns: Vec<_> = [Reg::R6, Reg::R7, Reg::R8, Reg::R9].map(|reg| mov(reg, -1)).into();
    insns.extend([mov(Reg::R0, 9), Insn::Exit]);
    let code = compile(insns);
    let sum: u64 = (0..100).map(|n| n * call(&code, [n, 0])).sum();
    assert_eq!(sum, 9 * 4950);
}

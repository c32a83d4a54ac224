//! Stores that are gathered must leave what they would have left one by one.

use weir_ebpf::isa::{AluOp, Insn, Reg, Size, Source, Width};
use weir_ebpf::{Program, ProgramType};
use weir_verifier::Access;
use weir_verifier::facts::{Facts, FunctionFacts, InsnFacts};

use super::super::{Compiled, Link};
use super::{call, load, mov, store};

/// Facts as the verifier would find them of a program without branches: r10 is the stack, and all other
/// pointers are the memory that r1 was.
fn facts(insns: &[Insn]) -> Facts {
    let of = |insn: &Insn| {
        let access = match insn {
            Insn::Load { base, .. } | Insn::Store { base, .. } if *base == Reg::R10 => Access::Stack,
            Insn::Load { .. } | Insn::Store { .. } => Access::MapValue { map: None },
            _ => Access::None,
        };
        InsnFacts { reached: true, access, ..InsnFacts::default() }
    };
    let functions = vec![FunctionFacts { stack_bytes: 128, ..FunctionFacts::default() }];
    Facts { insns: insns.iter().map(of).collect(), functions }
}

fn compile_both(insns: Vec<Insn>) -> [Compiled; 2] {
    let facts = facts(&insns);
    let program = Program::from_insns("test", ProgramType::Xdp, insns);
    let link = Link { helper: &|_| None, kfunc: &|_| None, maps: &[], owner: 0, exact: false };
    [None, Some(&facts)].map(|facts| Compiled::build(&program, facts, &link).unwrap())
}

/// How often a byte sequence stands in the code.
fn count(code: &Compiled, bytes: &[u8]) -> usize {
    code.code().windows(bytes.len()).filter(|window| *window == bytes).count()
}

fn small(size: Size, off: i16, src: Source) -> Insn {
    Insn::Store { size, base: Reg::R10, off, src }
}

#[test]
fn a_key_of_small_parts_is_one_store() {
    let [plain, gathered] = compile_both(vec![
        Insn::Load { size: Size::W, signed: false, dst: Reg::R2, base: Reg::R1, off: 0 },
        small(Size::W, -8, Source::Reg(Reg::R2)),
        Insn::Load { size: Size::H, signed: false, dst: Reg::R2, base: Reg::R1, off: 4 },
        small(Size::H, -4, Source::Reg(Reg::R2)),
        small(Size::B, -2, Source::Imm(-2)),
        small(Size::B, -1, Source::Imm(7)),
        load(Reg::R0, Reg::R10, -8),
        Insn::Exit,
    ]);
    let memory = [0x0403_0201u32, 0x0605];
    let argument = memory.as_ptr() as u64;
    let wanted = 0x07fe_0605_0403_0201;
    assert_eq!([call(&plain, [argument, 0]), call(&gathered, [argument, 0])], [wanted; 2]);
    // mov [rbp - 8], r11
    assert_eq!(
        [count(&plain, &[0x4c, 0x89, 0x5d, 0xf8]), count(&gathered, &[0x4c, 0x89, 0x5d, 0xf8])],
        [0, 1]
    );
}

#[test]
fn a_word_that_is_looked_at_between_is_not_gathered() {
    let [_, gathered] = compile_both(vec![
        small(Size::W, -8, Source::Imm(1)),
        load(Reg::R0, Reg::R10, -8),
        small(Size::W, -4, Source::Imm(2)),
        Insn::Exit,
    ]);
    // mov dword [rbp - 4], 2
    assert_eq!(count(&gathered, &[0xc7, 0x45, 0xfc, 2, 0, 0, 0]), 1);
}

/// A reproducible source of numbers (xorshift64*).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 20) % limit
    }

    fn reg(&mut self) -> Reg {
        [Reg::R0, Reg::R2, Reg::R3, Reg::R4, Reg::R7][self.below(5) as usize]
    }

    fn size(&mut self) -> Size {
        [Size::B, Size::H, Size::W, Size::H, Size::W, Size::DW][self.below(6) as usize]
    }

    fn source(&mut self) -> Source {
        if self.below(2) == 0 { Source::Imm(self.below(1 << 32) as i32) } else { Source::Reg(self.reg()) }
    }

    /// An offset of an access to one of four words; mostly aligned.
    fn off(&mut self, size: Size) -> i16 {
        let bytes = size.bytes() as u64;
        let off = self.below(32 / bytes) * bytes;
        let skew = u64::from(self.below(8) == 0 && off + bytes < 32);
        (off + skew) as i16 - 32
    }

    fn insn(&mut self) -> Insn {
        let (size, dst, width) = (self.size(), self.reg(), Width::W64);
        match self.below(12) {
            0 => Insn::Mov { width, dst, src: self.source() },
            1 => Insn::Alu { width, op: AluOp::Add, dst, src: self.source() },
            2 => Insn::Alu { width, op: AluOp::Rsh, dst, src: self.source() },
            3 if self.below(4) == 0 => Insn::Alu { width, op: AluOp::Div, dst, src: self.source() },
            3 | 4 => Insn::Load { size, signed: false, dst, base: Reg::R10, off: self.off(size) },
            5 => Insn::Load { size, signed: false, dst, base: Reg::R6, off: self.off(size) + 32 },
            6 => Insn::Store { size, base: Reg::R6, off: self.off(size) + 32, src: self.source() },
            _ => small(size, self.off(size), self.source()),
        }
    }

    fn program(&mut self) -> Vec<Insn> {
        let mut insns = vec![Insn::Mov { width: Width::W64, dst: Reg::R6, src: Source::Reg(Reg::R1) }];
        insns.extend(
            [Reg::R0, Reg::R2, Reg::R3, Reg::R4, Reg::R7].map(|reg| mov(reg, self.below(1 << 32) as i32)),
        );
        insns.extend((1..5).map(|word| small(Size::DW, -8 * word, Source::Imm(0))));
        for _ in 0..30 {
            let insn = self.insn();
            insns.push(insn);
        }
        for word in 1..5 {
            insns.push(load(Reg::R5, Reg::R10, -8 * word));
            insns.push(store(Reg::R6, 32 + 8 * word, Reg::R5));
        }
        insns.extend([Reg::R2, Reg::R3, Reg::R4, Reg::R7].map(|reg| Insn::Alu {
            width: Width::W64,
            op: AluOp::Xor,
            dst: Reg::R0,
            src: Source::Reg(reg),
        }));
        insns.push(Insn::Exit);
        insns
    }
}

#[test]
fn random_stores_leave_the_same() {
    let mut dice = Dice(0x5eed);
    let mut gathered = 0;
    for number in 0..2_000 {
        let insns = dice.program();
        let codes = compile_both(insns.clone());
        gathered += usize::from(codes[0].code().len() != codes[1].code().len());
        let [plain, joined] = codes.map(|code| {
            let mut memory = [0x1122_3344_5566_7788u64; 16];
            let r0 = call(&code, [memory.as_mut_ptr() as u64, 0]);
            (r0, memory)
        });
        assert_eq!(joined, plain, "program {number}: {insns:#?}");
    }
    assert!(gathered > 500, "only {gathered} programs had anything to gather");
}

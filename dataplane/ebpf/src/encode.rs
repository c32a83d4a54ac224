//! Meaning to bits: the inverse of `decode`, for every instruction that can be decoded.

use crate::isa::code::{LD_IMM64, SRC_REG, class, mode, op, pseudo};
use crate::isa::{Imm64, Insn, RawInsn, Reg, Size, Source, SwapKind, Width, atomic};

/// Encodes a whole program; the result has one slot for each element.
pub fn encode(insns: &[Insn]) -> Vec<RawInsn> {
    let mut raw = Vec::with_capacity(insns.len());
    for insn in insns {
        let (first, second) = encode_one(insn);
        raw.extend(first);
        raw.extend(second);
    }
    raw
}

/// The program's bytes as they stand in an object.
pub fn to_bytes(raw: &[RawInsn]) -> Vec<u8> {
    raw.iter().flat_map(|insn| insn.to_bytes()).collect()
}

const fn number(reg: Reg) -> u8 {
    reg as u8
}

const fn alu_class(width: Width) -> u8 {
    match width {
        Width::W32 => class::ALU,
        Width::W64 => class::ALU64,
    }
}

/// Fills in the second operand of arithmetic or a branch, and the opcode bit that names its kind.
const fn with_source(mut raw: RawInsn, source: Source) -> RawInsn {
    match source {
        Source::Reg(reg) => {
            raw.code |= SRC_REG;
            raw.src = number(reg);
        }
        Source::Imm(imm) => raw.imm = imm,
    }
    raw
}

/// Encodes one instruction: its slot, and the second one of a 64-bit load. A lone
/// [`Insn::SecondHalf`] encodes to nothing, as its bits belong to the load before it.
pub fn encode_one(insn: &Insn) -> (Option<RawInsn>, Option<RawInsn>) {
    let zero = RawInsn::default();
    let raw = match *insn {
        Insn::Alu { width, op, dst, src } => {
            let raw = RawInsn { code: alu_class(width) | op.bits(), dst: number(dst), off: op.off(), ..zero };
            with_source(raw, src)
        }
        Insn::Mov { width, dst, src } => {
            with_source(RawInsn { code: alu_class(width) | op::MOV, dst: number(dst), ..zero }, src)
        }
        Insn::MovSx { width, from, dst, src } => {
            let code = alu_class(width) | op::MOV;
            let raw = RawInsn { code, dst: number(dst), off: from.bits() as i16, ..zero };
            with_source(raw, Source::Reg(src))
        }
        Insn::Neg { width, dst } => RawInsn { code: alu_class(width) | op::NEG, dst: number(dst), ..zero },
        Insn::Swap { kind, size, dst } => {
            let code = match kind {
                SwapKind::ToLe => class::ALU | op::END,
                SwapKind::ToBe => class::ALU | op::END | SRC_REG,
                SwapKind::Bswap => class::ALU64 | op::END,
            };
            RawInsn { code, dst: number(dst), imm: size.bits() as i32, ..zero }
        }
        Insn::LoadImm64 { dst, value } => return imm64(dst, value),
        Insn::SecondHalf => return (None, None),
        Insn::Load { size, signed, dst, base, off } => {
            let mode = if signed { mode::MEMSX } else { mode::MEM };
            let code = class::LDX | mode | size.code_bits();
            RawInsn { code, dst: number(dst), src: number(base), off, ..zero }
        }
        Insn::Store { size, base, off, src } => {
            let raw = RawInsn { dst: number(base), off, ..zero };
            let mode = mode::MEM | size.code_bits();
            match src {
                Source::Reg(src) => RawInsn { code: class::STX | mode, src: number(src), ..raw },
                Source::Imm(imm) => RawInsn { code: class::ST | mode, imm, ..raw },
            }
        }
        Insn::Atomic { size, op, base, off, src } => {
            atomic_insn(size, number(base), number(src), off, op.imm())
        }
        Insn::LoadAcquire { size, dst, base, off } => {
            atomic_insn(size, number(dst), number(base), off, atomic::LOAD_ACQUIRE)
        }
        Insn::StoreRelease { size, base, off, src } => {
            atomic_insn(size, number(base), number(src), off, atomic::STORE_RELEASE)
        }
        Insn::LoadPacket { size, index, offset } => {
            let (mode, src) = match index {
                None => (mode::ABS, 0),
                Some(reg) => (mode::IND, number(reg)),
            };
            RawInsn { code: class::LD | mode | size.code_bits(), src, imm: offset, ..zero }
        }
        Insn::Goto { off } => RawInsn { code: class::JMP | op::JA, off, ..zero },
        Insn::GotoLong { off } => RawInsn { code: class::JMP32 | op::JA, imm: off, ..zero },
        Insn::Branch { width, cond, dst, src, off } => {
            let class = match width {
                Width::W32 => class::JMP32,
                Width::W64 => class::JMP,
            };
            with_source(RawInsn { code: class | cond.bits(), dst: number(dst), off, ..zero }, src)
        }
        Insn::MayGoto { off } => RawInsn { code: class::JMP | op::JCOND, off, ..zero },
        Insn::Call { helper } => RawInsn { code: class::JMP | op::CALL, imm: helper as i32, ..zero },
        Insn::CallLocal { off } => {
            RawInsn { code: class::JMP | op::CALL, src: pseudo::CALL, imm: off, ..zero }
        }
        Insn::CallKfunc { btf_id, off } => {
            RawInsn { code: class::JMP | op::CALL, src: pseudo::KFUNC_CALL, off, imm: btf_id, ..zero }
        }
        Insn::CallReg { reg } => RawInsn { code: class::JMP | op::CALL | SRC_REG, dst: number(reg), ..zero },
        Insn::Exit => RawInsn { code: class::JMP | op::EXIT, ..zero },
    };
    (Some(raw), None)
}

fn atomic_insn(size: Size, dst: u8, src: u8, off: i16, imm: i32) -> RawInsn {
    RawInsn { code: class::STX | mode::ATOMIC | size.code_bits(), dst, src, off, imm }
}

fn imm64(dst: Reg, value: Imm64) -> (Option<RawInsn>, Option<RawInsn>) {
    let (src, low, high) = match value {
        Imm64::Value(value) => (0, value as u32, (value >> 32) as u32),
        Imm64::Map(map) => (pseudo::MAP_FD, map, 0),
        Imm64::MapValue { map, offset } => (pseudo::MAP_VALUE, map, offset),
        Imm64::Variable { btf_id, btf_fd } => (pseudo::BTF_ID, btf_id, btf_fd),
        Imm64::Function(off) => (pseudo::FUNC, off as u32, 0),
    };
    let first = RawInsn { code: LD_IMM64, dst: number(dst), src, off: 0, imm: low as i32 };
    (Some(first), Some(RawInsn { imm: high as i32, ..RawInsn::default() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::{decode, decode_one};

    /// Every opcode byte, with each field in turn at zero, one, small and odd values: what decodes
    /// must encode to the same bits.
    #[test]
    fn what_decodes_encodes_to_the_same_bits() {
        let fields = [0i32, 1, 2, 3, 8, 16, 32, 64, 0x100, 0x110, -1, 0x41, 0x51, 0xa1, 0xe1, 0xf1];
        let mut decoded = 0;
        for code in 0..=u8::MAX {
            for imm in fields {
                for off in fields {
                    for src in [0, 1, 2, 3, 4, 10] {
                        let raw = RawInsn { code, dst: 2, src, off: off as i16, imm };
                        decoded +=
                            i32::from(round_trips(raw)) + i32::from(round_trips(RawInsn { dst: 0, ..raw }));
                    }
                }
            }
        }
        assert!(decoded > 10_000, "only {decoded} forms decoded");
    }

    fn round_trips(raw: RawInsn) -> bool {
        let Ok(insn) = decode_one(raw, Some(RawInsn::default())) else { return false };
        assert_eq!(encode_one(&insn).0, Some(raw), "{insn:?}");
        true
    }

    #[test]
    fn wide_loads_take_two_slots() {
        let insns = [
            Insn::LoadImm64 { dst: Reg::R3, value: Imm64::Value(0x1122_3344_5566_7788) },
            Insn::SecondHalf,
            Insn::Exit,
        ];
        let raw = encode(&insns);
        assert_eq!(raw.len(), 3);
        assert_eq!(decode(&raw).unwrap(), insns);
    }
}

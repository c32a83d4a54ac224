//! Bits to meaning. Anything the instruction set does not define, reserved fields included, is an
//! error that says which slot and which field; the wording follows kernel/bpf/verifier.c.

use thiserror::Error;

use crate::isa::code::{LD_IMM64, SRC_REG, class, mode, op, pseudo};
use crate::isa::{AluOp, AtomicOp, Cond, Imm64, Insn, RawInsn, Reg, Size, Source, SwapKind, Width, atomic};

/// Why a slot is not an instruction.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("insn {slot}: {fault}")]
pub struct DecodeError {
    /// Which slot of the program.
    pub slot: usize,
    /// What is wrong with it.
    pub fault: DecodeFault,
}

/// What is wrong with a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecodeFault {
    /// No instruction has this opcode (or this immediate or offset under the opcode).
    #[error("unknown opcode {code:02x}")]
    UnknownOpcode {
        /// The opcode byte.
        code: u8,
    },
    /// A field that the instruction does not use is not zero.
    #[error("{class} uses reserved fields (opcode {code:02x}: {field} must be 0)")]
    Reserved {
        /// The kernel's name for the group, such as `BPF_ALU`.
        class: &'static str,
        /// The opcode byte.
        code: u8,
        /// Which field is not zero.
        field: &'static str,
    },
    /// A register number above 10.
    #[error("R{number} is invalid")]
    Register {
        /// The number found.
        number: u8,
    },
    /// An atomic operation with an unknown immediate.
    #[error("BPF_ATOMIC uses invalid atomic opcode {imm:02x}")]
    AtomicOperation {
        /// The immediate found.
        imm: i32,
    },
    /// A read-modify-write that is not of 4 or 8 bytes.
    #[error("invalid atomic operand size")]
    AtomicSize,
    /// The program ends, or something else stands, where the second half of a 64-bit load belongs.
    #[error("invalid bpf_ld_imm64 insn")]
    BrokenImm64,
    /// The source field of a 64-bit load has an unknown pseudo kind.
    #[error("unrecognized bpf_ld_imm64 insn (src {src})")]
    PseudoKind {
        /// The source field.
        src: u8,
    },
}

/// Decodes a whole program, slot by slot.
pub fn decode(raw: &[RawInsn]) -> Result<Vec<Insn>, DecodeError> {
    let mut insns = Vec::with_capacity(raw.len());
    let mut slot = 0;
    while slot < raw.len() {
        let next = raw.get(slot + 1).copied();
        let insn = decode_one(raw[slot], next).map_err(|fault| DecodeError { slot, fault })?;
        insns.push(insn);
        if insn.slots() == 2 {
            insns.push(Insn::SecondHalf);
        }
        slot += insn.slots();
    }
    Ok(insns)
}

/// Splits program bytes into slots; the length must be a multiple of eight.
pub fn raw_insns(bytes: &[u8]) -> Option<Vec<RawInsn>> {
    let (slots, rest) = bytes.as_chunks::<{ RawInsn::SIZE }>();
    rest.is_empty().then(|| slots.iter().map(|slot| RawInsn::from_bytes(*slot)).collect())
}

/// Decodes one instruction; `next` is the slot after it, which a 64-bit load needs.
pub fn decode_one(raw: RawInsn, next: Option<RawInsn>) -> Result<Insn, DecodeFault> {
    match raw.code & 0x07 {
        class::ALU => alu(raw, Width::W32),
        class::ALU64 => alu(raw, Width::W64),
        class::JMP => jump(raw, Width::W64),
        class::JMP32 => jump(raw, Width::W32),
        class::LD => load_special(raw, next),
        class::LDX => load(raw),
        class::ST => store_immediate(raw),
        _ => store_register(raw),
    }
}

fn register(number: u8) -> Result<Reg, DecodeFault> {
    Reg::new(number).ok_or(DecodeFault::Register { number })
}

fn unknown(raw: RawInsn) -> DecodeFault {
    DecodeFault::UnknownOpcode { code: raw.code }
}

/// Refuses the first of the named fields that is not zero.
fn reserved(raw: RawInsn, class: &'static str, fields: &[(&'static str, bool)]) -> Result<(), DecodeFault> {
    match fields.iter().find(|(_, nonzero)| *nonzero) {
        None => Ok(()),
        Some((field, _)) => Err(DecodeFault::Reserved { class, code: raw.code, field }),
    }
}

/// The second operand by the opcode's source bit; the field it does not use must be zero.
fn source(raw: RawInsn, class: &'static str) -> Result<Source, DecodeFault> {
    if raw.code & SRC_REG != 0 {
        reserved(raw, class, &[("imm", raw.imm != 0)])?;
        Ok(Source::Reg(register(raw.src)?))
    } else {
        reserved(raw, class, &[("src", raw.src != 0)])?;
        Ok(Source::Imm(raw.imm))
    }
}

fn alu(raw: RawInsn, width: Width) -> Result<Insn, DecodeFault> {
    const CLASS: &str = "BPF_ALU";
    let dst = register(raw.dst)?;
    match raw.code & 0xf0 {
        op::NEG => {
            let source_bit = raw.code & SRC_REG != 0;
            let fields = [
                ("source bit", source_bit),
                ("src", raw.src != 0),
                ("off", raw.off != 0),
                ("imm", raw.imm != 0),
            ];
            reserved(raw, "BPF_NEG", &fields)?;
            Ok(Insn::Neg { width, dst })
        }
        op::END => swap(raw, width, dst),
        op::MOV => mov(raw, width, dst),
        bits => {
            let op = AluOp::from_bits(bits, raw.off).ok_or_else(|| match AluOp::from_bits(bits, 0) {
                Some(_) => DecodeFault::Reserved { class: CLASS, code: raw.code, field: "off" },
                None => unknown(raw),
            })?;
            Ok(Insn::Alu { width, op, dst, src: source(raw, CLASS)? })
        }
    }
}

fn swap(raw: RawInsn, width: Width, dst: Reg) -> Result<Insn, DecodeFault> {
    reserved(raw, "BPF_END", &[("src", raw.src != 0), ("off", raw.off != 0)])?;
    let kind = match (width, raw.code & SRC_REG != 0) {
        (Width::W32, false) => SwapKind::ToLe,
        (Width::W32, true) => SwapKind::ToBe,
        (Width::W64, false) => SwapKind::Bswap,
        (Width::W64, true) => return Err(unknown(raw)),
    };
    let size = match raw.imm {
        16 => Size::H,
        32 => Size::W,
        64 => Size::DW,
        _ => {
            return Err(DecodeFault::Reserved {
                class: "BPF_END",
                code: raw.code,
                field: "imm beside 16, 32 and 64",
            });
        }
    };
    Ok(Insn::Swap { kind, size, dst })
}

fn mov(raw: RawInsn, width: Width, dst: Reg) -> Result<Insn, DecodeFault> {
    const CLASS: &str = "BPF_MOV";
    let src = source(raw, CLASS)?;
    let reserved_off = DecodeFault::Reserved { class: CLASS, code: raw.code, field: "off" };
    let from = match (raw.off, width) {
        (0, _) => return Ok(Insn::Mov { width, dst, src }),
        (8, _) => Size::B,
        (16, _) => Size::H,
        (32, Width::W64) => Size::W,
        _ => return Err(reserved_off),
    };
    match src {
        Source::Reg(src) => Ok(Insn::MovSx { width, from, dst, src }),
        Source::Imm(_) => Err(reserved_off),
    }
}

fn jump(raw: RawInsn, width: Width) -> Result<Insn, DecodeFault> {
    let class = match width {
        Width::W64 => "BPF_JMP",
        Width::W32 => "BPF_JMP32",
    };
    let plain = width == Width::W64;
    match raw.code & 0xf0 {
        op::JA if raw.code & SRC_REG != 0 => Err(unknown(raw)),
        op::JA => {
            let unused = if plain { ("imm", raw.imm != 0) } else { ("off", raw.off != 0) };
            reserved(raw, "BPF_JA", &[("dst", raw.dst != 0), ("src", raw.src != 0), unused])?;
            Ok(if plain { Insn::Goto { off: raw.off } } else { Insn::GotoLong { off: raw.imm } })
        }
        op::CALL if plain => call(raw),
        op::EXIT if plain => {
            if raw.code & SRC_REG != 0 {
                return Err(unknown(raw));
            }
            let fields =
                [("dst", raw.dst != 0), ("src", raw.src != 0), ("off", raw.off != 0), ("imm", raw.imm != 0)];
            reserved(raw, "BPF_EXIT", &fields)?;
            Ok(Insn::Exit)
        }
        op::JCOND if plain && raw.code & SRC_REG == 0 => {
            let fields = [("dst", raw.dst != 0), ("src", raw.src != 0), ("imm", raw.imm != 0)];
            reserved(raw, "BPF_JCOND", &fields)?;
            Ok(Insn::MayGoto { off: raw.off })
        }
        bits => {
            let cond = Cond::from_bits(bits).ok_or_else(|| unknown(raw))?;
            let dst = register(raw.dst)?;
            Ok(Insn::Branch { width, cond, dst, src: source(raw, class)?, off: raw.off })
        }
    }
}

fn call(raw: RawInsn) -> Result<Insn, DecodeFault> {
    const CLASS: &str = "BPF_CALL";
    if raw.code & SRC_REG != 0 {
        reserved(raw, CLASS, &[("src", raw.src != 0), ("off", raw.off != 0), ("imm", raw.imm != 0)])?;
        return Ok(Insn::CallReg { reg: register(raw.dst)? });
    }
    reserved(raw, CLASS, &[("dst", raw.dst != 0)])?;
    match raw.src {
        0 => {
            reserved(raw, CLASS, &[("off", raw.off != 0)])?;
            Ok(Insn::Call { helper: raw.imm as u32 })
        }
        pseudo::CALL => {
            reserved(raw, CLASS, &[("off", raw.off != 0)])?;
            Ok(Insn::CallLocal { off: raw.imm })
        }
        pseudo::KFUNC_CALL => Ok(Insn::CallKfunc { btf_id: raw.imm, off: raw.off }),
        _ => Err(DecodeFault::Reserved { class: CLASS, code: raw.code, field: "src beside 0, 1 and 2" }),
    }
}

fn load_special(raw: RawInsn, next: Option<RawInsn>) -> Result<Insn, DecodeFault> {
    if raw.code == LD_IMM64 {
        return load_imm64(raw, next);
    }
    let size = Size::from_code(raw.code);
    let index = match raw.code & 0xe0 {
        mode::ABS => None,
        mode::IND => Some(register(raw.src)?),
        _ => return Err(unknown(raw)),
    };
    if size == Size::DW {
        return Err(unknown(raw));
    }
    let stray_src = index.is_none() && raw.src != 0;
    let fields = [("dst", raw.dst != 0), ("off", raw.off != 0), ("src", stray_src)];
    reserved(raw, "BPF_LD_[ABS|IND]", &fields)?;
    Ok(Insn::LoadPacket { size, index, offset: raw.imm })
}

fn load_imm64(raw: RawInsn, next: Option<RawInsn>) -> Result<Insn, DecodeFault> {
    let high = match next {
        Some(next) if next.code == 0 && next.dst == 0 && next.src == 0 && next.off == 0 => next.imm,
        _ => return Err(DecodeFault::BrokenImm64),
    };
    let dst = register(raw.dst)?;
    reserved(raw, "BPF_LD_IMM64", &[("off", raw.off != 0)])?;
    let only_low = |value| match high {
        0 => Ok(value),
        _ => Err(DecodeFault::Reserved {
            class: "BPF_LD_IMM64",
            code: raw.code,
            field: "imm of the second slot",
        }),
    };
    let value = match raw.src {
        0 => Imm64::Value(u64::from(raw.imm as u32) | u64::from(high as u32) << 32),
        pseudo::MAP_FD | pseudo::MAP_IDX => only_low(Imm64::Map(raw.imm as u32))?,
        pseudo::MAP_VALUE | pseudo::MAP_IDX_VALUE => {
            Imm64::MapValue { map: raw.imm as u32, offset: high as u32 }
        }
        pseudo::BTF_ID => Imm64::Variable { btf_id: raw.imm as u32, btf_fd: high as u32 },
        pseudo::FUNC => only_low(Imm64::Function(raw.imm))?,
        src => return Err(DecodeFault::PseudoKind { src }),
    };
    Ok(Insn::LoadImm64 { dst, value })
}

fn load(raw: RawInsn) -> Result<Insn, DecodeFault> {
    let size = Size::from_code(raw.code);
    let signed = match raw.code & 0xe0 {
        mode::MEM => false,
        mode::MEMSX if size != Size::DW => true,
        _ => return Err(unknown(raw)),
    };
    reserved(raw, "BPF_LDX", &[("imm", raw.imm != 0)])?;
    Ok(Insn::Load { size, signed, dst: register(raw.dst)?, base: register(raw.src)?, off: raw.off })
}

fn store_immediate(raw: RawInsn) -> Result<Insn, DecodeFault> {
    if raw.code & 0xe0 != mode::MEM {
        return Err(unknown(raw));
    }
    reserved(raw, "BPF_ST", &[("src", raw.src != 0)])?;
    let size = Size::from_code(raw.code);
    Ok(Insn::Store { size, base: register(raw.dst)?, off: raw.off, src: Source::Imm(raw.imm) })
}

fn store_register(raw: RawInsn) -> Result<Insn, DecodeFault> {
    let size = Size::from_code(raw.code);
    let (dst, src, off) = (raw.dst, raw.src, raw.off);
    match raw.code & 0xe0 {
        mode::MEM => {
            reserved(raw, "BPF_STX", &[("imm", raw.imm != 0)])?;
            Ok(Insn::Store { size, base: register(dst)?, off, src: Source::Reg(register(src)?) })
        }
        mode::ATOMIC => match raw.imm {
            atomic::LOAD_ACQUIRE => {
                Ok(Insn::LoadAcquire { size, dst: register(dst)?, base: register(src)?, off })
            }
            atomic::STORE_RELEASE => {
                Ok(Insn::StoreRelease { size, base: register(dst)?, off, src: register(src)? })
            }
            imm => {
                if !matches!(size, Size::W | Size::DW) {
                    return Err(DecodeFault::AtomicSize);
                }
                let op = AtomicOp::from_imm(imm).ok_or(DecodeFault::AtomicOperation { imm })?;
                Ok(Insn::Atomic { size, op, base: register(dst)?, off, src: register(src)? })
            }
        },
        _ => Err(unknown(raw)),
    }
}

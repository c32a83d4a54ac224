//! Writing a CO-RE relocation's number into its instruction (libbpf: `bpf_core_patch_insn`).

use weir_ebpf::RawInsn;
use weir_ebpf::isa::Size;
use weir_ebpf::isa::code::{LD_IMM64, SRC_REG, class};

use super::Fail;
use super::value::Value;
use crate::functions::CALL;

/// libbpf's mark of a relocation that could not be resolved: a call of helper `0xbad2310`.
pub(super) const POISON: i32 = 195_896_080;

/// Turns the instruction at `slot` into one that the verifier refuses if it can be reached.
pub(super) fn poison(insns: &mut [RawInsn], slot: usize) {
    let call = RawInsn { code: CALL, dst: 0, src: 0, off: 0, imm: POISON };
    let wide = insns.get(slot).is_some_and(|insn| insn.code == LD_IMM64);
    for insn in insns.iter_mut().skip(slot).take(if wide { 2 } else { 1 }) {
        *insn = call;
    }
}

/// Replaces the number that the compiler put in by the target's. `width_fits` says whether a load or
/// store may change its width.
pub(super) fn patch(
    insns: &mut [RawInsn],
    slot: usize,
    old: &Value,
    new: &Value,
    width_fits: bool,
) -> Result<(), Fail> {
    let Some(insn) = insns.get(slot).copied() else { return Err(Fail::Slot) };
    let differs = |found: u64| old.exact && found != old.number;
    match insn.code & 0x07 {
        class::ALU | class::ALU64 => {
            if insn.code & SRC_REG != 0 {
                return Err(Fail::Instruction(insn.code));
            }
            if differs(insn.imm as i64 as u64) && differs(u64::from(insn.imm as u32)) {
                return Err(Fail::Expected { found: insn.imm as i64 as u64, wanted: old.number });
            }
            insns[slot].imm = new.number as i32;
        }
        class::LDX | class::ST | class::STX => {
            if differs(insn.off as i64 as u64) {
                return Err(Fail::Expected { found: insn.off as i64 as u64, wanted: old.number });
            }
            if !width_fits {
                return Err(Fail::Poison);
            }
            insns[slot].off = i16::try_from(new.number).map_err(|_| Fail::Offset(new.number))?;
            if let (Some((old, _)), Some((new, _))) = (old.field, new.field)
                && old != new
            {
                insns[slot].code = resized(insn.code, old, new)?;
            }
        }
        class::LD if insn.code == LD_IMM64 => {
            let Some(high) = insns.get(slot + 1).copied() else { return Err(Fail::Slot) };
            let blank = RawInsn { imm: 0, ..high } == RawInsn::default();
            if insn.src != 0 || insn.off != 0 || !blank {
                return Err(Fail::Instruction(insn.code));
            }
            let found = u64::from(insn.imm as u32) | u64::from(high.imm as u32) << 32;
            // Compilers zero-extend what libbpf sign-extends: the value of an unsigned enumeration.
            if differs(found) && differs(found as i32 as u64) {
                return Err(Fail::Expected { found, wanted: old.number });
            }
            insns[slot].imm = new.number as i32;
            insns[slot + 1].imm = (new.number >> 32) as i32;
        }
        _ => return Err(Fail::Instruction(insn.code)),
    }
    Ok(())
}

/// The opcode of a load or store with another width.
fn resized(code: u8, old: u64, new: u64) -> Result<u8, Fail> {
    let size = |bytes: u64| {
        [Size::B, Size::H, Size::W, Size::DW].into_iter().find(|s| u64::from(s.bytes()) == bytes)
    };
    if size(old) != Some(Size::from_code(code)) {
        return Err(Fail::Width { found: old });
    }
    let size = size(new).ok_or(Fail::Width { found: new })?;
    Ok(code & !0x18 | size.code_bits())
}

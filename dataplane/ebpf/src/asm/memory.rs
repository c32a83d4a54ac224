//! The statements that touch memory: loads, stores, atomics, legacy packet loads.

use super::AsmError;
use super::cursor::{Cursor, Named};
use super::token::Token;
use crate::isa::{AtomicOp, Insn, Reg, Size, Source, Width};

/// What follows `REG = *`.
pub(super) fn load(line: &mut Cursor<'_, '_>, dst: Named) -> Result<Insn, AsmError> {
    let (size, signed) = line.cast()?;
    if line.eat_word("skb") {
        return packet(line, dst, size, signed);
    }
    if signed && size == Size::DW {
        return Err(line.error("an access of u64", "there is nothing to sign-extend in 64 bits"));
    }
    if dst.width == Width::W32 && (signed || size == Size::DW) {
        let wanted = "a 64-bit register for an access that fills all 64 bits";
        return Err(line.error(wanted, "r instead of w on the left"));
    }
    let (base, off) = line.address()?;
    Ok(Insn::Load { size, signed, dst: dst.reg, base, off })
}

/// What follows `r0 = *(u8 *)skb`.
fn packet(line: &mut Cursor<'_, '_>, dst: Named, size: Size, signed: bool) -> Result<Insn, AsmError> {
    if dst.reg != Reg::R0 || signed || size == Size::DW {
        return Err(line.error_before("a packet load of u8, u16 or u32 into r0", "r0 = *(u16 *)skb[12]"));
    }
    line.expect("[", "r0 = *(u16 *)skb[12]")?;
    let index = line.register().map(|named| named.reg);
    let wanted = "an offset of 32 bits";
    let offset = match index {
        Some(_) => line.displacement(wanted)?,
        None => line.number_in(wanted)?,
    };
    line.expect("]", "r0 = *(u16 *)skb[12]")?;
    Ok(Insn::LoadPacket { size, index, offset })
}

/// What follows `*` at the start of a statement.
pub(super) fn store(line: &mut Cursor<'_, '_>) -> Result<Insn, AsmError> {
    let (size, base, off) = place(line)?;
    line.expect("=", "*(u32 *)(r10 - 4) = r1")?;
    let src = match line.number() {
        Some(value) => {
            let width = if size == Size::DW { Width::W64 } else { Width::W32 };
            Source::Imm(line.immediate(value, width)?)
        }
        None => Source::Reg(line.data_register(size)?),
    };
    Ok(Insn::Store { size, base, off, src })
}

/// `(u32 *)(r1 + 4)` of something that is written.
fn place(line: &mut Cursor<'_, '_>) -> Result<(Size, Reg, i16), AsmError> {
    let (size, signed) = line.cast()?;
    if signed {
        return Err(line.error("u8, u16, u32 or u64 in what is written", "u instead of s"));
    }
    let (base, off) = line.address()?;
    Ok((size, base, off))
}

/// `(u32 *)(r1 + 4)` of an atomic operation.
fn atomic_place(line: &mut Cursor<'_, '_>) -> Result<(Size, Reg, i16), AsmError> {
    let place = place(line)?;
    match place.0 {
        Size::W | Size::DW => Ok(place),
        Size::B | Size::H => Err(line.error_before("an atomic operation on u32 or u64", "")),
    }
}

/// What follows `lock`.
pub(super) fn lock(line: &mut Cursor<'_, '_>) -> Result<Insn, AsmError> {
    line.expect("*", "lock *(u64 *)(r1 + 0) += r2")?;
    let (size, base, off) = atomic_place(line)?;
    let op = match line.peek() {
        Some(Token::Sign(sign)) => AtomicOp::ALL.iter().copied().find(|op| op.text() == sign),
        _ => None,
    };
    let op = op.ok_or_else(|| line.error("+=, |=, &= or ^=", "lock *(u64 *)(r1 + 0) += r2"))?;
    line.skip(1);
    Ok(Insn::Atomic { size, op, base, off, src: line.data_register(size)? })
}

pub(super) fn store_release(line: &mut Cursor<'_, '_>) -> Result<Insn, AsmError> {
    line.expect("(", "store_release((u64 *)(r1 + 0), r2)")?;
    let (size, base, off) = place(line)?;
    line.expect(",", "store_release((u64 *)(r1 + 0), r2)")?;
    let src = line.data_register(size)?;
    line.expect(")", "")?;
    Ok(Insn::StoreRelease { size, base, off, src })
}

/// The forms that look like a function: atomics that answer, and `load_acquire`.
pub(super) fn memory_call(
    line: &mut Cursor<'_, '_>,
    dst: Named,
    word: &str,
) -> Result<Option<Insn>, AsmError> {
    let bare = |size| (AtomicOp::Xchg, Some(size));
    let (op, size) = match word {
        "load_acquire" => return load_acquire(line, dst).map(Some),
        "xchg_64" => bare(Size::DW),
        "xchg32_32" => bare(Size::W),
        "cmpxchg_64" => (AtomicOp::CmpXchg, Some(Size::DW)),
        "cmpxchg32_32" => (AtomicOp::CmpXchg, Some(Size::W)),
        "atomic_xchg" => (AtomicOp::Xchg, None),
        "atomic_cmpxchg" => (AtomicOp::CmpXchg, None),
        _ => match AtomicOp::ALL.iter().find(|op| op.text() == word) {
            Some(op) => (*op, None),
            None => return Ok(None),
        },
    };
    line.expect("(", "")?;
    let (size, base, off) = match size {
        // clang's spelling has the size in the name, and the address bare.
        Some(size) => {
            let (base, off) = line.bare_address()?;
            (size, base, off)
        }
        None => atomic_place(line)?,
    };
    line.expect(",", "")?;
    if size == Size::DW && dst.width == Width::W32 {
        return Err(line.error_before("a 64-bit result of a u64", "r instead of w on the left"));
    }
    let src = if op == AtomicOp::CmpXchg {
        if dst.reg != Reg::R0 {
            return Err(line.error_before("r0 on the left, where cmpxchg answers", ""));
        }
        line.same_register(dst)?;
        line.expect(",", "r0 = cmpxchg_64(r1 + 0, r0, r2)")?;
        line.data_register(size)?
    } else {
        line.same_register(dst)?;
        dst.reg
    };
    line.expect(")", "")?;
    Ok(Some(Insn::Atomic { size, op, base, off, src }))
}

fn load_acquire(line: &mut Cursor<'_, '_>, dst: Named) -> Result<Insn, AsmError> {
    line.expect("(", "r0 = load_acquire((u64 *)(r1 + 0))")?;
    let (size, base, off) = place(line)?;
    line.expect(")", "")?;
    if size == Size::DW && dst.width == Width::W32 {
        return Err(line.error_before("a 64-bit register for a u64", "r instead of w on the left"));
    }
    Ok(Insn::LoadAcquire { size, dst: dst.reg, base, off })
}

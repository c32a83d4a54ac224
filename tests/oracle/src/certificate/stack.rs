//! A frame's stack as the states have it: the slots of eight bytes of which something is known.

use weir_ebpf::isa::{AluOp, Size, Width};
use weir_verifier::scalar::Scalar;
use weir_verifier::states::{Abstract, StackByte, StackSlot};

use super::machine::name;
use super::{Step, refuse};

/// A slot of which nothing is known.
pub(super) const NOTHING: StackSlot =
    StackSlot { off: 0, bytes: [StackByte::Any; 8], spilled: Abstract::NotInit };

/// How many bytes of a value stand at the start of a slot.
pub(super) fn spilled_bytes(slot: &StackSlot) -> usize {
    slot.bytes.iter().take_while(|byte| **byte == StackByte::Spilled).count()
}

/// Whether a byte is zero.
pub(super) fn is_zero(slot: &StackSlot, at: usize) -> bool {
    match slot.bytes[at] {
        StackByte::Any => false,
        StackByte::Zero => true,
        StackByte::Spilled => slot.spilled.as_constant() == Some(0),
    }
}

/// What the first bytes of a slot are; fewer than all of a pointer's are any number.
pub(super) fn low_bytes(slot: &StackSlot, count: usize) -> Abstract {
    match slot.spilled {
        Abstract::Number(_) if spilled_bytes(slot) >= count => cut(slot.spilled, count),
        Abstract::Pointer(_) if spilled_bytes(slot) == 8 && count == 8 => slot.spilled,
        _ if (0..count).all(|at| is_zero(slot, at)) => Abstract::number(Scalar::constant(0)),
        _ => cut(Abstract::number(Scalar::unknown()), count),
    }
}

/// The low bytes of a number.
fn cut(value: Abstract, count: usize) -> Abstract {
    let mask = u64::MAX >> (64 - 8 * count);
    match value.as_number() {
        Some(number) if number.range.umax() > mask => {
            let range = Scalar::alu(AluOp::And, Width::W64, &number.range, &Scalar::constant(mask));
            Abstract::number(range)
        }
        _ => value,
    }
}

/// Offsets count from the frame's r10. What is read and written lies in one slot.
pub(super) struct Stack<'a>(pub(super) &'a mut Vec<StackSlot>);

impl Stack<'_> {
    /// The slot that a byte is in, and which byte of it.
    fn slot(&mut self, byte: i64) -> (&mut StackSlot, usize) {
        let off = (byte.div_euclid(8) * 8) as i32;
        let at = self.0.iter().position(|slot| slot.off == off).unwrap_or_else(|| {
            self.0.push(StackSlot { off, ..NOTHING });
            self.0.len() - 1
        });
        (&mut self.0[at], byte.rem_euclid(8) as usize)
    }

    /// Names the value at a place that is about to be read.
    pub(super) fn name(&mut self, from: i64, fresh: u32) {
        name(&mut self.slot(from).0.spilled, fresh);
    }

    pub(super) fn read(&mut self, from: i64, size: Size) -> Step<Abstract> {
        let (slot, at) = self.slot(from);
        let bytes = size.bytes() as usize;
        let pointer = spilled_bytes(slot) > 0 && slot.spilled.as_pointer().is_some();
        match at {
            _ if pointer && bytes < 8 => refuse("a part of a pointer is read"),
            0 => Ok(low_bytes(slot, bytes)),
            _ if (at..at + bytes).all(|at| is_zero(slot, at)) => Ok(Abstract::number(Scalar::constant(0))),
            _ => Ok(Abstract::number(Scalar::from_load(size, false))),
        }
    }

    pub(super) fn write(&mut self, from: i64, size: Size, value: Abstract) -> Step {
        let bytes = size.bytes() as usize;
        self.forget(from, from + bytes as i64, false);
        let (slot, at) = self.slot(from);
        let kind = match value {
            Abstract::Pointer(_) if bytes < 8 => return refuse("a part of a pointer is written"),
            _ if value.as_constant() == Some(0) => StackByte::Zero,
            Abstract::Number(_) | Abstract::Pointer(_) if at == 0 => {
                slot.spilled = cut(value, bytes);
                StackByte::Spilled
            }
            _ => StackByte::Any,
        };
        slot.bytes[at..at + bytes].fill(kind);
        Ok(())
    }

    /// Bytes may hold anything from now on, or zeros stay when only zeros are written; a value that was spilled
    /// over them is gone.
    pub(super) fn forget(&mut self, from: i64, to: i64, keep_zeros: bool) {
        for byte in from..to {
            let (slot, at) = self.slot(byte);
            if keep_zeros && is_zero(slot, at) {
                continue;
            }
            if slot.bytes[at] == StackByte::Spilled {
                let spilled = spilled_bytes(slot);
                slot.bytes[..spilled].fill(StackByte::Any);
                slot.spilled = Abstract::NotInit;
            }
            slot.bytes[at] = StackByte::Any;
        }
    }

    /// Whether a range is all zeros.
    pub(super) fn zeros(&mut self, from: i64, to: i64) -> bool {
        (from..to).all(|byte| {
            let (slot, at) = self.slot(byte);
            is_zero(slot, at)
        })
    }
}

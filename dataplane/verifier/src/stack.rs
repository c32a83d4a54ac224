//! The stack of one frame, byte by byte, with the values spilled into it.
//!
//! ```text
//!   r10-16          r10-8           r10
//!    | slot 1 ······ | slot 0 ······ |      byte 0 of a slot is its lowest address
//! ```
//!
//! A byte that was never written may be read, as the kernel allows those with CAP_PERFMON; it has
//! any value. So "anything" and "never written" mean the same to every rule here.
//!
//! Dynptrs and iterators stand in whole slots, whose bytes no load or store may touch.

use weir_ebpf::abi::MAX_STACK;

use crate::bugs::{Bug, seeded};
use crate::precision::Roots;
use crate::scalar::Scalar;
use crate::value::{Id, Number, Value};
use weir_ebpf::isa::{AluOp, Width};

/// What one byte holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum Byte {
    /// Never written.
    #[default]
    Invalid,
    /// Anything.
    Misc,
    /// Zero.
    Zero,
    /// A byte of the value spilled into its slot.
    Spill,
}

/// What a dynptr is a view of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    /// Plain memory.
    Memory,
    /// A record of a ring buffer.
    Record,
    /// An skb.
    Skb,
    /// An XDP packet.
    Xdp,
    /// Whatever the caller of a global function has a view of.
    Any,
}

impl View {
    /// Whether it is of the packet.
    pub(crate) const fn is_packet(self) -> bool {
        matches!(self, View::Skb | View::Xdp | View::Any)
    }
}

/// What an object of the stack is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Thing {
    /// `struct bpf_dynptr`, two slots.
    Dynptr(View),
    /// `struct bpf_iter_num`, one slot.
    Iterator {
        /// Whether it has come to its end.
        drained: bool,
    },
}

/// A slot's share of an object that only calls may touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Object {
    /// What it is.
    pub(crate) thing: Thing,
    /// Which of its slots this is, from its lowest address.
    pub(crate) word: u8,
    /// Its name.
    pub(crate) id: Id,
    /// The reference that must be released; 0 for none.
    pub(crate) reference: Id,
}

/// Eight bytes of stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    /// What each byte holds; lowest address first.
    pub(crate) bytes: [Byte; 8],
    /// What was spilled: its bytes stand at the slot's start and are marked. `NotInit` if nothing.
    /// A number spilled with fewer than eight bytes is kept zero-extended from them.
    pub(crate) spilled: Value,
    /// The object that it belongs to; its bytes are then [`Byte::Misc`].
    pub(crate) object: Option<Object>,
}

impl Slot {
    /// A slot never written.
    pub(crate) const EMPTY: Slot = Slot { bytes: [Byte::Invalid; 8], spilled: Value::NotInit, object: None };

    /// How many bytes of a value stand here.
    pub(crate) fn spilled_bytes(&self) -> usize {
        self.bytes.iter().take_while(|&&byte| byte == Byte::Spill).count()
    }

    /// Whether nothing is known of any byte.
    pub(crate) fn says_nothing(&self) -> bool {
        self.object.is_none() && self.bytes.iter().all(|byte| matches!(byte, Byte::Invalid | Byte::Misc))
    }

    /// Whether it is part of an object that must be released.
    pub(crate) fn holds_reference(&self) -> bool {
        self.object.is_some_and(|object| object.reference != 0)
    }

    /// Whether a pointer was spilled here.
    pub(crate) fn holds_pointer(&self) -> bool {
        matches!(self.spilled, Value::Pointer(_))
    }

    /// Forgets the spilled value; its bytes can be anything.
    fn forget(&mut self) {
        self.spilled = Value::NotInit;
        self.object = None;
        for byte in &mut self.bytes {
            if *byte == Byte::Spill {
                *byte = Byte::Misc;
            }
        }
    }
}

/// A frame's stack, down to the lowest slot written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stack {
    slots: Vec<Slot>,
}

/// Why a read of the stack was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadFill {
    /// Part of a pointer was asked for.
    PointerPart,
}

/// The slot and the byte in it of an offset from r10 (-512..0).
fn place(off: i64) -> (usize, usize) {
    let below = (-off - 1) as usize;
    (below / 8, 7 - below % 8)
}

/// The low `bytes` bytes of a number.
fn cut(number: Number, bytes: u32) -> Number {
    let mask = if bytes >= 8 { u64::MAX } else { (1 << (bytes * 8)) - 1 };
    if number.range.umax() <= mask {
        return number;
    }
    number.made_into(Scalar::alu(AluOp::And, Width::W64, &number.range, &Scalar::constant(mask)))
}

/// The number 0 that these had a part in.
fn zero_of(roots: Roots) -> Value {
    Value::Number(Number { roots, ..Number::new(Scalar::constant(0)) })
}

impl Stack {
    /// The slots that were written, from the top down.
    pub(crate) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// A slot by index, whether written or not.
    pub(crate) fn slot(&self, index: usize) -> &Slot {
        const NONE: &Slot = &Slot::EMPTY;
        self.slots.get(index).unwrap_or(NONE)
    }

    fn slot_mut(&mut self, index: usize) -> &mut Slot {
        assert!(index < MAX_STACK / 8, "offsets were checked against the stack's size");
        if self.slots.len() <= index {
            self.slots.resize(index + 1, Slot::EMPTY);
        }
        &mut self.slots[index]
    }

    /// Puts an object of so many slots at an offset, which was checked.
    pub(crate) fn place(&mut self, off: i64, words: u8, object: Object) {
        for word in 0..words {
            let slot = self.slot_mut(place(off + 8 * i64::from(word)).0);
            let object = Some(Object { word, ..object });
            *slot = Slot { bytes: [Byte::Misc; 8], spilled: Value::NotInit, object };
        }
    }

    /// The object of so many slots that starts at an offset.
    pub(crate) fn object_at(&self, off: i64, words: u8) -> Option<Object> {
        let object = self.slot(place(off).0).object.filter(|object| object.word == 0)?;
        let whole = (1..words).all(|word| {
            let found = self.slot(place(off + 8 * i64::from(word)).0).object;
            found == Some(Object { word, ..object })
        });
        whole.then_some(object)
    }

    /// The first object that has a byte in `from..to`.
    pub(crate) fn object_in(&self, from: i64, to: i64) -> Option<Object> {
        (from..to).find_map(|off| self.slot(place(off).0).object)
    }

    /// Takes away every object that `which` names; its bytes can be anything.
    pub(crate) fn remove_objects(&mut self, which: impl Fn(&Object) -> bool) {
        for slot in &mut self.slots {
            if slot.object.as_ref().is_some_and(&which) {
                slot.object = None;
            }
        }
    }

    /// Changes the objects.
    pub(crate) fn objects_mut(&mut self) -> impl Iterator<Item = &mut Object> {
        self.slots.iter_mut().filter_map(|slot| slot.object.as_mut())
    }

    /// Makes a slot's content anything, if it was written. What was never written stays so, and what must
    /// be released.
    pub(crate) fn forget_slot(&mut self, index: usize) {
        if let Some(slot) = self.slots.get_mut(index)
            && !slot.holds_reference()
        {
            slot.forget();
            slot.bytes = slot.bytes.map(|byte| if byte == Byte::Zero { Byte::Misc } else { byte });
        }
    }

    /// The bytes of `from..to` that nothing on this path wrote, counted from `from`.
    pub(crate) fn unwritten(&self, from: i64, to: i64) -> Vec<usize> {
        let unwritten = |off: &i64| {
            let (index, at) = place(*off);
            self.slot(index).bytes[at] == Byte::Invalid
        };
        (from..to).filter(unwritten).map(|off| (off - from) as usize).collect()
    }

    /// Whether nothing on this path wrote some byte of `from..to`.
    pub(crate) fn is_unwritten(&self, from: i64, to: i64) -> bool {
        (from..to).any(|off| {
            let (index, at) = place(off);
            self.slot(index).bytes[at] == Byte::Invalid
        })
    }

    /// Whether nothing on this path wrote some byte of these slots that was written in the other stack.
    pub(crate) fn lacks(&self, other: &Stack, slots: u64) -> bool {
        let written = other.slots.iter().enumerate().filter(|(index, _)| slots & 1 << index != 0);
        { written }.any(|(index, old)| {
            let new = self.slot(index).bytes;
            old.bytes.iter().zip(&new).any(|(old, new)| *old != Byte::Invalid && *new == Byte::Invalid)
        })
    }

    /// Drops the slots at the bottom that say nothing.
    pub(crate) fn trim(&mut self) {
        while self.slots.last() == Some(&Slot::EMPTY) {
            self.slots.pop();
        }
    }

    /// Goes over the spilled values.
    pub(crate) fn for_each_spilled(&mut self, mut change: impl FnMut(&mut Value)) {
        for slot in &mut self.slots {
            if slot.spilled_bytes() > 0 {
                change(&mut slot.spilled);
                if matches!(slot.spilled, Value::NotInit) {
                    slot.forget();
                }
            }
        }
    }

    /// The spilled values with the index of their slot.
    pub(crate) fn spilled_mut(&mut self) -> impl Iterator<Item = (usize, &mut Value)> {
        self.slots.iter_mut().enumerate().map(|(index, slot)| (index, &mut slot.spilled))
    }

    /// Writes `size` bytes, aligned to their size, at a known offset. A pointer has size 8.
    pub(crate) fn write(&mut self, off: i64, size: u32, value: Value) {
        let (index, at) = place(off);
        let size = size as usize;
        let slot = self.slot_mut(index);
        if size == 8 || !seeded(Bug::WriteKeepsSpill) {
            slot.forget();
        }
        let kind = match value {
            Value::Number(_) if size < 8 && seeded(Bug::WriteKeepsSpill) => return,
            Value::Number(number) if at == 0 => {
                let bytes = if seeded(Bug::SpillNotCut) { 8 } else { size as u32 };
                slot.spilled = Value::Number(cut(number, bytes));
                Byte::Spill
            }
            Value::Pointer(_) if size == 8 => {
                slot.spilled = value;
                Byte::Spill
            }
            _ if value.is_null() => Byte::Zero,
            Value::Number(_) | Value::Pointer(_) | Value::NotInit => Byte::Misc,
        };
        slot.bytes[at..at + size].fill(kind);
    }

    /// Reads `size` bytes, aligned to their size, at a known offset.
    pub(crate) fn read(&self, off: i64, size: u32) -> Result<Value, BadFill> {
        let (index, at) = place(off);
        let slot = self.slot(index);
        let bytes = &slot.bytes[at..at + size as usize];
        let spilled = slot.spilled_bytes();
        if slot.holds_pointer() {
            return if size == 8 { Ok(slot.spilled) } else { Err(BadFill::PointerPart) };
        }
        if at == 0
            && spilled >= size as usize
            && let Value::Number(number) = slot.spilled
        {
            let size = if seeded(Bug::FillNotCut) { 8 } else { size };
            return Ok(Value::Number(cut(number, size)));
        }
        let zero = |&byte: &Byte| byte == Byte::Zero || byte == Byte::Spill && slot.spilled.is_null();
        Ok(if bytes.iter().all(zero) { zero_of(slot.spilled.roots()) } else { Value::unknown() })
    }

    /// The number that `size` bytes at a known offset hold whole.
    pub(crate) fn spilled_whole(&self, off: i64, size: u32) -> Option<&Number> {
        let (index, at) = place(off);
        let slot = self.slot(index);
        match &slot.spilled {
            Value::Number(number) if at == 0 && slot.spilled_bytes() >= size as usize => {
                (cut(*number, size) == *number).then_some(number)
            }
            _ => None,
        }
    }

    /// Gives the number spilled at an offset a name.
    pub(crate) fn name_spilled(&mut self, off: i64, id: Id) {
        if let Value::Number(number) = &mut self.slot_mut(place(off).0).spilled {
            number.id = id;
        }
    }

    /// The four bytes at an offset, if they were written as that much or as zeros; a part of more is no such
    /// word (`get_constant_map_key`).
    pub(crate) fn word_of_its_own(&self, off: i64) -> Option<Value> {
        let (index, at) = place(off);
        let slot = self.slot(index);
        let zeros = slot.bytes[at..at + 4].iter().all(|byte| *byte == Byte::Zero);
        let spilled = at == 0 && slot.spilled_bytes() == 4;
        (zeros || spilled).then(|| self.read(off, 4).ok()).flatten()
    }

    /// Zero, if every byte of `from..to` was written as such: what was spilled is not looked into
    /// (`mark_reg_stack_read`).
    pub(crate) fn all_zero(&self, from: i64, to: i64) -> Option<Value> {
        let zero = |off| {
            let (index, at) = place(off);
            self.slot(index).bytes[at] == Byte::Zero
        };
        (from..to).all(zero).then(|| zero_of(Roots::NONE))
    }

    /// The roots of what is spilled in the slots of `from..to`.
    pub(crate) fn roots(&self, from: i64, to: i64) -> Roots {
        let spilled = |off| self.slot(place(off).0).spilled.roots();
        (from..to).map(spilled).fold(Roots::NONE, Roots::with)
    }

    /// Something was written somewhere in `from..to`: each byte may hold anything, or what it held.
    pub(crate) fn smear(&mut self, from: i64, to: i64, zero: bool) {
        if seeded(Bug::SmearKeepsSpills) {
            return;
        }
        for off in from..to {
            let (index, at) = place(off);
            let slot = self.slot_mut(index);
            if zero
                && (slot.bytes[at] == Byte::Zero || slot.bytes[at] == Byte::Spill && slot.spilled.is_null())
            {
                continue;
            }
            slot.forget();
            slot.bytes[at] = Byte::Misc;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{Kind, Pointer};

    #[test]
    fn what_was_spilled_comes_back() {
        let mut stack = Stack::default();
        stack.write(-8, 8, Value::constant(0x1122_3344_5566_7788));
        assert_eq!(stack.read(-8, 4), Ok(Value::constant(0x5566_7788)));
        assert_eq!(stack.read(-4, 4), Ok(Value::unknown()));
        stack.write(-8, 2, Value::constant(0));
        assert_eq!(stack.read(-8, 8), Ok(Value::unknown()));
        assert_eq!(stack.read(-8, 2), Ok(Value::constant(0)));
    }

    #[test]
    fn a_pointer_comes_back_whole_or_not_at_all() {
        let mut stack = Stack::default();
        let pointer = Value::Pointer(Pointer::new(Kind::Context));
        stack.write(-16, 8, pointer);
        assert_eq!(stack.read(-16, 8), Ok(pointer));
        assert_eq!(stack.read(-16, 4), Err(BadFill::PointerPart));
        stack.smear(-12, -11, false);
        assert_eq!(stack.read(-16, 8), Ok(Value::unknown()));
    }
}

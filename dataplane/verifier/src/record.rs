//! Turning states of a walk into the ones that others may see.

use crate::stack::{Byte, Slot};
use crate::state::{Frame, State};
use crate::states::{Abstract, FrameState, RecordedState, StackByte, StackSlot, Target};
use crate::value::{Kind, Value};

/// A state as others see it.
pub(crate) fn recorded(state: &State) -> RecordedState {
    RecordedState { frames: state.frames.iter().map(|frame| frame_state(frame)).collect() }
}

fn frame_state(frame: &Frame) -> FrameState {
    let regs = frame.regs.each_ref().map(seen);
    let known = frame.stack.slots().iter().enumerate().filter(|(_, slot)| **slot != Slot::EMPTY);
    let stack = known.map(|(index, slot)| stack_slot(index, slot)).collect();
    FrameState { function: frame.function, callsite: frame.callsite, regs, stack }
}

fn stack_slot(index: usize, slot: &Slot) -> StackSlot {
    let bytes = slot.bytes.map(|byte| match byte {
        Byte::Invalid | Byte::Misc => StackByte::Any,
        Byte::Zero => StackByte::Zero,
        Byte::Spill => StackByte::Spilled,
    });
    StackSlot { off: -8 * (index as i32 + 1), bytes, spilled: seen(&slot.spilled) }
}

fn seen(value: &Value) -> Abstract {
    match value {
        Value::NotInit => Abstract::NotInit,
        Value::Number(number) => {
            Abstract::Number { range: number.range, link: number.id, delta: number.delta }
        }
        Value::Pointer(pointer) => Abstract::Pointer {
            target: target(pointer.kind),
            maybe_null: pointer.maybe_null,
            off: pointer.off,
            var: pointer.var,
            id: pointer.id,
        },
    }
}

fn target(kind: Kind) -> Target {
    match kind {
        Kind::Context => Target::Context,
        Kind::Stack { frame } => Target::Stack { frame: frame.into() },
        Kind::Packet { range } => Target::Packet { range },
        Kind::PacketMeta { range } => Target::PacketMeta { range },
        Kind::PacketEnd => Target::PacketEnd,
        Kind::Map(map) => Target::Map { map: map.map, inner: map.inner },
        Kind::MapValue(map) => Target::MapValue { map: map.map, inner: map.inner },
        Kind::MapKey(map) => Target::MapKey { map: map.map },
        Kind::Record { bytes } => Target::Record { bytes },
        Kind::Memory { bytes, .. } => Target::Memory { bytes },
        Kind::ConstDynptr => Target::ConstDynptr,
        Kind::Function(function) => Target::Function(function as usize),
        Kind::Socket => Target::Socket,
    }
}

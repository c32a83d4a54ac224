//! Turning states of a walk into the ones that others may see.

use crate::explore::Explorer;
use crate::precision::Roots;
use crate::scalar::Scalar;
use crate::stack::{Byte, Slot};
use crate::state::{Frame, State};
use crate::states::{
    Abstract, FrameState, Number, Pointer, RecordedState, StackByte, StackSlot, States, Target,
};
use crate::value::{Kind, Moved, Value};

/// The states of a walk that is over, as others see them.
pub(crate) fn states(explorer: &mut Explorer<'_>) -> States {
    let recorded = std::mem::take(&mut explorer.recorded);
    let seen = |states: Vec<(Option<usize>, State)>| {
        let as_seen = |(parent, state): &(_, State)| recorded_state(state, explorer.seen.demanded(*parent));
        states.iter().map(as_seen).collect()
    };
    States::new(recorded.into_iter().map(seen).collect())
}

/// A state as others see it. A number with roots that did not matter was compared with nothing when paths
/// were cut off, so on those it may be another.
fn recorded_state(state: &State, mattered: Roots) -> RecordedState {
    RecordedState { frames: state.frames.iter().map(|frame| frame_state(frame, mattered)).collect() }
}

fn frame_state(frame: &Frame, mattered: Roots) -> FrameState {
    let regs = frame.regs.each_ref().map(|value| seen(value, mattered));
    let known = frame.stack.slots().iter().enumerate().filter(|(_, slot)| **slot != Slot::EMPTY);
    let stack = known.map(|(index, slot)| stack_slot(index, slot, mattered)).collect();
    FrameState { function: frame.function, callsite: frame.callsite, regs, stack }
}

fn stack_slot(index: usize, slot: &Slot, mattered: Roots) -> StackSlot {
    let bytes = slot.bytes.map(|byte| match byte {
        Byte::Invalid | Byte::Misc => StackByte::Any,
        Byte::Zero => StackByte::Zero,
        Byte::Spill => StackByte::Spilled,
    });
    StackSlot { off: -8 * (index as i32 + 1), bytes, spilled: seen(&slot.spilled, mattered) }
}

fn seen(value: &Value, mattered: Roots) -> Abstract {
    match value {
        Value::NotInit => Abstract::NotInit,
        Value::Number(number) if !number.roots.is_within(mattered) => Abstract::number(Scalar::unknown()),
        Value::Number(number) => Abstract::Number(Number {
            range: number.range,
            link: number.id,
            delta: number.delta,
            half: number.moved == (Moved::Half { wraps: true }),
        }),
        // Read from a map's own structure, and never followed.
        Value::Pointer(crate::value::Pointer { kind: Kind::Kernel(of), .. }) if of.bytes() == 0 => {
            Abstract::number(Scalar::unknown())
        }
        Value::Pointer(pointer) => Abstract::Pointer(Pointer {
            target: target(pointer.kind),
            maybe_null: pointer.maybe_null,
            off: pointer.off,
            var: pointer.var,
            id: pointer.id,
        }),
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
        Kind::FlowKeys => Target::Memory { bytes: 56 },
        Kind::ConstDynptr => Target::ConstDynptr,
        Kind::Function(function) => Target::Function(function as usize),
        Kind::Socket(_) | Kind::Kernel(_) => Target::Socket,
    }
}

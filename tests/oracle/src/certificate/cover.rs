//! Whether one exported state describes every run that another one does.

use weir_verifier::states::{
    Abstract, FrameState, Number, Pointer, RecordedState, StackByte, StackSlot, Target,
};

use super::stack;

/// What a name is of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Number,
    LowHalf,
    Pointer,
}

/// Names of the wider state, and what each stands for in the narrower one.
struct Names {
    /// The name of something, and a name with a distance, or a constant.
    pairs: Vec<((Of, u32), (u32, i64))>,
    /// The links of all numbers of the wider state.
    links: Vec<u32>,
}

impl Names {
    /// Whether this links a number to another one.
    fn binds(&self, link: u32) -> bool {
        link != 0 && self.links.iter().filter(|other| **other == link).count() > 1
    }

    /// What was one thing must be one thing still.
    fn agree(&mut self, wide: (Of, u32), narrow: (u32, i64)) -> bool {
        match self.pairs.iter().find(|(name, _)| *name == wide) {
            Some((_, found)) => *found == narrow,
            None => {
                self.pairs.push((wide, narrow));
                true
            }
        }
    }

    /// A number that others are linked to keeps its distance to them: by a link, or since all are constants.
    fn linked(&mut self, wide: &Number, narrow: &Number) -> bool {
        let delta = i64::from(wide.delta);
        let (name, distance, half) = match narrow.range.as_constant() {
            Some(value) => (0, (value as i64).wrapping_sub(delta), false),
            None => (narrow.link, i64::from(narrow.delta) - delta, narrow.half || narrow.link == 0),
        };
        let whole = wide.half || !half && self.agree((Of::Number, wide.link), (name, distance));
        let linked = name != 0 || !half;
        linked && whole && self.agree((Of::LowHalf, wide.link), (name, i64::from(distance as u32)))
    }

    fn value(&mut self, wide: &Abstract, narrow: &Abstract) -> bool {
        match (wide, narrow) {
            (Abstract::NotInit, _) => true,
            (Abstract::Number(wide), Abstract::Number(narrow)) => {
                narrow.range.is_subset_of(&wide.range)
                    && (!self.binds(wide.link) || self.linked(wide, narrow))
            }
            (Abstract::Pointer(wide), Abstract::Pointer(narrow)) => self.pointer(wide, narrow),
            (Abstract::Number(_) | Abstract::Pointer(_), _) => false,
        }
    }

    fn pointer(&mut self, wide: &Pointer, narrow: &Pointer) -> bool {
        let target = match (wide.target, narrow.target) {
            (Target::Packet { range: wide }, Target::Packet { range: narrow })
            | (Target::PacketMeta { range: wide }, Target::PacketMeta { range: narrow }) => wide <= narrow,
            (wide, narrow) => wide == narrow,
        };
        // Which lookup a value comes from matters no more once it is known not to be null.
        let unnamed = !wide.maybe_null && matches!(wide.target, Target::MapValue { .. });
        let named = match (wide.id, narrow.id) {
            (0, narrow) => narrow == 0,
            (_, 0) => false,
            (wide, narrow) => self.agree((Of::Pointer, wide), (narrow, 0)),
        };
        target
            && (wide.maybe_null, wide.off) == (narrow.maybe_null, narrow.off)
            && narrow.var.is_subset_of(&wide.var)
            && (unnamed || named)
    }

    fn frame(&mut self, wide: &FrameState, narrow: &FrameState) -> bool {
        let found = |off| narrow.stack.iter().find(|slot| slot.off == off).unwrap_or(&stack::NOTHING);
        (wide.function, wide.callsite) == (narrow.function, narrow.callsite)
            && wide.regs.iter().zip(&narrow.regs).all(|(wide, narrow)| self.value(wide, narrow))
            && wide.stack.iter().all(|slot| self.slot(slot, found(slot.off)))
    }

    fn slot(&mut self, wide: &StackSlot, narrow: &StackSlot) -> bool {
        let count = stack::spilled_bytes(wide);
        // Bytes of any number are any bytes, however they were written.
        let any = wide.spilled.as_number().is_some_and(|n| n.range.is_unknown() && !self.binds(n.link));
        let spilled = any || count == 0 || self.value(&wide.spilled, &stack::low_bytes(narrow, count));
        spilled && (count..8).all(|at| wide.bytes[at] == StackByte::Any || stack::is_zero(narrow, at))
    }
}

/// Whether `wide` describes all that `narrow` does.
pub(super) fn covers(wide: &RecordedState, narrow: &RecordedState) -> bool {
    let values = |frame: &FrameState| -> Vec<Abstract> {
        frame.regs.into_iter().chain(frame.stack.iter().map(|slot| slot.spilled)).collect()
    };
    let numbers = wide.frames.iter().flat_map(values).filter_map(|value| value.as_number());
    let mut names = Names { pairs: Vec::new(), links: numbers.map(|number| number.link).collect() };
    let mut frames = wide.frames.iter().zip(&narrow.frames);
    wide.frames.len() == narrow.frames.len() && frames.all(|(wide, narrow)| names.frame(wide, narrow))
}

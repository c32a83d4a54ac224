//! Whether one exported state describes every run that another one does.

use weir_verifier::states::{Abstract, FrameState, RecordedState, StackByte, StackSlot, Target};

/// Names of the wider state, and what each stands for in the narrower one.
#[derive(Default)]
struct Names {
    pairs: Vec<(u32, bool, u32)>,
    /// The links of all numbers of the wider state.
    links: Vec<u32>,
}

impl Names {
    /// Whether this links a number to another one.
    fn links(&self, link: u32) -> bool {
        link != 0 && self.links.iter().filter(|other| **other == link).count() > 1
    }

    /// What was one thing must be one thing still.
    fn agree(&mut self, wide: u32, link: bool, narrow: u32) -> bool {
        if wide == 0 || narrow == 0 {
            return wide == narrow;
        }
        match self.pairs.iter().find(|(name, of_link, _)| *name == wide && *of_link == link) {
            Some((_, _, found)) => *found == narrow,
            None => {
                self.pairs.push((wide, link, narrow));
                true
            }
        }
    }
}

/// What of a state is not described.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Who calls whom.
    Calls,
    /// A register of a frame.
    Register(usize, usize),
    /// A slot of a frame's stack.
    Slot(usize, i32),
}

/// Whether `wide` describes all that `narrow` does; if not, the first part of which it does not.
pub(super) fn covers(wide: &RecordedState, narrow: &RecordedState) -> Result<(), Part> {
    let link = |value: &Abstract| match value {
        Abstract::Number { link, .. } => Some(*link),
        Abstract::NotInit | Abstract::Pointer { .. } => None,
    };
    let values = |frame: &FrameState| -> Vec<Abstract> {
        frame.regs.into_iter().chain(frame.stack.iter().map(|slot| slot.spilled)).collect()
    };
    let links = wide.frames.iter().flat_map(values).filter_map(|value| link(&value)).collect();
    let mut names = Names { pairs: Vec::new(), links };
    let chain = |state: &RecordedState| -> Vec<_> {
        state.frames.iter().map(|frame| (frame.function, frame.callsite)).collect()
    };
    if chain(wide) != chain(narrow) {
        return Err(Part::Calls);
    }
    let frames = wide.frames.iter().zip(&narrow.frames).enumerate();
    for (depth, (wide, narrow)) in frames {
        frame_covers(depth, wide, narrow, &mut names)?;
    }
    Ok(())
}

fn frame_covers(depth: usize, wide: &FrameState, narrow: &FrameState, names: &mut Names) -> Result<(), Part> {
    let mut regs = wide.regs.iter().zip(&narrow.regs);
    if let Some(reg) = regs.position(|(wide, narrow)| !value_covers(wide, narrow, names)) {
        return Err(Part::Register(depth, reg));
    }
    let found = |off| narrow.stack.iter().find(|other| other.off == off);
    match wide.stack.iter().find(|slot| !slot_covers(slot, found(slot.off), names)) {
        Some(slot) => Err(Part::Slot(depth, slot.off)),
        None => Ok(()),
    }
}

fn value_covers(wide: &Abstract, narrow: &Abstract, names: &mut Names) -> bool {
    match (wide, narrow) {
        (Abstract::NotInit, _) => true,
        (
            Abstract::Number { range: wide, link, delta },
            Abstract::Number { range: narrow, link: other, delta: apart },
        ) => {
            let linked =
                !names.links(*link) || *other != 0 && delta == apart && names.agree(*link, true, *other);
            narrow.is_subset_of(wide) && linked
        }
        (
            Abstract::Pointer { target: wide, maybe_null, off, var, id },
            Abstract::Pointer { target: narrow, maybe_null: null, off: at, var: unknown, id: name },
        ) => {
            // Which lookup a value comes from matters no more once it is known not to be null.
            let unnamed = !maybe_null && matches!(wide, Target::MapValue { .. });
            target_covers(*wide, *narrow)
                && maybe_null == null
                && off == at
                && unknown.is_subset_of(var)
                && (unnamed || names.agree(*id, false, *name))
        }
        (Abstract::Number { .. } | Abstract::Pointer { .. }, _) => false,
    }
}

fn target_covers(wide: Target, narrow: Target) -> bool {
    match (wide, narrow) {
        (Target::Packet { range: wide }, Target::Packet { range: narrow })
        | (Target::PacketMeta { range: wide }, Target::PacketMeta { range: narrow }) => wide <= narrow,
        (wide, narrow) => wide == narrow,
    }
}

fn slot_covers(wide: &StackSlot, narrow: Option<&StackSlot>, names: &mut Names) -> bool {
    let spilled = |slot: &StackSlot| slot.bytes.iter().filter(|byte| **byte == StackByte::Spilled).count();
    // Bytes of any number are any bytes, however they were written.
    let any = matches!(wide.spilled, Abstract::Number { range, link, .. } if range.is_unknown() && !names.links(link));
    let count = if any { 0 } else { spilled(wide) };
    let zero = |at: usize| {
        narrow.is_some_and(|slot| match slot.bytes[at] {
            StackByte::Zero => true,
            StackByte::Spilled => is_zero(&slot.spilled),
            StackByte::Any => false,
        })
    };
    if count > 0 {
        let same = narrow
            .is_some_and(|slot| spilled(slot) == count && value_covers(&wide.spilled, &slot.spilled, names));
        let may_be_zero = matches!(wide.spilled, Abstract::Number { range, link, .. } if range.contains(0) && !names.links(link));
        if !(same || may_be_zero && (0..count).all(zero)) {
            return false;
        }
    }
    (count..8).all(|at| match wide.bytes[at] {
        StackByte::Any => true,
        StackByte::Zero => zero(at),
        StackByte::Spilled => any,
    })
}

/// Whether it is the number 0.
pub(super) fn is_zero(value: &Abstract) -> bool {
    matches!(value, Abstract::Number { range, .. } if range.as_constant() == Some(0))
}

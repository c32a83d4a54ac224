//! Whether one exported state describes every run that another one does.

use weir_verifier::states::{Abstract, FrameState, RecordedState, StackByte, StackSlot, Target};

/// Names of the wider state, and what each stands for in the narrower one.
#[derive(Default)]
struct Names(Vec<(u32, bool, u32)>);

impl Names {
    /// What was one thing must be one thing still.
    fn agree(&mut self, wide: u32, link: bool, narrow: u32) -> bool {
        if wide == 0 || narrow == 0 {
            return wide == narrow;
        }
        match self.0.iter().find(|(name, of_link, _)| *name == wide && *of_link == link) {
            Some((_, _, found)) => *found == narrow,
            None => {
                self.0.push((wide, link, narrow));
                true
            }
        }
    }
}

/// Whether `wide` describes all that `narrow` does.
pub(super) fn covers(wide: &RecordedState, narrow: &RecordedState) -> bool {
    let mut names = Names::default();
    wide.frames.len() == narrow.frames.len()
        && wide.frames.iter().zip(&narrow.frames).all(|(wide, narrow)| frame_covers(wide, narrow, &mut names))
}

fn frame_covers(wide: &FrameState, narrow: &FrameState, names: &mut Names) -> bool {
    wide.function == narrow.function
        && wide.callsite == narrow.callsite
        && wide.regs.iter().zip(&narrow.regs).all(|(wide, narrow)| value_covers(wide, narrow, names))
        && wide.stack.iter().all(|slot| {
            let found = narrow.stack.iter().find(|other| other.off == slot.off);
            slot_covers(slot, found, names)
        })
}

fn value_covers(wide: &Abstract, narrow: &Abstract, names: &mut Names) -> bool {
    match (wide, narrow) {
        (Abstract::NotInit, _) => true,
        (
            Abstract::Number { range: wide, link, delta },
            Abstract::Number { range: narrow, link: other, delta: apart },
        ) => {
            let linked = *link == 0 || *other != 0 && delta == apart && names.agree(*link, true, *other);
            narrow.is_subset_of(wide) && linked
        }
        (
            Abstract::Pointer { target: wide, maybe_null, off, var, id },
            Abstract::Pointer { target: narrow, maybe_null: null, off: at, var: unknown, id: name },
        ) => {
            target_covers(*wide, *narrow)
                && maybe_null == null
                && off == at
                && unknown.is_subset_of(var)
                && names.agree(*id, false, *name)
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
    let count = spilled(wide);
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
        let may_be_zero =
            matches!(wide.spilled, Abstract::Number { range, link: 0, .. } if range.contains(0));
        if !(same || may_be_zero && (0..count).all(zero)) {
            return false;
        }
    }
    (count..8).all(|at| match wide.bytes[at] {
        StackByte::Any => true,
        StackByte::Zero => zero(at),
        StackByte::Spilled => false,
    })
}

/// Whether it is the number 0.
pub(super) fn is_zero(value: &Abstract) -> bool {
    matches!(value, Abstract::Number { range, .. } if range.as_constant() == Some(0))
}

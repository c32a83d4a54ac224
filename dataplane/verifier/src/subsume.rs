//! Whether one state covers another: every run that the second describes, the first does too.
//!
//! Names (ids) are compared up to renaming: what is tied together in the old state must be tied
//! together in the new one (`states_equal`, `regsafe`, `check_ids`).

use std::cell::Cell;

use crate::bugs::{Bug, seeded};
use crate::precision::Roots;
use crate::stack::{Byte, Object, Slot, Stack, Thing};
use crate::state::{Frame, State};
use crate::value::{Id, Kind, Number, Pointer, Value};

/// How alike two states must be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exactness {
    /// The old covers the new, as far as these numbers of the old go; the others can be any number.
    Covering(Roots),
    /// The old covers the new, which a loop comes to one turn later. All numbers matter, and bytes of any
    /// kind cover no pointer, as in the kernel (`RANGE_WITHIN`): the next turn may use it as what it is.
    NextTurn,
    /// They are the same, as far as that can be told.
    Same,
}

/// Pairs of an old name and the new one it stands for.
struct Names {
    pairs: Vec<(Id, Id)>,
    exactness: Exactness,
    /// The roots of the new numbers that had to be what they are.
    roots: Roots,
}

impl Names {
    /// Whether the old name stands for the new one, here and wherever it was seen.
    fn agree(&mut self, old: Id, new: Id) -> bool {
        if seeded(Bug::PruneNames) {
            return true;
        }
        if (old == 0) != (new == 0) {
            return false;
        }
        if old == 0 {
            return true;
        }
        for &(o, n) in &self.pairs {
            if o == old || n == new {
                return o == old && n == new;
            }
        }
        self.pairs.push((old, new));
        true
    }

    /// Which numbers of the old state matter; nothing when the states are to be the same.
    fn wanted(&self) -> Option<Roots> {
        match self.exactness {
            Exactness::Covering(wanted) => Some(wanted),
            Exactness::NextTurn => Some(Roots::ALL),
            Exactness::Same => None,
        }
    }

    fn covering(&self) -> bool {
        self.wanted().is_some()
    }

    /// Whether what was spilled in the old state is a number that did not matter, and the new slot has
    /// some number there, written in whatever way.
    fn any_number(&self, old: &Value, new: &Slot) -> bool {
        match (self.wanted(), old) {
            (Some(wanted), Value::Number(old)) => !old.matters(wanted) && !new.holds_pointer(),
            _ => false,
        }
    }

    /// For linked numbers: an old number that was linked to nothing covers a linked one.
    fn agree_linked(&mut self, old: &Number, new: &Number) -> bool {
        let alike = (old.delta, old.moved) == (new.delta, new.moved);
        old.id == 0 || alike && new.id != 0 && self.agree(old.id, new.id)
    }
}

/// A part of a state, where two were found to differ. Likely the next one differs there, too, so it is
/// looked at first.
#[derive(Clone, Copy, Default)]
pub(crate) enum Place {
    /// A register of a frame.
    Reg(u8, u8),
    /// A slot of a frame's stack.
    Slot(u8, u8),
    /// Somewhere else, or nothing was compared yet.
    #[default]
    Elsewhere,
}

impl Place {
    /// Whether the states, which were found to be of one call chain, differ here whatever names stand for.
    fn differs(self, old: &State, new: &State, names: &mut Names) -> bool {
        let frames = |frame: u8| old.frames.get(usize::from(frame)).zip(new.frames.get(usize::from(frame)));
        match self {
            Place::Reg(frame, reg) => frames(frame).is_some_and(|(old, new)| {
                let reg = usize::from(reg);
                !value_covers(&old.regs[reg], &new.regs[reg], names)
            }),
            Place::Slot(frame, index) => frames(frame).is_some_and(|(old, new)| {
                let index = usize::from(index);
                !slot_covers(old.stack.slot(index), new.stack.slot(index), names)
            }),
            Place::Elsewhere => false,
        }
    }
}

/// Whether the old state covers the new one; and if so, the roots of the new one's numbers that it takes.
/// Where they differed last is looked at first, and noted anew.
pub(crate) fn covers(
    old: &State,
    new: &State,
    exactness: Exactness,
    differed: &Cell<Place>,
) -> Option<Roots> {
    if old.frames.len() != new.frames.len() || old.references.len() != new.references.len() {
        return None;
    }
    let names = || Names { pairs: Vec::new(), exactness, roots: Roots::NONE };
    // With no name given away yet, two that do not agree here do not agree at all.
    if !seeded(Bug::PruneStack) && differed.get().differs(old, new, &mut names()) {
        return None;
    }
    let mut names = names();
    let references = old.references.iter().zip(&new.references);
    if !references.clone().all(|(o, n)| o.slot == n.slot && names.agree(o.id, n.id)) {
        return None;
    }
    match (old.lock, new.lock) {
        (None, None) => {}
        (Some(o), Some(n)) if o.map == n.map && names.agree(o.id, n.id) => {}
        _ => return None,
    }
    let skipped = if seeded(Bug::PruneCallers) { old.frames.len() - 1 } else { 0 };
    for (index, (old, new)) in old.frames.iter().zip(&new.frames).enumerate().skip(skipped) {
        if let Err(place) = frame_covers(old, new, index as u8, &mut names) {
            differed.set(place);
            return None;
        }
    }
    Some(names.roots)
}

fn frame_covers(old: &Frame, new: &Frame, index: u8, names: &mut Names) -> Result<(), Place> {
    let alike = old.function == new.function
        && old.callsite == new.callsite
        && old.callback == new.callback
        && old.later == new.later
        // The old one may have taken more turns from here, not fewer.
        && (old.turns == new.turns || names.covering() && old.turns < new.turns);
    if !alike {
        return Err(Place::Elsewhere);
    }
    let mut regs = old.regs.iter().zip(&new.regs);
    if let Some(reg) = regs.position(|(old, new)| !value_covers(old, new, names)) {
        return Err(Place::Reg(index, reg as u8));
    }
    match first_uncovered(&old.stack, &new.stack, names) {
        Some(slot) => Err(Place::Slot(index, slot as u8)),
        None => Ok(()),
    }
}

fn value_covers(old: &Value, new: &Value, names: &mut Names) -> bool {
    match (old, new) {
        (Value::NotInit, Value::NotInit) => true,
        // What was not readable was not read.
        (Value::NotInit, _) => names.covering(),
        (Value::Number(old), Value::Number(new)) => match names.wanted() {
            Some(_) if seeded(Bug::PruneNumbers) => true,
            Some(wanted) if !old.matters(wanted) => true,
            Some(_) => {
                names.roots = names.roots.with(new.roots);
                new.range.is_subset_of(&old.range) && names.agree_linked(old, new)
            }
            None => old.range == new.range && names.agree_linked(old, new),
        },
        (Value::Pointer(old), Value::Pointer(new)) => pointer_covers(old, new, names),
        (Value::Number(_) | Value::Pointer(_), _) => false,
    }
}

fn pointer_covers(old: &Pointer, new: &Pointer, names: &mut Names) -> bool {
    let kinds = match (old.kind, new.kind) {
        (
            Kind::Memory { bytes: ob, writable: ow, packet: op, dynptr: od },
            Kind::Memory { bytes: nb, writable: nw, packet: np, dynptr: nd },
        ) => (ob, ow, op) == (nb, nw, np) && names.agree(od, nd),
        (Kind::Packet { range: old }, Kind::Packet { range: new })
        | (Kind::PacketMeta { range: old }, Kind::PacketMeta { range: new }) => match names.covering() {
            true => old <= new || seeded(Bug::PrunePacketRange),
            false => old == new,
        },
        (old, new) => old == new,
    };
    let vars = match names.covering() {
        true => new.var.is_subset_of(&old.var),
        false => new.var == old.var,
    };
    kinds
        && vars
        && (old.maybe_null == new.maybe_null || seeded(Bug::PruneNull))
        && (old.off == new.off || seeded(Bug::PruneOffsets))
        && names.agree(old.id, new.id)
        && names.agree(old.reference, new.reference)
}

/// The first slot of the old stack that does not cover that of the new one.
fn first_uncovered(old: &Stack, new: &Stack, names: &mut Names) -> Option<usize> {
    if seeded(Bug::PruneStack) {
        return None;
    }
    let depth = old.slots().len().max(new.slots().len());
    (0..depth).find(|&index| !slot_covers(old.slot(index), new.slot(index), names))
}

/// Whether objects are alike. An iterator is only like itself: a path that comes back to one it began anew
/// has not counted on (see `prune`).
fn object_covers(old: &Option<Object>, new: &Option<Object>, names: &mut Names) -> bool {
    let (old, new) = match (old, new) {
        (None, None) => return true,
        (Some(old), Some(new)) if old.thing == new.thing && old.word == new.word => (old, new),
        _ => return false,
    };
    match old.thing {
        Thing::Dynptr(_) => names.agree(old.id, new.id) && names.agree(old.reference, new.reference),
        Thing::Iterator { .. } => old.reference == new.reference && names.agree(old.reference, new.reference),
    }
}

fn slot_covers(old: &Slot, new: &Slot, names: &mut Names) -> bool {
    if !object_covers(&old.object, &new.object, names) {
        return false;
    }
    match names.exactness {
        Exactness::Same if old.bytes != new.bytes => return false,
        Exactness::NextTurn if new.holds_pointer() && !old.holds_pointer() => return false,
        Exactness::Same | Exactness::NextTurn | Exactness::Covering(_) => {}
    }
    let (of_old, of_new) = (old.spilled_bytes(), new.spilled_bytes());
    if of_old > 0 && !names.any_number(&old.spilled, new) {
        // A whole spill covers only a whole spill; a zero may also be spilled as plain zeros.
        let same = of_new == of_old && value_covers(&old.spilled, &new.spilled, names);
        let zeros = matches!(old.spilled, Value::Number(number) if number.id == 0 && number.range.contains(0))
            && new.bytes[..of_old].iter().all(|&byte| byte == Byte::Zero);
        if !same && !zeros {
            return false;
        }
    }
    (of_old..8).all(|at| match old.bytes[at] {
        Byte::Invalid | Byte::Misc => true,
        Byte::Zero if new.bytes[at] == Byte::Zero => true,
        Byte::Zero => {
            names.roots = names.roots.with(new.spilled.roots());
            at < of_new && new.spilled.is_null()
        }
        Byte::Spill => false,
    })
}

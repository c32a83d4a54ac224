//! Which numbers of a kept state mattered to what was proven from it.
//!
//! Every number carries its roots: the numbers of the kept state that the path last passed which had
//! a part in it. Where a number decides something (a branch that goes one way only, an offset, a size, a
//! zero that makes a null), its roots are *demanded*: they mattered, and so did their own roots in the
//! kept state before, and so on back to the entry. Once all paths from a kept state were walked, a
//! number of it that nobody demanded could have been any other number, and a state that
//! differs in it alone is covered.
//!
//! The kernel finds the same out by walking the path's instructions backwards each time a
//! number is needed (`mark_chain_precision`, kernel/bpf/verifier.c); sets that travel with the numbers
//! need no history and no second reading of each instruction.
//!
//! What holds of a number with undemanded roots holds on the path that was walked, not on those that
//! were cut off for being alike. `record` leaves such numbers out of what others may rely on.

use std::rc::Rc;

use crate::bugs::{Bug, seeded};
use crate::explore::Explorer;
use crate::prune::{Kept, Seen};
use crate::state::State;
use crate::value::{Number, Value};

/// A set of numbers of a kept state. Those past the last place share it; there can be none, as eight frames have
/// 64 slots of stack and 42 numbers in registers between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Roots(u128);

impl Roots {
    /// No number of the kept state.
    pub(crate) const NONE: Roots = Roots(0);
    /// Every number of it.
    pub(crate) const ALL: Roots = Roots(u128::MAX);

    /// The place of the number with this index.
    fn place(index: usize) -> usize {
        index.min(127)
    }

    fn one(index: usize) -> Self {
        Roots(1 << Self::place(index))
    }

    /// Those of either.
    pub(crate) const fn with(self, other: Roots) -> Self {
        Roots(self.0 | other.0)
    }

    /// Those that are not in the other.
    const fn without(self, other: Roots) -> Self {
        Roots(self.0 & !other.0)
    }

    /// Whether none is here.
    pub(crate) const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Whether some are in both.
    pub(crate) const fn meets(self, other: Roots) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether all are in the other.
    pub(crate) const fn is_within(self, other: Roots) -> bool {
        self.without(other).is_none()
    }

    fn places(self) -> impl Iterator<Item = usize> {
        let next = |rest: &u128| Some(rest & (rest - 1)).filter(|rest| *rest != 0);
        std::iter::successors(Some(self.0).filter(|set| *set != 0), next)
            .map(|rest| rest.trailing_zeros() as usize)
    }
}

/// Gives every number of a state that is being kept a place of its own, and answers the roots that each
/// had in the kept state before.
pub(crate) fn root(state: &mut State) -> Vec<Roots> {
    let mut origins: Vec<Roots> = Vec::new();
    let mut count = 0;
    let mut place = |number: &mut Number| {
        if number.id == 0 && number.range.is_unknown() {
            // It covers every number whatever it came from, and nothing follows from it.
            number.roots = Roots::NONE;
            return;
        }
        let at = Roots::place(count);
        if at == origins.len() {
            origins.push(number.roots);
        } else {
            origins[at] = origins[at].with(number.roots);
        }
        number.roots = Roots::one(count);
        count += 1;
    };
    for frame in &mut state.frames {
        let frame = Rc::make_mut(frame);
        let regs = frame.regs.iter_mut();
        let spilled = frame.stack.spilled_mut().map(|(_, value)| value);
        for value in regs.chain(spilled) {
            if let Value::Number(number) = value {
                place(number);
            }
        }
    }
    origins
}

impl Seen {
    /// These numbers of the kept state that the path comes from mattered.
    pub(crate) fn demand(&mut self, roots: Roots) {
        self.demand_at(self.parent, roots);
    }

    fn demand_at(&mut self, mut at: Option<usize>, mut roots: Roots) {
        while let Some(index) = at
            && !roots.is_none()
        {
            let kept = &mut self.kept[index];
            let fresh = roots.without(kept.demanded);
            kept.demanded = kept.demanded.with(fresh);
            roots = origins_of(kept, fresh);
            at = kept.parent.filter(|_| !seeded(Bug::DemandStops));
        }
    }

    /// The path came round to the kept state `head`, which is still being walked: what matters there is not
    /// known yet, so all that lies between counts as if it did.
    pub(crate) fn demand_round(&mut self, head: usize) {
        if seeded(Bug::RoundForgotten) {
            return;
        }
        let mut next = self.parent;
        while let Some(at) = next {
            let kept = &mut self.kept[at];
            let fresh = Roots::ALL.without(kept.demanded);
            kept.demanded = Roots::ALL;
            next = kept.parent;
            if at == head {
                let roots = origins_of(&self.kept[at], fresh);
                self.demand_at(next, roots);
                return;
            }
        }
    }

    /// Which numbers of a kept state mattered.
    pub(crate) fn demanded(&self, at: Option<usize>) -> Roots {
        at.map_or(Roots::ALL, |at| self.kept[at].demanded)
    }
}

fn origins_of(kept: &Kept, roots: Roots) -> Roots {
    let of = |place: usize| kept.origins.get(place).copied().unwrap_or_default();
    roots.places().map(of).fold(Roots::NONE, Roots::with)
}

impl Explorer<'_> {
    /// What the value is decides something here.
    pub(crate) fn demand(&mut self, value: &Value) {
        self.seen.demand(value.roots());
    }
}

//! Cutting off paths that reach a state already proven safe (`is_state_visited`).
//!
//! A state is kept at some of the prune points, with a link to the kept state it came from. It may
//! cut off others once every path from it was walked to its end: then anything it covers, as far as
//! `precision` found that it matters, is safe and terminates. A state that comes round to itself on its
//! own path is an infinite loop; only `may_goto` and callbacks, which count their turns when they run, may
//! come round, and a path that asked the same iterator for its next number in between.

use std::cell::Cell;
use std::rc::Rc;

use weir_ebpf::abi::helper::Helper;
use weir_ebpf::abi::kfunc::Kfunc;
use weir_ebpf::isa::{Insn, Reg};

use crate::budget::bytes_of;
use crate::bugs::{Bug, seeded};
use crate::explore::{Check, Explorer};
use crate::facts::RegSet;
use crate::precision::{Roots, root};
use crate::relevance::Needs;
use crate::rule::Rule;
use crate::stack::Slot;
use crate::state::{Frame, State};
use crate::subsume::{Exactness, Place, covers};
use crate::value::{Id, Value};

/// What is done with a state at a prune point.
pub(crate) enum Visit {
    /// It is covered by one that was proven.
    Known,
    /// It is to be walked.
    New,
}

/// A state that is kept.
pub(crate) struct Kept {
    state: State,
    /// The kept state that it came from.
    pub(crate) parent: Option<usize>,
    /// By place: the roots that its numbers had in that one.
    pub(crate) origins: Vec<Roots>,
    /// Which of its numbers mattered so far.
    pub(crate) demanded: Roots,
    /// Paths from here that were not walked to their end.
    open: u32,
    /// Where the state that was compared with it last was found to differ.
    differed: Cell<Place>,
    hits: u32,
    misses: u32,
}

/// A kept state in the list of its slot.
#[derive(Clone, Copy)]
struct Entry {
    /// Which.
    at: usize,
    /// See [`calls_of`]: states of other call chains are never alike, and to meet one is no sign of a loop
    /// (`same_callsites`).
    calls: u64,
}

/// The states that are kept.
pub(crate) struct Seen {
    pub(crate) kept: Vec<Kept>,
    by_slot: Vec<Vec<Entry>>,
    /// The kept state that the path being walked comes from.
    pub(crate) parent: Option<usize>,
    total: u64,
    peak: u64,
    /// What the kept states take, and the most that they took.
    bytes: u64,
    peak_bytes: u64,
    /// Counters when the last state was kept.
    last_jumps: u64,
    last_processed: u64,
}

impl Seen {
    pub(crate) fn new(slots: usize) -> Self {
        Self {
            kept: Vec::new(),
            by_slot: vec![Vec::new(); slots],
            parent: None,
            total: 0,
            peak: 0,
            bytes: 0,
            peak_bytes: 0,
            last_jumps: 0,
            last_processed: 0,
        }
    }

    /// States kept over all.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// The most states kept for one slot at a time.
    pub(crate) fn peak(&self) -> u64 {
        self.peak
    }

    /// Bytes that the kept states take.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The most bytes that they took.
    pub(crate) fn peak_bytes(&self) -> u64 {
        self.peak_bytes
    }

    /// The slot with the most states, for the message of a program too large.
    pub(crate) fn busiest(&self) -> Option<(usize, usize)> {
        self.by_slot.iter().map(Vec::len).enumerate().max_by_key(|&(_, states)| states)
    }

    /// One more path will be walked from here; answers what it comes from.
    pub(crate) fn fork(&mut self) -> Option<usize> {
        if let Some(parent) = self.parent {
            self.kept[parent].open += 1;
        }
        self.parent
    }

    /// The path being walked is over (`update_branch_counts`).
    pub(crate) fn path_ends(&mut self) {
        let mut next = self.parent;
        while let Some(at) = next {
            self.kept[at].open -= 1;
            if self.kept[at].open > 0 {
                return;
            }
            next = self.kept[at].parent;
        }
    }

    fn keep(&mut self, slot: usize, calls: u64, state: &mut State) {
        let parent = self.parent;
        let (origins, demanded) = (root(state), Roots::NONE);
        let state = state.clone();
        self.bytes += bytes_of(&state) + (size_of::<Kept>() + origins.len() * size_of::<Roots>()) as u64;
        self.peak_bytes = self.peak_bytes.max(self.bytes);
        self.kept.push(Kept {
            state,
            parent,
            origins,
            demanded,
            open: 1,
            differed: Cell::default(),
            hits: 0,
            misses: 0,
        });
        let at = self.kept.len() - 1;
        self.by_slot[slot].push(Entry { at, calls });
        self.parent = Some(at);
        self.total += 1;
        self.peak = self.peak.max(self.by_slot[slot].len() as u64);
    }
}

impl Explorer<'_> {
    /// Forgets what no later instruction can tell, so that states differ only in what matters
    /// (`clean_live_states`).
    fn clean(&mut self) {
        let depth = self.state.frames.len();
        for index in 0..depth {
            let (live, needs) = self.wanted(index);
            let frame = &mut self.state.frames[index];
            if !is_clean(frame, live, &needs) {
                clean_frame(Rc::make_mut(frame), live, &needs);
            }
        }
        unlink_singles(&mut self.state);
    }

    /// This path ends in a kept state. What that one had written, and this one has not, may be read from there on.
    fn note_unwritten(&mut self, kept: usize) {
        for index in 0..self.state.frames.len() {
            let (new, old) = (&self.state.frames[index], &self.seen.kept[kept].state.frames[index]);
            let function = new.function;
            let (_, needs) = self.known_wanted(index);
            let slots = self.relevance.read_again(function, &needs);
            if new.stack.lacks(&old.stack, slots) {
                self.facts.functions[function].reads_unwritten = true;
            }
        }
    }

    /// The registers that will be read of a frame, and what else is to be kept of it.
    fn wanted(&self, index: usize) -> (RegSet, Needs) {
        let (live, needs) = self.known_wanted(index);
        (live, if self.careful { Needs::ALL } else { needs })
    }

    /// The registers that will be read of a frame, and what else matters of it.
    fn known_wanted(&self, index: usize) -> (RegSet, Needs) {
        match self.state.frames.get(index + 1) {
            None => (self.liveness.live_in(self.slot), *self.relevance.before(self.slot)),
            Some(inner) if inner.callback => {
                (self.liveness.live_in(inner.callsite), *self.relevance.before(inner.callsite))
            }
            Some(inner) => (self.liveness.live_out(inner.callsite), self.relevance.across(inner.callsite)),
        }
    }

    /// Compares the state with those kept for this slot, and keeps it if that is worth it.
    pub(crate) fn visit(&mut self) -> Check<Visit> {
        self.clean();
        self.widen();
        let slot = self.slot;
        let insn = self.program.insns[slot];
        let callback = matches!(insn, Insn::Call { helper }
            if helper == Helper::Loop as u32 || helper == Helper::ForEachMapElem as u32);
        // Turns of one call of the helper come to an end; a loop around the call may not.
        let came_back = std::mem::take(&mut self.came_back);
        if callback && !came_back {
            let invocation = self.new_id();
            self.state.frame_mut().invocation = invocation;
        }
        let may_goto = matches!(insn, Insn::MayGoto { .. });
        let next = matches!(insn, Insn::CallKfunc { btf_id, .. } if btf_id == Kfunc::IterNumNext as i32);
        // States with different iterators are never alike, so paths had better meet before one is begun.
        let begins = matches!(insn, Insn::CallKfunc { btf_id, .. } if btf_id == Kfunc::IterNumNew as i32);
        let counts = next && self.iterator_is_active();
        let forced = callback || may_goto || next || begins;
        let jumps = self.jumps - self.seen.last_jumps;
        let walked = self.processed() - self.seen.last_processed;
        // The kernel waits for a second jump; to keep more, and longer, walks a fifth less of real programs. Where
        // ways meet, a state is worth more than at a branch.
        let meet = !matches!(insn, Insn::Branch { .. }) && !self.shape.turns_back[slot];
        let apart = if meet { 4 } else { 8 };
        let mut keep = forced || jumps >= 1 && walked >= apart || self.long_way_ahead();
        let calls = calls_of(&self.state);
        let mut index = 0;
        while index < self.seen.by_slot[slot].len() {
            let entry = self.seen.by_slot[slot][index];
            if entry.calls != calls {
                index += 1;
                continue;
            }
            let at = entry.at;
            let old = &self.seen.kept[at];
            let new = &self.state;
            if old.open > 0 && !seeded(Bug::LoopForever) {
                let turned = may_goto && old.state.may_goto_turns != new.may_goto_turns
                    || counts && old.state.iterator_turns != new.iterator_turns
                    || callback
                        && old.state.frame().invocation == new.frame().invocation
                        && old.state.frame().turns < new.frame().turns;
                if turned {
                    if covers(&old.state, new, Exactness::NextTurn, &old.differed).is_some() {
                        self.seen.kept[at].hits += 1;
                        self.seen.demand_round(at);
                        self.note_unwritten(at);
                        return Ok(Visit::Known);
                    }
                } else if old.state.may_goto_turns == new.may_goto_turns
                    && old.state.callback_turns == new.callback_turns
                    && old.state.iterator_turns == new.iterator_turns
                    && covers(&old.state, new, Exactness::Same, &old.differed).is_some()
                {
                    let message = format!("infinite loop detected at insn {slot}");
                    return self.refuse(Rule::InfiniteLoop, message);
                }
                // While a loop is being walked, new states are kept now and then only.
                if !forced && jumps < 20 && walked < 100 {
                    keep = false;
                }
            } else if let Some(roots) =
                covers(&old.state, new, Exactness::Covering(old.demanded), &old.differed)
            {
                self.seen.kept[at].hits += 1;
                self.seen.demand(roots);
                self.note_unwritten(at);
                return Ok(Visit::Known);
            }
            let old = &mut self.seen.kept[at];
            old.misses += u32::from(keep);
            let patience = if forced && old.open > 0 { 64 } else { 8 };
            if old.misses > old.hits * patience + patience {
                // Its place in the chain of parents stays; the state itself is not needed.
                self.seen.bytes -= bytes_of(&old.state) - size_of::<State>() as u64;
                old.state.frames = Vec::new();
                self.seen.by_slot[slot].swap_remove(index);
            } else {
                index += 1;
            }
        }
        if keep {
            self.seen.keep(slot, calls, &mut self.state);
            self.seen.last_jumps = self.jumps;
            self.seen.last_processed = self.processed();
        }
        Ok(Visit::New)
    }

    /// Whether so much code follows without a point to be cut off at that this one had better be it.
    fn long_way_ahead(&self) -> bool {
        let ahead = &self.shape.prune_points[self.slot + 1..];
        ahead.len() > LONG_WAY && !ahead[..LONG_WAY].contains(&true)
    }

    /// Lets go of numbers that a counted loop keeps changing, so that it comes to an end
    /// (`widen_imprecise_scalars`).
    fn widen(&mut self) {
        let turns = self.state.turns();
        if self.careful || turns < WIDEN_AFTER {
            return;
        }
        let of_loop = |kept: &Kept| kept.open > 0 && kept.state.turns() < turns;
        let kept = self.seen.by_slot[self.slot].iter().rev().map(|entry| &self.seen.kept[entry.at]);
        let Some(old) = kept.into_iter().find(|kept| of_loop(kept)) else { return };
        if old.state.frames.len() != self.state.frames.len() {
            return;
        }
        for (old, new) in old.state.frames.iter().zip(&mut self.state.frames) {
            let new = Rc::make_mut(new);
            // What a callback is about to answer is no count of the loop's.
            let answer = usize::from(new.callback);
            for (old, new) in old.regs.iter().zip(&mut new.regs).skip(answer) {
                widen_value(old, new);
            }
            for (index, new) in new.stack.spilled_mut() {
                widen_value(&old.stack.slot(index).spilled, new);
            }
        }
    }
}

/// Instructions in a row that are worth a state.
const LONG_WAY: usize = 64;

/// Turns of a counted loop before numbers are let go of.
const WIDEN_AFTER: u32 = 8;

fn widen_value(old: &Value, new: &mut Value) {
    if let (Value::Number(old), Value::Number(number)) = (old, &new)
        && !number.range.is_subset_of(&old.range)
    {
        *new = Value::unknown();
    }
}

/// What a register keeps.
fn kept_of(value: &Value, live: bool, number: bool) -> Value {
    match value {
        _ if !live => Value::NotInit,
        Value::Number(found) if !number && !found.range.is_unknown() => Value::unknown(),
        other => *other,
    }
}

/// What a slot keeps: nothing, if it is not read again, or holds a number that does not matter.
fn slot_is_kept(slot: &Slot, index: usize, needs: &Needs) -> bool {
    let bit = 1u64 << index;
    slot.holds_reference()
        || needs.slots & bit != 0
            && (needs.slot_numbers & bit != 0 || slot.holds_pointer() || slot.object.is_some())
}

fn is_clean(frame: &Frame, live: RegSet, needs: &Needs) -> bool {
    let regs = Reg::ALL[..10].iter().all(|reg| {
        let value = &frame.regs[reg.index()];
        *value == kept_of(value, live.contains(*reg), needs.numbers.contains(*reg))
    });
    let slots = frame.stack.slots().iter().enumerate();
    regs && { slots }.all(|(index, slot)| slot.says_nothing() || slot_is_kept(slot, index, needs))
}

fn clean_frame(frame: &mut Frame, live: RegSet, needs: &Needs) {
    for reg in &Reg::ALL[..10] {
        let value = &mut frame.regs[reg.index()];
        *value = kept_of(value, live.contains(*reg), needs.numbers.contains(*reg));
    }
    for index in 0..frame.stack.slots().len() {
        if !slot_is_kept(frame.stack.slot(index), index, needs) {
            frame.stack.forget_slot(index);
        }
    }
    frame.stack.trim();
}

/// A number for the places that the active functions were called from. Chains may share one by chance; `covers`
/// tells them apart still.
fn calls_of(state: &State) -> u64 {
    let mix =
        |chain: u64, frame: &Rc<Frame>| (chain ^ frame.callsite as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    state.frames.iter().fold(state.frames.len() as u64, mix)
}

/// Takes names off numbers that are linked to no other (`clear_singular_ids`).
fn unlink_singles(state: &mut State) {
    let mut ids: Vec<Id> = Vec::new();
    state.each(|value| {
        if let Value::Number(number) = value
            && number.id != 0
        {
            ids.push(number.id);
        }
    });
    ids.sort_unstable();
    let single = |id: Id| {
        let first = ids.partition_point(|&other| other < id);
        ids.get(first + 1) != Some(&id)
    };
    if ids.chunk_by(|one, two| one == two).all(|same| same.len() > 1) {
        return;
    }
    state.for_each(|value| {
        if let Value::Number(number) = value
            && number.id != 0
            && single(number.id)
        {
            *number = number.unlinked();
        }
    });
}

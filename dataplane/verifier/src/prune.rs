//! Cutting off paths that reach a state already proven safe (`is_state_visited`).
//!
//! A state is kept at some of the prune points, with a link to the kept state it came from. It may
//! cut off others once every path from it was walked to its end: then anything it covers is safe
//! and terminates. A state that comes round to itself on its own path is an infinite loop; only
//! `may_goto` and callbacks, which count their turns when they run, may come round.

use std::rc::Rc;

use weir_ebpf::abi::helper::Helper;
use weir_ebpf::isa::{Insn, Reg};

use crate::explore::{Check, Explorer};
use crate::rule::Rule;
use crate::state::{Frame, State};
use crate::subsume::{Exactness, covers};
use crate::value::Value;

/// What is done with a state at a prune point.
pub(crate) enum Visit {
    /// It is covered by one that was proven.
    Known,
    /// It is to be walked.
    New,
}

/// A state that is kept.
struct Kept {
    state: State,
    /// The kept state that it came from.
    parent: Option<usize>,
    /// Paths from here that were not walked to their end.
    open: u32,
    hits: u32,
    misses: u32,
}

/// The states that are kept.
pub(crate) struct Seen {
    kept: Vec<Kept>,
    by_slot: Vec<Vec<usize>>,
    /// The kept state that the path being walked comes from.
    pub(crate) parent: Option<usize>,
    total: u64,
    peak: u64,
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

    fn keep(&mut self, slot: usize, state: State) {
        let parent = self.parent;
        self.kept.push(Kept { state, parent, open: 1, hits: 0, misses: 0 });
        let at = self.kept.len() - 1;
        self.by_slot[slot].push(at);
        self.parent = Some(at);
        self.total += 1;
        self.peak = self.peak.max(self.by_slot[slot].len() as u64);
    }
}

impl Explorer<'_> {
    /// Forgets what no later instruction reads, so that states differ only in what matters
    /// (`clean_live_states`).
    fn clean(&mut self) {
        let depth = self.state.frames.len();
        for index in 0..depth {
            let live = if index + 1 == depth {
                self.liveness.live_in(self.slot)
            } else {
                let inner = &self.state.frames[index + 1];
                if inner.callback {
                    self.liveness.live_in(inner.callsite)
                } else {
                    self.liveness.live_out(inner.callsite)
                }
            };
            let frame = &mut self.state.frames[index];
            let stale = |frame: &Frame| {
                Reg::ALL[..10]
                    .iter()
                    .any(|reg| !live.contains(*reg) && frame.regs[reg.index()] != Value::NotInit)
            };
            if stale(frame) {
                let frame = Rc::make_mut(frame);
                for reg in &Reg::ALL[..10] {
                    if !live.contains(*reg) {
                        frame.regs[reg.index()] = Value::NotInit;
                    }
                }
            }
        }
    }

    /// Compares the state with those kept for this slot, and keeps it if that is worth it.
    pub(crate) fn visit(&mut self) -> Check<Visit> {
        self.clean();
        let slot = self.slot;
        let insn = self.program.insns[slot];
        let callback = matches!(insn, Insn::Call { helper }
            if helper == Helper::Loop as u32 || helper == Helper::ForEachMapElem as u32);
        let may_goto = matches!(insn, Insn::MayGoto { .. });
        let forced = callback || may_goto;
        let jumps = self.jumps - self.seen.last_jumps;
        let walked = self.processed() - self.seen.last_processed;
        let mut keep = forced || jumps >= 2 && walked >= 8;
        let mut index = 0;
        while index < self.seen.by_slot[slot].len() {
            let at = self.seen.by_slot[slot][index];
            let old = &self.seen.kept[at];
            let new = &self.state;
            if old.open > 0 {
                let turned = may_goto && old.state.may_goto_turns != new.may_goto_turns
                    || callback && old.state.callback_turns != new.callback_turns;
                if turned {
                    if covers(&old.state, new, Exactness::Covering) {
                        self.seen.kept[at].hits += 1;
                        return Ok(Visit::Known);
                    }
                } else if old.state.may_goto_turns == new.may_goto_turns
                    && old.state.callback_turns == new.callback_turns
                    && covers(&old.state, new, Exactness::Same)
                {
                    let message = format!("infinite loop detected at insn {slot}");
                    return self.refuse(Rule::InfiniteLoop, message);
                }
                // While a loop is being walked, new states are kept now and then only.
                if !forced && jumps < 20 && walked < 100 {
                    keep = false;
                }
            } else if covers(&old.state, new, Exactness::Covering) {
                self.seen.kept[at].hits += 1;
                return Ok(Visit::Known);
            }
            let old = &mut self.seen.kept[at];
            old.misses += u32::from(keep);
            let patience = if forced && old.open > 0 { 64 } else { 3 };
            if old.misses > old.hits * patience + patience {
                self.seen.by_slot[slot].swap_remove(index);
            } else {
                index += 1;
            }
        }
        if keep {
            self.seen.keep(slot, self.state.clone());
            self.seen.last_jumps = self.jumps;
            self.seen.last_processed = self.processed();
        }
        Ok(Visit::New)
    }
}

//! What one verification may take: instructions walked, memory for the states it keeps, time.
//!
//! Each is a bound of its own, as each explodes by itself: a loop walks instructions and keeps nothing, deep
//! calls with full stacks keep much and walk little, and on a slow machine either takes long. A refusal for a
//! budget says where most states met, which is where a program differs from itself most.

use std::time::Duration;

use crate::explore::{Check, Explorer};
use crate::reject::Reject;
use crate::rule::Rule;
use crate::state::{Frame, State};

/// How long a verification may take, by a clock that the caller brings: this crate has none of its own.
#[derive(Clone, Copy, Debug)]
pub struct TimeLimit {
    /// The limit.
    pub limit: Duration,
    /// The time now, counted from whenever.
    pub clock: fn() -> Duration,
}

/// A limit that began to count.
#[derive(Clone, Copy)]
pub(crate) struct Deadline {
    limit: TimeLimit,
    /// What the clock said at the start.
    start: Duration,
}

impl Deadline {
    pub(crate) fn new(limit: TimeLimit) -> Self {
        Self { limit, start: (limit.clock)() }
    }

    fn is_over(&self) -> bool {
        (self.limit.clock)().saturating_sub(self.start) > self.limit.limit
    }
}

/// Instructions between two looks at the clock.
const LOOK_EVERY: u64 = 64;

/// Bytes that a state takes when it shares nothing.
pub(crate) fn bytes_of(state: &State) -> u64 {
    let frames = state.frames.iter().map(|frame| size_of_val(frame.stack.slots()));
    let frames: usize = frames.map(|stack| stack + size_of::<Frame>()).sum();
    (frames + size_of::<State>()) as u64
}

impl Rule {
    /// Whether it says that a verification took too much, rather than what is wrong with the program.
    pub(crate) fn is_budget(self) -> bool {
        matches!(self, Rule::TooLarge | Rule::TooMuchMemory | Rule::TooSlow)
    }

    /// Whether the walk that it ended would have gone on for very long, or for ever.
    pub fn is_endless(self) -> bool {
        self.is_budget() || matches!(self, Rule::TooManyBranches | Rule::InfiniteLoop)
    }
}

impl Explorer<'_> {
    /// Refuses a program that has taken more than it may.
    pub(crate) fn within_budget(&self) -> Check {
        let (walked, bytes) = (self.processed(), self.seen.bytes() + self.pending_bytes);
        if walked > self.options.insns_max {
            let message = format!("BPF program is too large. Processed {walked} insn");
            return self.exploded(Rule::TooLarge, message);
        }
        if bytes > self.options.memory_max {
            let most = self.options.memory_max >> 20;
            let message =
                format!("the states to compare with take more than {most} MiB after {walked} insns");
            return self.exploded(Rule::TooMuchMemory, message);
        }
        if walked.is_multiple_of(LOOK_EVERY)
            && let Some(deadline) = &self.deadline
            && deadline.is_over()
        {
            let limit = deadline.limit.limit;
            let message = format!("not proven within {limit:?}, after {walked} insns");
            return self.exploded(Rule::TooSlow, message);
        }
        Ok(())
    }

    /// A budget is used up; the help says where most of it went.
    fn exploded<T>(&self, rule: Rule, message: String) -> Check<T> {
        let mut reject = Reject::new(self.slot, rule, message);
        reject.help = self.seen.busiest().filter(|(_, states)| *states > 0).map(|(slot, states)| {
            let line = self.program.line_at(slot);
            let line = line.map(|line| format!(" ({}:{})", line.file, line.line)).unwrap_or_default();
            format!(
                "most states ({states}) meet at insn {slot}{line}: keep less that differs alive there, or bound the loop"
            )
        });
        Err(Box::new(reject))
    }
}

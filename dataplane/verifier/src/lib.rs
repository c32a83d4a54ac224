//! Program to [`Verified`], or a [`Reject`] that says why.
//!
//! A program is data until this crate has said yes. It relies on nothing but `weir-ebpf`; it does
//! not know how programs run.
//!
//! The way of a program: `shape` checks jumps and functions, `explore` walks every path with an
//! abstract `state`, `transfer` says what each instruction does to it and asks for, `prune` cuts
//! off what was proven already, [`facts`] keeps what held on all paths. The rules follow
//! kernel/bpf/verifier.c of Linux 6.18 for a loader with CAP_BPF and CAP_PERFMON.
//!
//! Where weir differs from that kernel, on purpose:
//! - It has no kernel variables or socket fields, and of kernel functions those that
//!   `weir_ebpf::abi::kfunc` names; it refuses the others by name.
//! - Values of inner maps have no timers.
//! - A loop that begins its iterator anew in each turn must end by itself; the kernel accepts it.
//! - Callbacks neither tail call nor use legacy packet access.
//! - A loop around a callback's call must end by itself; the kernel takes the callback's turns for
//!   progress and accepts loops without end.
//! - A looked-up value is compared with null before `bpf_csum_diff` reads it.
//! - Packet memory is not given to a global function that may move the packet.
//! - Numbers are a little sharper (bounds after comparisons, counted loops let go of), so some programs that the
//!   kernel refuses are accepted.
#![forbid(unsafe_code)]

mod budget;
mod bugs;
mod compat;
mod depth;
mod explore;
pub mod facts;
mod lint;
mod listing;
mod liveness;
mod log;
mod precision;
mod prune;
mod record;
mod reject;
mod relevance;
mod rule;
pub mod scalar;
mod shape;
mod stack;
mod state;
pub mod states;
mod story;
mod subsume;
mod transfer;
mod value;

use std::sync::Arc;

use budget::Deadline;
use explore::{Explorer, Ground};
/// Deliberate bugs that a test can turn on.
#[cfg(feature = "mutants")]
pub mod mutant {
    pub use crate::bugs::{Bug, CLASSES, with};
}

pub use budget::TimeLimit;
pub use facts::{Access, Facts};
pub use lint::Lint;
use liveness::Liveness;
pub use reject::Reject;
use relevance::Relevance;
pub use rule::Rule;
use states::States;
pub use story::Origin;
use story::Trail;
use weir_ebpf::Program;

/// A program that was proven safe to run, with what was learned on the way. Only [`verify`] makes one.
#[derive(Clone, Debug)]
pub struct Verified {
    program: Arc<Program>,
    facts: Facts,
    stats: Stats,
    log: String,
    lints: Vec<Lint>,
    states: Option<States>,
}

/// How to verify.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Cuts off paths that reach a state already proven safe. Without it most loops are too large.
    pub prune: bool,
    /// Forgets what looks as if it did not matter, so that more states are alike, and walks with everything kept
    /// only if that fails. Without it there is only the second walk, which is nearest to the kernel's.
    pub forget: bool,
    /// Goes on with the other ways when one is refused, but for a loop without end, and answers with the first
    /// refusal. What another walk comes to before it finds a fault is then among what this one walked.
    pub to_the_end: bool,
    /// Keeps the states of every instruction, for checking runs against them.
    pub record_states: bool,
    /// 0: no log; 1: the states at branches; 2: the state at every instruction.
    pub log_level: u8,
    /// Most instructions to walk, repeats counted (`BPF_COMPLEXITY_LIMIT_INSNS`).
    pub insns_max: u64,
    /// Most bytes for the states that others are compared with.
    pub memory_max: u64,
    /// How long it may take; `None` for as long as the other limits let it.
    pub time: Option<TimeLimit>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            prune: true,
            forget: true,
            to_the_end: false,
            record_states: false,
            log_level: 0,
            insns_max: 1_000_000,
            memory_max: 512 << 20,
            time: None,
        }
    }
}

/// Proves that the program is safe to run, or says why not.
pub fn verify(program: Arc<Program>, options: &Options) -> Result<Verified, Box<Reject>> {
    match prove(&program, options) {
        Ok(Proof { facts, stats, log, lints, states }) => {
            let lints = lints.into_iter().map(|lint| lint.locate(&program)).collect();
            Ok(Verified { program, facts, stats, log, lints, states })
        }
        Err(reject) => Err(Box::new(reject.locate(&program))),
    }
}

/// What a walk that succeeded leaves.
struct Proof {
    facts: Facts,
    stats: Stats,
    log: String,
    lints: Vec<Lint>,
    states: Option<States>,
}

/// Walks the program, forgetting what looks as if it did not matter; if that fails, once more with
/// everything kept. Forgetting is sound, so the first yes is good; only the second no is.
fn prove(program: &Program, options: &Options) -> Result<Proof, Box<Reject>> {
    let deadline = options.time.map(Deadline::new);
    let shape = shape::check(program)?;
    let liveness = Liveness::of(program, &shape);
    let relevance = Relevance::of(program, &shape, &liveness);
    let (shape, liveness, relevance) = (&shape, &liveness, &relevance);
    let ground = Ground { program, shape, liveness, relevance, options, deadline };
    let first = walk(&ground, !options.forget);
    match first {
        Err(refused) if options.prune && options.forget && !refused.rule.is_budget() => {
            match walk(&ground, true) {
                Err(again) if again.rule.is_budget() => Err(refused),
                second => second,
            }
        }
        first => first,
    }
}

fn walk(ground: &Ground<'_>, careful: bool) -> Result<Proof, Box<Reject>> {
    let mut explorer = Explorer::new(ground, careful);
    let walked = explorer.run().and_then(|()| explorer.run_others());
    let walked = walked.and_then(|()| explorer.refused.take().map_or(Ok(()), Err));
    let stats = explorer.stats();
    let mut log = std::mem::take(&mut explorer.log);
    if ground.options.log_level > 0 {
        let message = walked.as_ref().err().map(|reject| reject.message.as_str());
        log.end(message, &stats, ground.options.insns_max);
    }
    walked.map_err(|reject| {
        let Ground { program, shape, .. } = *ground;
        let story = Trail { program, shape, slots: &explorer.trail }.tell(&reject.message);
        Box::new(Reject { stats, story, log: log.text.clone(), ..*reject })
    })?;
    let states = ground.options.record_states.then(|| record::states(&mut explorer));
    let lints = std::mem::take(&mut explorer.lints);
    let facts = depth::finish(ground, explorer)?;
    Ok(Proof { facts, stats, log: log.text, lints, states })
}

/// What verification took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Stats {
    /// Instructions walked over, repeats counted (`processed N insns`).
    pub processed: u64,
    /// States kept for pruning, over all.
    pub states: u64,
    /// The most states kept for one instruction.
    pub peak_states: u64,
    /// The most bytes that kept states took.
    pub peak_bytes: u64,
}

impl Verified {
    /// The program.
    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// What was proved, by slot.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// What it took.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// What was allowed and is still worth a word.
    pub fn lints(&self) -> &[Lint] {
        &self.lints
    }

    /// The states before each instruction, if they were asked for.
    pub fn states(&self) -> Option<&States> {
        self.states.as_ref()
    }

    /// The log in the kernel's format; empty at log level 0.
    pub fn log(&self) -> &str {
        &self.log
    }
}

//! Program to [`Verified`], or a [`Reject`] that says why.
//!
//! A program is data until this crate has said yes. It relies on nothing but `weir-ebpf`; it does
//! not know how programs run.
#![forbid(unsafe_code)]

pub mod facts;

use std::sync::Arc;

pub use facts::{Access, Facts};
use weir_ebpf::Program;

/// A program that was proven safe to run, with what was learned on the way. Only [`verify`] makes one.
#[derive(Clone, Debug)]
pub struct Verified {
    program: Arc<Program>,
    facts: Facts,
    stats: Stats,
}

/// What verification took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Stats {
    /// Instructions walked over, repeats counted (`processed N insns`).
    pub processed: u64,
    /// States kept for pruning, at the end.
    pub states: u64,
    /// The most states kept for one instruction.
    pub peak_states: u64,
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
}

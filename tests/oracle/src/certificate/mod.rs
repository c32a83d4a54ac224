//! A second opinion on a proof: the states that the verifier exports are checked to be what they claim.
//!
//! The states are a certificate. It is good when the entry state is among those of the first instruction,
//! when every state allows its instruction, and when whatever may come after lies in a state of the next
//! instruction. Then no run touches what it should not, however the states were found: pruning, relevance,
//! liveness and the order of the walk need not be trusted, since nothing of them is used here. What machine
//! code is made by ([`weir_verifier::Facts`]) must agree with the states too: the ways of branches, where
//! accesses go, what calls are given, how deep stacks are. The numbers' operators are shared with the
//! verifier; all of them are tried on every small word (`verifier/src/scalar`).
//!
//! It says nothing of ends (loops, references, locks), and answers [`Verdict::Outside`] for programs with
//! callbacks, locks, objects on the stack and kernel functions.
//!
//! `machine` has what each instruction does, `call` what helpers ask for, `branch` what comparisons teach,
//! `memory` and `stack` where accesses go and what is there, `cover` whether a state lies in another.

mod branch;
mod call;
mod cover;
mod machine;
mod memory;
mod stack;

use std::fmt::Display;

use weir_ebpf::Reg;
use weir_verifier::Verified;
use weir_verifier::states::{Abstract, FrameState, RecordedState, Target};

use cover::covers;
use machine::Machine;

/// What the check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every state leads into states.
    Certified {
        /// Transitions checked.
        transitions: usize,
    },
    /// The program has something that this does not check.
    Outside(&'static str),
    /// A state does not allow its instruction, or leads out of the states.
    Refused(String),
}

/// What a step gives, or why the check ends here.
type Step<T = ()> = Result<T, Verdict>;

fn refuse<T>(why: impl Display) -> Step<T> {
    Err(Verdict::Refused(why.to_string()))
}

/// Refuses unless this holds.
fn demand(holds: bool, else_why: impl Display) -> Step {
    if holds { Ok(()) } else { refuse(else_why) }
}

/// The state at the entry of a program.
fn entry() -> RecordedState {
    let mut regs = [Abstract::NotInit; Reg::COUNT];
    regs[Reg::R1.index()] = Abstract::pointer(Target::Context);
    regs[Reg::R10.index()] = Abstract::pointer(Target::Stack { frame: 0 });
    RecordedState { frames: vec![FrameState { function: 0, callsite: 0, regs, stack: Vec::new() }] }
}

/// Checks the states of a proof; it must have been made with `record_states`.
pub fn certify(verified: &Verified) -> Verdict {
    match check(verified) {
        Ok(transitions) => Verdict::Certified { transitions },
        Err(verdict) => verdict,
    }
}

fn check(verified: &Verified) -> Step<usize> {
    let states = verified.states().ok_or(Verdict::Outside("no states"))?;
    let at = |slot| states.at(slot).ok_or(Verdict::Outside("more states than are kept"));
    let known = |slot, state: &RecordedState| -> Step {
        let known = at(slot)?.iter().any(|wide| covers(wide, state));
        demand(known, format_args!("leads out of the states of insn {slot}"))
    };
    known(0, &entry())?;
    let (mut machine, mut transitions) = (Machine::new(verified), 0);
    for slot in 0..verified.program().insns.len() {
        for state in at(slot)? {
            let next = machine.step(slot, state)?;
            transitions += next.len();
            next.iter().try_for_each(|(to, after)| known(*to, after))?;
        }
    }
    Ok(transitions)
}
